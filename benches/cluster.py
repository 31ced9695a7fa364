#!/usr/bin/env python3
"""A build on a cluster against a build in one process: time, memory, bytes that pass through the lake.

    python3 benches/cluster.py [--lines 10000000] [--workers 2] [--without-models]

Builds Larder with the feature `cluster` and the data generator, generates a year of raw data with N/10
customers, and builds a snapshot in one process and then on a cluster, each into an empty lake. Driver and
workers are processes of this machine: the benchmark shows what the cluster costs, not what more machines
gain. The workers together have as many slots as the one process has threads. Both snapshots must have the
same fingerprint. Standard library only.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from build import NO_MODELS, REPOSITORY, executables, raw_settings, say, table


def is_on_workers(stage):
    """Returns whether workers do the most of a stage; `rfm_edges` needs all customers at once."""
    return stage.startswith(("raw", "staging", "view ", "model value")) and stage != "view rfm_edges"


def build_larder():
    """Builds the binary with the feature `cluster` and returns its path."""
    command = ["cargo", "build", "--locked", "--release", "--features", "cluster", "--message-format", "json"]
    built = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True, text=True)
    messages = (json.loads(line) for line in built.stdout.splitlines())
    return next(m["executable"] for m in messages if m.get("executable"))


class Process:
    """A child process with its log."""

    def __init__(self, command, log, **variables):
        self.log, self.since = log, time.perf_counter()
        with open(log, "w") as output:
            self.child = subprocess.Popen(
                [str(part) for part in command],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **variables},
            )

    def wait(self):
        """Returns seconds and peak memory in GiB."""
        _, status, usage = os.wait4(self.child.pid, 0)
        if status != 0:
            raise SystemExit(f"{self.log}:\n{self.log.read_text()[-2000:]}")
        return time.perf_counter() - self.since, usage.ru_maxrss / 2**20

    def find(self, pattern):
        """Returns the first match in the log, and waits for it."""
        while True:
            if found := re.search(pattern, self.log.read_text()):
                return found[1]
            if self.child.poll() is not None:
                raise SystemExit(f"{self.log}:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)


def manifest(lake):
    (path,) = lake.glob("snapshots/*/manifest.json")
    return json.loads(path.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of one process")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--without-models", dest="with_models", action="store_false")
    parser.add_argument(
        "--dir", type=Path, default=REPOSITORY / "target" / "bench-cluster", help="working folder"
    )
    arguments = parser.parse_args()
    folder = arguments.dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    larder = build_larder()
    # The generator alone: the binary of this build has not the feature.
    saved = folder / "larder"
    shutil.copy(larder, saved)
    generator, _ = executables()
    raw, lake, config = folder / "raw", folder / "lake", folder / "larder.toml"
    shutil.rmtree(raw, ignore_errors=True)
    subprocess.run([generator, str(raw), str(arguments.lines // 10), str(arguments.lines)], check=True)
    models = "" if arguments.with_models else NO_MODELS
    (folder / "staging").mkdir(exist_ok=True)
    slots = max(1, arguments.threads // arguments.workers)

    def settings(engine):
        config.write_text(
            f'[lake]\nurl = "lake"\n{raw_settings(raw)}{models}'
            f'[build]\nthreads = {arguments.threads}\nstaging = "staging"\n{engine}'
        )
        shutil.rmtree(lake, ignore_errors=True)
        os.sync()

    command = [saved, "--config", config]
    settings("")
    seconds, peak = Process([*command, "build", "--no-publish"], folder / "local.log").wait()
    local = manifest(lake)
    rows = [["one process", f"{seconds:.1f}", "1.00", f"{peak:.2f}", "", ""]]

    settings(f'engine = "cluster"\nlisten = "127.0.0.1:0"\nworkers = {arguments.workers}\n')
    log = {"LARDER_LOG_LEVEL": "larder=debug"}
    driver = Process([*command, "build", "--no-publish"], folder / "driver.log", **log)
    address = driver.find(r'waiting for workers address="?([0-9.:]+)')
    threads = {"LARDER_BUILD_THREADS": str(slots)}
    work = [*command, "worker", "--build", address, "--slots", slots]
    workers = [
        Process(work, folder / f"worker-{number}.log", **log, **threads)
        for number in range(arguments.workers)
    ]
    took, driver_peak = driver.wait()
    peaks = [worker.wait()[1] for worker in workers]
    fetched = int(driver.find(r"rows of workers fetched.* bytes=(\d+)"))
    cluster = manifest(lake)
    if cluster["fingerprint"] != local["fingerprint"]:
        raise SystemExit("the snapshots differ")
    name = f"driver and {arguments.workers} workers"
    rows.append(
        [name, f"{took:.1f}", f"{took / seconds:.2f}", f"{driver_peak:.2f}", f"{max(peaks):.2f}"]
        + [f"{fetched / 1e9:.2f}"]
    )
    what = f"{arguments.lines:,} lines on one machine, {arguments.threads} threads in all"
    say(f"\n`larder build` of {what}:\n")
    table(["", "s", "ratio", "GiB", "GiB of a worker", "GB fetched by the driver"], rows)
    say("By stage; the others run on the driver alone:\n")
    times = {stage["name"]: stage["seconds"] for stage in cluster["stages"]}
    rows = [
        [stage["name"], f"{stage['seconds']:.1f}", f"{times[stage['name']]:.1f}"]
        for stage in local["stages"]
        if is_on_workers(stage["name"])
    ]
    table(["stage", "s in one process", "s on the cluster"], rows)
    for place in ("raw", "lake", "staging"):
        shutil.rmtree(folder / place, ignore_errors=True)


if __name__ == "__main__":
    main()
