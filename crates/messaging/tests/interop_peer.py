"""The other side of tests/interop.rs: a Python service with oslo.messaging.

  interop_peer.py URL EXCHANGE server TOPIC     serves until its standard input ends
  interop_peer.py URL EXCHANGE client           reads one JSON request per line, prints one JSON answer per line
  interop_peer.py URL EXCHANGE listener TOPIC   prints one JSON line per notification of priority info

Each prints "ready" first. Options of [oslo_messaging_rabbit] come in the URL's query.
"""
import json
import sys
import time
import types
import warnings

warnings.simplefilter("ignore")

import oslo_messaging as messaging  # noqa: E402
from oslo_config import cfg  # noqa: E402


class PeerError(Exception):
    """As nova.exception.NovaException: the message, and keyword arguments with a code."""

    def __init__(self, message=None, **kwargs):
        self.kwargs = {"code": 404, **kwargs}
        super().__init__(message or "Peer error %s" % kwargs)


# The client rebuilds exceptions of modules that it allows, and finds them by the module's name.
peer = types.ModuleType("peer")
PeerError.__module__ = "peer"
peer.PeerError = PeerError
sys.modules["peer"] = peer


def configure(control_exchange):
    # oslo.messaging registers its tracing options on the global configuration only.
    conf = cfg.CONF
    conf([])
    messaging.set_transport_defaults(control_exchange)
    return conf


class Endpoint:
    target = messaging.Target(version="1.5")

    def __init__(self):
        self.noted = []

    def echo(self, context, value):
        return {"value": value, "request_id": context.get("request_id")}

    def note(self, context, value):
        self.noted.append(value)

    def get_noted(self, context):
        return self.noted

    def fail(self, context, instance_id):
        raise PeerError("Instance %s could not be found." % instance_id, instance_id=instance_id)

    def slow(self, context, seconds):
        time.sleep(seconds)
        return "slept"


def serve(transport, topic):
    target = messaging.Target(topic=topic, server="python")
    server = messaging.get_rpc_server(transport, target, [Endpoint()], executor="threading")
    server.start()
    print("ready", flush=True)
    sys.stdin.read()
    server.stop()
    server.wait()


def describe(error):
    kind = type(error)
    return {"error": kind.__name__, "module": kind.__module__, "message": str(error),
            "args": list(map(str, error.args)), "kwargs": getattr(error, "kwargs", None),
            "exc_type": getattr(error, "exc_type", None), "value": getattr(error, "value", None)}


def perform(transport, request):
    target = messaging.Target(topic=request["topic"], version=request.get("version", "1.0"),
                              namespace=request.get("namespace"), server=request.get("server"),
                              fanout=request.get("fanout"))
    client = messaging.get_rpc_client(transport, target, timeout=request.get("timeout", 20),
                                      call_monitor_timeout=request.get("call_monitor_timeout"))
    send = getattr(client, request["do"])
    context = request.get("context", {"request_id": "req-python"})
    return send(context, request["method"], **request.get("args", {}))


class SafeContext(dict):
    """Notifications leave out what is in a plain dict, for fear of tokens."""

    def redacted_copy(self):
        return self


def request_all(transport):
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "notify":
                publisher_id = request.get("publisher_id", "python:h1")
                notifier = messaging.Notifier(transport, publisher_id=publisher_id, driver=request["driver"],
                                              topics=[request["topic"]])
                context = SafeContext(request.get("context", {}))
                answer = {"result": notifier.info(context, request["event_type"], request["payload"])}
            else:
                answer = {"result": perform(transport, request)}
        except Exception as error:
            answer = describe(error)
        print(json.dumps(answer), flush=True)


class Listener:
    def info(self, context, publisher_id, event_type, payload, metadata):
        heard = {"context": context, "publisher_id": publisher_id, "event_type": event_type, "payload": payload,
                 "metadata": metadata}
        print(json.dumps(heard), flush=True)


def listen(transport, topic):
    targets = [messaging.Target(topic=topic)]
    listener = messaging.get_notification_listener(transport, targets, [Listener()], executor="threading")
    listener.start()
    print("ready", flush=True)
    sys.stdin.read()
    listener.stop()
    listener.wait()


def main():
    url, control_exchange, role, *topic = sys.argv[1:]
    conf = configure(control_exchange)
    if role == "listener":
        listen(messaging.get_notification_transport(conf, url=url), *topic)
        return
    transport = messaging.get_rpc_transport(conf, url=url, allowed_remote_exmods=["peer"])
    if role == "server":
        serve(transport, *topic)
    else:
        request_all(transport)


main()
