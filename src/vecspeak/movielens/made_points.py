"""The paper's Fig. 3, 4 and 5, with the first seed's models."""

import os
from math import nan
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from vecspeak.bundled import bundled_space_path
from vecspeak.concepts import Concept, load_concepts
from vecspeak.encode import DEFAULT_ENCODER, Encoder
from vecspeak.factors import Ratings
from vecspeak.movielens import points
from vecspeak.movielens.data import Data
from vecspeak.movielens.endpoint import endpoint
from vecspeak.movielens.models import OWN, load_model
from vecspeak.movielens.results import Blend, Push, Way
from vecspeak.movielens.settings import Settings
from vecspeak.movielens.spaces import user_key, user_sides
from vecspeak.space import Space
from vecspeak.store import load_base
from vecspeak.tasks import load_tasks

BLENDED_FILMS, FOLLOWED_FILMS, PUSHED_USERS = 45, 20, 20
FOLLOWED_CONCEPTS = ("animated", "funny", "romantic", "scary")
"""Those of the paper's Fig. 4; scary for its terrifying."""


class MadePoints(BaseModel):
    """What `make_points` found; fields of `Results`."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    blends: tuple[Blend, ...]
    paths: tuple[Way, ...]
    pushes: tuple[Push, ...]
    push_random: float
    push_teacher: float


def make_points(settings: Settings, out: Path, data: Data, encoder: Encoder) -> MadePoints:
    """The paper's Fig. 3, 4 and 5 with the first seed's models."""
    elm, tasks = load_model(out, "films", seed=0), load_tasks("films")
    corpus = Space.open(out / "corpus.lance")
    asked = [id for id, side in zip(corpus.ids, corpus.column("split"), strict=True) if side == "test"]
    anchor = most_rated(data.release.ratings, corpus)
    base, tokenizer = load_base(settings.base)
    rivals = {points.SAME_BASE: points.text_only(base, tokenizer, OWN), **remote_rivals(settings)}
    blends = points.film_blends(elm, encoder, tasks, asked[:BLENDED_FILMS], anchor, rivals, seed=0)
    concepts = bundled_concepts() if settings.encoder == DEFAULT_ENCODER else []
    paths = points.film_paths(elm, encoder, tasks, asked[:FOLLOWED_FILMS], anchor, concepts, seed=0)
    sides = user_sides(sorted(data.profiles))
    elm, space = load_model(out, "behavioural", seed=0), Space.open(out / "behavioural.lance")
    users = [user_key(user) for user, side in sides.items() if side == "test" and user_key(user) in set(space.ids)]
    if not users:
        return MadePoints(blends=tuple(blends), paths=tuple(paths), pushes=(), push_random=nan, push_teacher=nan)
    task, tastes = load_tasks("user")["user_profile"], points.Tastes.of(space, corpus)
    blends += points.user_blends(elm, encoder, task, users, tastes, rivals, seed=0)
    pushes, by_chance, teacher = points.user_pushes(
        elm, encoder, task, users[:PUSHED_USERS], tastes, points.genre_concepts(space), seed=0
    )
    return MadePoints(
        blends=tuple(blends), paths=tuple(paths), pushes=tuple(pushes), push_random=by_chance, push_teacher=teacher
    )


def remote_rivals(settings: Settings) -> dict[str, points.TextOnly]:
    """The base behind an endpoint under its name in the report, where one is given."""
    if settings.rival_url is None or settings.rival_model is None:
        return {}
    ask = endpoint(settings.rival_url, settings.rival_model, key=os.environ.get("OPENAI_API_KEY"))
    return {f"text only, {settings.rival_model}": ask}


def most_rated(ratings: Ratings, corpus: Space) -> str:
    """The training film with the most ratings: the paper's second film is one, too (Forrest Gump)."""
    counts = dict(zip(ratings.item_ids, np.bincount(ratings.items_R).tolist(), strict=True))
    sides = zip(corpus.ids, corpus.column("split"), strict=True)
    return max((id for id, side in sides if side == "train"), key=lambda id: counts.get(id, 0))


def bundled_concepts() -> list[Concept]:
    """Of the bundled film space, whose vectors are the corpus's."""
    found = load_concepts(Space.open(bundled_space_path()))
    return [concept for name, concept in found.items() if name in FOLLOWED_CONCEPTS]
