#!/usr/bin/env python3
"""`larder build` of unusual shapes: many columns, and many customers with one order each.

    python3 benches/size.py [--rows 100000] [--customers 500000 5000000] [--runs 1]

Many columns: a customers file of 400 columns and R rows, and one of 50 columns and 8 R rows, which has as
many values, each with the same few orders. The ratio of the times is near 1 if a build is linear in columns.
DuckDB converts the same customers file to Parquet, with types that it finds by itself;
Larder also computes all views and models, and writes the rows to serve.

Many customers: N customers with one order each within two years, for which no churn model can be made. The
time should grow as N does.

Prints the time, the peak resident set, the greatest size of the temporary files and the time of each stage.
Uses the harness of `build.py`, and builds the binary as that does unless `--larder` names one.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import threading
import time
from pathlib import Path

from build import REPOSITORY, executables, python_with_duckdb, run, say, table

WIDE, NARROW = 400, 50
# Rows repeat after this number, so that a file is written quickly.
DISTINCT = 997


def peer(customers, out, threads):
    """Converts a customers file to Parquet with DuckDB; runs in the virtual environment."""
    import duckdb

    began = time.perf_counter()
    db = duckdb.connect(config={"threads": threads, "memory_limit": "4GB"})
    query = f"SELECT * FROM read_csv('{customers}', header = true)"
    db.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")
    print(json.dumps({"seconds": time.perf_counter() - began, "version": duckdb.__version__}))


def value(dice, column):
    """Returns a value of an attribute: an integer, a decimal, a word or a truth value."""
    match column % 4:
        case 0:
            return str(dice.randrange(1_000))
        case 1:
            return f"{dice.random() * 100:.2f}"
        case 2:
            return f"v{dice.randrange(50)}"
        case _:
            return dice.choice(["true", "false", ""])


def write_customers(file, columns, rows):
    dice = random.Random(1)
    lines = [",".join(value(dice, column) for column in range(columns)) for _ in range(DISTINCT)]
    with open(file, "w") as out:
        out.write("customer_id," + ",".join(f"attribute_{column}" for column in range(columns)) + "\n")
        out.writelines(f"C{row},{lines[row % DISTINCT]}\n" for row in range(rows))


def write_orders(file, lines, customers):
    """Writes `lines` orders of one line over two years, of as many or fewer `customers` in turn."""
    dice = random.Random(2)
    with open(file, "w") as out:
        out.write("customer_id,order_id,product_id,quantity,unit_price,ordered_at\n")
        for at in range(lines):
            day = dice.randrange(720)
            date = f"{2023 + day // 360}-{day % 360 // 30 + 1:02}-{day % 28 + 1:02}"
            out.write(
                f"C{at % customers},O{at},P{dice.randrange(2_000)},{1 + at % 3},{(at % 900) / 10 + 1},"
                f"{date}T{at % 24:02}:{at % 60:02}:00Z\n"
            )


class Watch:
    """Measures the greatest size of the files in a folder."""

    def __init__(self, folder):
        self.folder, self.greatest, self.ended = folder, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def watch(self):
        while not self.ended.wait(0.1):
            size = 0
            for place, _, files in os.walk(self.folder):
                for file in files:
                    try:
                        size += os.lstat(os.path.join(place, file)).st_size
                    except FileNotFoundError:
                        pass
            self.greatest = max(self.greatest, size)


def build(name, folder, arguments, larder):
    """Builds a snapshot of the raw files in `folder`, and returns the measurements of the middle run."""
    config = folder / "larder.toml"
    config.write_text(
        f'[lake]\nurl = "lake"\n[build]\nthreads = {arguments.threads}\nstaging = "staging"\n'
    )
    results = []
    for _ in range(arguments.runs):
        shutil.rmtree(folder / "lake" / "snapshots", ignore_errors=True)
        os.sync()
        with Watch(folder / "staging") as watch:
            seconds, peak, _ = run(
                [larder, "--config", config, "build", "--no-publish"], folder / "larder.log"
            )
        (manifest,) = folder.glob("lake/snapshots/*/manifest.json")
        stages = {stage["name"]: stage["seconds"] for stage in json.loads(manifest.read_text())["stages"]}
        results.append(
            {"name": name, "seconds": seconds, "peak": peak, "temporary": watch.greatest, "stages": stages}
        )
    results.sort(key=lambda result: result["seconds"])
    return results[len(results) // 2]


def raw(folder, table_name):
    place = folder / "lake" / "raw" / table_name
    place.mkdir(parents=True)
    return place / f"{table_name}.csv"


def measure_columns(columns, rows, arguments, larder, python):
    folder = arguments.dir / f"columns-{columns}"
    shutil.rmtree(folder, ignore_errors=True)
    customers = raw(folder, "customers")
    write_customers(customers, columns, rows)
    write_orders(raw(folder, "transactions"), 2_000, 400)
    result = build(f"{columns} columns, {rows:,} rows", folder, arguments, larder)
    out, times = folder / "duckdb.parquet", []
    for _ in range(arguments.runs):
        command = [python, __file__, "--peer", customers, out, arguments.threads]
        _, _, text = run(command, folder / "duckdb.log")
        times.append(json.loads(text.splitlines()[-1])["seconds"])
    shutil.rmtree(folder)
    return {**result, "duckdb": statistics.median(times)}


def measure_customers(customers, arguments, larder):
    folder = arguments.dir / "customers"
    shutil.rmtree(folder, ignore_errors=True)
    write_orders(raw(folder, "transactions"), customers, customers)
    result = build(f"{customers:,} customers", folder, arguments, larder)
    shutil.rmtree(folder)
    return {**result, "customers": customers}


def figures(result):
    return [
        result["name"],
        f"{result['seconds']:.1f}",
        f"{result['peak']:.2f}",
        f"{result['temporary'] / 2**30:.2f}",
    ]


def report_stages(results):
    say("Stages in seconds:")
    say()
    names = dict.fromkeys(stage for result in results for stage in result["stages"])
    rows = [
        [stage] + [f"{result['stages'].get(stage, 0):.2f}" for result in results] for stage in names
    ]
    table(["stage"] + [result["name"] for result in results], rows)


def main():
    if sys.argv[1:2] == ["--peer"]:
        customers, out, threads = sys.argv[2:]
        return peer(customers, out, int(threads))
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--customers", type=int, nargs="*", default=[500_000, 5_000_000])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--larder", type=Path, help="binary to measure")
    parser.add_argument(
        "--dir", type=Path, default=REPOSITORY / "target" / "bench-size", help="working folder"
    )
    arguments = parser.parse_args()
    arguments.dir = arguments.dir.resolve()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    larder = arguments.larder.resolve() if arguments.larder else executables()[1]
    if arguments.rows:
        python = python_with_duckdb(arguments.dir)
        shapes = [(NARROW, arguments.rows * (WIDE // NARROW)), (WIDE, arguments.rows)]
        results = [measure_columns(*shape, arguments, larder, python) for shape in shapes]
        rows = [
            figures(result)
            + [
                f"{result['seconds'] / results[0]['seconds']:.2f}",
                f"{result['duckdb']:.1f}",
                f"{result['duckdb'] / results[0]['duckdb']:.2f}",
            ]
            for result in results
        ]
        say()
        ratio = "of the first row"
        table(["customers file", "s", "GiB", "temporary GiB", ratio, "DuckDB to Parquet s", ratio], rows)
        report_stages(results)
    if arguments.customers:
        results = [measure_customers(customers, arguments, larder) for customers in arguments.customers]
        first = results[0]
        rows = [
            figures(result)
            + [
                f"×{result['seconds'] / first['seconds']:.2f} for "
                f"×{result['customers'] / first['customers']:.0f} customers"
            ]
            for result in results
        ]
        say()
        table(["one order each", "s", "GiB", "temporary GiB", "growth"], rows)
        report_stages(results)


if __name__ == "__main__":
    main()
