"""The models of the experiment: trained in two stages, asked about who was held out, judged."""

from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

from vecspeak.decoding import Decoding
from vecspeak.elm import Elm
from vecspeak.evaluate import evaluate, usual_decodings
from vecspeak.movielens.behaviour import FilmBehaviour, UserBehaviour
from vecspeak.movielens.data import Data
from vecspeak.movielens.settings import Settings, Told
from vecspeak.movielens.spaces import user_key
from vecspeak.movielens.steps import Steps
from vecspeak.report import Report
from vecspeak.space import Space
from vecspeak.stages import Stage
from vecspeak.store import load
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
SAMPLES = 760
"""Answers the report keeps: 40 of each of the 19 one-film tasks, as many as the paper gave to its raters."""


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


def load_model(out: Path, name: str, *, seed: int) -> Elm:
    """A trained model with its space; it answers as OWN unless told otherwise."""
    space = Space.open(out / ("semantic.lance" if name == "films" else "behavioural.lance"))
    elm = load(out / f"{name}-{seed}" / "model", space=space)
    elm.decoding = OWN
    return elm


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
    """All but what consistency would choose: no encoder made its vectors."""
    return {name: d for name, d in usual_decodings(elm).items() if d.chosen_by != "consistency"}


def _counted(told: Told) -> Callable[[str, int, int], None]:
    return lambda what, done, total: told.event(f"[{done + 1}/{total}] {what}")
