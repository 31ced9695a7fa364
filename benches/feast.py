#!/usr/bin/env python3
"""Larder against `feast serve`: reads of 1 and 100 customers with all features from one Redis.

    python3 benches/feast.py [--customers 20000] [--rounds 3] [--seconds 5]

Builds Larder, generates the demo data, publishes it to a redis-server, installs the pinned Feast from PyPI
into a virtual environment in the working folder, applies the repository that `larder feast-repo` writes with
Redis as the online store, and writes the same features there with the writer of Feast. Both serve `POST
/get-online-features`; the responses for 101 customers are compared before the measurement. The load generator
is wrk (`apt-get install wrk redis-server`) on the same machine; all processes share its cores. The servers
take turns; figures are medians of the rounds, a ratio is the median of the ratios per round.

`feast serve` runs one worker per core, without access log and without the default restart of workers. Larder
is the release binary with the request log to /dev/null, once with the defaults (memory tier on) and once with
every read from Redis.
"""

import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from contextlib import ExitStack, contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# Packages that Feast needs for Redis, in addition to tests/feast/requirements.txt.
REDIS = ["redis==7.4.1", "hiredis==3.5.0"]
CONNECTIONS = 16
# Number of different requests by number of customers per request.
SIZES = {1: 5_000, 100: 200}
BEHIND = "Larder, memory off"
# A worker of Feast takes seconds when 16 requests of 100 customers are queued.
TIMEOUT = "30s"

SCRIPT = """
local threads = 0
function setup(thread) thread:set("start", threads * 1571); threads = threads + 1 end
function init(args)
  requests = {}
  for line in io.lines(%s) do
    requests[#requests + 1] = wrk.format("POST", nil, {["content-type"] = "application/json"}, line)
  end
  at = start
end
request = function() at = at + 1; return requests[at %% #requests + 1] end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("\\nresult %%d %%d %%f %%f %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.timeout + e.status))
end
"""


def say(text=""):
    print(text, flush=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fetch(url, body=None):
    request = urllib.request.Request(
        url, body and json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def eventually(ready, what, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except (OSError, urllib.error.URLError, http.client.HTTPException):
            pass
        time.sleep(0.1)
    sys.exit(f"{what} is not ready")


@contextmanager
def running(command, log, **settings):
    """Runs a server in its own process group, so that its workers end with it."""
    with open(log, "w") as output:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdout=settings.pop("stdout", output),
            stderr=output,
            text=True,
            start_new_session=True,
            **settings,
        )
    try:
        yield child
    finally:
        try:
            os.killpg(child.pid, 15)
            child.wait(30)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            child.kill()
            child.wait()


def larder_binary():
    command = ["cargo", "build", "--release", "--locked", "--bin", "larder", "--message-format", "json"]
    built = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True, text=True)
    messages = (json.loads(line) for line in built.stdout.splitlines())
    return next(message["executable"] for message in messages if message.get("executable"))


def feast_programs(folder):
    """Returns the programs of a virtual environment with Feast and its Redis client."""
    programs = folder / "venv" / "bin"
    if not programs.exists():
        venv.create(folder / "venv", with_pip=True)
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "--requirement", REPOSITORY / "tests" / "feast" / "requirements.txt", *REDIS], check=True
    )
    return programs


# --- the peer -------------------------------------------------------------------------------------


def load(repository, url):
    """Copies all features from the Larder at `url` to the store of Feast; runs in the virtual environment."""
    from datetime import datetime

    sys.path.pop(0)  # The folder of this file, in which `feast` would be this file.
    from feast import FeatureStore
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.type_map import python_values_to_proto_values

    store = FeatureStore(repo_path=repository)
    ids = all_ids(url)
    for start in range(0, len(ids), 1_000):
        answer = fetch(f"{url}/v1/customers/batch", {"ids": ids[start : start + 1_000]})
        as_of = datetime.fromisoformat(answer["as_of"].replace("Z", "+00:00")).replace(tzinfo=None)
        for view in store.list_feature_views():
            rows = [
                (r["customer_id"], r["views"][view.name]) for r in answer["results"] if r["views"][view.name]
            ]
            columns = {
                field.name: python_values_to_proto_values(
                    [held(row[field.name], str(field.dtype)) for _, row in rows], field.dtype.to_value_type()
                )
                for field in view.features
            }
            key = lambda id: EntityKey(join_keys=["customer_id"], entity_values=[Value(string_val=id)])
            data = [
                (key(id), {name: values[at] for name, values in columns.items()}, as_of, None)
                for at, (id, _) in enumerate(rows)
            ]
            if data:
                store._get_provider().online_write_batch(store.config, view, data, None)


