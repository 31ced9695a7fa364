"""Reads a segment into a pandas data frame: python3 segment_to_pandas.py SEGMENT

LARDER_URL and LARDER_KEY in the environment name the service and an API key.
"""

import io
import os
import sys
import urllib.request

import pandas as pd


def segment(name: str, columns: str) -> pd.DataFrame:
    """Returns the members of a segment. Parquet keeps the types of the features."""
    url = f"{os.environ['LARDER_URL']}/v1/segments/{name}/export?format=parquet&columns={columns}"
    request = urllib.request.Request(url)
    if key := os.environ.get("LARDER_KEY"):
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=600) as answer:
        frame = pd.read_parquet(io.BytesIO(answer.read()))
    # A view is a column of records; each feature becomes a column of its own.
    views = [column for column in frame.columns if isinstance(frame[column].dropna().head(1).squeeze(), dict)]
    flat = [pd.json_normalize(frame[view].tolist()).add_prefix(f"{view}.") for view in views]
    return pd.concat([frame.drop(columns=views), *flat], axis=1)


members = segment(sys.argv[1], "customer_id,rfm")
by_recency = members.groupby(pd.cut(members["rfm.recency_days"], [-1, 30, 90, 365, 10_000]), observed=True)
print(f"{len(members)} customers, {members['rfm.monetary'].astype(float).sum():.2f} spent")
print(by_recency.size().to_string())
