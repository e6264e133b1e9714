"""Measure a model of graph vectors: the answers are judged by a text encoder that never saw those vectors.

    python measure.py run/model graph.lance senses.lance

`vecspeak evaluate` judges answers in the model's own space, by the encoder that made it. None made this one. So the
encoder's vectors of the same senses' definitions, senses.lance, are the judge: is the answer nearer to the right
definition than to those of the other held-out senses?
"""

import argparse
from pathlib import Path

import vecspeak as vs
from vecspeak.bundled import open_model
from vecspeak.evaluate import evaluate
from vecspeak.tasks import load_tasks


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a model of graph vectors.")
    parser.add_argument("model", help="folder of the trained model")
    parser.add_argument("space", type=Path, help="graph.lance")
    parser.add_argument("judge", type=Path, help="senses.lance of ../word-senses")
    parser.add_argument("--tasks", type=Path, default=Path("tasks.toml"))
    parser.add_argument("--out", type=Path, default=Path("results.md"))
    parser.add_argument("--limit", type=int, help="ask about the first so many only")
    given = parser.parse_args()
    elm = open_model(given.model, given.space)
    assert elm.space is not None
    report = evaluate(
        elm,
        elm.space,
        load_tasks(given.tasks),
        judge=vs.Space.open(given.judge),
        # chosen by what the point adds to an answer's likelihood: no encoder reads these vectors
        decodings={"greedy": elm.decoding, "best of 8": elm.decoding.but(best_of=8, chosen_by="support")},
        limit=given.limit,
        samples=10,
        progress=lambda what, done, total: print(f"[{done + 1}/{total}] {what}", flush=True),
    )
    given.out.write_text(report.to_markdown(), encoding="utf-8")
    print(f"written: {given.out}")


if __name__ == "__main__":
    main()
