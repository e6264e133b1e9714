"""From ratings to gaps: MovieLens-small through the commands a user would type.

    python benchmarks/movielens_small.py ../shared/data runs/ml          (half an hour, most of it training)

Ratings become behavioural vectors of films and users; a model learns to describe a film from its ratings alone (its
one-line description, 2,845 films have one); then it is asked about clusters, and about gaps. What is there already
is not made again.
"""

import argparse
import gzip
import json
import shlex
from pathlib import Path

import polars as pl

from vecspeak.cli import main as vecspeak

TASKS = """
[[task]]
name = "describe"
slots = ["x"]
target = "{text}"
prompts = ["Describe {x}.", "What is {x} about?", "Tell me about {x}.", "Summarise {x}."]
"""
CONFIG = """
space = "items.lance"
base = "pocket"
tasks = "tasks.toml"
vector_dropout = 0.1

[adapter]
start = "texts"

[[stages]]
name = "align"
train = "adapter"
steps = 80
batch_size = 32
bag_loss = 0.05

[[stages]]
name = "tune"
train = "all"
steps = 260
batch_size = 32
lr = 4e-4
adapter_lr = 1.2e-3
optimizer = "muon"
bag_loss = 0.05
"""


def film_table(data: Path) -> pl.DataFrame:
    """movies.csv with a column `text`: the film's first one-line description, where it has one."""
    texts: dict[str, str] = {}
    with gzip.open(data / "texts/film_oneliners.jsonl.gz", "rt", encoding="utf-8") as file:
        for film in map(json.loads, file):
            if film.get("movieId"):
                texts.setdefault(str(film["movieId"]), film["text"])
    films = pl.read_csv(data / "movielens-small/movies.csv", infer_schema=False)
    return films.with_columns(text=pl.col("movieId").replace_strict(texts, default=None))


def run(command: str) -> None:
    """Print and run a command; stop where it fails."""
    print(f"\n$ vecspeak {command}", flush=True)
    if code := vecspeak(shlex.split(command)):
        raise SystemExit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    folder: Path = args.folder
    folder.mkdir(parents=True, exist_ok=True)
    items, users, model = folder / "items.lance", folder / "users.lance", folder / "run/model"
    if not users.exists():
        film_table(args.data).write_parquet(folder / "movies.parquet")
        ratings = args.data / "movielens-small/ratings.csv"
        run(f"space factorise {ratings} {items} {users} --entities {folder / 'movies.parquet'}")
    if not model.exists():
        (folder / "tasks.toml").write_text(TASKS, encoding="utf-8")
        (folder / "items.toml").write_text(CONFIG, encoding="utf-8")
        run(f"train {folder / 'items.toml'} --run {folder / 'run'}" + (" --resume" * (folder / "run").exists()))
    run(f"gaps {model} {users}")
    run(f"label {model} --out {folder / 'labels.parquet'} --count 16 --guidance 1")


if __name__ == "__main__":
    main()
