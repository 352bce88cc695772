"""Hooks of schemathesis for `cargo xtask fuzz-api`: most of its requests are about what is there.

What schemathesis makes up by itself is nearly always a 404: it guesses ids, and microversions that nobody speaks. Here a
part of each request is put right before it is sent: ids are those of resources that the cloud has, microversions are
ones that there are, and references in bodies name a flavor, an image, a network. Which part, depends on nothing but the
request, so a request that failed fails again. Servers that the requests delete are made anew.

The environment says where: KILONOVA_FUZZ_URL, the compute endpoint, and KILONOVA_FUZZ_TOKEN, an administrator's token.
KILONOVA_FUZZ_IMAGE and KILONOVA_FUZZ_NETWORK are what servers are made of.
"""

import os
import random
import zlib

import requests
import schemathesis

URL = os.environ["KILONOVA_FUZZ_URL"]
IMAGE = os.environ["KILONOVA_FUZZ_IMAGE"]
NETWORK = os.environ["KILONOVA_FUZZ_NETWORK"]
MAX_MINOR = 104
# Requests between two looks at what there is.
PACE = 200
SERVERS = 4

# Collections by the first word of a path: microversion, path of the list, its key, and which fields identify.
LISTS = {
    "servers": ("2.96", "/servers", "servers", ["id"]),
    "os-volumes_boot": ("2.96", "/servers", "servers", ["id"]),
    "flavors": ("2.96", "/flavors?is_public=None", "flavors", ["id"]),
    "images": ("2.1", "/images", "images", ["id"]),
    "os-aggregates": ("2.96", "/os-aggregates", "aggregates", ["id"]),
    "os-hosts": ("2.1", "/os-hosts", "hosts", ["host_name"]),
    "os-hypervisors": ("2.96", "/os-hypervisors", "hypervisors", ["id", "hypervisor_hostname"]),
    "os-keypairs": ("2.1", "/os-keypairs", "keypairs", ["name"]),
    "os-networks": ("2.1", "/os-networks", "networks", ["id"]),
    "os-tenant-networks": ("2.1", "/os-networks", "networks", ["id"]),
    "os-security-groups": ("2.1", "/os-security-groups", "security_groups", ["id"]),
    "os-server-groups": ("2.96", "/os-server-groups", "server_groups", ["id"]),
    "os-services": ("2.96", "/os-services", "services", ["id"]),
    "os-simple-tenant-usage": ("2.1", "/os-simple-tenant-usage", "tenant_usages", ["tenant_id"]),
    "extensions": ("2.1", "/extensions", "extensions", ["alias"]),
}
# Below one server: the same, and of flavors, images.
BELOW = {
    "os-interface": ("2.96", "interfaceAttachments", ["port_id"]),
    "os-instance-actions": ("2.96", "instanceActions", ["request_id"]),
    "migrations": ("2.96", "migrations", ["id"]),
    "os-volume_attachments": ("2.96", "volumeAttachments", ["id"]),
}


class World:
    """What the cloud has, as of the last look."""

    def __init__(self):
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["X-Auth-Token"] = os.environ["KILONOVA_FUZZ_TOKEN"]
        self.requests = 0
        self.ids = {}

    def ask(self, method, path, version="2.96", body=None):
        headers = {"OpenStack-API-Version": f"compute {version}"}
        reply = self.session.request(method, URL + path, headers=headers, json=body, timeout=30)
        return reply.json() if reply.ok and reply.content else {}

    def look(self):
        for word, (version, path, key, fields) in LISTS.items():
            items = self.ask("GET", path, version).get(key, [])
            self.ids[word] = [str(item[field]) for item in items for field in fields if field in item]
        self.ids["os-quota-sets"] = self.ids["os-simple-tenant-usage"]
        self.ids["os-quota-class-sets"] = ["default"]
        for _ in range(SERVERS - len(self.ids["servers"])):
            self.boot()
        for word, (version, key, fields) in BELOW.items():
            found = []
            for server in self.ids["servers"][:SERVERS]:
                items = self.ask("GET", f"/servers/{server}/{word}", version).get(key, [])
                found += [str(item[field]) for item in items for field in fields if field in item]
            self.ids[word] = found

    def boot(self):
        flavors = self.ids["flavors"]
        if not flavors:
            return
        server = {"name": "fuzzed", "imageRef": IMAGE, "flavorRef": flavors[0], "networks": [{"uuid": NETWORK}],
                  "metadata": {"key": "value"}, "tags": ["tag"]}
        made = self.ask("POST", "/servers", body={"server": server})
        if "server" in made:
            self.ids["servers"].append(made["server"]["id"])

    def tick(self):
        if self.requests % PACE == 0:
            self.look()
        self.requests += 1


WORLD = World()


def chance(case):
    """Randomness that the same request always has."""
    parts = (case.method, case.path, case.path_parameters, dict(case.headers or {}), case.query, case.body)
    return random.Random(zlib.crc32(repr(parts).encode("utf-8", "replace")))


def known(case, place, name):
    """Ids that fit the parameter `name`, the `place`th of its path."""
    words = [word for word in case.path.split("/") if word and not word.startswith("{")]
    if place == 0:
        return WORLD.ids.get(words[0], [])
    return WORLD.ids.get(words[1], ["key", "tag", "private"])


def put_right(body, chances):
    """References in a body lead somewhere, most of the time."""
    if isinstance(body, dict):
        for key, value in body.items():
            pool = {"flavorRef": WORLD.ids["flavors"], "imageRef": [IMAGE], "uuid": [NETWORK], "net_id": [NETWORK],
                    "rescue_image_ref": [IMAGE], "host": WORLD.ids["os-hosts"],
                    "key_name": WORLD.ids["os-keypairs"]}.get(key)
            if pool and isinstance(value, str) and chances.random() < 0.6:
                body[key] = chances.choice(pool)
            else:
                put_right(value, chances)
    elif isinstance(body, list):
        for item in body:
            put_right(item, chances)


@schemathesis.hook
def before_call(context, case, kwargs):
    WORLD.tick()
    chances = chance(case)
    if chances.random() < 0.9:
        case.headers["OpenStack-API-Version"] = f"compute 2.{chances.randint(1, MAX_MINOR)}"
    for place, name in enumerate(list(case.path_parameters or {})):
        pool = known(case, place, name)
        if pool and chances.random() < 0.85:
            case.path_parameters[name] = chances.choice(pool)
    put_right(case.body, chances)
