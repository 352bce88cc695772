"""Asks OpenStack's Placement what Kilonova's was asked, and compares the answers.

    placement_oracle.py RECORDING

RECORDING has one JSON object on each line: sequence, method, path, version, body, and Kilonova's status, answer,
last_modified (whether it was said) and location. Each sequence begins with an empty Placement. Orders that say nothing,
and the complaints of JSON schemas, are not compared; with a limit only the number of candidates is. Prints what
differs, once for each kind of request and difference, then how much was looked at, and fails if anything differed.
"""

import json
import multiprocessing
import re
import sys
import tempfile

from oslo_config import cfg
import webob

from placement import conf
from placement import deploy
from placement import policy

UUID = re.compile("[0-9a-f]{8}-[0-9a-f-]{27}")
# What webob says of a status before what Placement says.
EXPLANATION = re.compile(
    "^(The server could not comply with the request since it is either malformed or otherwise incorrect|"
    "The resource could not be found|There was a conflict when trying to complete your request|"
    "Access was denied to this resource)[.]\\s*"
)
# What follows is the text of a schema or of a database.
FREE = ("JSON does not validate", "Invalid query string parameters: ", "Update conflict: ", "Malformed JSON")
NO_ORDER = {"traits", "aggregates", "allocation_requests", "resource_providers", "resource_classes", "links"}


def ordered(value, key=None):
    """Without the order of what has none."""
    if isinstance(value, dict):
        return {name: ordered(item, "mappings" if key == "mappings" else name) for name, item in value.items()}
    if isinstance(value, list):
        items = [ordered(item) for item in value]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    return value


def comparable(record, answer):
    answer = ordered(answer)
    if isinstance(answer, dict) and "limit=" in record["path"] and "allocation_requests" in answer:
        return len(answer["allocation_requests"])
    if isinstance(answer, dict) and "errors" in answer:
        error = answer["errors"][0]
        detail = EXPLANATION.sub("", error["detail"]).strip()
        detail = next((free for free in FREE if detail.startswith(free)), detail)
        # Which of several names comes first is chance.
        words = sorted(re.findall(r"[\w!-]+", detail))
        return {"code": error.get("code"), "title": error["title"], "detail": words}
    return answer


def ask(application, record):
    body = b"" if record["body"] is None else json.dumps(record["body"]).encode()
    request = webob.Request.blank(record["path"], method=record["method"], body=body)
    request.headers["x-auth-token"] = "admin"
    request.headers["x-roles"] = "admin,service"
    request.headers["openstack-api-version"] = "placement " + record["version"]
    request.headers["accept"] = "application/json"
    if body:
        request.content_type = "application/json"
    return request.get_response(application)


def looked_no_further(record, answer, body):
    """Whether Placement did not get to a name that does not exist, because nobody satisfied what came before it."""
    return (
        record["status"] == 400
        and "No such" in record["answer"]["errors"][0]["detail"]
        and answer.status_int == 200
        and not body.get("allocation_requests", body.get("resource_providers"))
    )


def differences(record, answer):
    body = json.loads(answer.body) if answer.body else None
    if looked_no_further(record, answer, body):
        return []
    theirs = {
        "status": answer.status_int,
        "answer": comparable(record, body),
        "last_modified": "last-modified" in answer.headers,
        "location": answer.headers.get("location"),
    }
    ours = dict(record, answer=comparable(record, record["answer"]))
    if ours["location"]:
        ours["location"] = ours["location"].removeprefix("/placement")
    if theirs["location"]:
        theirs["location"] = re.sub("^https?://[^/]*(/placement)?", "", theirs["location"])
    text = json.dumps(ours["answer"]).replace('"/placement/', '"/')
    ours["answer"] = json.loads(text)
    text = json.dumps(theirs["answer"]).replace('"/placement/', '"/')
    theirs["answer"] = json.loads(text)
    # Placement does not say it where a row was never updated; Kilonova's then says when it was made.
    ours["last_modified"] = ours["last_modified"] and theirs["last_modified"]
    names = ["status"] if theirs["status"] != ours["status"] else ["answer", "last_modified", "location"]
    return [(name, ours[name], theirs[name]) for name in names if ours[name] != theirs[name]]


def application(database):
    config = cfg.ConfigOpts()
    conf.register_opts(config)
    config.set_override("connection", "sqlite:///" + database, group="placement_database")
    config([], default_config_files=[], default_config_dirs=[])
    config.set_override("sync_on_startup", True, group="placement_database")
    config.set_override("auth_strategy", "noauth2", group="api")
    policy.reset()
    return deploy.loadapp(config)


def replay(records):
    """What is answered otherwise, in a process of its own: Placement remembers names and its database."""
    found = []
    with tempfile.TemporaryDirectory() as directory:
        app = application(directory + "/placement.sqlite")
        for record in records:
            differing = differences(record, ask(app, record))
            if differing:
                found.append((record, differing))
            if any(name == "status" for name, *_ in differing):
                # From here on the two are no longer in the same state.
                break
    return found


def main(path):
    with open(path) as lines:
        records = [json.loads(line) for line in lines]
    sequences = {}
    for record in records:
        sequences.setdefault(record["sequence"], []).append(record)
    seen, differing = set(), 0
    with multiprocessing.Pool(1, maxtasksperchild=1) as pool:
        for found in pool.imap(replay, sequences.values(), chunksize=1):
            differing += len(found)
            for record, names in found:
                kind = record["method"] + " " + UUID.sub("{uuid}", record["path"].partition("?")[0])
                for name, ours, theirs in names:
                    if (kind, name, record["status"]) in seen:
                        continue
                    seen.add((kind, name, record["status"]))
                    print(f"{kind} (sequence {record['sequence']}, {record['version']}): {name}")
                    print(f"  path   {record['path']}\n  body   {json.dumps(record['body'])}")
                    print(f"  ours   {json.dumps(ours, sort_keys=True)}\n  theirs {json.dumps(theirs, sort_keys=True)}")
    print(f"{len(records)} requests in {len(sequences)} sequences, {differing} answered otherwise")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
