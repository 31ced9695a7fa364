#!/usr/bin/env python3
"""Audiences over what customers bought and did, compared with DuckDB and Redis.

    python3 benches/events.py [--customers 1000000] [--rounds 200]

Generates four orders of two or three lines, and two interactions, for each customer over two years, builds and
serves a snapshot, and asks for counts over HTTP on one connection. Every answer of Larder has the exact number,
revenue, share and mean scores; DuckDB and Redis count alone, and all counts must be equal.

DuckDB has the index of the snapshot as a table in memory, sorted by key. Redis has a sorted set of each key that
is asked for, with the time of each customer's last event as score, which is as much as a sorted set can hold: it
cannot count how often. Requires `redis-server` and `redis-cli`. Prints medians:

- same: the same question again;
- new period: another `since` for each question, so that no set is in the cache, but the lists of events are;
- first: the first question after the start, when nothing is in memory.
"""

import argparse
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from build import NO_MODELS, REPOSITORY, executables, python_with_duckdb, run, say, table

PRODUCTS, CATEGORIES, DAYS = 5_000, 20, 730

LINES = f"""COPY (
    SELECT 'C' || lpad(CAST(customer AS VARCHAR), 7, '0') AS customer_id, 'O' || number AS order_id,
        'P' || product AS product_id, 'K' || (product % {CATEGORIES}) AS category, 1 + number % 3 AS quantity,
        CAST(1 + product % 90 AS DECIMAL(9, 2)) AS unit_price, moment AS ordered_at
    FROM (SELECT number, hash(number) % {{customers}} AS customer,
            TIMESTAMP '2023-01-01' + INTERVAL 1 MINUTE * CAST(hash(number, 1) % ({DAYS} * 1440) AS INTEGER) AS moment,
            CAST(floor({PRODUCTS} * pow((hash(number, line, 2) % 1000000) / 1e6, 3)) AS INTEGER) AS product
        FROM range({{customers}} * 4) orders(number), range(3) lines(line) WHERE line < 2 + number % 2)
) TO '{{out}}' (FORMAT parquet)"""

INTERACTIONS = f"""COPY (
    SELECT 'C' || lpad(CAST(hash(number, 3) % {{customers}} AS VARCHAR), 7, '0') AS customer_id,
        ['view', 'view', 'view', 'wishlist'][1 + number % 4] AS event,
        TIMESTAMP '2023-01-01' + INTERVAL 1 MINUTE * CAST(hash(number, 4) % ({DAYS} * 1440) AS INTEGER) AS at
    FROM range({{customers}} * 2) events(number)
) TO '{{out}}' (FORMAT parquet)"""

# Name, expression, and the conditions: key, days, least number of events, and whether the condition is negated.
# `{days}` and `None` are the period that varies.
QUESTIONS = [
    ("a product", "bought(product:P0, since:-{days}d)", [("product:P0", None, 1, False)]),
    ("twice", "bought(product:P0, since:-{days}d, times >= 2)", [("product:P0", None, 2, False)]),
    (
        "a category, not lately",
        "bought(category:K3) and not bought(since:-{days}d)",
        [("category:K3", DAYS, 1, False), ("order", None, 1, True)],
    ),
    (
        "viewed, not bought",
        "did(event:view, since:-{days}d) and not bought(product:P0)",
        [("event:view", None, 1, False), ("product:P0", DAYS, 1, True)],
    ),
]
PERIOD = 90


def micros(work):
    began = time.perf_counter()
    result = work()
    return (time.perf_counter() - began) * 1e6, result


