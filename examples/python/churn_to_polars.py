"""Reads the customers most likely to leave into a Polars data frame: python3 churn_to_polars.py

LARDER_URL and LARDER_KEY in the environment name the service and an API key.
"""

import io
import os
import urllib.request

import polars as pl


def churn_list() -> pl.DataFrame:
    """Returns the list of customers at high risk, best first, with a column for each feature."""
    columns = "customer_id,rank,churn.probability,churn.value_at_risk,rfm"
    query = f"risk=high&order=rank&format=parquet&columns={columns}"
    request = urllib.request.Request(f"{os.environ['LARDER_URL']}/v1/churn/export?{query}")
    if key := os.environ.get("LARDER_KEY"):
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=600) as answer:
        frame = pl.read_parquet(io.BytesIO(answer.read()))
    return frame.unnest("churn", "rfm")


customers = churn_list()
print(f"{customers.height} customers, {customers['value_at_risk'].sum()} at risk")
by_segment = customers.group_by("segment").agg(pl.len(), pl.col("value_at_risk").sum())
print(by_segment.sort("value_at_risk", descending=True))
