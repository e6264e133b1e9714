"""From vectors and texts to a folder that trains: a space, a task file and a config, made for the data and the machine.

items/space.lance     vectors, ids, texts
items/tasks.toml      what to learn to answer
items/train.toml      how: `vecspeak train items/train.toml`
"""

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vecspeak.errors import ConfigError, EncoderError
from vecspeak.metrics import unit_rows
from vecspeak.spacefile import Header, write_space
from vecspeak.survey import Column, Survey
from vecspeak.tasks import TaskSet, as_text, load_tasks

SPACE, TASKS, CONFIG = "space.lance", "tasks.toml", "train.toml"

SLOT = "item"

SUMMARY_WORDS = 40
"""A text of more words in the mean gives a second task, its first sentence."""

EPOCHS = 10
"""More would learn the training entities by heart."""

FEWEST_STEPS = 10

BATCH = 16

SAMPLE = 32
"""Texts encoded to see whether an encoder made the vectors."""

LEAST_AGREEMENT = 0.1
"""Texts are nearer to their own vectors than to others by at least so much, in cosine, if it did."""

ALIGN_SHARE = 0.15
"""Of the time; the start from the texts has done most of this stage's work."""


@dataclass(frozen=True)
class Start:
    """What was made."""

    folder: Path
    tasks: TaskSet
    minutes: float
    """The training will take, from real steps."""
    steps: int


def check_folder(folder: Path) -> None:
    """Raises ConfigError unless the folder can be made."""
    if not folder.absolute().parent.is_dir():
        raise ConfigError(f"Folder {folder.absolute().parent} does not exist; make it first.")
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if os.path.lexists(folder):
        raise ConfigError(f"{folder} exists. Choose another folder, or remove that one.")


def check_encoder(found: Survey, name: str) -> str:
    """Whether an encoder made the vectors, judged by the texts of some: a line to tell.

    Raises:
        EncoderError: it does not load, or makes vectors of another dimension.
    """
    from vecspeak.encode import load_encoder

    encoder = load_encoder(name)
    if encoder.dimension != found.dimension:
        raise EncoderError(
            f"Encoder {name!r} makes vectors of {encoder.dimension} dimensions, these have {found.dimension}. "
            "Name the one that made them, or leave out --encoder."
        )
    chunk = next(found.chunks())
    texts = [as_text(value) for value in chunk.columns[found.texts[0].name].to_pylist()]
    rows = [row for row, text in enumerate(texts) if text is not None][:SAMPLE]
    if len(rows) < 2:
        return f"{name}; too few texts to compare it with the vectors"
    cosine_NN = unit_rows(encoder.encode([texts[row] or "" for row in rows])) @ unit_rows(chunk.vectors[rows]).T
    own = float(cosine_NN.diagonal().mean())
    other = float((cosine_NN.sum() - cosine_NN.trace()) / (len(rows) * (len(rows) - 1)))
    told = f"{name}: cosine of {len(rows)} texts with their own vectors {own:.2f}, with others' {other:.2f}"
    return told if own > other + LEAST_AGREEMENT else f"{told}. IT DID NOT MAKE THESE VECTORS FROM THESE TEXTS"


def start(
    folder: Path,
    found: Survey,
    *,
    header: Header,
    base: str,
    minutes: float,
) -> Start:
    """Write space, tasks and config; the steps are as many as fit `minutes` at the pace of a few real ones.

    Raises:
        ConfigError: the folder exists.
        SpaceError, TaskError, ModelError: what cannot be imported or trained. Nothing is left behind.
    """
    check_folder(folder)
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    fresh.mkdir()
    try:
        write_space(fresh / SPACE, header, found.chunks())
        (fresh / TASKS).write_text(task_file(found), encoding="utf-8")
        config, made = _config(fresh, found, base=base, minutes=minutes)
        (fresh / CONFIG).write_text(config, encoding="utf-8")
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Start(folder, load_tasks(folder / TASKS), *made)


def _config(folder: Path, found: Survey, *, base: str, minutes: float) -> tuple[str, tuple[float, int]]:
    from vecspeak.estimates import estimate
    from vecspeak.stages import Stage
    from vecspeak.training import TrainConfig, found_base

    base = found_base(base)
    whole = base == "pocket"
    align = Stage(name="align", train="adapter", steps=FEWEST_STEPS, batch_size=BATCH, adapter_lr=1.5e-3, bag_loss=0.05)
    tune = align.model_copy(update={"name": "tune", "train": "all" if whole else "lora", "lr": 2e-4, "decay": 0.9})
    config = TrainConfig(space=folder / SPACE, tasks=str(folder / TASKS), base=base, stages=(align, tune))
    told = estimate(config)
    steps = steps_of([pace.seconds_per_step for pace in told.paces], minutes=minutes, examples=told.examples)
    seconds = sum(n * pace.seconds_per_step for n, pace in zip(steps, told.paces, strict=True))
    passes = sum(steps) * BATCH / told.examples
    text = _CONFIG.format(
        base=json.dumps(base, ensure_ascii=False),
        examples=f"{told.examples:,}",
        minutes=f"{seconds / 60:.0f}" if seconds > 90 else "1",
        passes=f"{passes:.1f}",
        align_steps=steps[0],
        tune_steps=steps[1],
        align_pace=f"{told.paces[0].seconds_per_step:.2f}",
        tune_pace=f"{told.paces[1].seconds_per_step:.2f}",
        train=tune.train,
        lr=f"{tune.lr:g}",
        batch=BATCH,
        penalty=0.6 if whole else 0.0,
        guidance=0.5 if whole else 0.0,
    )
    return text, (seconds / 60, sum(steps))


