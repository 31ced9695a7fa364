#!/usr/bin/env python3
"""`larder build` against DuckDB, from the same raw files to the same views: time, memory, growth with size.

    python3 benches/build.py [--lines 1000000 5000000 10000000] [--runs 3] [--busy]

Builds Larder (`cargo bench --no-run --bench data`, which builds the binary too), generates a year of raw data
with N/10 customers for each N, and runs `larder build` and a DuckDB script in turn, each in its own process,
with the same number of threads. The time of Larder is that of the whole process; the time of DuckDB begins
when Python has loaded the library, since the start of Python is no part of DuckDB. Memory is the peak
resident set. Both read the raw files from the page cache. Standard library only; DuckDB is installed from
PyPI into a virtual environment in the working folder.

Both read CSV and JSON lines, set bad lines aside and count them, trim ids, drop lines without a customer,
count lines by kind and duplicate lines, compute with exact decimals the views profile, rfm (exact quintile
edges) and behavior of src/views, and write Parquet: one typed row per customer, one row ready to serve (a
JSON array per view), both sorted by id, and the members of each segment, best first. The models and the
purchases of Larder, for which the script has no counterpart, are off. Larder alone records the cause of every
bad line, SHA-256 of every raw file and part, checksums of every block, and keeps the last of several lines of
a customer. At the end the results of both are compared customer by customer.

`--busy` also prints the mean number of runnable threads in each stage of Larder, from samples of the states
of all threads every 50 ms.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

# Interval of the samples of runnable threads.
SAMPLE_SECONDS = 0.05

REPOSITORY = Path(__file__).resolve().parent.parent

# --- the peer: the same views as a careful user of DuckDB would write them ------------------------

# An id is trimmed text; a blank text is no id.
ID = "nullif(trim(customer_id), '')"

LOAD = """
CREATE TABLE transactions AS
SELECT {id} AS customer_id, order_id, product_id, product_name, category, quantity, unit_price, ordered_at,
    country,
    CAST(quantity * unit_price AS DECIMAL(38, 4)) AS amount
FROM read_csv('{raw}/transactions/*.csv', header = true, auto_detect = false, delim = ',', quote = '"',
    escape = '"', store_rejects = true, columns = {{
        'customer_id': 'VARCHAR', 'order_id': 'VARCHAR', 'product_id': 'VARCHAR', 'product_name': 'VARCHAR',
        'category': 'VARCHAR', 'quantity': 'BIGINT', 'unit_price': 'DECIMAL(18, 4)',
        'ordered_at': 'TIMESTAMP', 'country': 'VARCHAR'}});
CREATE TABLE interactions AS
SELECT {id} AS customer_id, event, product_id, "at"
FROM read_csv('{raw}/interactions/*.csv', header = true, auto_detect = false, delim = ',', quote = '"',
    escape = '"', store_rejects = true, columns = {{
        'customer_id': 'VARCHAR', 'event': 'VARCHAR', 'product_id': 'VARCHAR', 'at': 'TIMESTAMP'}});
CREATE TABLE profiles AS
SELECT {id} AS customer_id, name, email, country, city, CAST(signed_up_at AS TIMESTAMP) AS created_at,
    marketing_opt_in, birth_year
FROM read_json('{raw}/customers/*.jsonl', format = 'newline_delimited', ignore_errors = true, columns = {{
        'customer_id': 'VARCHAR', 'name': 'VARCHAR', 'email': 'VARCHAR', 'country': 'VARCHAR',
        'city': 'VARCHAR', 'signed_up_at': 'VARCHAR', 'marketing_opt_in': 'BOOLEAN', 'birth_year': 'BIGINT'}});
