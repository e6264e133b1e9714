"""The whole experiment, step by step; what a step has written is not made again.

OUT/semantic.lance, behavioural.lance, profiles.lance   the spaces, with the split
OUT/films-0/, behavioural-0/                             run folders of the models, one a seed
OUT/steps/                                               what each finished step found, with its time
OUT/report/                                              report.html, report.md, report.json
"""

import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from math import nan
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from vecspeak.bundled import bundled_space_path
from vecspeak.concepts import Concept, load_concepts
from vecspeak.decoding import Decoding
from vecspeak.elm import Elm
from vecspeak.encode import DEFAULT_ENCODER, Encoder, load_encoder
from vecspeak.errors import ConfigError
from vecspeak.evaluate import evaluate, usual_decodings
from vecspeak.factors import Ratings, factorise
from vecspeak.maps import check_map, map_layout, pca_layout, tsne_layout, unit_square
from vecspeak.movielens import points
from vecspeak.movielens.behaviour import FilmBehaviour, UserBehaviour
from vecspeak.movielens.endpoint import endpoint
from vecspeak.movielens.pages import write_report
from vecspeak.movielens.predictors import predictors
from vecspeak.movielens.release import Release, read_release
from vecspeak.movielens.results import Blend, Dot, Predictor, Push, Results, Shown, StepTaken, Way
from vecspeak.movielens.spaces import (
    Profile,
    held_out_ratings,
    make_behavioural_space,
    make_corpus_space,
    make_profile_space,
    make_semantic_space,
    read_profiles,
    user_key,
    user_sides,
)
from vecspeak.movielens.texts import all_texts, corpus_films
from vecspeak.report import Report
from vecspeak.space import Space
from vecspeak.stages import Progress, Stage
from vecspeak.store import load, load_base
from vecspeak.tasks import load_tasks
from vecspeak.training import TrainConfig, train

OWN = Decoding(guidance=0.5, frequency_penalty=0.6)
"""How the models are asked beside greedily; the bundled film model's, chosen on validation films."""
DESCRIBE = """
[[task]]
name = "describe"
slots = ["film"]
target = "{text}"
prompts = ["Describe {film}.", "What is {film} about?", "Tell me about {film} in a sentence.", "What film is {film}?"]
"""
"""For the films that have a text of their own only."""

SETTINGS = "settings.json"
SIDES = ("train", "validation", "test")
SAMPLES = 760
"""Answers the report keeps: 40 of each of the 19 one-film tasks, as many as the paper gave to its raters."""
BLENDED_FILMS, FOLLOWED_FILMS, PUSHED_USERS = 45, 20, 20
FOLLOWED_CONCEPTS = ("animated", "funny", "romantic", "scary")
"""Those of the paper's Fig. 4; scary for its terrifying."""
LAYOUTS = {"UMAP": map_layout, "t-SNE": tsne_layout, "PCA": pca_layout}

Found = TypeVar("Found")


class Settings(BaseModel):
    """What the experiment is run with; kept with it, as a run goes on only with the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    """The release."""
    texts: tuple[Path, ...] = ()
    """Tables of texts, joined by movieId or imdbId."""
    profiles: Path | None = None
    """User profiles; those of the package where they fit the release."""
    base: str = "pocket"
    encoder: str = DEFAULT_ENCODER
    tune: Literal["all", "lora"] = "all"
    """What stage two trains besides the adapter."""
    align_steps: int = Field(default=60, gt=0)
    tune_steps: int = Field(default=100, gt=0)
    batch_size: int = Field(default=64, gt=0)
    factors: int = Field(default=48, gt=0)
    seeds: int = Field(default=1, gt=0, le=10)
    """Models trained with as many seeds; the report gives the spread."""
    films_of_behaviour: bool = False
    """Ask the 24 questions of films' behavioural vectors too."""
    rival_url: str | None = None
    """An OpenAI-compatible endpoint of a base without vectors to compare with; its key is in OPENAI_API_KEY."""
    rival_model: str | None = None
    """Its name there."""

    @model_validator(mode="after")
    def _rival_is_whole(self) -> "Settings":
        if (self.rival_url is None) != (self.rival_model is None):
            raise ValueError("rival_url and rival_model go together: where to ask, and which model is to answer")
        return self


@dataclass(frozen=True)
class Told:
    """Where the run tells what it does."""

    event: Callable[[str], None]
    step: Callable[[Progress], None]


