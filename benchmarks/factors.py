"""How well behavioural vectors predict ratings that were held out, against popularity and mean ratings.

    python benchmarks/factors.py ../shared/data/movielens-small/ratings.csv          (a minute)

A fifth of the ratings is held out; what is measured is said in src/vecspeak/movielens/predictors.py.
"""

import argparse
from pathlib import Path

import numpy as np

from vecspeak.factors import factorise, read_ratings
from vecspeak.metrics import Interval
from vecspeak.movielens.predictors import predictors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ratings", type=Path)
    args = parser.parse_args()
    ratings = read_ratings(args.ratings)
    held_R = np.random.default_rng(0).random(len(ratings.values_R)) < 0.2
    training, held_out = ratings.part(~held_R), ratings.part(held_R)
    made = [factorise(training, factors=size) for size in (16, 48, 96)]
    found = {each.name: each for factors in made for each in predictors(training, held_out, factors)}
    print(f"{len(training.values_R):,} ratings, {len(held_out.values_R):,} held out\n")
    print("| predicted by | NDCG of rated films | recall among the best 20 |\n|---|---|---|")
    for each in found.values():
        print(f"| {each.name} | {in_words(each.ndcg)} | {in_words(each.recall)} |")


def in_words(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


if __name__ == "__main__":
    main()
