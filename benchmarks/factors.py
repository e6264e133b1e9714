"""How well behavioural vectors predict ratings that were held out, against popularity and mean ratings.

    python benchmarks/factors.py ../shared/data/movielens-small/ratings.csv          (a minute)

A fifth of the ratings is held out. NDCG: the order of each user's held-out films by predicted liking, gains 2^stars - 1
(users with five or more). Recall: of a user's held-out films with four stars or more, how many are among the 20 best
of all that the user has not rated in training.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vecspeak.factors import Factors, Ratings, factorise, read_ratings

Score = Callable[[int], np.ndarray]
"""A user's row -> (I,) predicted liking of every item."""
LIKED, BEST, FEWEST = 4, 20, 5


def ndcg(score: Score, held_out: Ratings) -> float:
    """Mean over users of the discounted gain in the predicted order, as a share of that in the best order."""
    found = []
    for user in range(len(held_out.user_ids)):
        mine = held_out.users_R == user
        if mine.sum() < FEWEST:
            continue
        gains = 2 ** held_out.values_R[mine].astype(float) - 1
        discounts = 1 / np.log2(np.arange(2, len(gains) + 2))
        order = np.argsort(-score(user)[held_out.items_R[mine]], kind="stable")
        found.append((gains[order] @ discounts) / (np.sort(gains)[::-1] @ discounts))
    return float(np.mean(found))


def recall(score: Score, training: Ratings, held_out: Ratings) -> float:
    """Mean over users with a liked film held out."""
    found = []
    for user in range(len(held_out.user_ids)):
        liked = set(held_out.items_R[(held_out.users_R == user) & (held_out.values_R >= LIKED)].tolist())
        if not liked:
            continue
        scores = score(user).astype(float)
        scores[training.items_R[training.users_R == user]] = -np.inf
        found.append(len(liked & set(np.argpartition(-scores, BEST)[:BEST].tolist())) / min(BEST, len(liked)))
    return float(np.mean(found))


def by_factors(factors: Factors) -> Score:
    return lambda user: factors.items_IE @ factors.users_UE[user]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ratings", type=Path)
    args = parser.parse_args()
    ratings = read_ratings(args.ratings)
    held_R = np.random.default_rng(0).random(len(ratings.values_R)) < 0.2
    training, held_out = ratings.part(~held_R), ratings.part(held_R)
    items = len(ratings.item_ids)
    counts_I = np.bincount(training.items_R, minlength=items)
    totals_I = np.bincount(training.items_R, training.values_R, minlength=items)
    means_I = (totals_I + 5 * training.values_R.mean()) / (counts_I + 5)  # five ratings of the overall mean beside
    scores: dict[str, Score] = {
        "number of ratings": lambda user: counts_I,
        "mean rating": lambda user: means_I,
        **{f"{size} factors": by_factors(factorise(training, factors=size)) for size in (16, 48, 96)},
    }
    print(f"{len(training.values_R):,} ratings, {len(held_out.values_R):,} held out\n")
    print("| predicted by | NDCG of rated films | recall among the best 20 |\n|---|---|---|")
    for name, score in scores.items():
        print(f"| {name} | {ndcg(score, held_out):.3f} | {recall(score, training, held_out):.3f} |", flush=True)


if __name__ == "__main__":
    main()