"""

AS_OF = (
    """SELECT greatest((SELECT max(ordered_at) FROM transactions), (SELECT max("at") FROM interactions))"""
)

# Lines by kind, as in the manifest of Larder. Duplicate lines are found by a 64-bit hash.
FATES = """
SELECT count(*), count(*) FILTER (customer_id IS NULL),
    count(*) FILTER (customer_id IS NOT NULL AND quantity > 0 AND unit_price > 0),
    count(*) FILTER (customer_id IS NOT NULL AND quantity < 0 AND unit_price > 0),
    count(*) - count(DISTINCT hash(customer_id, order_id, product_id, product_name, category, quantity,
        unit_price, ordered_at, country)),
    (SELECT count(DISTINCT (scan_id, file_id, line)) FROM reject_errors)
FROM transactions
"""

# The tables that the views read: one row per order, per return and per customer, without guest lines.
STAGE = """
DELETE FROM transactions WHERE customer_id IS NULL;
CREATE TABLE orders AS
SELECT customer_id, order_id, min(ordered_at) AS ordered_at, CAST(sum(quantity) AS BIGINT) AS items,
    sum(amount) AS revenue,
    isodow(min(ordered_at)) AS weekday, hour(min(ordered_at)) AS hour
FROM transactions WHERE quantity > 0 AND unit_price > 0
GROUP BY customer_id, order_id;
CREATE TABLE returned AS
SELECT customer_id, -sum(amount) AS amount
FROM transactions WHERE quantity < 0 AND unit_price > 0
GROUP BY customer_id;
CREATE TABLE customers AS
WITH events AS (
    SELECT customer_id, min(first_at) AS first_at FROM (
        SELECT customer_id, min(ordered_at) AS first_at FROM transactions GROUP BY customer_id
        UNION ALL
        SELECT customer_id, min("at") FROM interactions WHERE customer_id IS NOT NULL GROUP BY customer_id
    ) GROUP BY customer_id
),
known AS (SELECT * FROM profiles WHERE customer_id IS NOT NULL)
SELECT coalesce(k.customer_id, e.customer_id) AS customer_id, k.* EXCLUDE (customer_id),
    least(k.created_at, e.first_at) AS first_seen_at
FROM known k FULL JOIN events e ON e.customer_id = k.customer_id
WHERE least(k.created_at, e.first_at) <= $as_of OR (k.created_at IS NULL AND e.first_at IS NULL);
"""

RFM_VALUES = """
CREATE TABLE rfm_values AS
WITH bought AS (
    SELECT customer_id, count(*) AS frequency, sum(revenue) AS revenue, max(ordered_at) AS last_at
    FROM orders GROUP BY customer_id
)
SELECT c.customer_id, (epoch_us($as_of) - epoch_us(b.last_at)) // 86400000000 AS recency_days,
    coalesce(b.frequency, 0) AS frequency,
    CAST(coalesce(b.revenue, 0) - coalesce(r.amount, 0) AS DECIMAL(38, 4)) AS monetary,
    r.amount IS NOT NULL AS has_returns
FROM customers c
LEFT JOIN bought b ON b.customer_id = c.customer_id
LEFT JOIN returned r ON r.customer_id = c.customer_id;
"""

# With n values, quantile_disc of (j + 0.5) / n is the value of rank j, so the edges are exact without a sort.
RANKS = "SELECT {columns} FROM rfm_values WHERE frequency > 0"

RFM = """
CREATE TABLE rfm AS
WITH scored AS (
    SELECT *,
        CASE WHEN frequency > 0 THEN 5 - {recency_days} END AS r,
        CASE WHEN frequency > 0 THEN 1 + {frequency} END AS f,
        CASE WHEN frequency > 0 THEN 1 + {monetary} END AS m
    FROM rfm_values
)
SELECT customer_id, recency_days, frequency, monetary, r AS r_score, f AS f_score, m AS m_score,
    CASE WHEN frequency > 0 THEN CAST(r * 100 + f * 10 + m AS VARCHAR) END AS rfm_score,
    CASE
        WHEN frequency = 0 THEN CASE WHEN has_returns THEN 'returns_only' ELSE 'prospect' END
        WHEN r <= 2 AND f <= 2 THEN 'hibernating'
        WHEN r <= 2 AND f <= 4 THEN 'at_risk'
        WHEN r <= 2 THEN 'cant_lose'
        WHEN r = 3 AND f <= 2 THEN 'about_to_sleep'
        WHEN r = 3 AND f = 3 THEN 'need_attention'
        WHEN r = 4 AND f = 1 THEN 'promising'
        WHEN r = 5 AND f = 1 THEN 'new'
        WHEN r >= 4 AND f <= 3 THEN 'potential_loyalist'
        WHEN r = 5 THEN 'champions'
        ELSE 'loyal'
    END AS segment
