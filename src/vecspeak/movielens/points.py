"""Points no entity has: between two, pushed along a concept (the paper's Fig. 3, 4 and 5), and what a base without
vectors makes of the same questions.

Shapes: N texts, F films that profiles put in order, S steps of a push.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from vecspeak import metrics
from vecspeak.answers import Question
from vecspeak.concepts import Concept
from vecspeak.decoding import Decoder, Decoding, Row, run
from vecspeak.elm import Elm
from vecspeak.encode import Encoder
from vecspeak.errors import ConceptError
from vecspeak.metrics import Interval
from vecspeak.movielens.results import FROM_VECTOR, Blend, Push, Way
from vecspeak.prompts import end_token, render
from vecspeak.space import Point, Space
from vecspeak.tasks import Task, TaskSet, as_text

BLENDED = ("summary", "positive_review", "negative_review", "neutral_review", "five_positive", "description", "pitch")
"""Tasks of the paper's Fig. 3."""
FOLLOWED = ("five_positive", "description")
"""Tasks of the paper's Fig. 4."""
SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
STRENGTHS = (0.0, 1.0, 2.0, 3.0)
FARTHEST = 2.0
"""Strength of a concept at the end of a path: share 1."""
FEWEST_FILMS = 30
"""Films of a genre below which it gives no concept."""
READ_WORDS = 120
"""Of each text that a base without vectors is given: two such and an answer fit 512 positions."""
SAME_BASE = "text only, same base"
OWN_TEXTS = "the two ends' own texts"

TextOnly = Callable[[Sequence[str]], list[str]]
"""Prompts without vectors -> answers."""


@dataclass(frozen=True)
class Tastes:
    """What profiles of made users are judged by: the order that the factorisation predicts of some films."""

    factors_FE: NDArray[np.float64]
    """Of the films, with their length, so that the product with a user's vector predicts liking."""
    semantic_FE: NDArray[np.float64]
    """Of the same films, unit rows."""

    @staticmethod
    def of(behavioural: Space, films: Space) -> "Tastes":
        ids = [id for id in films.ids if id in set(behavioural.ids)]
        lengths = dict(zip(behavioural.ids, behavioural.column("length"), strict=True))
        return Tastes(
            np.stack([behavioural[id].vector * lengths[id] for id in ids]).astype(np.float64),
            metrics.unit_rows([films[id].vector for id in ids]),
        )

    def ndcg(self, texts_NE: NDArray[np.float32], users: Sequence[Point]) -> NDArray[np.float64]:
        """(N,) of the films by nearness to each text, gains the liking predicted for the user, none below 0."""
        scores_NF = metrics.unit_rows(texts_NE) @ self.semantic_FE.T
        return np.array([metrics.ndcg(s, self._gains(u)) for s, u in zip(scores_NF, users, strict=True)])

    def random(self, users: Sequence[Point]) -> NDArray[np.float64]:
        """What an order by chance reaches on average: all films tied."""
        return np.array([metrics.ndcg(np.zeros(len(self.factors_FE)), self._gains(user)) for user in users])

    def _gains(self, user: Point) -> NDArray[np.float64]:
        return np.maximum(self.factors_FE @ user.vector.astype(np.float64), 0)


def text_only(base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, decoding: Decoding) -> TextOnly:
    """The base asked in words alone, decoded as the model is, but for guidance, which needs a vector."""
    plain = decoding.but(guidance=0.0)
    base.eval()

    def row(text: str) -> Row:
        prompt = render(tokenizer, text.replace("{", "{{").replace("}", "}}"), 1)
        with torch.inference_mode():
            return Row(base.get_input_embeddings()(torch.tensor(prompt.ids, device=base.device)), plain, seed=0)

    def answer(prompts: Sequence[str]) -> list[str]:
        decoder = Decoder(base, end_token=end_token(tokenizer))
        written = dict(run(decoder, ((i, row(text)) for i, text in enumerate(prompts)), at_once=32))
        return [str(tokenizer.decode(written[i], skip_special_tokens=True)).strip() for i in range(len(prompts))]

    return answer


def film_blends(
    elm: Elm, encoder: Encoder, tasks: TaskSet, ids: Sequence[str], anchor: str, rivals: dict[str, TextOnly],
    *, seed: int,
) -> list[Blend]:  # fmt: skip
    """The middle of each film and the anchor: SC there of each source's text, for the tasks of Fig. 3."""
    assert elm.space is not None
    space, decoding = elm.space, elm.decoding
    middles = [space[id].toward(space[anchor], 0.5) for id in ids]
    vectors_NE = np.stack([point.vector for point in middles])
    blends = []
    for name in (name for name in BLENDED if name in tasks):
        task = tasks[name]
        ends = [(_text(task, space, id), _text(task, space, anchor)) for id in ids]
        sources = {FROM_VECTOR: _asked(elm, task, middles, decoding)}
        for source, answer in rivals.items():
            sources[source] = answer([_blend_prompt(task, "film", a, b) for a, b in ends])
        for source, texts in sources.items():
            sc_N = metrics.semantic_consistency(encoder.encode(texts), vectors_NE)
            blends.append(Blend(task=name, source=source, consistency=metrics.mean_interval(sc_N, seed=seed)))
        own_N = np.mean(
            [metrics.semantic_consistency(encoder.encode([e[k] for e in ends]), vectors_NE) for k in (0, 1)], axis=0
        )
        blends.append(Blend(task=name, source=OWN_TEXTS, consistency=metrics.mean_interval(own_N, seed=seed)))
    return blends


