"""Writes the Delta table of tests/delta with the `deltalake` package: several versions, a partition column, an
overwritten and a deleted part, a checkpoint, and a log without the first versions."""
import os, shutil, sys
from datetime import datetime, timezone
from decimal import Decimal
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

target = sys.argv[1]
customers = ["17850", "Müller", "c3"]
products = [("84029G", "Café au lait; 2 cups"), ("22423", 'cake "stand"'), ("71053", "plain")]
rows = []
for n in range(48):
    order = n // 3
    product, name = products[n % 3]
    cents = 255 + 37 * n
    rows.append({
        "customer_id": customers[order % 3], "order_id": 536365 + order, "product_id": product,
        "product_name": name, "country": ["UK", "DE"][order % 2],
        "quantity": -1 if n % 7 == 6 else 1 + n % 4, "unit_price": Decimal(cents) / 100,
        "ordered_at": datetime.fromtimestamp(1291191960 + order * 86400 + 60 * order, timezone.utc)})
schema = pa.schema([("customer_id", pa.string()), ("order_id", pa.int64()), ("product_id", pa.string()),
    ("product_name", pa.string()), ("country", pa.string()), ("quantity", pa.int32()),
    ("unit_price", pa.decimal128(18, 4)), ("ordered_at", pa.timestamp("us", tz="UTC"))])
table = lambda rows: pa.Table.from_pylist(rows, schema=schema)
shutil.rmtree(target, ignore_errors=True)
wrong = [{**row, "quantity": 99} for row in rows[:10]]
write_deltalake(target, table(wrong), partition_by=["country"])
write_deltalake(target, table(rows[:12]), mode="overwrite", partition_by=["country"])
extra = [{**row, "customer_id": "nobody"} for row in rows[12:15]]
write_deltalake(target, table(rows[12:30] + extra), mode="append")
DeltaTable(target).delete("customer_id = 'nobody'")
delta = DeltaTable(target)
delta.create_checkpoint()
write_deltalake(target, table(rows[30:]), mode="append")
log = os.path.join(target, "_delta_log")
for version in range(3):
    os.remove(os.path.join(log, f"{version:020}.json"))
delta = DeltaTable(target)
print(delta.version(), delta.to_pyarrow_table().num_rows if hasattr(delta, "to_pyarrow_table") else "")
