"""Measure a model of graph vectors: the answers are judged by a text encoder that never saw those vectors.

    python measure.py run/model graph.lance senses.lance

`vecspeak evaluate` judges answers in the model's own space, by the encoder that made it. None made this one. So the
encoder's vectors of the same senses' definitions, senses.lance, are the judge: is the answer nearer to the right
definition than to those of the other held-out senses?

One control is added: vectors shuffled only among the senses of one lexical file (plants with plants, acts with acts),
which leaves a model that knows no more than the file without any gap.
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import vecspeak as vs
from vecspeak.bundled import open_model
from vecspeak.evaluate import evaluate
from vecspeak.examples import make_examples
from vecspeak.metrics import Interval, derangement, mean_interval, vector_use
from vecspeak.report import Report
from vecspeak.tasks import TaskSet, load_tasks


def judged(elm: vs.Elm, space: vs.Space, judge: vs.Space, tasks: TaskSet, *, limit: int | None) -> Report:
    # chosen by what the point adds to an answer's likelihood: no encoder reads these vectors
    best = elm.decoding.but(best_of=8, chosen_by="support")
    return evaluate(
        elm, space, tasks, judge=judge, decodings={"greedy": elm.decoding, "best of 8": best}, limit=limit,
        samples=10, progress=lambda what, done, total: print(f"[{done + 1}/{total}] {what}", flush=True),
    )  # fmt: skip


def use_within_files(elm: vs.Elm, space: vs.Space, tasks: TaskSet) -> Interval:
    """How much more the test definitions cost with the vector of another sense of the same file, nats per token."""
    file_of, side_of = (dict(zip(space.ids, space.column(name), strict=True)) for name in ("lexfile", "split"))
    examples = make_examples(space, tasks, ids=[id for id in space.ids if side_of[id] == "test"])
    rows_of = defaultdict(list)
    for row, example in enumerate(examples):
        rows_of[file_of[example.ids[0]]].append(row)
    swaps = {
        rows[i]: rows[j]
        for rows in rows_of.values()
        if len(rows) > 1
        for i, j in enumerate(derangement(len(rows), seed=0))
    }
    right_N = elm.loss([examples[row] for row in swaps])
    other_N = elm.loss([replace(examples[row], points=examples[other].points) for row, other in swaps.items()])
    return mean_interval(vector_use(right_N, other_N), seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a model of graph vectors.")
    parser.add_argument("model", help="folder of the trained model")
    parser.add_argument("space", type=Path, help="graph.lance")
    parser.add_argument("judge", type=Path, help="senses.lance of ../word-senses")
    parser.add_argument("--tasks", type=Path, default=Path("tasks.toml"))
    parser.add_argument("--out", type=Path, default=Path("results.md"))
    parser.add_argument("--limit", type=int, help="ask about the first so many only")
    given = parser.parse_args()
    elm, tasks = open_model(given.model, given.space), load_tasks(given.tasks)
    assert elm.space is not None
    use = use_within_files(elm, elm.space, tasks)
    gap = f"{use.value:.3f} [{use.low:.3f}, {use.high:.3f}]"
    told = f"Gap to vectors shuffled within a lexical file: **{gap}** nats per token."
    print(told, flush=True)
    report = judged(elm, elm.space, vs.Space.open(given.judge), tasks, limit=given.limit)
    given.out.write_text(f"{report.to_markdown()}\n{told}\n", encoding="utf-8")
    print(f"written: {given.out}")


if __name__ == "__main__":
    main()
