#!/usr/bin/env python3
"""Accuracy of the customer value on several shops, against the same spending as last year.

    python3 benches/value.py [--shop cdnow superstore tpcds demo generated] [--online-retail FOLDER]

Builds a snapshot of each shop and prints the figures of the served forecast and of `last_year` on every
measured cutoff. The latest cutoff of a shop is held out of all choices. The history of the generated shop is
four years, so that 365 days are learned and measured on all its cutoffs; for that shop, the figures of the
true expectations are printed too, which no forecast can surpass but by chance. shops.py says where the data
comes from.

Requires a folder for packages and data (`--work`, a new temporary one by default).
"""

import math

import shops
from build import say, table

GENERATED_DAYS = 1_460
KEYS = ("explained_deviance", "bias", "mean_absolute_error", "rank_correlation", "top_decile_share")


def true_expectations(folder, cutoff, days):
    """Returns the expected and the actual spending of the generated customers in the days after a cutoff."""
    customers, at = shops.truth(folder, cutoff)
    expected, spent = [], []
    for one in customers:
        stays = (1 - math.exp(-one["leaving"] * days)) / one["leaving"] if one["gone"] > at else 0.0
        expected.append(one["price"] * one["rate"] * stays)
        spent.append(one["price"] * sum(1 for order in one["orders"] if at < order <= at + days))
    return expected, spent


def explained_deviance(expected, spent):
    """Returns the share of the Poisson deviance that is explained, as the model card defines it."""
    mean = sum(spent) / len(spent)

    def deviance(forecast, seen):
        forecast = max(forecast, mean / 100)
        return (seen * math.log(seen / forecast) if seen > 0 else 0.0) - seen + forecast

    unexplained = sum(map(deviance, expected, spent))
    return 1 - unexplained / sum(deviance(mean, seen) for seen in spent)


def main():
    arguments = shops.read_arguments(__doc__)
    rows = []
    for name, folder in shops.shops(arguments, GENERATED_DAYS):
        card = shops.build(arguments.larder, name, folder, "[churn]\nenabled = false\n")["value"]
        if not card["cuts"]:
            say(f"{name}: no model: {'; '.join(card['reasons'])}\n")
        for cut in card["cuts"]:
            of = {one["name"]: one for one in cut["candidates"]}
            ours, last_year = of[card["chosen"]], of["last_year"]
            rows.append(
                [
                    name,
                    cut["at"][:10] + ("" if cut["used_to_choose"] else ", held out"),
                    f"{cut['horizon_days']}",
                    f"{cut['customers']:,}",
                    f"{cut['mean_spending']:.2f}",
                    card["chosen"],
                    "yes" if card["trusted"] else "no",
                    *(f"{ours[key]:.3f} / {last_year[key]:.3f}" for key in KEYS),
                ]
            )
            if name == "generated":
                expected, spent = true_expectations(folder, cut["at"], cut["horizon_days"])
                say(
                    f"true expectations of the generated shop at {cut['at'][:10]}: "
                    f"explained {explained_deviance(expected, spent):.3f}, "
                    f"bias {sum(expected) / sum(spent) - 1:+.3f}, "
                    f"mean error {sum(abs(e - s) for e, s in zip(expected, spent)) / len(spent):.3f}\n"
                )
    say("Figures are those of the served forecast / of the spending of the last year.\n")
    head = ["shop", "cutoff", "days", "customers", "mean spending", "chosen", "trusted"]
    table(head + ["explained", "bias", "mean error", "rank cor.", "top decile"], rows)


if __name__ == "__main__":
    main()
