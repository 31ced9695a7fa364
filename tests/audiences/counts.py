"""Computes audiences with DuckDB from the Parquet files of a snapshot, for tests/it/audiences/duckdb.rs.

Reads one question per line: {"where", "order", "limit", "by", "kind"} in SQL; "kind" is "values", "buckets" or null.
Prints one answer per line, in the form of a Larder response.
"""

import json
import pathlib
import sys

import duckdb

PARTS = 4

folder = pathlib.Path(sys.argv[1])
db = duckdb.connect(config={"threads": 1})
db.execute("SET TimeZone = 'UTC'")
db.execute(f"CREATE TABLE customers AS SELECT * FROM read_parquet('{folder}/customers/*.parquet')")
db.execute("CREATE TABLE members (segment VARCHAR, customer_id VARCHAR)")
for ranking in sorted((folder / "rankings").glob("*.parquet")):
    db.execute(f"INSERT INTO members SELECT '{ranking.stem}', customer_id FROM read_parquet('{ranking}')")


RAW = folder.parent.parent / "raw"
db.execute(f"CREATE TABLE lines AS SELECT * FROM read_parquet('{folder}/purchases/part-*.parquet')")
raw = "read_csv('{}/{}/*.csv*', all_varchar = true, union_by_name = true, ignore_errors = true)"
db.execute(
    f"""CREATE TABLE categories AS SELECT DISTINCT trim(order_id) AS order_id, trim(product_id) AS product_id,
    trim(category) AS category FROM {raw.format(RAW, "transactions")} WHERE trim(category) <> ''"""
)
db.execute(
    f"""CREATE TABLE interactions AS SELECT trim(customer_id) AS customer_id, trim(event) AS event,
    try_cast("at" AS TIMESTAMP) AS time FROM {raw.format(RAW, "interactions")} WHERE try_cast("at" AS TIMESTAMP) IS NOT NULL"""
)
db.execute(
    """CREATE TABLE events AS
    SELECT 'order' AS key, customer_id, min("at") AS time FROM lines GROUP BY customer_id, order_id
    UNION ALL
    SELECT 'product:' || product_id, customer_id, min("at") FROM lines GROUP BY product_id, customer_id, order_id
    UNION ALL
    SELECT 'category:' || category, customer_id, min("at") FROM lines JOIN categories USING (order_id, product_id)
    GROUP BY category, customer_id, order_id
    UNION ALL
    SELECT 'event:' || event, customer_id, time FROM interactions"""
)


def figures(question):
    row = db.execute(
        f"""SELECT count(*), sum(rfm.monetary), avg(rfm.r_score), avg(rfm.f_score), avg(rfm.m_score),
        list(customer_id ORDER BY {question["order"]}, customer_id) FROM customers WHERE {question["where"]}"""
    ).fetchone()
    total, revenue, r, f, m, members = row
    text = format(revenue.normalize(), "f") if revenue else "0"
    return {
        "total": total,
        "revenue": text,
        "means": [r, f, m],
        "members": (members or [])[: question["limit"]],
    }


def values(question):
    by = question["by"]
    rows = db.execute(f"SELECT {by}, count(*) FROM customers WHERE {question['where']} GROUP BY 1").fetchall()
    rows = sorted(rows, key=lambda row: -row[1])
    return {
        "values": [row for row in rows if row[0] is not None],
        "null": sum(n for value, n in rows if value is None),
    }


def buckets(question):
    by = question["by"]
    found = [row[0] for row in db.execute(f"SELECT {by} FROM customers WHERE {question['where']}").fetchall()]
    known = sorted(value for value in found if value is not None)
    parts, start = [], 0
    for part in range(1, PARTS + 1):
        edge = -(-len(known) * part // PARTS)
        while 0 < edge < len(known) and known[edge] == known[edge - 1]:
            edge += 1
        if edge > start:
            parts.append([float(known[start]), float(known[edge - 1]), edge - start])
            start = edge
    return {"buckets": parts, "null": len(found) - len(known)}


for line in sys.stdin:
    question = json.loads(line)
    answer = figures(question)
    if question["kind"] == "values":
        answer |= values(question)
    if question["kind"] == "buckets":
        answer |= buckets(question)
    print(json.dumps(answer))
