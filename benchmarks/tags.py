"""Concepts of MovieLens tags: how well films with a tag are told from films without it, held out.

    python benchmarks/tags.py ../shared/data [--space runs/items.lance]          (a minute)

Every tag that ten or more of the bundled films carry, against all other films; the quality is the library's own
(`Concept.quality`): measured on films the direction was not fitted on, against shuffled labels.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

from vecspeak import Space
from vecspeak.bundled import bundled_space_path
from vecspeak.concepts import Concept

FEWEST = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--space", type=Path, default=bundled_space_path())
    args = parser.parse_args()
    space = Space.open(args.space)
    known = set(Space.open(bundled_space_path()).ids) & set(space.ids)
    films: dict[str, set[str]] = defaultdict(set)
    with open(args.data / "movielens-small/tags.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["movieId"] in known:
                films[row["tag"].strip().casefold()].add(row["movieId"])
    print("| tag | films | quality |\n|---|---|---|")
    for tag, tagged in sorted(films.items(), key=lambda pair: -len(pair[1])):
        if len(tagged) >= FEWEST:
            others = sorted(known - tagged)
            concept = Concept.fit(space, sorted(tagged), others, name="tag", force=True)
            print(f"| {tag} | {len(tagged)} | {concept.quality} |", flush=True)


if __name__ == "__main__":
    main()
