"""How well concepts fitted on graded human judgements order films they have not seen, judged by other raters.

    python benchmarks/soft_attributes.py ../shared/data                                 the bundled semantic vectors
    python benchmarks/soft_attributes.py ../shared/data --space runs/items.lance        any other space with these ids

Balog, Radlinski, Karatzoglou 2021: raters said of an attribute which films have less, as much or more of it than a
reference film. Every judgement gives preferences (more, less). Films are split in three, raters in two: a concept is
fitted on the preferences of one half of the raters among two thirds of the films, and tested on those of the other
half among the last third; all six ways are averaged. Beside it a random direction, and how often two raters who
judged the same two films agree.
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vecspeak import Space
from vecspeak.bundled import bundled_space_path
from vecspeak.concepts import Concept

FEWEST = 20
"""Held-out preferences below which an attribute's figure would be noise."""

Judged = list[tuple[int, str, str]]
"""(rater, the film with more of it, the film with less)"""


def judgements(data: Path, known: set[str]) -> dict[str, Judged]:
    """Attribute -> preferences among known films."""
    with open(data / "movielens-small/movies.csv", encoding="utf-8", newline="") as file:
        id_of = {row["title"]: row["movieId"] for row in csv.DictReader(file)}
    found: dict[str, Judged] = defaultdict(list)
    with open(data / "soft-attributes/soft_attributes.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            sides = [json.loads(row[side] or "[]") for side in ("less_than", "about_as", "more_than")]
            less, more = sides[0], sides[2]
            pairs = [(title, row["reference_title"]) for title in more]
            pairs += [(row["reference_title"], title) for title in less]
            pairs += [(high, low) for high in more for low in less]
            for high, low in pairs:
                ids = id_of.get(high), id_of.get(low)
                if ids[0] in known and ids[1] in known:
                    found[row["soft_attribute"]].append((int(row["rater_id"]), str(ids[0]), str(ids[1])))
    return dict(sorted(found.items()))


def rater_agreement(judged: Judged) -> float:
    """Share of pairs of raters who ordered the same two films in the same way."""
    votes: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for _, more, less in judged:
        votes[min(more, less), max(more, less)].append(more < less)
    same = pairs = 0
    for ballot in votes.values():
        yes, no = sum(ballot), len(ballot) - sum(ballot)
        same += yes * (yes - 1) // 2 + no * (no - 1) // 2
        pairs += len(ballot) * (len(ballot) - 1) // 2
    return same / pairs if pairs else float("nan")


def splits(judged: Judged) -> Iterator[tuple[list[tuple[str, str]], list[tuple[str, str]]]]:
    """(fitted on, tested on) of all six ways."""
    rng = np.random.default_rng(0)
    raters, films = sorted({r for r, _, _ in judged}), sorted({f for _, *two in judged for f in two})
    half = dict(zip(raters, rng.permutation(len(raters)) % 2, strict=True))
    third = dict(zip(films, rng.permutation(len(films)) % 3, strict=True))
    for side in range(2):
        for part in range(3):
            fitted = [(m, s) for r, m, s in judged if half[r] != side and third[m] != part and third[s] != part]
            tested = [(m, s) for r, m, s in judged if half[r] == side and third[m] == part and third[s] == part]
            if len(fitted) >= 2 and tested:
                yield fitted, tested


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--method", choices=["mean", "ranking"], default="mean")
    parser.add_argument("--space", type=Path, default=bundled_space_path())
    args = parser.parse_args()
    space = Space.open(args.space)
    known = set(Space.open(bundled_space_path()).ids) & set(space.ids)  # the same films for every kind of vector
    rng = np.random.default_rng(1)
    rows = []
    for attribute, judged in judgements(args.data, known).items():
        agreements, randoms, counts = [], [], []
        for fitted, tested in splits(judged):
            concept = Concept.fit_preferences(space, fitted, name="attribute", method=args.method, force=True)
            agreements.append(concept.agreement(space, tested))
            direction_E = rng.normal(size=space.dimension)
            differences = [float((space[m].vector - space[s].vector) @ direction_E) > 0 for m, s in tested]
            randoms.append(np.mean(differences))
            counts.append(len(tested))
        if sum(counts) >= FEWEST:
            means = [np.average(values, weights=counts) for values in (agreements, randoms)]
            rows.append((attribute, len(judged), sum(counts), *means, rater_agreement(judged)))
    print("| attribute | preferences | held out | concept | random direction | raters among themselves |")
    print("|---|---|---|---|---|---|")
    for attribute, total, held, *values in sorted(rows, key=lambda row: -row[3]):
        print(f"| {attribute} | {total} | {held} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    means = np.nanmean([row[3:] for row in rows], axis=0)
    print(f"| **mean of {len(rows)}** | | | " + " | ".join(f"**{value:.3f}**" for value in means) + " |")


if __name__ == "__main__":
    main()