def steps_of(paces: Sequence[float], *, minutes: float, examples: int) -> list[int]:
    """Steps of the two stages: as many as fit the minutes, at most `EPOCHS` in all, at least `FEWEST_STEPS` each.

    Args:
        paces: seconds per step of each stage.
    """
    most = EPOCHS * examples / BATCH
    shares = zip(paces, (ALIGN_SHARE, 1 - ALIGN_SHARE), strict=True)
    return [max(FEWEST_STEPS, int(share * min(most, 60 * minutes / pace))) for pace, share in shares]


def task_file(found: Survey) -> str:
    """The tasks for the text columns of a survey; others are offered as comments."""
    main, *more = found.texts
    parts = [_HEAD, _task("describe", main.name, _DESCRIBE)]
    if main.words > SUMMARY_WORDS:
        parts.append(_task("summarise", main.name, _SUMMARISE, sentences=1))
    taken = {"describe", "summarise"}
    parts += [_task(_task_name(column, taken), column.name, _prompts(_OF_COLUMN, column)) for column in more]
    offered = [column for column in found.columns if column.kind == "category"]
    if offered:
        parts.append("# Columns that sort the entities; take away the # to learn them, too.\n")
        tasks = [_task(_task_name(column, taken), column.name, _prompts(_OF_CATEGORY, column)) for column in offered]
        parts += ["".join(f"# {line}\n" for line in task.rstrip().splitlines()) + "\n" for task in tasks]
    return "\n".join(parts).rstrip() + "\n"


def _task(name: str, column: str, prompts: tuple[str, ...], *, sentences: int | None = None) -> str:
    lines = [
        "[[task]]",
        f'name = "{name}"',
        f'slots = ["{SLOT}"]',
        f"target = {json.dumps('{' + column + '}', ensure_ascii=False)}",
    ]
    lines += [f"sentences = {sentences}"] if sentences else []
    lines += ["prompts = [", *(f"    {json.dumps(prompt, ensure_ascii=False)}," for prompt in prompts), "]"]
    return "\n".join(lines) + "\n"


def _task_name(column: Column, taken: set[str]) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", column.name.lower()).strip("_")
    name = plain if re.match(r"[a-z]", plain) else f"column_{plain}".rstrip("_")
    while name in taken:
        name += "_2"
    taken.add(name)
    return name


def _prompts(templates: tuple[str, ...], column: Column) -> tuple[str, ...]:
    words = " ".join(re.findall(r"[^\W_]+", column.name)) or "text"
    return tuple(template.replace("COLUMN", words) for template in templates)


_DESCRIBE = (
    f"Describe {{{SLOT}}}.",
    f"What is {{{SLOT}}}?",
    f"Tell me about {{{SLOT}}}.",
    f"Write a description of {{{SLOT}}}.",
    f"What is {{{SLOT}}} about?",
)

_SUMMARISE = (
    f"Summarise {{{SLOT}}} in one sentence.",
    f"Describe {{{SLOT}}} briefly.",
    f"In short, what is {{{SLOT}}}?",
)

_OF_COLUMN = (
    f"Write the COLUMN of {{{SLOT}}}.",
    f"What is the COLUMN of {{{SLOT}}}?",
    f"Give the COLUMN for {{{SLOT}}}.",
)

_OF_CATEGORY = (
    f"What is the COLUMN of {{{SLOT}}}?",
    f"Name the COLUMN of {{{SLOT}}}.",
)

_HEAD = f"""\
# What the model learns to answer. A prompt is any sentence with the slot {{{SLOT}}} for a point; a target is a template
# over the columns of the space. More prompts for one task make for better answers to prompts that are not here.
"""

_CONFIG = """\
# Made by `vecspeak init`, and ready to run. Paths are relative to this file.
# Every setting: docs/train.md. What it would take: vecspeak train train.toml --check

space = "space.lance"
tasks = "tasks.toml"        # prompts, and the columns that answer them
base = {base}             # any causal model of the Hugging Face hub by name, a folder, or "pocket"

# {examples} training examples. The steps below see each {passes} times and take about {minutes} min here.

[adapter]
tokens_per_vector = 1       # token positions that a vector takes
start = "texts"             # solved from the texts before any training

[decoding]                  # how the model answers where a question does not say
frequency_penalty = {penalty}     # above 0 against repeats, which small bases fall into
guidance = {guidance}              # above 0: away from what could be said of anything

[[stages]]
name = "align"              # the adapter alone, base frozen
train = "adapter"
steps = {align_steps}                # {align_pace} s each here
batch_size = {batch}
adapter_lr = 1.5e-3
bag_loss = 0.05             # the adapter's output alone must tell the words of the text

[[stages]]
name = "tune"
train = "{train}"                # "all" weights of the base, or "lora": few, beside it
steps = {tune_steps}                # {tune_pace} s each here; more of them help until the gate's loss rises
batch_size = {batch}
lr = {lr}
adapter_lr = 1.5e-3
bag_loss = 0.05
decay = 0.9
"""
