#!/usr/bin/env bash
# Reads a customer, a batch, a page of a segment and an audience with curl; prints one JSON document per line.
#
#   examples/curl.sh CUSTOMER [SEGMENT]
#
# LARDER_URL is the address of the service (http://127.0.0.1:8080), LARDER_KEY an API key, if the service has
# keys.
set -euo pipefail

customer=${1:?usage: curl.sh CUSTOMER [SEGMENT]}
segment=${2:-champions}
url=${LARDER_URL:-http://127.0.0.1:8080}
headers=(--header 'content-type: application/json')
if [ -n "${LARDER_KEY:-}" ]; then
  headers+=(--header "authorization: Bearer $LARDER_KEY")
fi

# With --fail-with-body, an error is printed (RFC 9457 problem details) and ends the script.
request() {
  curl --silent --show-error --fail-with-body "${headers[@]}" "$@"
  echo
}

# One customer; ids with other characters than letters, digits, `-`, `_`, `.` and `~` must be percent-encoded.
request "$url/v1/customers/$customer?views=rfm"

# At most 1,000 customers, with whole views or single features.
request "$url/v1/customers/batch" --data @- <<JSON
{"ids": ["$customer", "no-such-customer"], "features": ["rfm.segment", "rfm.monetary"]}
JSON

# The first page of a segment; pass the value of `next` as `cursor` for the next page.
request "$url/v1/segments/$segment/customers?limit=2&views=rfm"

# The size and the first members of an audience.
request "$url/v1/audiences" --data @- <<JSON
{"where": "segment:$segment and rfm.recency_days <= 30", "limit": 2, "order_by": "rfm.monetary desc"}
JSON