class Larder:
    """A running service and one connection to it."""

    def __init__(self, binary, config):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [binary, "--config", config, "serve", "--listen", f"127.0.0.1:{port}"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(600):
            try:
                self.connection.request("GET", "/readyz")
                if self.connection.getresponse().read() and self.ready():
                    return
            except OSError:
                self.connection.close()
            time.sleep(0.1)
        raise SystemExit("the service did not become ready")

    def ready(self):
        self.connection.request("GET", "/readyz")
        answer = self.connection.getresponse()
        answer.read()
        return answer.status == 200

    def live(self):
        self.connection.request("GET", "/healthz")
        self.connection.getresponse().read()

    def count(self, expression):
        body = json.dumps({"where": expression, "limit": 0})
        self.connection.request("POST", "/v1/audiences", body, {"content-type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(text.decode())
        return json.loads(text)["total"]

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Redis:
    """A server with sorted sets, and one connection to it."""

    def __init__(self, folder):
        path = folder / "redis.sock"
        command = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.path = path
        for _ in range(100):
            try:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.connect(str(path))
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("Redis did not start")

    def load(self, folder, key, rows):
        commands = folder / "redis.txt"
        with open(commands, "w") as out:
            out.writelines(f"ZADD {key} {at} {customer}\n" for customer, at in rows)
        with open(commands) as text:
            subprocess.run(
                ["redis-cli", "-s", self.path, "--pipe"], stdin=text, stdout=subprocess.DEVNULL, check=True
            )

    def ask(self, *words):
        self.socket.sendall((" ".join(map(str, words)) + "\r\n").encode())
        return int(self.socket.recv(64).strip().lstrip(b":"))

    def count(self, conditions):
        """Returns the count for conditions of key, first time and negation."""
        if len(conditions) == 1:
            key, since, _ = conditions[0]
            return self.ask("ZCOUNT", key, since, "+inf")
        for at, (key, since, _) in enumerate(conditions):
            self.ask("ZRANGESTORE", f"part{at}", key, since, "+inf", "BYSCORE")
        return self.ask("ZDIFFSTORE", "result", 2, "part0", "part1")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def since(as_of, days, period):
    return as_of - (period if days is None else days) * 86_400_000_000


def in_duckdb(db, as_of, conditions, period):
    """Returns the statement that counts with DuckDB."""
    sets = []
    for key, days, least, negated in conditions:
        matching = (
            f"SELECT customer FROM events WHERE key = '{key}' AND moment >= {since(as_of, days, period)} "
            f"GROUP BY customer HAVING count(*) >= {least}"
        )
        sets.append(("EXCEPT " if negated else "") + matching)
    statement = f"SELECT count(*) FROM ({' '.join(sets)})"
    return lambda: db.execute(statement).fetchone()[0]


def measure(arguments, larder, folder):
    import duckdb

    shutil.rmtree(folder, ignore_errors=True)
    for name, statement in [("transactions", LINES), ("interactions", INTERACTIONS)]:
        place = folder / "lake" / "raw" / name
        place.mkdir(parents=True)
        out = place / f"{name}.parquet"
        duckdb.execute(statement.format(customers=arguments.customers, out=out))
    config = folder / "larder.toml"
    config.write_text(
        f'[lake]\nurl = "lake"\n{NO_MODELS}'
        f'[build]\nstaging = "staging"\n[serving]\naudience_memory = "{arguments.memory}"\n'
    )
    seconds, peak, _ = run([larder, "--config", config, "build"], folder / "larder.log")
    (manifest,) = [json.loads(file.read_text()) for file in folder.glob("lake/snapshots/*/manifest.json")]
    stages = {stage["name"]: stage["seconds"] for stage in manifest["stages"]}
    size = sum(file["bytes"] for file in manifest["files"] if file["path"].startswith("purchases/"))
    lines = manifest["counts"]["transactions"]["lines"]
    snapshot = folder / "lake" / "snapshots" / manifest["id"]

    db = duckdb.connect(config={"threads": os.cpu_count()})
    db.execute("SET TimeZone = 'UTC'")
    db.execute(
        f'CREATE TABLE events AS SELECT key, customer, epoch_us("at") AS moment '
        f"FROM read_parquet('{snapshot}/purchases/events-*.parquet') ORDER BY key, customer, moment"
    )
    as_of = db.execute(f"SELECT epoch_us(TIMESTAMPTZ '{manifest['as_of']}')").fetchone()[0]
    redis = Redis(folder)
    for key in {key for _, _, conditions in QUESTIONS for key, *_ in conditions}:
        last = f"SELECT customer, max(moment) FROM events WHERE key = '{key}' GROUP BY customer"
        redis.load(folder, key, db.execute(last).fetchall())

    rows, idle = [], []
    for name, expression, conditions in QUESTIONS:
        service = Larder(larder, config)
        asked = expression.format(days=PERIOD)
        first, count = micros(lambda: service.count(asked))
        peer = in_duckdb(db, as_of, conditions, PERIOD)
        parts = [(key, since(as_of, days, PERIOD), negated) for key, days, _, negated in conditions]
        can_redis = all(least == 1 for *_, least, _ in conditions)
        found = [count, peer()] + ([redis.count(parts)] if can_redis else [])
        if len(set(found)) != 1:
            raise SystemExit(f"{asked}: counts differ: {found}")
        same, anew, duck, of_redis = [], [], [], []
        for at in range(arguments.rounds):
            idle.append(micros(service.live)[0])
            same.append(micros(lambda: service.count(asked))[0])
            other = expression.format(days=PERIOD + 1 + at)
            anew.append(micros(lambda: service.count(other))[0])
            if at < 20:
                duck.append(micros(peer)[0])
                if can_redis:
                    of_redis.append(micros(lambda: redis.count(parts))[0])
        service.stop()
        median = statistics.median
        rows.append(
            [
                name,
                f"{count:,}",
                f"{median(same):.0f}",
                f"{median(anew):.0f}",
                f"{first / 1e3:.0f}",
                f"{median(duck) / 1e3:.1f}",
                f"{median(duck) / median(anew):.1f}",
                f"{median(of_redis) / 1e3:.2f}" if of_redis else "",
                f"{median(of_redis) / median(anew):.1f}" if of_redis else "",
            ]
        )
    redis.stop()
    say()
    table(
        [
            "customers who",
            "count",
            "same µs",
            "new period µs",
            "first ms",
            "DuckDB ms",
            "DuckDB / new period",
            "Redis ms",
            "Redis / new period",
        ],
        rows,
    )
    say(f"A request without any work, /healthz, takes {statistics.median(idle):.0f} µs from the same client.")
    say()
    say(
        f"{arguments.customers:,} customers, {lines:,} lines: build {seconds:.1f} s, {peak:.2f} GiB, of it "
        f"purchases {stages['purchases']:.1f} s; purchases/ has {size / lines:.1f} bytes a line."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--memory", default="512MiB", help="audience_memory of the service")
    parser.add_argument("--larder", type=Path, help="binary to measure")
    parser.add_argument("--dir", type=Path, default=REPOSITORY / "target" / "bench-events", help="working folder")
    arguments = parser.parse_args()
    folder = arguments.dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python = Path(python_with_duckdb(folder.parent / "bench-build"))
    if Path(sys.executable) != python:
        os.execv(python, [python, *sys.argv])
    larder = arguments.larder.resolve() if arguments.larder else executables()[1]
    measure(arguments, larder, folder / "data")
    shutil.rmtree(folder / "data")


if __name__ == "__main__":
    main()
