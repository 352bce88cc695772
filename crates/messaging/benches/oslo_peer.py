"""What calls and casts cost with Python's oslo.messaging: the counterpart of rabbit.rs, with the same flow and output.

  oslo_peer.py URL            the client, which starts the server
  oslo_peer.py URL server     the server, until its standard input ends
"""
import json
import os
import subprocess
import sys
import threading
import time
import warnings

warnings.simplefilter("ignore")

import oslo_messaging as messaging  # noqa: E402
from oslo_config import cfg  # noqa: E402

PAYLOAD = {"d": "x" * 2048}
SECONDS = 5
CASTS = 4000
TOPIC = "oslo_bench"


def cpu_ms():
    times = os.times()
    return 1000 * (times.user + times.system)


class Endpoint:
    def __init__(self):
        self.hits, self.lock = 0, threading.Lock()

    def echo(self, context, x):
        return x

    def hit(self, context, x):
        with self.lock:
            self.hits += 1

    def count(self, context):
        return self.hits

    def cpu(self, context):
        return cpu_ms()


def serve(transport):
    target = messaging.Target(topic=TOPIC, server="echo")
    server = messaging.get_rpc_server(transport, target, [Endpoint()], executor="threading")
    server.start()
    print("ready", flush=True)
    sys.stdin.read()
    server.stop()
    server.wait()


def in_threads(count, work):
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def calls(client, callers):
    times, started = [], time.perf_counter()

    def caller():
        while time.perf_counter() - started < SECONDS:
            sent = time.perf_counter()
            client.call({}, "echo", x=PAYLOAD)
            times.append(time.perf_counter() - sent)

    in_threads(callers, caller)
    elapsed = time.perf_counter() - started
    times.sort()
    p50, p99 = (1000 * times[len(times) * percent // 100] for percent in (50, 99))
    return {"messages": len(times), "per_s": len(times) / elapsed, "p50_ms": p50, "p99_ms": p99}


def casts(client, casters):
    before, started = client.call({}, "count"), time.perf_counter()

    def caster():
        for _ in range(CASTS // casters):
            client.cast({}, "hit", x=PAYLOAD)

    in_threads(casters, caster)
    total = CASTS // casters * casters
    while client.call({}, "count") - before < total:
        time.sleep(.005)
    return {"messages": total, "per_s": total / (time.perf_counter() - started)}


def measure(client, name, work):
    cpu = {"client": cpu_ms(), "server": client.call({}, "cpu")}
    phase = work()
    cpu = {"client": cpu_ms() - cpu["client"], "server": client.call({}, "cpu") - cpu["server"]}
    phase["cpu_ms"] = sum(cpu.values()) / phase["messages"]
    print(json.dumps({"phase": name, **phase}), flush=True)


def main():
    url, *role = sys.argv[1:]
    # oslo.messaging registers its tracing options on the global configuration only.
    cfg.CONF([])
    transport = messaging.get_rpc_transport(cfg.CONF, url=url)
    if role:
        return serve(transport)
    server = subprocess.Popen([sys.executable, __file__, url, "server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server.stdout.readline()
    client = messaging.get_rpc_client(transport, messaging.Target(topic=TOPIC), timeout=60)
    for kind, work in (("call", calls), ("cast", casts)):
        for count in (1, 16):
            measure(client, f"{kind}_{count}", lambda: work(client, count))
    server.stdin.close()
    server.wait(20)


main()
