#!/usr/bin/env python3
"""What a line costs `larder build`, and what more lines would take on one machine.

    python3 benches/scale.py [--lines 1000000 5000000 10000000] [--without-models]

Builds Larder as `benches/build.py` does, generates a year of raw data with N/10 customers for each N, and
runs one build of each size into an empty lake, and one more with nothing new. Prints time, processor time,
memory, bytes written and the size of the lake; then, from the largest size, the cost of a line by stage; then
what 10 million to 10 billion lines would take, if every cost but memory grew with the lines alone. Memory is
drawn through the two largest sizes.

Last, what a cluster of such machines would take (docs/cluster.md). The stages of the workers are divided
among the workers; all others take as long as on one machine. The driver fetches the rows that the workers
write, and each worker copies the kept staging, at the rate `--network` in Gbit/s. Standard library only.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
from pathlib import Path

from build import NO_MODELS, REPOSITORY, executables, raw_settings, run, say, table
from cluster import is_on_workers

WORKERS = [10, 100]
SIZES = [10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000]


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def timed_build(larder, config, lake, folder):
    """Runs a build and returns its figures. Memory is in GiB."""
    known = set(lake.glob("snapshots/*/manifest.json"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, peak, _ = run([larder, "--config", config, "build", "--no-publish"], folder / "larder.log")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (manifest,) = set(lake.glob("snapshots/*/manifest.json")) - known
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu, "peak": peak, "manifest": json.loads(manifest.read_text())}


def measure(lines, arguments, generator, larder, folder):
    raw, lake, config = folder / "raw", folder / "lake", folder / "larder.toml"
    for place in (raw, lake):
        shutil.rmtree(place, ignore_errors=True)
    subprocess.run([generator, str(raw), str(lines // 10), str(lines)], check=True)
    models = "" if arguments.with_models else NO_MODELS
    build = f'[build]\nthreads = {arguments.threads}\nstaging = "staging"\n'
    config.write_text(f'[lake]\nurl = "lake"\n{raw_settings(raw)}{models}{build}')
    (folder / "staging").mkdir(exist_ok=True)
    os.sync()
    first = timed_build(larder, config, lake, folder)
    snapshot = lake / "snapshots" / first["manifest"]["id"]
    sizes = {"raw": size_of(raw), "staged": size_of(lake / "staged"), "snapshot": size_of(snapshot)}
    again = timed_build(larder, config, lake, folder)
    if again["manifest"]["fingerprint"] != first["manifest"]["fingerprint"]:
        raise SystemExit("the second build differs from the first")
    counts = first["manifest"]["counts"]
    return {**first, **sizes, "lines": counts["transactions"]["lines"], "again": again}


def report(sizes, arguments):
    models = "with" if arguments.with_models else "without"
    say(f"\n`larder build`, {arguments.threads} threads, {models} models:\n")
    rows, before = [], None
    for size in sizes:
        written = sum(stage.get("written_bytes") or 0 for stage in size["manifest"]["stages"])
        growth = ""
        if before:
            ratios = [size[name] / before[name] for name in ("seconds", "lines")]
            growth = f"×{ratios[0]:.2f} for ×{ratios[1]:.2f} lines"
        before = size
        rows.append(
            [f"{size['lines']:,}", f"{size['manifest']['customers']:,}"]
            + [f"{size['raw'] / 1e9:.2f}", f"{size['seconds']:.1f}", f"{size['cpu']:.1f}"]
            + [f"{size['peak']:.2f}"]
            + [f"{bytes / 1e9:.2f}" for bytes in (written, size["staged"], size["snapshot"])]
            + [growth, f"{size['again']['seconds']:.1f}"]
        )
    head = ["lines", "customers", "raw GB", "s", "processor s", "GiB", "written GB", "kept staging GB"]
    table(head + ["snapshot GB", "growth", "s with nothing new"], rows)

    most = sizes[-1]
    say(f"A line of the largest size, by stage (wall time of {arguments.threads} threads):\n")
    total = sum(stage["seconds"] for stage in most["manifest"]["stages"])
    rows = []
    for stage in most["manifest"]["stages"]:
        written, peak = stage.get("written_bytes") or 0, stage.get("peak_memory_bytes") or 0
        rows.append(
            [stage["name"], f"{stage['seconds'] / most['lines'] * 1e6:.2f}"]
            + [f"{stage['seconds'] / total * 100:.1f}", f"{written / most['lines']:.0f}"]
            + [f"{peak / 2**30:.2f}"]
        )
    table(["stage", "µs a line", "% of the time", "bytes written a line", "peak GiB"], rows)

    if len(sizes) > 1:
        extrapolate(sizes)
    extrapolate_cluster(most, arguments.network)


def gigabytes(size):
    return f"{size / 1e9:,.1f}" if size < 1e10 else f"{size / 1e9:,.0f}"


def extrapolate(sizes):
    """Prints what more lines would take."""
    less, most = sizes[-2:]
    slope = max(0, (most["peak"] - less["peak"]) / (most["lines"] - less["lines"]))
    times = (most["cpu"], most["seconds"], most["again"]["seconds"])
    say("More lines on this machine, extrapolated from the largest size:\n")
    rows = []
    for lines in SIZES:
        factor = lines / most["lines"]
        memory = most["peak"] + slope * (lines - most["lines"])
        rows.append(
            [f"{lines:,}", gigabytes(most["raw"] * factor)]
            + [f"{seconds * factor / 3600:,.2f}" for seconds in times]
            + [f"{memory:,.1f}"]
            + [gigabytes(most[place] * factor) for place in ("staged", "snapshot")]
        )
    head = ["lines", "raw GB", "processor h", "h", "h with nothing new", "memory GiB", "kept staging GB"]
    table(head + ["snapshot GB"], rows)


def extrapolate_cluster(size, network):
    """Prints what more lines would take on a cluster whose machines pass `network` Gbit/s."""
    rate = network * 1e9 / 8
    stages = size["manifest"]["stages"]
    of_workers = [stage for stage in stages if is_on_workers(stage["name"])]
    divided = sum(stage["seconds"] for stage in of_workers)
    # The runs of the stage `raw` stay in the kept staging.
    rows_of = [stage for stage in of_workers if stage["name"] != "raw"]
    fetched = sum(stage.get("written_bytes") or 0 for stage in rows_of)
    share = divided / sum(stage["seconds"] for stage in stages)
    say(f"On a cluster of such machines, at {network:g} Gbit/s; workers have {share:.0%} of the time:\n")
    rows = []
    for lines in SIZES[1:]:
        factor = lines / size["lines"]

        def hours(workers):
            seconds = size["seconds"] - divided + divided / workers + (fetched + size["staged"]) / rate
            return f"{seconds * factor / 3600:,.2f}"

        one = f"{size['seconds'] * factor / 3600:,.2f}"
        rows.append([f"{lines:,}", one, *map(hours, WORKERS), gigabytes(fetched * factor)])
    head = ["lines", "h on one machine", *(f"h with {workers} workers" for workers in WORKERS)]
    table([*head, "fetched GB"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000_000, 5_000_000, 10_000_000])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--without-models", dest="with_models", action="store_false")
    parser.add_argument("--network", type=float, default=10, help="Gbit/s of a machine in a cluster")
    parser.add_argument(
        "--dir", type=Path, default=REPOSITORY / "target" / "bench-scale", help="working folder"
    )
    arguments = parser.parse_args()
    folder = arguments.dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    generator, larder = executables()
    report([measure(lines, arguments, generator, larder, folder) for lines in arguments.lines], arguments)
    for name in ("raw", "lake", "staging"):
        shutil.rmtree(folder / name, ignore_errors=True)


if __name__ == "__main__":
    main()
