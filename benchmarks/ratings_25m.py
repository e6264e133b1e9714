"""Time and memory of reading a release as large as ml-25m and of factorising its ratings.

    python benchmarks/ratings_25m.py FOLDER [--rows 25000000]

Makes the release in FOLDER (700 MB at full size) unless it is there: long-tailed users and films, half-star ratings,
each pair once. The rows of a user are in no order, which is more work than the sorted files of GroupLens. A fresh
process then reads it and runs one and two iterations; the second's extra time is that of an iteration.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

USERS, FILMS, ROWS = 162_000, 60_000, 25_000_000
AT_ONCE = 2_000
"""Users made at once."""
LIMIT_GIB = 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--step", choices=["write", "measure"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    folder = args.folder / f"made-{args.rows}"
    if args.step == "write":
        write_release(folder, args.rows)
        return 0
    if args.step == "measure":
        return measure(folder)
    # a process starts with the peak of the one that forked it (Linux), so this one must stay small
    for step in ("measure",) if folder.exists() else ("write", "measure"):
        code = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--step", step], check=False).returncode
        if code:
            return code
    return 0


def write_release(folder: Path, rows: int) -> None:
    """ratings.csv and movies.csv; the share of users and films to rows is that of ml-25m."""
    import numpy as np

    rng = np.random.default_rng(0)
    users, films = max(20, USERS * rows // ROWS), min(FILMS, max(100, rows // 50))
    shares_U = rng.lognormal(0, 1.2, users)
    counts_U = np.maximum(1, np.minimum(shares_U / shares_U.sum() * rows, films // 4)).astype(int)
    popularity_I = 1 / (np.arange(films) + 100.0) ** 1.1
    edges_I = np.cumsum(popularity_I / popularity_I.sum())
    fresh = folder.with_name(f".{folder.name}.new")
    fresh.mkdir(parents=True, exist_ok=True)
    with (fresh / "movies.csv").open("w", encoding="utf-8") as file:
        file.write("movieId,title,genres\n")
        file.writelines(f"{film + 1},Film {film} ({1920 + film % 100}),Drama|Comedy\n" for film in range(films))
    with (fresh / "ratings.csv").open("w", encoding="utf-8") as file:
        file.write("userId,movieId,rating,timestamp\n")
        left, first = rows, 0
        while left:  # pairs drawn twice are made up for by further users
            left -= write_users(file, rng, counts_U, edges_I, first=first, most=left)
            first += users
    fresh.rename(folder)


def write_users(file: TextIO, rng, counts_U, edges_I, *, first: int, most: int) -> int:
    """Rows of one user after the other, at most `most`. Returns how many."""
    import numpy as np
    import polars as pl

    written = 0
    for start in range(0, len(counts_U), AT_ONCE):
        counts = counts_U[start : start + AT_ONCE]
        users = np.repeat(np.arange(start, start + len(counts)) + first + 1, counts)
        films = np.minimum(np.searchsorted(edges_I, rng.random(len(users))), len(edges_I) - 1) + 1
        pairs = np.unique(users * np.int64(1 << 32) + films)
        users, films = pairs >> 32, pairs & ((1 << 32) - 1)
        order = np.lexsort((rng.random(len(pairs)), users))[: most - written]
        stars = np.clip(np.round(2 * rng.normal(3.5, 1.1, len(order))) / 2, 0.5, 5)
        table = pl.DataFrame(
            {"user": users[order], "film": films[order], "stars": stars, "time": rng.integers(8e8, 16e8, len(order))}
        )
        file.write(table.write_csv(include_header=False))
        written += len(table)
        if written == most:
            break
    return written


def measure(folder: Path) -> int:
    base = peak_gib()
    import implicit.als  # noqa: F401  its import is no part of the first iteration

    from vecspeak.factors import factorise
    from vecspeak.movielens.release import read_release

    began = time.perf_counter()
    release = read_release(folder)
    ratings = release.ratings
    print(f"{len(ratings.values_R):,} ratings of {len(ratings.item_ids):,} films by {len(ratings.user_ids):,} users")
    for note in release.notes:
        print(f"  {note}")
    print(
        f"read in {time.perf_counter() - began:.1f} s, peak {peak_gib():.2f} GiB (interpreter {base:.2f})", flush=True
    )
    seconds = []
    for iterations in (1, 2):
        began = time.perf_counter()
        factorise(ratings, iterations=iterations)
        seconds.append(time.perf_counter() - began)
        print(f"{iterations} WALS iterations in {seconds[-1]:.1f} s, peak so far {peak_gib():.2f} GiB", flush=True)
    print(f"{(seconds[1] - seconds[0]) / 60:.2f} minutes per iteration; limit of memory {LIMIT_GIB} GiB")
    return 0 if peak_gib() < LIMIT_GIB else 1


def peak_gib() -> float:
    """Largest resident memory of this process so far. Linux counts KiB, macOS bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (30 if sys.platform == "darwin" else 20)


if __name__ == "__main__":
    sys.exit(main())