FROM scored;
"""

BEHAVIOR = """
CREATE TABLE behavior AS
WITH buying AS (
    SELECT customer_id, count(*) AS orders, min(ordered_at) AS first_at, max(ordered_at) AS last_at,
        CAST(sum(items) AS BIGINT) AS items,
        sum(revenue) AS revenue,
        coalesce(sum(revenue) FILTER (ordered_at > $as_of - INTERVAL 30 DAY), 0) AS spend_30d,
        coalesce(sum(revenue) FILTER (ordered_at > $as_of - INTERVAL 90 DAY), 0) AS spend_90d,
        coalesce(sum(revenue) FILTER (ordered_at > $as_of - INTERVAL 180 DAY), 0) AS spend_180d,
        coalesce(sum(revenue) FILTER (ordered_at > $as_of - INTERVAL 365 DAY), 0) AS spend_365d
    FROM orders GROUP BY customer_id
),
by_product AS (
    SELECT customer_id, product_id, count(*) AS lines, CAST(sum(quantity) AS BIGINT) AS items
    FROM transactions WHERE quantity > 0 AND unit_price > 0
    GROUP BY customer_id, product_id
),
favourite_product AS (
    SELECT customer_id, count(*) AS products, {product} AS product_id FROM by_product GROUP BY customer_id
),
by_category AS (
    SELECT customer_id, category, count(*) AS lines, CAST(sum(quantity) AS BIGINT) AS items
    FROM transactions WHERE quantity > 0 AND unit_price > 0 AND category IS NOT NULL
    GROUP BY customer_id, category
),
favourite_category AS (SELECT customer_id, {category} AS category FROM by_category GROUP BY customer_id),
by_weekday AS (
    SELECT customer_id, weekday, count(*) AS orders, sum(revenue) AS revenue FROM orders
    GROUP BY customer_id, weekday
),
favourite_weekday AS (SELECT customer_id, {weekday} AS weekday FROM by_weekday GROUP BY customer_id),
by_hour AS (
    SELECT customer_id, hour, count(*) AS orders, sum(revenue) AS revenue FROM orders
    GROUP BY customer_id, hour
),
favourite_hour AS (SELECT customer_id, {hour} AS hour FROM by_hour GROUP BY customer_id)
SELECT b.customer_id, b.first_at AS first_purchase_at, b.last_at AS last_purchase_at,
    CASE WHEN b.orders > 1 THEN
        CAST((epoch_us(b.last_at) - epoch_us(b.first_at)) / 1000000 / (86400 * (b.orders - 1))
            AS DECIMAL(18, 2))
    END AS days_between_orders,
    b.items, p.products,
    CAST(b.revenue / b.orders AS DECIMAL(38, 4)) AS basket_value,
    CAST(b.items / b.orders AS DECIMAL(18, 2)) AS basket_items,
    p.product_id AS favourite_product, c.category AS favourite_category,
    w.weekday AS favourite_weekday, h.hour AS favourite_hour,
    CAST(b.spend_30d AS DECIMAL(38, 4)) AS spend_30d,
    CAST(b.spend_90d AS DECIMAL(38, 4)) AS spend_90d,
    CAST(b.spend_365d AS DECIMAL(38, 4)) AS spend_365d,
    CASE WHEN b.spend_180d > 0 THEN
        CAST((2 * b.spend_90d - b.spend_180d) / b.spend_180d AS DECIMAL(9, 4))
    END AS spend_trend,
    CAST(coalesce(r.amount, 0) / b.revenue AS DECIMAL(38, 4)) AS return_rate