def run_experiment(settings: Settings, out: Path, told: Told) -> Results:
    """From the release's folder to OUT/report; run again after an interruption it goes on.

    Raises:
        ConfigError: OUT holds an experiment with other settings, or a library that the report needs is missing.
        ModelError: the rival's endpoint does not answer.
        SpaceError: what `read_release` and the spaces refuse.
    """
    check_map()
    _check_settings(settings, out)
    if not (out / "steps/made points.json").is_file():
        for ask in remote_rivals(settings).values():
            ask(["Say yes."])
    data = Data.read(settings)
    _keep_settings(settings, out)
    steps = Steps(out / "steps", told.event)
    for note in data.notes:
        told.event(note)
    encoder = load_encoder(settings.encoder)
    notes = (*data.notes, *make_spaces(settings, out, steps, data, encoder))
    told.event(", ".join(f"{count:,} {what}" for what, count in data.counts.items()))
    films, users, behavioural = [], [], []
    for seed in range(settings.seeds):
        train_models(settings, out, steps, told, seed=seed)
        films.append(steps.once(f"film answers-{seed}", partial(judge_films, out, data, told, seed=seed), Report))
        if data.profiles:
            users.append(steps.once(f"user answers-{seed}", partial(judge_users, out, data, told, seed=seed), Report))
        if settings.films_of_behaviour:
            step = f"answers from behaviour-{seed}"
            behavioural.append(steps.once(step, partial(judge_behavioural, out, data, told, seed=seed), Report))
    made = steps.once("made points", lambda: make_points(settings, out, data, encoder), MadePoints)
    dots = steps.once("maps", lambda: make_maps(Space.open(out / "semantic.lance")), tuple[Dot, ...])
    best, worst = best_and_worst(films[0])
    results = Results(
        release=data.release.name,
        base=settings.base,
        encoder=settings.encoder,
        seeds=tuple(range(settings.seeds)),
        counts=data.counts,
        notes=notes,
        steps=steps.taken(),
        predictors=steps.found("held-out ratings", tuple[Predictor, ...]),
        films=tuple(films),
        users=tuple(users),
        behavioural=tuple(behavioural),
        best=best,
        worst=worst,
        dots=dots,
        **dict(made),
    )
    write_report(results, out / "report")
    return results


@dataclass(frozen=True)
class Data:
    """The release as read and split."""

    release: Release
    training: Ratings
    held_out: Ratings
    texts: dict[str, list[str]]
    """Film -> its texts in the tables given."""
    profiles: dict[str, Profile]
    notes: tuple[str, ...]

    @staticmethod
    def read(settings: Settings) -> "Data":
        release = read_release(settings.folder)
        texts, text_notes = all_texts(settings.texts, release.films)
        profiles, profile_notes = read_profiles(settings.profiles, release.ratings)
        held_R = held_out_ratings(release.ratings, seed=0)
        training, held_out = release.ratings.part(~held_R), release.ratings.part(held_R)
        notes = release.notes + text_notes + profile_notes
        return Data(release, training, held_out, texts, profiles, notes)

    @property
    def counts(self) -> dict[str, int]:
        """What there is and how it was split."""
        sides = Counter(user_sides(sorted(self.profiles)).values())
        films = Counter(row["split"] for row in corpus_films(self.release.films)[0].values())
        return {
            "ratings": len(self.release.ratings.values_R),
            "of them held out": len(self.held_out.values_R),
            "films": len(self.release.films),
            "rated often enough": len(self.release.ratings.item_ids),
            "users": len(self.release.ratings.user_ids),
            **{f"films with the corpus's texts, {side}": films[side] for side in SIDES},
            **{f"users with a profile, {side}": sides[side] for side in SIDES if sides},
        }


