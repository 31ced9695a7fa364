#!/usr/bin/env python3
"""A client of Larder with the standard library of Python only (3.9 or later).

    python3 examples/client.py [SEGMENT]

prints the size of a segment, its first customer, a batch, and an audience. LARDER_URL is the address of the
service (http://127.0.0.1:8080), LARDER_KEY an API key, if the service has keys.
"""

import json
import os
import sys
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen


class LarderError(Exception):
    """An error response: RFC 9457 problem details."""

    def __init__(self, status, problem):
        super().__init__(f"{status} {problem.get('title')}: {problem.get('detail')}")
        self.status = status
        # `customer-not-found` of `urn:larder:problem:customer-not-found`.
        self.kind = problem.get("type", "").rsplit(":", 1)[-1]


class Larder:
    def __init__(self, url="http://127.0.0.1:8080", key=None, timeout=5.0):
        self.url, self.key, self.timeout = url.rstrip("/"), key, timeout

    def customer(self, customer_id, views=None):
        """Returns the views of a customer, or None if the customer is unknown."""
        query = {"views": ",".join(views)} if views else {}
        try:
            return self._request(f"/v1/customers/{quote(customer_id, safe='')}", query)["views"]
        except LarderError as error:
            if error.kind == "customer-not-found":
                return None
            raise

    def customers(self, ids, features):
        """Returns one result per id (at most 1,000), in the order of the ids."""
        return self._request("/v1/customers/batch", body={"ids": ids, "features": features})["results"]

    def segment(self, name, views=None, limit=1_000):
        """Yields all customers of a segment, best first; all pages are of the same snapshot."""
        query = {"limit": limit}
        if views:
            query["views"] = ",".join(views)
        while True:
            page = self._request(f"/v1/segments/{quote(name, safe='')}/customers", query)
            yield from page["customers"]
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def audience(self, where, limit=100, **options):
        """Returns the size of an audience and its first members."""
        return self._request("/v1/audiences", body={"where": where, "limit": limit, **options})

    def _request(self, path, query=None, body=None):
        url = f"{self.url}{path}?{urlencode(query)}" if query else self.url + path
        headers = {"content-type": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        data = json.dumps(body).encode() if body is not None else None
        try:
            with urlopen(Request(url, data, headers), timeout=self.timeout) as response:
                return json.load(response)
        except HTTPError as error:
            raise LarderError(error.code, json.load(error)) from None


def main():
    segment = sys.argv[1] if len(sys.argv) > 1 else "champions"
    larder = Larder(os.environ.get("LARDER_URL", "http://127.0.0.1:8080"), os.environ.get("LARDER_KEY"))

    # Pages of 5 show the paging; 1,000 is the greatest page.
    members = [member["customer_id"] for member in larder.segment(segment, limit=5)]
    print(f"{segment}: {len(members)} customers")

    first = larder.customer(members[0], views=["rfm"])["rfm"]
    print(f"{members[0]}: {first['frequency']} orders, {first['monetary']} spent")

    results = larder.customers([members[0], "no-such-customer"], ["rfm.segment"])
    print("batch: " + ", ".join(f"{result['customer_id']} {result['found']}" for result in results))

    where = f"segment:{segment} and rfm.recency_days <= 30"
    print(f"{where}: {larder.audience(where, limit=1)['total']} customers")

    print(f"no-such-customer: {larder.customer('no-such-customer')}")


if __name__ == "__main__":
    main()
