"""Runs each line of standard input as SQL in DuckDB and prints its rows as a JSON array."""

import json
import sys

import duckdb

connection = duckdb.connect()
for line in sys.stdin:
    print(json.dumps(connection.execute(line).fetchall(), default=str))