class MadePoints(BaseModel):
    """What `make_points` found; fields of `Results`."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    blends: tuple[Blend, ...]
    paths: tuple[Way, ...]
    pushes: tuple[Push, ...]
    push_random: float
    push_teacher: float


def judge_films(out: Path, data: Data, told: Told, *, seed: int) -> Report:
    """The film model asked about held-out films."""
    films = Space.open(out / "semantic.lance")
    return evaluate(
        load_model(out, "films", seed=seed),
        films,
        load_tasks("films"),
        judge=Space.open(out / "corpus.lance"),
        behaviour=FilmBehaviour.of(data.release.ratings, Space.open(out / "corpus.lance")),
        answers=out / "answers" / f"films-{seed}",
        samples=SAMPLES,
        progress=_counted(told),
    )


def judge_users(out: Path, data: Data, told: Told, *, seed: int) -> Report:
    """The behavioural model asked about held-out users, judged by ratings that their vectors were not made from."""
    elm = load_model(out, "behavioural", seed=seed)
    behaviour = UserBehaviour.of(
        replace(data.held_out, user_ids=[user_key(user) for user in data.held_out.user_ids]),
        Space.open(out / "corpus.lance"),
        rated_before=replace(data.training, user_ids=[user_key(user) for user in data.training.user_ids]),
        left_out={user_key(user): profile.films for user, profile in data.profiles.items()},
    )
    return evaluate(
        elm,
        Space.open(out / "behavioural.lance"),
        load_tasks("user"),
        judge=Space.open(out / "profiles.lance"),
        behaviour=behaviour,
        decodings=without_vectors_of_text(elm),
        answers=out / "answers" / f"users-{seed}",
        samples=SAMPLES,
        progress=_counted(told),
    )


def judge_behavioural(out: Path, data: Data, told: Told, *, seed: int) -> Report:
    """The behavioural model asked the 24 questions about held-out films, judged where their texts lie."""
    elm = load_model(out, "behavioural", seed=seed)
    return evaluate(
        elm,
        Space.open(out / "behavioural.lance"),
        load_tasks("films"),
        judge=Space.open(out / "corpus.lance"),
        behaviour=FilmBehaviour.of(data.release.ratings, Space.open(out / "corpus.lance")),
        decodings=without_vectors_of_text(elm),
        answers=out / "answers" / f"behavioural-{seed}",
        progress=_counted(told),
    )


def without_vectors_of_text(elm: Elm) -> dict[str, Decoding]:
    """Greedy and the model's own: no encoder made its vectors, so nothing can choose the best of several answers."""
    return {name: decoding for name, decoding in usual_decodings(elm).items() if decoding.best_of == 1}


def load_model(out: Path, name: str, *, seed: int) -> Elm:
    """A trained model with its space; it answers as OWN unless told otherwise."""
    space = Space.open(out / ("semantic.lance" if name == "films" else "behavioural.lance"))
    elm = load(out / f"{name}-{seed}" / "model", space=space)
    elm.decoding = OWN
    return elm


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


def make_maps(films: Space) -> tuple[Dot, ...]:
    """Every film with a text, laid out three ways."""
    vectors_NE = np.stack([films[id].vector for id in films.ids])
    places = {name: unit_square(layout(vectors_NE)) for name, layout in LAYOUTS.items()}
    columns = (films.column("title"), films.column("genres"), films.column("split"))
    return tuple(
        Dot(
            title=title,
            genre=genres[0] if genres else "none",
            side=side,
            places={name: (float(x), float(y)) for name, (x, y) in ((n, p[row]) for n, p in places.items())},
        )
        for row, (title, genres, side) in enumerate(zip(*columns, strict=True))
    )


def best_and_worst(report: Report, *, count: int = 5) -> tuple[tuple[Shown, ...], tuple[Shown, ...]]:
    """The most and the least consistent of the model's own answers among the report's samples, each film once."""
    shown = [
        Shown(task=s.task, id=s.id, title=s.title or s.id, text=a.text, target=s.target, consistency=a.consistency)
        for s in report.samples
        for a in s.answers
        if a.decoding == "own"
    ]
    shown.sort(key=lambda answer: -answer.consistency)
    return _each_once(shown)[:count], _each_once(shown[::-1])[:count]


def _each_once(shown: Sequence[Shown]) -> tuple[Shown, ...]:
    return tuple({answer.id: answer for answer in reversed(shown)}[id] for id in dict.fromkeys(a.id for a in shown))


def _counted(told: Told) -> Callable[[str, int, int], None]:
    return lambda what, done, total: told.event(f"[{done + 1}/{total}] {what}")


class Steps:
    """Steps done and what they found, each kept in a file of its own."""

    def __init__(self, folder: Path, event: Callable[[str], None]) -> None:
        self.folder = folder
        self._event = event

    def once(self, name: str, make: Callable[[], Found], kind: type[Found]) -> Found:
        """What the step found, now or before. `kind` is anything pydantic can write as JSON."""
        path = self.folder / f"{name}.json"
        if path.is_file():
            return self.found(name, kind)
        self._event(name)
        began = time.monotonic()
        found = make()
        step = StepTaken(name=name, seconds=time.monotonic() - began, peak_gib=peak_gib())
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = {"step": step.model_dump(), "found": json.loads(TypeAdapter(kind).dump_json(found))}
        new = path.with_suffix(".new")
        new.write_text(json.dumps(whole, indent=1), encoding="utf-8")
        new.rename(path)
        self._event(f"{name}: {step.seconds / 60:.1f} min, peak {step.peak_gib:.1f} GiB")
        return found

    def found(self, name: str, kind: type[Found]) -> Found:
        """What a finished step found."""
        adapter = TypeAdapter(kind)
        return adapter.validate_json(json.dumps(json.loads((self.folder / f"{name}.json").read_text("utf-8"))["found"]))

    def taken(self) -> tuple[StepTaken, ...]:
        """The finished steps in the order in which they ended."""
        files = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        return tuple(StepTaken.model_validate(json.loads(path.read_text("utf-8"))["step"]) for path in files)