def user_blends(
    elm: Elm, encoder: Encoder, task: Task, users: Sequence[str], tastes: Tastes, rivals: dict[str, TextOnly],
    *, seed: int,
) -> list[Blend]:  # fmt: skip
    """The middle of each user and the next: NDCG on the liking predicted there."""
    assert elm.space is not None
    space = elm.space
    pairs = list(zip(users, [*users[1:], users[0]], strict=True))
    middles = [space[a].toward(space[b], 0.5) for a, b in pairs]
    ends = [(_text(task, space, a), _text(task, space, b)) for a, b in pairs]
    sources = {FROM_VECTOR: _asked(elm, task, middles, elm.decoding)}
    for source, answer in rivals.items():
        sources[source] = answer([_blend_prompt(task, "viewer", a, b) for a, b in ends])
    found = {source: tastes.ndcg(encoder.encode(texts), middles) for source, texts in sources.items()}
    found[OWN_TEXTS] = np.mean([tastes.ndcg(encoder.encode([e[k] for e in ends]), middles) for k in (0, 1)], axis=0)
    return [
        Blend(task=task.name, source=source, consistency=metrics.mean_interval(values_N, seed=seed))
        for source, values_N in found.items()
    ]


def film_paths(
    elm: Elm, encoder: Encoder, tasks: TaskSet, ids: Sequence[str], anchor: str, concepts: Sequence[Concept],
    *, seed: int,
) -> list[Way]:  # fmt: skip
    """SC along the way to the anchor, and along each concept up to FARTHEST, for the tasks of Fig. 4."""
    assert elm.space is not None
    space = elm.space
    ways: dict[str, Callable[[Point, float], Point]] = {
        "interpolation": lambda point, share: point.toward(space[anchor], share),
        **{c.name: lambda point, share, c=c: point.steer(c, share * FARTHEST) for c in concepts},
    }
    paths = []
    for name in (name for name in FOLLOWED if name in tasks):
        for way, move in ways.items():
            found = []
            for share in SHARES:
                points = [move(space[id], share) for id in ids]
                texts = _asked(elm, tasks[name], points, elm.decoding)
                sc_N = metrics.semantic_consistency(encoder.encode(texts), np.stack([p.vector for p in points]))
                found.append(metrics.mean_interval(sc_N, seed=seed))
            paths.append(Way(task=name, name=way, shares=SHARES, consistency=tuple(found)))
    return paths


def genre_concepts(behavioural: Space, *, most: int = 6) -> list[Concept]:
    """A direction for each of the commonest genres, from films that have it and films that have not."""
    columns = (behavioural.ids, behavioural.column("kind"), behavioural.column("genres"))
    films = [(id, genres or []) for id, kind, genres in zip(*columns, strict=True) if kind == "film"]
    names = sorted({genre for _, genres in films for genre in genres})
    sides = {name: [id for id, genres in films if name in genres] for name in names}
    chosen = sorted((name for name in names if len(sides[name]) >= FEWEST_FILMS), key=lambda n: -len(sides[n]))
    concepts = []
    for name in chosen:
        others = [id for id, genres in films if name not in genres]
        try:
            plain = "".join(c if c.isalnum() else "_" for c in name.lower())
            concepts.append(Concept.fit(behavioural, sides[name], others, name=plain, method="logistic"))
        except ConceptError:
            continue  # no better than chance on films left out: no direction to push along
        if len(concepts) == most:
            break
    return concepts


def user_pushes(
    elm: Elm, encoder: Encoder, task: Task, users: Sequence[str], tastes: Tastes, concepts: Sequence[Concept],
    *, seed: int,
) -> tuple[list[Push], float, float]:  # fmt: skip
    """NDCG of profiles of pushed users on the liking predicted there; by chance; of the teacher's profiles unpushed."""
    assert elm.space is not None
    space = elm.space
    still = [space[user] for user in users]
    pushes, by_chance = [], [float(tastes.random(still).mean())]
    start_N = tastes.ndcg(encoder.encode(_asked(elm, task, still, elm.decoding)), still)
    for concept in concepts:
        found: list[Interval] = [metrics.mean_interval(start_N, seed=seed)]
        for strength in STRENGTHS[1:]:
            points = [point.steer(concept, strength) for point in still]
            texts = _asked(elm, task, points, elm.decoding)
            found.append(metrics.mean_interval(tastes.ndcg(encoder.encode(texts), points), seed=seed))
            by_chance.append(float(tastes.random(points).mean()))
        pushes.append(Push(concept=concept.name, strengths=STRENGTHS, ndcg=tuple(found)))
    teacher_N = tastes.ndcg(encoder.encode([_text(task, space, user) for user in users]), still)
    return pushes, float(np.mean(by_chance)), float(teacher_N.mean())


def _asked(elm: Elm, task: Task, points: Sequence[Point], decoding: Decoding) -> list[str]:
    questions = [Question(task.prompts[0], {task.slots[0]: point}) for point in points]
    return [answer.text for answer in elm.ask_many(questions, decoding=decoding)]


def _text(task: Task, space: Space, id: str) -> str:
    return task.target_text({task.slots[0]: space.row(id)}) or as_text(space.row(id).get("title")) or ""


def _blend_prompt(task: Task, kind: str, first: str, second: str) -> str:
    """The paper's baseline: two texts in, one text about their mixture out (appendix F)."""
    first, second = (" ".join(text.split()[:READ_WORDS]) for text in (first, second))
    wish = task.prompts[0].replace("{" + task.slots[0] + "}", f"a {kind} half way between the two")
    return f"The first {kind}: {first}\nThe second {kind}: {second}\n{wish}"
