"""The concept "living thing": fitted on training nouns, tested on held-out ones, and by pushing them along it.

    python living.py run/model

Held-out nouns that are no living things are pushed towards it and along a random direction of the same length, and
defined. A judge that knows words alone, TF-IDF and logistic regression on the training nouns' definitions, says which
definitions are of a living thing. Shapes: N definitions, E dimensions.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import Pipeline, make_pipeline

import vecspeak as vs
from vecspeak.answers import Question
from vecspeak.bundled import open_model
from vecspeak.concepts import concept_folder, save_concept
from vecspeak.metrics import mean_interval
from vecspeak.space import Direction

STRENGTHS = (0.0, 1.0, 2.0, 3.0)
PROMPT = "Define {sense}."


@dataclass(frozen=True)
class Nouns:
    """The nouns of one side."""

    living: Sequence[str]
    other: Sequence[str]

    @staticmethod
    def of(space: vs.Space, *sides: str) -> "Nouns":
        rows = list(zip(space.ids, space.column("living"), space.column("split"), strict=True))
        told = {
            answer: [id for id, living, side in rows if living == answer and side in sides] for answer in ("yes", "no")
        }
        return Nouns(told["yes"], told["no"])

    def texts(self, space: vs.Space) -> tuple[list[str], np.ndarray]:
        """N definitions, and (N,) whether each is of a living thing."""
        texts = [row["text"] for row in space.rows([*self.living, *self.other])]
        return texts, np.arange(len(texts)) < len(self.living)


def word_judge(space: vs.Space, training: Nouns) -> Pipeline:
    """Tells definitions of living things from others by their words."""
    texts, living_N = training.texts(space)
    # both kinds weigh the same: there are more of the others
    judge = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, class_weight="balanced"))
    return judge.fit(texts, living_N)


def random_like(concept: Direction) -> Direction:
    """A direction as long as the concept's step."""
    drawn_E = np.random.default_rng(0).normal(size=len(concept.step_E))
    length = float(np.linalg.norm(concept.step_E))
    return replace(Direction("random", concept.step_E), step_E=(drawn_E / np.linalg.norm(drawn_E) * length))


def pushed(elm: vs.Elm, ids: Sequence[str], direction: Direction, strength: float) -> list[str]:
    """What the model says of senses after a push."""
    assert elm.space is not None
    questions = [Question(PROMPT, {"sense": elm.space[id].steer(direction, strength)}) for id in ids]
    return [answer.text for answer in elm.ask_many(questions, decoding=elm.decoding.but(max_tokens=40))]


def steering_table(elm: vs.Elm, ids: Sequence[str], concept: vs.Concept, judge: Pipeline) -> tuple[str, list[str]]:
    """Markdown: the share judged living at each strength. And a few answers as they come, pushed and not."""
    lines = ["| push | towards living thing | along a random direction |", "|---:|---|---|"]
    shown = [elm.space.row(id)["title"] for id in ids[:5]] if elm.space else []
    for strength in STRENGTHS:
        cells = []
        for direction in (concept, random_like(concept)):
            texts = pushed(elm, ids, direction, strength)
            found = mean_interval(judge.predict(texts).astype(float), seed=0)
            cells.append(f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]")
            if direction is concept and strength in (STRENGTHS[0], STRENGTHS[-1]):
                shown = [f"{before} | {text}" for before, text in zip(shown, texts, strict=False)]
        lines.append(f"| {strength:g} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines), [f"| {line} |" for line in shown]


def main() -> None:
    parser = argparse.ArgumentParser(description="The concept living thing: fitted, tested, pushed along.")
    parser.add_argument("model", help="folder of the trained model")
    parser.add_argument("--out", type=Path, default=Path("living.md"))
    parser.add_argument("--count", type=int, default=60, help="held-out nouns to push")
    given = parser.parse_args()
    elm = open_model(given.model, None)
    space = elm.space
    assert space is not None
    training, held = Nouns.of(space, "train"), Nouns.of(space, "validation", "test")
    concept = vs.Concept.fit(space, training.living, training.other, name="living_thing")
    save_concept(concept, concept_folder(space))
    order = concept.agreement(space, [(more, less) for more in held.living for less in held.other])
    judge = word_judge(space, training)
    texts, living_N = held.texts(space)
    right = balanced_accuracy_score(living_N, judge.predict(texts))
    told = (
        f'Fitted on {len(training.living):,} nouns below "living thing" against {len(training.other):,} others: '
        f"{concept.quality}.\n\n"
        f"Of {len(held.living)} x {len(held.other)} pairs of held-out nouns it puts the living one ahead in "
        f"{order:.3f} (chance 0.5).\n\n"
        f"The judge of words is right on {right:.2f} of the held-out definitions (balanced; chance 0.5)."
    )
    print(told, flush=True)
    table, shown = steering_table(elm, held.other[: given.count], concept, judge)
    parts = [
        "# The concept \"living thing\"", told,
        f"Share of {min(given.count, len(held.other))} held-out nouns, none of them living, whose definition the judge "
        "takes for that of a living thing, with a 95 % bootstrap interval:", table,
        "The first five, as they are:",
        "\n".join([f"| sense | pushed by {STRENGTHS[0]:g} | by {STRENGTHS[-1]:g} |", "|---|---|---|", *shown]),
    ]  # fmt: skip
    given.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"written: {given.out}")


if __name__ == "__main__":
    main()