def held(value, dtype):
    """Converts a value to one that the Feast type can hold, as Larder does in responses to Feast clients."""
    if value is None or value == []:
        return None
    if dtype == "String" and not isinstance(value, str):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if dtype == "Float64":
        return float(value)
    if dtype == "Array(Float64)":
        return [float(item) for item in value]
    if dtype == "Array(String)":
        return [item or "" for item in value]
    return value


def all_ids(url):
    """Reads the ids of all customers; each is in one RFM segment."""
    ids = []
    for segment in fetch(f"{url}/v1/segments")["segments"]:
        cursor = "" if segment["kind"] == "rfm" else None
        while cursor is not None:
            query = f"limit=1000{cursor and '&cursor=' + cursor}"
            page = fetch(f"{url}/v1/segments/{segment['name']}/customers?{query}")
            ids += [customer["customer_id"] for customer in page["customers"]]
            cursor = page["next"]
    return sorted(ids)


def feast_server(stack, programs, folder, larder, config, url, redis_port):
    repository = folder / "features"
    repository.mkdir(exist_ok=True)
    for old in repository.iterdir():
        old.unlink() if old.is_file() else None
    subprocess.run(
        [larder, "--config", config, "feast-repo", repository], check=True, stdout=subprocess.DEVNULL
    )
    (repository / "feature_store.yaml").write_text(
        "project: larder\nprovider: local\nregistry: registry.db\nentity_key_serialization_version: 3\n"
        f"online_store:\n  type: redis\n  connection_string: 127.0.0.1:{redis_port}\n"
    )
    environment = {
        **os.environ,
        "FEAST_USAGE": "False",
        "HOME": str(folder),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    settings = {"cwd": repository, "env": environment}
    subprocess.run([programs / "feast", "apply"], check=True, stdout=subprocess.DEVNULL, **settings)
    since = time.monotonic()
    subprocess.run([programs / "python", __file__, "--load", repository, url], check=True, **settings)
    say(f"wrote the features with Feast in {time.monotonic() - since:.0f} s")
    port = free_port()
    command = [
        programs / "feast",
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        port,
        "--workers",
        os.cpu_count(),
    ]
    command += ["--no-access-log", "--max-requests", 0]
    stack.enter_context(running(command, folder / "feast.log", **settings))
    eventually(
        lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200,
        "feast serve",
    )
    return f"http://127.0.0.1:{port}"


# --- Larder ---------------------------------------------------------------------------------------


def larder_server(stack, larder, config, redis, folder, name, **environment):
    environment = {**os.environ, "LARDER_TAIR_URL": redis, **environment}
    command = [larder, "--config", config, "serve", "--listen", "127.0.0.1:0"]
    child = stack.enter_context(running(command, os.devnull, stdout=subprocess.PIPE, env=environment))
    url = child.stdout.readline().strip().removeprefix("listening on ")
    # Further output is the request log.
    subprocess.Popen(["cat"], stdin=child.stdout, stdout=subprocess.DEVNULL, start_new_session=True)
    eventually(lambda: fetch(f"{url}/readyz")["tiers"]["tair"]["used"], name)
    return url


# --- the comparison -------------------------------------------------------------------------------


def question(ids, features):
    return {"entities": {"customer_id": ids}, "features": features, "full_feature_names": True}


def compare(urls, ids, features):
    """Ends the program if values differ. Statuses may differ: Feast reports all values as present."""
    answers = {
        name: fetch(f"{url}/get-online-features", question(ids, features)) for name, url in urls.items()
    }
    tables = {}
    for name, answer in answers.items():
        names = answer["metadata"]["feature_names"]
        tables[name] = {column: result["values"] for column, result in zip(names, answer["results"])}
    (first, expected), *others = tables.items()
    for name, table in others:
        for column in expected.keys() | table.keys():
            if expected.get(column) != table.get(column):
                pairs = zip(ids, expected.get(column) or [], table.get(column) or [])
                different = [pair for pair in pairs if pair[1] != pair[2]][:3]
                sys.exit(f"{first} and {name} differ in {column}: {different}")


def wrk(url, script, seconds):
    command = [
        "wrk",
        "--latency",
        "--threads",
        "2",
        "--connections",
        str(CONNECTIONS),
        "--duration",
        f"{seconds}s",
    ]
    command += ["--timeout", TIMEOUT, "--script", str(script), f"{url}/get-online-features"]
    text = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    result = next((line for line in text.splitlines() if line.startswith("result ")), None) or sys.exit(
        f"unexpected output of wrk: {text}"
    )
    requests, micros, median, p99, errors = map(float, result.split()[1:])
    if errors or not requests:
        sys.exit(f"{errors:.0f} of {requests:.0f} requests to {url} failed")
    return {"rate": requests / micros * 1e6, "median": median / 1e3, "p99": p99 / 1e3}


def main():
    if sys.argv[1:2] == ["--load"]:
        return load(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--larder", type=Path, help="a binary to measure, instead of building one")
    parser.add_argument(
        "--dir", type=Path, default=REPOSITORY / "target" / "bench-feast", help="working folder"
    )
    arguments = parser.parse_args()
    folder = arguments.dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    larder, programs = arguments.larder or larder_binary(), feast_programs(folder)
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(
            running(
                ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", ""], folder / "redis.log"
            )
        )
        eventually(lambda: socket.create_connection(("127.0.0.1", port)).close() is None, "redis-server")
        redis, demo = f"redis://127.0.0.1:{port}", folder / "demo"
        command = [
            larder,
            "--tair",
            redis,
            "demo",
            "--dir",
            demo,
            "--customers",
            arguments.customers,
            "--no-serve",
        ]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        config = demo / "larder.toml"
        urls = {
            "Larder": larder_server(stack, larder, config, redis, folder, "Larder"),
            BEHIND: larder_server(stack, larder, config, redis, folder, BEHIND, LARDER_SERVING_MEMORY="0"),
        }
        url = urls["Larder"]
        urls["Feast"] = feast_server(stack, programs, folder, larder, config, url, port)
        views = fetch(f"{url}/v1/views")["views"]
        features = [f"{view['name']}:{feature['name']}" for view in views for feature in view["features"]]
        ids, dice = all_ids(url), random.Random(5)
        compare(urls, dice.sample(ids, min(100, len(ids))), features)
        compare(urls, dice.sample(ids, 1), features)
        say(f"{len(ids):,} customers, {len(features)} features; the responses are equal")
        runs = {(size, name): [] for size in SIZES for name in urls}
        for size, count in SIZES.items():
            bodies = folder / f"bodies-{size}.txt"
            lines = (json.dumps(question(dice.choices(ids, k=size), features)) for _ in range(count))
            bodies.write_text("\n".join(lines) + "\n")
            script = folder / f"ask-{size}.lua"
            script.write_text(SCRIPT % json.dumps(str(bodies)))
            for name, place in urls.items():
                wrk(place, script, 1)
            for _ in range(arguments.rounds):
                for name, place in urls.items():
                    runs[size, name].append(wrk(place, script, arguments.seconds))
    report(runs, urls, arguments)


def report(runs, urls, arguments):
    say(
        f"\n{CONNECTIONS} connections, {arguments.rounds} rounds of {arguments.seconds} s, "
        f"{os.cpu_count()} cores\n"
    )
    say("| customers | | requests/s | p50 ms | p99 ms | × Feast |\n|---:|---|---:|---:|---:|---:|")
    for size in SIZES:
        for name in urls:
            found = runs[size, name]
            middle = lambda key: statistics.median(run[key] for run in found)
            ratio = statistics.median(
                run["rate"] / peer["rate"] for run, peer in zip(found, runs[size, "Feast"])
            )
            say(
                f"| {size} | {name} | {middle('rate'):,.0f} | {middle('median'):.2f} | {middle('p99'):.2f} "
                f"| {ratio:.1f} |"
            )


if __name__ == "__main__":
    main()
