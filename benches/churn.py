#!/usr/bin/env python3
"""Accuracy of the churn model on several shops, with and without the constraint to common sense.

    python3 benches/churn.py [--shop cdnow superstore tpcds demo generated] [--online-retail FOLDER]

Builds a snapshot of each shop twice, with `[churn] monotone = true` and `false`, and prints the figures of
the served model on every measured cutoff. The latest cutoff of a shop is held out of all choices. Of the
generated shop, the best AUC that any model could have is printed: that of the true probabilities. shops.py
says where the data comes from.

Requires a folder for packages and data (`--work`, a new temporary one by default).
"""

import math

import shops
from build import say, table

GENERATED_DAYS, GENERATED_HORIZON = 700, 60


def build(larder, name, folder, monotone):
    """Builds a snapshot and returns the card of its churn model, and the cutoffs with the figures of the
    served model."""
    horizon = f'horizon = "{GENERATED_HORIZON}d"\n' if name == "generated" else ""
    settings = f"[value]\nenabled = false\n[churn]\nmonotone = {str(monotone).lower()}\n{horizon}"
    card = shops.build(larder, name, folder, settings)["churn"]
    served = [next(one for one in cut["candidates"] if one["name"] == "model") for cut in card["cuts"]]
    return card, list(zip(card["cuts"], served, strict=True))


def best_area(folder, cutoff):
    """Returns the AUC of the true probabilities of the generated customers at a cutoff."""
    customers, at = shops.truth(folder, cutoff)
    scores = []
    for customer in customers:
        rate, leaving = customer["rate"], customer["leaving"]
        both = rate + leaving
        stays_away = leaving / both + rate / both * math.exp(-both * GENERATED_HORIZON)
        probability = 1.0 if customer["gone"] <= at else stays_away
        returned = any(at < order <= at + GENERATED_HORIZON for order in customer["orders"])
        scores.append((probability, not returned))
    return area(scores)


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


def main():
    arguments = shops.read_arguments(__doc__)
    rows = []
    for name, folder in shops.shops(arguments, GENERATED_DAYS):
        card, with_rules = build(arguments.larder, name, folder, monotone=True)
        free_card, without = build(arguments.larder, name, folder, monotone=False)
        if not with_rules:
            say(f"{name}: no model: {'; '.join(card['reasons'])}\n")
        keys = ("auc", "log_loss", "calibration_error")
        for (cut, ours), (_, free) in zip(with_rules, without, strict=True):
            rows.append(
                [
                    name,
                    cut["at"][:10] + ("" if cut["used_to_choose"] else ", held out"),
                    f"{cut['customers']:,}",
                    f"{cut['churned']:.3f}",
                    f"{card['chosen']} / {free_card['chosen']}",
                    f"{'yes' if card['trusted'] else 'no'} / {'yes' if free_card['trusted'] else 'no'}",
                    *(f"{ours[key]:.4f} / {free[key]:.4f}" for key in keys),
                ]
            )
        if name == "generated":
            best = ", ".join(f"{best_area(folder, cut['at']):.4f}" for cut, _ in with_rules)
            say(f"AUC of the true probabilities of the generated shop: {best}\n")
    say("Figures are with / without the constraint.\n")
    head = ["shop", "cutoff", "customers", "churned", "chosen", "trusted"]
    table(head + ["AUC", "log loss", "calibration error"], rows)


if __name__ == "__main__":
    main()