FROM buying b
JOIN favourite_product p ON p.customer_id = b.customer_id
JOIN favourite_weekday w ON w.customer_id = b.customer_id
JOIN favourite_hour h ON h.customer_id = b.customer_id
LEFT JOIN favourite_category c ON c.customer_id = b.customer_id
LEFT JOIN returned r ON r.customer_id = b.customer_id;
"""

WRITE = """
COPY (
    SELECT c.customer_id, profile, rfm, behavior
    FROM (SELECT customer_id, struct_pack({profile}) AS profile FROM customers) c
    JOIN (SELECT customer_id, struct_pack({rfm}) AS rfm FROM rfm) r ON r.customer_id = c.customer_id
    LEFT JOIN (SELECT customer_id, struct_pack({behavior}) AS behavior FROM behavior) b
        ON b.customer_id = c.customer_id
    ORDER BY c.customer_id
) TO '{out}.parquet' (FORMAT parquet, COMPRESSION zstd);
COPY (
    SELECT c.customer_id, profile, rfm, behavior
    FROM (SELECT customer_id, json_array({profile_values}) AS profile FROM customers) c
    JOIN (SELECT customer_id, json_array({rfm_values}) AS rfm FROM rfm) r ON r.customer_id = c.customer_id
    LEFT JOIN (SELECT customer_id, json_array({behavior_values}) AS behavior FROM behavior) b
        ON b.customer_id = c.customer_id
    ORDER BY c.customer_id
) TO '{out}.rows.parquet' (FORMAT parquet, COMPRESSION lz4_raw, ROW_GROUP_SIZE 2048);
COPY (
    SELECT segment, customer_id, monetary FROM rfm ORDER BY segment, monetary DESC, customer_id
) TO '{out}.rankings.parquet' (FORMAT parquet, COMPRESSION lz4_raw);
"""


def favorite(value, first, second):
    """Returns SQL for the value with the greatest `first`, then `second`; the smallest of a tie."""
    return f"first({value} ORDER BY {first} DESC, {second} DESC, {value})"


def peer(raw, out, threads, memory, scratch):
    """Runs the DuckDB script; runs in the virtual environment."""
    import duckdb

    began = time.perf_counter()
    db = duckdb.connect(config={"threads": threads, "memory_limit": memory, "temp_directory": scratch})
    # The final queries sort their results; other results may have any order, which is faster.
    db.execute("SET preserve_insertion_order = false")
    stages, since = {}, time.perf_counter()

    def lap(name):
        nonlocal since
        now = time.perf_counter()
        stages[name], since = now - since, now

    db.execute(LOAD.format(raw=raw, id=ID))
    (as_of,) = db.execute(AS_OF).fetchone()
    lap("load")
    fates = db.execute(FATES).fetchone()
    lap("fates")
    as_of = f"TIMESTAMP '{as_of}'"
    db.execute(STAGE.replace("$as_of", as_of))
    lap("orders, customers")
    db.execute(RFM_VALUES.replace("$as_of", as_of))
    (n,) = db.execute("SELECT count(*) FROM rfm_values WHERE frequency > 0").fetchone()
    places = [((n - 1) * k // 5, (n - 1) * k % 5) for k in (1, 2, 3, 4)]
    ranks = sorted({j + step for j, _ in places for step in (0, 1)} & set(range(n)))
    quantiles = ", ".join(str((j + 0.5) / n) for j in ranks)
    measures = ["recency_days", "frequency", "monetary"]
    columns = ", ".join(f"quantile_disc({measure}, [{quantiles}])" for measure in measures)
    scores = {}
    for measure, values in zip(measures, db.execute(RANKS.format(columns=columns)).fetchone()):
        value = dict(zip(ranks, values))
        edges = [value[j] * (5 - f) + value.get(j + 1, 0) * f for j, f in places]
        # Both sides are multiplied by five, so that an edge needs no division.
        scores[measure] = "(" + " + ".join(f"CAST({measure} * 5 > {edge} AS INT)" for edge in edges) + ")"
    db.execute(RFM.format(**scores))
    lap("rfm")
    db.execute(
        BEHAVIOR.replace("$as_of", as_of).format(
            product=favorite("product_id", "lines", "items"),
            category=favorite("category", "lines", "items"),
            weekday=favorite("weekday", "orders", "revenue"),
            hour=favorite("hour", "orders", "revenue"),
        )
    )
    lap("behavior")
    fields = {}
    for table, name in (("customers", "profile"), ("rfm", "rfm"), ("behavior", "behavior")):
        names = [row[0] for row in db.execute(f"DESCRIBE {table}").fetchall()]
        fields[name] = ", ".join(f"{column} := {column}" for column in names if column != "customer_id")
        fields[f"{name}_values"] = ", ".join(column for column in names if column != "customer_id")
    db.execute(WRITE.format(out=out, **fields))
    lap("write")
    db.close()
    print(
        json.dumps(
            {
                "version": duckdb.__version__,
                "seconds": time.perf_counter() - began,
                "stages": stages,
                "fates": fates,
            }
        )
    )


def compare(larder, duck, threads):
    """Compares the features of both; runs in the virtual environment and is not timed."""
    import duckdb

    db = duckdb.connect(config={"threads": threads})
    db.execute(f"CREATE VIEW l AS SELECT * FROM read_parquet('{larder}/customers/*.parquet')")
    db.execute(f"CREATE VIEW d AS SELECT * FROM read_parquet('{duck}.parquet')")

    def figures(side):
        (customers, monetary) = db.execute(f"SELECT count(*), sum(rfm.monetary) FROM {side}").fetchone()
        segments = db.execute(f"SELECT rfm.segment, count(*) FROM {side} GROUP BY 1 ORDER BY 1").fetchall()
        return {"customers": customers, "monetary": str(monetary), "segments": dict(segments)}

    mine, theirs = figures("l"), figures("d")
    # DuckDB divides in floating point, so a quotient may differ in its last digit.
    quotients = {"days_between_orders", "basket_value", "basket_items", "spend_trend", "return_rate"}
    views = {
        name: db.execute(f"SELECT unnest({name}) FROM d LIMIT 0").description
        for name in ("profile", "rfm", "behavior")
    }
    different = {}
    for view, columns in views.items():
        for column, *_ in columns:
            a, b = f"l.{view}.{column}", f"d.{view}.{column}"
            if column in quotients:
                # Two of the columns have two decimal places.
                test = f"abs({a} - {b}) > 0.0101 OR ({a} IS NULL) <> ({b} IS NULL)"
            elif column.endswith("_at"):
                test = f"epoch_us({a}) IS DISTINCT FROM epoch_us({b})"
            else:
                test = f"CAST({a} AS VARCHAR) IS DISTINCT FROM CAST({b} AS VARCHAR)"
            query = f"SELECT count(*) FROM l FULL JOIN d ON l.customer_id = d.customer_id WHERE {test}"
            (count,) = db.execute(query).fetchone()
            if count:
                different[f"{view}.{column}"] = count
    print(json.dumps({"larder": mine, "duckdb": theirs, "different": different}))


# --- the harness ----------------------------------------------------------------------------------


def say(text=""):
    print(text, flush=True)


def executables():
    """Builds the data generator and the `larder` binary, and returns their paths."""
    command = ["cargo", "bench", "--locked", "--no-run", "--bench", "data", "--message-format", "json"]
    built = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True, text=True)
    found = {}
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            found[message["target"]["name"]] = message["executable"]
    return found["data"], found["larder"]


def python_with_duckdb(folder):
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "venv", with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "duckdb"], check=True)
    return python


def runnable_threads(pid):
    """Returns the number of threads of a process that run or wait for a processor."""
    count = 0
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            # The name of the thread, in parentheses, may contain spaces.
            count += stat.read_text().rpartition(")")[2].split()[0] == "R"
        except OSError:
            pass  # The thread has ended.
    return count


def sample_threads(pid, since, ended, samples):
    """Appends the seconds since `since` and the number of runnable threads, until `ended` is set."""
    while not ended.wait(SAMPLE_SECONDS):
        samples.append((time.perf_counter() - since, runnable_threads(pid)))


def busy_by_stage(samples, stages):
    """Returns the mean number of runnable threads by stage. The first stage begins with the process."""
    means, begin = {}, 0
    for name, seconds in stages.items():
        counts = [count for at, count in samples if begin <= at < begin + seconds]
        begin += seconds
        # A stage that is shorter than the interval may have no sample.
        means[name] = statistics.mean(counts) if counts else None
    return means


def run(command, log, environment=None, samples=None):
    """Runs a child process and returns its seconds, peak memory in GiB and output. Samples the runnable
    threads into the list `samples`, if one is given."""
    with open(log, "w+") as output:
        since = time.perf_counter()
        child = subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        ended = threading.Event()
        if samples is not None:
            arguments = (child.pid, since, ended, samples)
            threading.Thread(target=sample_threads, args=arguments, daemon=True).start()
        _, status, usage = os.wait4(child.pid, 0)
        ended.set()
        seconds = time.perf_counter() - since
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if child.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{text[-4000:]}")
    return seconds, usage.ru_maxrss / 2**20, text


def raw_settings(raw):
    """Returns the settings of `larder.toml` for the generated files in `raw`."""
    columns = {"customers": 'columns = { created_at = "signed_up_at" }\npersonal = ["name", "email"]\n'}
    tables = ("transactions", "customers", "interactions")
    files = {table: json.dumps(str(raw / table) + "/") for table in tables}
    return "".join(f"[raw.{table}]\nfiles = {files[table]}\n{columns.get(table, '')}" for table in tables)


# Settings that turn the models off.
NO_MODELS = "".join(f"[{model}]\nenabled = false\n" for model in ("churn", "recommendations", "value"))


def measure(lines, arguments, generator, larder, python, folder):
    """Runs both on raw data of `lines` lines."""
    raw = folder / "raw"
    shutil.rmtree(raw, ignore_errors=True)
    subprocess.run([generator, str(raw), str(lines // 10), str(lines)], check=True)
    # A duplicated month: the peer does not look for duplicate files.
    (raw / "transactions" / "2025-02 (copy).csv").unlink(missing_ok=True)
    gigabytes = sum(file.stat().st_size for file in raw.rglob("*") if file.is_file()) / 1e9
    config = folder / "larder.toml"
    config.write_text(
        f'[lake]\nurl = "lake"\n{raw_settings(raw)}{NO_MODELS}'
        f'[build]\nthreads = {arguments.threads}\nstaging = "staging"\npurchases = false\n'
    )
    (folder / "staging").mkdir(exist_ok=True)
    lake, out, scratch = folder / "lake", folder / "duckdb", folder / "duckdb.tmp"
    results = {"larder": [], "duckdb": []}
    for _ in range(arguments.runs):
        shutil.rmtree(lake, ignore_errors=True)
        os.sync()  # Files of the previous run are written before this run is timed.
        samples = [] if arguments.busy else None
        command = [larder, "--config", config, "build", "--no-publish"]
        seconds, peak, _ = run(command, folder / "larder.log", samples=samples)
        (manifest,) = lake.glob("snapshots/*/manifest.json")
        stages = {stage["name"]: stage["seconds"] for stage in json.loads(manifest.read_text())["stages"]}
        busy = busy_by_stage(samples, stages) if arguments.busy else {}
        results["larder"].append({"seconds": seconds, "peak": peak, "stages": stages, "busy": busy})
        for file in folder.glob("duckdb*.parquet"):
            file.unlink()
        os.sync()
        command = [python, __file__, "--peer", raw, out, str(arguments.threads), "4GB", scratch]
        _, peak, text = run(command, folder / "duckdb.log")
        made = json.loads(text.splitlines()[-1])
        results["duckdb"].append({"seconds": made["seconds"], "peak": peak, "stages": made["stages"]})
    version = made["version"]
    counts = json.loads(manifest.read_text())["counts"]["transactions"]
    fates = [counts["fates"].get(name, 0) for name in ("no_customer", "purchase", "return")]
    mine = [counts["lines"] - counts["fates"].get("bad", 0), *fates, counts["duplicates"]]
    if mine != made["fates"][:5]:
        sys.exit(f"the lines differ: Larder {mine}, DuckDB {made['fates']}")
    (snapshot,) = (lake / "snapshots").iterdir()
    _, _, text = run(
        [python, __file__, "--compare", snapshot, out, str(arguments.threads)], folder / "compare.log"
    )
    same = json.loads(text.splitlines()[-1])
    if same["larder"] != same["duckdb"] or same["different"]:
        sys.exit(f"the results differ: {json.dumps(same, indent=2)}")
    results["next"] = measure_next(arguments, larder, config, raw, lake, folder, counts["lines"] // 100)
    return {
        "lines": lines,
        "gigabytes": gigabytes,
        "customers": same["larder"]["customers"],
        "version": version,
        **results,
    }


def measure_next(arguments, larder, config, raw, lake, folder, new):
    """Runs builds that find `new` lines of the transactions in a new file."""
    newest = max((raw / "transactions").iterdir())
    with newest.open() as file:
        head, *rows = file
    # The file is sorted by time, so the last lines are the newest.
    later = newest.with_name(newest.stem + "-later" + newest.suffix)
    newest.write_text(head + "".join(rows[:-new]))
    results = []
    for _ in range(arguments.runs):
        shutil.rmtree(lake, ignore_errors=True)
        later.unlink(missing_ok=True)
        run([larder, "--config", config, "build", "--no-publish"], folder / "larder.log")
        later.write_text(head + "".join(rows[-new:]))
        before = set(lake.glob("snapshots/*/manifest.json"))
        os.sync()
        seconds, peak, _ = run([larder, "--config", config, "build", "--no-publish"], folder / "larder.log")
        (manifest,) = set(lake.glob("snapshots/*/manifest.json")) - before
        found = json.loads(manifest.read_text())
        stages = {stage["name"]: stage["seconds"] for stage in found["stages"]}
        fingerprint = found["fingerprint"]
        results.append({"seconds": seconds, "peak": peak, "stages": stages, "fingerprint": fingerprint})
    # The same build from nothing, without the kept staging.
    shutil.rmtree(lake, ignore_errors=True)
    run([larder, "--config", config, "build", "--no-publish"], folder / "larder.log")
    (manifest,) = lake.glob("snapshots/*/manifest.json")
    if {json.loads(manifest.read_text())["fingerprint"]} != {result["fingerprint"] for result in results}:
        sys.exit("a build with kept staging differs from a build from nothing")
    return results


def middle(runs, key):
    return statistics.median(run[key] for run in runs)


def median_stages(runs):
    return {name: statistics.median(run["stages"][name] for run in runs) for name in runs[0]["stages"]}


def table(head, rows):
    say("| " + " | ".join(head) + " |")
    say("|" + "---:|" * len(head))
    for row in rows:
        say("| " + " | ".join(row) + " |")
    say()


def report(sizes, arguments):
    say()
    say(
        f"`larder build` and DuckDB {sizes[0]['version']} over the same raw CSV and JSON lines, "
        f"{arguments.threads} threads each, median of {arguments.runs} runs in turn; memory is the greatest "
        "peak. The results of both are equal."
    )
    say()
    rows, before = [], None
    for size in sizes:
        times = {name: middle(size[name], "seconds") for name in ("larder", "duckdb")}
        peaks = {name: max(run["peak"] for run in size[name]) for name in ("larder", "duckdb")}
        growth = (
            ""
            if before is None
            else f"×{times['larder'] / before[1]:.2f} for ×{size['lines'] / before[0]:.2f} lines"
        )
        before = (size["lines"], times["larder"])
        rows.append(
            [
                f"{size['lines']:,}",
                f"{size['customers']:,}",
                f"{size['gigabytes']:.2f}",
                f"{times['larder']:.1f}",
                f"{peaks['larder']:.2f}",
                f"{times['duckdb']:.1f}",
                f"{peaks['duckdb']:.2f}",
                f"{times['larder'] / times['duckdb']:.2f}",
                f"{peaks['larder'] / peaks['duckdb']:.2f}",
                growth,
            ]
        )
    table(
        [
            "lines",
            "customers",
            "raw GB",
            "Larder s",
            "Larder GiB",
            "DuckDB s",
            "DuckDB GiB",
            "time, Larder/DuckDB",
            "memory, Larder/DuckDB",
            "growth of Larder",
        ],
        rows,
    )
    say("The next build of Larder, when 1 % of the transactions are new:")
    say()
    rows = []
    for size in sizes:
        whole, following = (median_stages(size[name]) for name in ("larder", "next"))
        read, again = (stages["raw"] + stages["staging"] for stages in (whole, following))
        time, next_time = (middle(size[name], "seconds") for name in ("larder", "next"))
        rows.append(
            [
                f"{size['lines']:,}",
                f"{time:.1f}",
                f"{next_time:.1f}",
                f"{next_time / time:.2f}",
                f"{read:.2f}",
                f"{again:.2f}",
                f"{again / read:.2f}",
            ]
        )
    head = ["lines", "all s", "next s", "next/all", "raw and staging s", "next raw and staging s", "next/all"]
    table(head, rows)
    for name, title in (("larder", "Larder"), ("duckdb", "DuckDB")):
        say(f"Stages of {title} in seconds:")
        say()
        medians = [median_stages(size[name]) for size in sizes]
        head = ["stage"] + [f"{size['lines']:,} lines" for size in sizes]
        table(head, [[stage] + [f"{stages[stage]:.2f}" for stages in medians] for stage in medians[0]])


def report_busy(sizes):
    """Prints the mean number of runnable threads in each stage of Larder, over all runs."""
    say("Mean number of runnable threads of Larder by stage, sampled every 50 ms:")
    say()
    head = ["stage"] + [f"{size['lines']:,} lines" for size in sizes]
    rows = []
    for stage in sizes[0]["larder"][0]["busy"]:
        row = [stage]
        for size in sizes:
            means = [run["busy"][stage] for run in size["larder"] if run["busy"].get(stage) is not None]
            row.append(f"{statistics.mean(means):.1f}" if means else "")
        rows.append(row)
    table(head, rows)


def main():
    if sys.argv[1:2] == ["--peer"]:
        raw, out, threads, memory, scratch = sys.argv[2:]
        return peer(raw, out, int(threads), memory, scratch)
    if sys.argv[1:2] == ["--compare"]:
        larder, duck, threads = sys.argv[2:]
        return compare(larder, duck, int(threads))
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000_000, 5_000_000, 10_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--busy", action="store_true", help="print the runnable threads by stage of Larder")
    parser.add_argument(
        "--dir", type=Path, default=REPOSITORY / "target" / "bench-build", help="working folder"
    )
    arguments = parser.parse_args()
    folder = arguments.dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    generator, larder = executables()
    python = python_with_duckdb(folder)
    sizes = [measure(lines, arguments, generator, larder, python, folder) for lines in arguments.lines]
    report(sizes, arguments)
    if arguments.busy:
        report_busy(sizes)
    for name in ("raw", "lake", "staging", "duckdb.tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for file in folder.glob("duckdb*.parquet"):
        file.unlink()


if __name__ == "__main__":
    main()
