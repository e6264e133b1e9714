"""The demo: ask the bundled film model, train a fresh one, write a page. Run: vecspeak demo [--quick]"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from transformers.utils import logging

from vecspeak.bars import training_bar
from vecspeak.bundled import bundled_space_path, load_bundled
from vecspeak.concepts import load_concept
from vecspeak.elm import Elm
from vecspeak.errors import ConfigError
from vecspeak.examples import Example
from vecspeak.maps import check_map, map_layout
from vecspeak.page import Card, Curve, Entity, Page, Place, Training, distance_in_words, render
from vecspeak.sampling import Sampler
from vecspeak.space import Point, Space
from vecspeak.stages import Progress, Stage, Trainable, gate, start_adapter, train_stage
from vecspeak.tasks import load_tasks
from vecspeak.training import TrainConfig, new_elm, split_examples

HELD_OUT = ("2081", "2288", "96079")
"""Three test films, chosen for being unlike each other before any answer was seen."""

SUMMARISE = "Summarise {film}."
COMPARE = "How does {first} differ from {second}?"

BEST_OF = 8
"""Answers sampled, of which the most consistent is shown."""

PUSH, STRENGTH = "funny", 2.0
"""A bundled concept, and how many standard deviations a film is pushed along it."""

MAX_TOKENS = 100

TRAINING_SECONDS = 180
TRAINING_TASKS = ("summary", "viewer", "pitch")
"""Short texts, so that minutes are many steps."""

BATCH = 16
PACE_STEPS = 6
ALIGN_SHARE = 0.2
"""Of the time; the warm start has done most of this stage's work."""

LR, ADAPTER_LR, BAG_LOSS = 5e-4, 1.5e-3, 0.05

TUNE_COST = 1.5
"""A step of "tune" against one of "align", whose backward pass leaves out the base's weights."""

MOST_EPOCHS = 10
"""A fast machine stops there: more would learn the training films by heart."""

QUICK_STEPS = 3
QUICK_GATE = 6

_INDENT = "  "
_LINE = 88  # columns; longer lines read badly


def run_demo(*, out: Path, quick: bool, train: bool = True) -> None:
    """Ask, train and write the page, telling the terminal all along.

    Args:
        out: the HTML file to write; replaced if it is there.
        quick: train for a few steps, to see that everything works.
        train: False leaves the training out.

    Raises:
        ConfigError: the page cannot be written there, or the demo's extra packages are missing.
        ModelError, SpaceError: the installation is damaged.
    """
    _check(out)
    console = Console(highlight=False)
    had_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # they would run through ours
    try:
        elm, space = _load(console)
        held_out = _ask_held_out(console, elm, space)
        points = _made_points(space)
        made = _ask_made(console, elm, space, points)
        training = _train(console, space, quick=quick) if train else None
    finally:
        if had_bars:
            logging.enable_progress_bar()
    with console.status("Drawing the map"):
        entities, marks = _places(space, [*((space[id], _title(space, id)) for id in HELD_OUT), *points])
    page = Page(space.dimension, _size(elm), entities, marks, held_out, made, training)
    out.write_text(render(page), encoding="utf-8")
    console.print(f"\nThe map, the answers and the curves: [bold]{out.resolve().as_uri()}[/]", soft_wrap=True)


def _check(out: Path) -> None:
    """Whatever would fail minutes later fails now."""
    if out.is_dir() or not out.resolve().parent.is_dir():
        raise ConfigError(f"--out {out}: expected a file in a folder that exists.")
    check_map()


def _load(console: Console) -> tuple[Elm, Space]:
    began = time.monotonic()
    with console.status("Loading the film model"):
        elm = load_bundled()
    assert elm.space is not None
    told = f"{len(elm.space)} films, {elm.space.dimension} numbers each; a model of {_size(elm) / 1e6:.1f} M parameters"
    console.print("[bold]vecspeak[/]")
    _say(console, f"{told}, loaded in {time.monotonic() - began:.1f} s")
    return elm, elm.space


def _size(elm: Elm) -> int:
    return sum(parameter.numel() for parameter in elm.parameters())


# ---- asking


def _ask_held_out(console: Console, elm: Elm, space: Space) -> tuple[Card, ...]:
    _headline(console, "Three films it was never trained on", "It sees the vector alone, never the title.")
    cards = []
    for number, id in enumerate(HELD_OUT, 1):
        row = space.row(id)
        assert row["split"] == "test"
        title, detail = f"{row['title']} ({row['year']})", ", ".join(row["genres"])
        cards.append(_ask(console, elm, SUMMARISE, {"film": space[id]}, title=title, detail=detail, marks=(number,)))
    return tuple(cards)


