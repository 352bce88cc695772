"""Holds recorded answers against the response schemas that Nova attaches to its controllers.

    oracle.py RECORDING

RECORDING has one JSON object on each line: method, path (below /v2.1, without the query), action (the key of the
body that selects one, or null), version (the microversion answered in), status and body (null if there is none).
Only answers that succeeded are looked at: Nova has no schemas for the others. Prints what does not fit, once for each
operation and reason, then how much was looked at, and fails if anything did not fit.
"""

import json
import re
import sys

from nova.api.openstack import api_version_request
from nova.api.openstack.compute import routes
from nova.api.validation import validators
from nova import exception


# Where Nova's schemas are narrower than what Nova answers, by function and a part of the complaint.
TOO_NARROW = [
    # Names of hosts are said to be uuids.
    ("instance_usage_audit_log.", "is not a 'uuid'"),
    # From 2.92 on there are '@' and '.' in names.
    ("keypairs.", "does not match '^[_\\\\- a-zA-Z0-9]+$'"),
    # Groups with the policies of 2.15 are shown in older microversions too.
    ("server_groups.", "is not one of ['affinity', 'anti-affinity']"),
]


class Request:
    """As much of a request as the choice of a schema needs."""

    def __init__(self, version):
        self.api_version_request = api_version_request.APIVersionRequest(version)


def pattern(path):
    """A regular expression for a path of the route list."""
    return re.compile("^" + re.sub(r"\\{[a-z_]+\\}", "[^/]+", re.escape(path)) + "$")


def table():
    """(pattern, number of parameters, method, classes of controllers, name of the function) of every route."""
    rows = []
    for path, methods in routes.ROUTE_LIST:
        if isinstance(methods, str):
            continue
        for method, (factory, function) in methods.items():
            main, subordinate = factory.args
            rows.append((pattern(path), path.count("{"), method, [main, *subordinate], function))
    # Literals first: /servers/detail is not the server "detail".
    return sorted(rows, key=lambda row: row[1])


def find(rows, record):
    """The function that answers in Nova, or None. A project id may stand before the path."""
    path = record["path"]
    return find_path(rows, record, path) or find_path(rows, record, "/" + path[1:].partition("/")[2])


def find_path(rows, record, path):
    for matches, _, method, controllers, function in rows:
        if method != record["method"] or not matches.match(path):
            continue
        if function != "action":
            return getattr(controllers[0], function)
        for controller in controllers:
            name = getattr(controller, "wsgi_actions", {}).get(record["action"])
            if name:
                return getattr(controller, name)
    return None


def main(recording):
    rows = table()
    unknown, without, misfits, fitting, narrow, covered = set(), set(), {}, 0, 0, set()
    for line in open(recording, encoding="utf-8"):
        record = json.loads(line)
        if not 200 <= record["status"] < 300:
            continue
        function = find(rows, record)
        if function is None:
            unknown.add((record["method"], record["path"]))
            continue
        name = function.__module__.rpartition(".")[2] + "." + function.__name__
        schemas = getattr(function, "response_body_schemas", None)
        schema = schemas(Request(record["version"])) if schemas else None
        if schema is None:
            without.add((name, record["version"]))
            continue
        covered.add((name, str(schema)))
        try:
            validators._SchemaValidator(schema, is_body=True).validate(record["body"])
            fitting += 1
        except exception.ValidationError as error:
            reason = str(error)
            if any(name.startswith(where) and part in reason for where, part in TOO_NARROW):
                narrow += 1
                continue
            misfits.setdefault((name, reason.partition(". Value:")[0][:300]), []).append((record, reason))
    for (name, _), found in sorted(misfits.items(), key=lambda item: item[0]):
        record, reason = found[0]
        versions = sorted({each["version"] for each, _ in found}, key=lambda version: int(version.split(".")[1]))
        print(f"{name}, {record['method']} {record['path']} in {', '.join(versions)} ({len(found)} answers):")
        print(f"    {reason[:600]}")
    for method, path in sorted(unknown):
        print(f"not one of Nova's routes: {method} {path}")
    for name, version in sorted(without):
        print(f"Nova has no schema: {name} in {version}")
    print(f"{fitting} answers fit, {sum(map(len, misfits.values()))} do not, {narrow} are as Nova's own, whose schemas "
          f"are too narrow; {len(covered)} schemas were used")
    return 1 if misfits or unknown or not fitting else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
