"""Measure what ships: bits per character of the base, and the film model on the 90 test films.

    python pocket/report.py ../shared/data docs

Writes docs/results-best-of.md (summary and description, best of 8 beside the others) and docs/results.md (all
tasks, greedy and as the model answers by itself); prints the bits per character for docs/pocket.md.
"""

import argparse
from pathlib import Path

from base import bits_per_character
from corpus import held_out, passages

from vecspeak import load_bundled, load_tasks
from vecspeak.evaluate import evaluate, usual_decodings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("docs", type=Path)
    args = parser.parse_args()
    elm, tasks = load_bundled(), load_tasks("films")
    assert elm.space is not None
    found = passages(args.data)
    for source in ("oneliners", "extracts", "reviews"):
        texts = [passage.text for passage in found if passage.source == source and held_out(passage)][:200]
        bits = bits_per_character(elm.base, elm.tokenizer, texts)
        print(f"{source}: {bits:.3f} bits per character on {len(texts)} texts held out", flush=True)

    def tell(what: str, done: int, total: int) -> None:
        print(f"[{done + 1}/{total}] {what}", flush=True)

    chosen = {name: tasks[name] for name in ("summary", "description")}
    usual = usual_decodings(elm)
    for name, asked, decodings in (
        ("results-best-of", chosen, usual),
        ("results", tasks, {name: usual[name] for name in ("greedy", "own")}),
    ):
        report = evaluate(elm, elm.space, asked, decodings=decodings, progress=tell)
        (args.docs / f"{name}.md").write_text(report.to_markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