def _made_points(space: Space) -> tuple[tuple[Point, str], ...]:
    """Points where no film is, and what to call them."""
    first, second, third = (space[id] for id in HELD_OUT)
    between = f"Halfway between {_title(space, HELD_OUT[0])} and {_title(space, HELD_OUT[1])}"
    pushed = f"{_title(space, HELD_OUT[2])}, pushed towards {PUSH}"
    return (first.toward(second, 0.5), between), (third.steer(load_concept(space, PUSH), STRENGTH), pushed)


def _ask_made(console: Console, elm: Elm, space: Space, made: Sequence[tuple[Point, str]]) -> tuple[Card, ...]:
    _headline(console, "Where no film is, and two at once", "Any point can be asked about: between films, or pushed.")
    cards = [
        _ask(
            console,
            elm,
            SUMMARISE,
            {"film": point},
            title=title,
            detail="a point where no film is",
            marks=(number,),
            exclude=HELD_OUT,
        )
        for number, (point, title) in enumerate(made, len(HELD_OUT) + 1)
    ]
    first, second = HELD_OUT[:2]
    compared = _ask(
        console,
        elm,
        COMPARE,
        {"first": space[first], "second": space[second]},
        title=f"{_title(space, first)} and {_title(space, second)}",
        detail="two films in one question",
        marks=(1, 2),
    )
    return (*cards, compared)