def peak_gib() -> float:
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def make_spaces(settings: Settings, out: Path, steps: Steps, data: Data, encoder: Encoder) -> tuple[str, ...]:
    """The spaces, in `out`; returns notes on what they leave out."""

    def semantic() -> tuple[str, ...]:
        return make_semantic_space(data.release, data.texts, encoder, out / "semantic.lance")[1]

    def behavioural() -> tuple[str, ...]:
        films = Space.open(out / "semantic.lance")
        path = out / "behavioural.lance"
        return make_behavioural_space(data.release, data.training, factors, data.profiles, films, path, seed=0)[1]

    notes = steps.once("semantic vectors", semantic, tuple[str, ...])
    if not (out / "steps/behavioural vectors.json").is_file():
        factors = factorise(data.training, factors=settings.factors)
        steps.once("held-out ratings", lambda: predictors(data.training, data.held_out, factors), tuple[Predictor, ...])
    notes += steps.once("behavioural vectors", behavioural, tuple[str, ...])
    if not (out / "corpus.lance").exists():
        make_corpus_space(Space.open(out / "semantic.lance"), out / "corpus.lance")
    if data.profiles and not (out / "profiles.lance").exists():
        make_profile_space(data.profiles, encoder, out / "profiles.lance")
    return notes


def train_models(settings: Settings, out: Path, steps: Steps, told: Told, *, seed: int) -> None:
    """The film model and the behavioural model of one seed."""
    tasks = {"films": _task_file(out, "films"), "behavioural": _task_file(out, "films", "user")}
    for name, space in (("films", "semantic.lance"), ("behavioural", "behavioural.lance")):
        run = out / f"{name}-{seed}"
        config = train_config(settings, out / space, tasks[name], seed=seed)

        def learn(config: TrainConfig = config, run: Path = run) -> None:
            train(config, run, resume=(run / "config.json").is_file(), on_step=told.step, on_event=told.event)

        steps.once(f"training {name}-{seed}", learn, type(None))


def train_config(settings: Settings, space: Path, tasks: Path, *, seed: int) -> TrainConfig:
    """Two stages, as the paper's."""
    muon = settings.tune == "all"
    return TrainConfig(
        space=space,
        base=settings.base,
        tasks=str(tasks),
        seed=seed,
        stages=(
            Stage(name="align", train="adapter", steps=settings.align_steps, batch_size=settings.batch_size,
                  bag_loss=0.05, checkpoint_every=20),
            Stage(name="tune", train=settings.tune, steps=settings.tune_steps, batch_size=settings.batch_size,
                  lr=1.5e-4 if muon else 2e-4, adapter_lr=1.2e-3, optimizer="muon" if muon else "adamw",
                  bag_loss=0.05, decay=0.9, checkpoint_every=20),
        ),
    )  # fmt: skip


def _task_file(out: Path, *sets: str) -> Path:
    """The bundled sets and the one-line description, as one file."""
    folder = resources.files("vecspeak").joinpath("data/tasks")
    path = out / f"{'-'.join(sets)}.toml"
    path.write_text("\n".join(folder.joinpath(f"{name}.toml").read_text("utf-8") for name in sets) + DESCRIBE, "utf-8")
    return path


def _check_settings(settings: Settings, out: Path) -> None:
    path, told = out / SETTINGS, _as_kept(settings)
    if path.is_file():
        before: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if other := [key for key in told if told[key] != before.get(key)]:
            raise ConfigError(
                f"{out} holds an experiment with another {other[0]} ({before.get(other[0])}). "
                "Use that, or another folder with --out."
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} holds other things. Name an empty or new folder with --out.")


def _keep_settings(settings: Settings, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    new = out / f".{SETTINGS}.new"
    new.write_text(json.dumps(_as_kept(settings), indent=2) + "\n", encoding="utf-8")
    new.rename(out / SETTINGS)


def _as_kept(settings: Settings) -> dict[str, Any]:
    """With whole paths, so that the same command from another folder is another."""
    told = settings.model_dump(mode="json")
    for key in ("folder", "profiles"):
        told[key] = told[key] and str(Path(told[key]).resolve())
    return {**told, "texts": [str(text.resolve()) for text in settings.texts]}