def _ask(
    console: Console,
    elm: Elm,
    prompt: str,
    points: Mapping[str, Any],
    *,
    title: str,
    detail: str,
    marks: tuple[int, ...],
    exclude: Sequence[str] = (),
) -> Card:
    """Ask, and tell how far to trust the answer."""
    words = tuple(dict.fromkeys(word for point in points.values() for word in elm.words(point, 8 // len(points))))
    console.print()
    _say(console, Text.assemble((title, "bold"), "  ", (detail, "dim")))
    _say(console, f"first words: {', '.join(words)}", "dim")
    _say(console, f"> {prompt}", "cyan")
    with console.status("Sampling answers"):
        answer = elm.ask(prompt, max_tokens=MAX_TOKENS, best_of=BEST_OF, **points)
    assert answer.consistency is not None and answer.distance is not None
    _say(console, answer.text)
    first = next(iter(points.values()))
    near = elm.space.neighbours(first, 3, exclude=exclude) if elm.space and len(points) == 1 else []
    card = Card(
        title=title,
        detail=detail,
        marks=marks,
        prompt=prompt,
        answer=answer.text,
        words=words,
        consistency=answer.consistency,
        distance=answer.distance,
        nearest=tuple(found.title or found.id for found in near),
    )
    nearest = f" · nearest: {', '.join(card.nearest)}" if card.nearest else ""
    _say(console, f"consistency {card.consistency:.2f} · {distance_in_words(card.distance)}{nearest}", "green")
    return card


def _headline(console: Console, title: str, note: str) -> None:
    console.print()
    console.rule(Text(title, "bold"), align="left", characters="─")
    console.print(Text(note, "dim"))


def _say(console: Console, text: str | Text, style: str = "") -> None:
    """Print an indented paragraph."""
    text = Text(text, style) if isinstance(text, str) else text
    console.print(Padding(text, (0, 0, 0, len(_INDENT)), expand=False), width=min(console.width, _LINE))


def _title(space: Space, id: str) -> str:
    return space.row(id)["title"]


# ---- training


def _train(console: Console, space: Space, *, quick: bool) -> Training:
    """Train a fresh Elm in two stages for about TRAINING_SECONDS, and show what it learnt."""
    minutes = "a few steps" if quick else f"about {TRAINING_SECONDS // 60} minutes"
    _headline(console, "A fresh model, trained now", f"The bundled base and a new adapter: {minutes} of training.")
    known = load_tasks("films")
    tasks = {name: known[name] for name in TRAINING_TASKS}
    with console.status("Preparing the texts"):
        examples, held_out = split_examples(space, tasks, seed=0)
        held_out = held_out[:QUICK_GATE] if quick else held_out
        elm = new_elm(TrainConfig(space=bundled_space_path()), space)
        start_adapter(elm, examples, start="random", seed=0)
    with console.status("Asking and measuring it before training"):
        film = space[HELD_OUT[0]]
        answer_before, before = _plain_answer(elm, film), gate(elm, held_out)
    curves, seconds = _train_stages(console, elm, examples, quick=quick)
    with console.status("Asking and measuring it after training"):
        answer_after, after = _plain_answer(elm, film), gate(elm, held_out)
    training = Training(
        seconds=seconds,
        examples=BATCH * sum(len(curve.losses) for curve in curves),
        curves=curves,
        before=before,
        after=after,
        held_out=len(held_out),
        title=_title(space, film.label),
        prompt=SUMMARISE,
        answer_before=answer_before,
        answer_after=answer_after,
    )
    _tell(console, training)
    return training


def _plain_answer(elm: Elm, film: Point) -> str:
    return elm.ask(SUMMARISE, max_tokens=MAX_TOKENS, film=film).text


def _train_stages(
    console: Console, elm: Elm, examples: Sequence[Example], *, quick: bool
) -> tuple[tuple[Curve, ...], float]:
    """The adapter's start and both stages, in place, within TRAINING_SECONDS; returns the curves and the seconds.

    A few steps before the start, which undoes them, tell this machine's pace and so the steps of the first
    stage; the pace of the first tells the steps of the second.
    """
    began = time.monotonic()
    most = MOST_EPOCHS * len(examples) // BATCH
    with tempfile.TemporaryDirectory(prefix="vecspeak-demo-") as run, training_bar(console) as show:

        def train_one(name: str, trained: Trainable, steps: int, *, number: int) -> _Recorder:
            steps = QUICK_STEPS if quick else max(QUICK_STEPS, min(steps, most))
            stage = Stage(name=name, train=trained, steps=steps, batch_size=BATCH, lr=LR, adapter_lr=ADAPTER_LR,
                          bag_loss=BAG_LOSS, checkpoint_every=steps)  # fmt: skip
            sampler = Sampler([examples], [1.0], BATCH, number, vector_dropout=0.1, mean_E=elm.fingerprint.mean)
            recorder = _Recorder(show)
            train_stage(elm, stage, sampler, number=number, run=Path(run), on_step=recorder.on_step)
            return recorder

        pace = train_one("pace", "adapter", PACE_STEPS, number=0)
        start_adapter(elm, examples, start="texts", seed=0)
        align = train_one("align", "adapter", int(ALIGN_SHARE * TRAINING_SECONDS / pace.seconds_per_step), number=1)
        left = TRAINING_SECONDS - (time.monotonic() - began)
        tune = train_one("tune", "all", int(left / (TUNE_COST * align.seconds_per_step)), number=2)
    curves = tuple(Curve(name, tuple(stage.losses)) for name, stage in (("align", align), ("tune", tune)))
    return curves, time.monotonic() - began


class _Recorder:
    """Keeps the losses of a stage, and its pace."""

    def __init__(self, show: Callable[[Progress], None]):
        self.losses: list[float] = []
        self._show = show
        self._times: list[float] = []

    def on_step(self, progress: Progress) -> None:
        self.losses.append(progress.loss)
        self._times.append(time.monotonic())
        self._show(progress)

    @property
    def seconds_per_step(self) -> float:
        """Without the first step, which also warms up."""
        return (self._times[-1] - self._times[0]) / (len(self._times) - 1)


def _tell(console: Console, training: Training) -> None:
    table = Table("held-out loss", "right vector", "another film's", "difference", box=None, header_style="dim")
    for name, told in (("before", training.before), ("after", training.after)):
        table.add_row(name, f"{told.right:.3f}", f"{told.shuffled:.3f}", f"{told.gap:+.3f}")
    console.print(table)
    verdict = "so the vectors are used" if training.after.open else "not beyond chance yet: train longer"
    _say(console, f"95 % interval of the last difference from {training.after.low:+.3f}: {verdict}", "green")
    for name, answer in (("before", training.answer_before), ("after", training.answer_after)):
        console.print()
        _say(console, Text.assemble((training.title, "bold"), "  ", (f"{name} training", "dim")))
        _say(console, answer)


# ---- map


def _places(space: Space, points: Sequence[tuple[Point, str]]) -> tuple[tuple[Entity, ...], tuple[Place, ...]]:
    """The films on the map, and the points asked about with their titles."""
    made = [point for point, _ in points if point.id is None]
    layout = map_layout(np.stack([*space.vectors, *(point.vector for point in made)])).tolist()
    titles = [f"{title} ({year})" for title, year in zip(space.column("title"), space.column("year"), strict=True)]
    groups = [genres[0] if genres else "no genre" for genres in space.column("genres")]
    known = zip(layout[: len(space)], titles, groups, strict=True)
    entities = tuple(Entity(x, y, title, group) for (x, y), title, group in known)
    spot = dict(zip([*space.ids, *(point.label for point in made)], layout, strict=True))
    marks = tuple(Place(x, y, title) for (x, y), title in ((spot[point.label], title) for point, title in points))
    return entities, marks
