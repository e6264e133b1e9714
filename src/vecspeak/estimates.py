"""What a training will take, from a few of its real steps: time, memory, disk.

Steps are run as `train` runs them, on the real examples and the real base, in a folder that is thrown away.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vecspeak.elm import MAX_TARGET_TOKENS, Elm
from vecspeak.examples import Example
from vecspeak.sampling import Sampler
from vecspeak.space import Space
from vecspeak.stages import Progress, Stage, set_trainable, start_adapter, train_stage
from vecspeak.tasks import load_tasks
from vecspeak.training import TrainConfig, new_elm, share_of, split_examples

TIMED = 3
"""Steps timed of each stage, after one that is not."""

FLOAT = 4
"""Bytes of a number in a checkpoint."""


@dataclass(frozen=True)
class Pace:
    """How fast a stage goes on this machine."""

    stage: Stage
    seconds_per_step: float
    """At the mean length of its examples."""

    @property
    def seconds(self) -> float:
        """Of the whole stage."""
        return self.stage.steps * self.seconds_per_step


@dataclass(frozen=True)
class Estimate:
    """What a config will take here."""

    examples: int
    held_out: int
    """Examples of the gate."""
    cut: int
    """Training examples whose target is longer than `longest` tokens."""
    paces: tuple[Pace, ...]
    memory: int | None
    """Bytes at the peak, in a step of the longest examples: of the GPU, else of the process. None if not told."""
    device: str
    disk: int
    """Bytes of the checkpoint and the model together."""
    longest: int = MAX_TARGET_TOKENS
    timed: int = TIMED

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(pace.seconds for pace in self.paces)


def estimate(config: TrainConfig) -> Estimate:
    """Check a config and its data, and run a few steps of each stage.

    Raises:
        ConfigError, SpaceError, TaskError, ModelError: as `train` would.
    """
    space, tasks = Space.open(config.space), load_tasks(config.tasks)
    training, held_out = split_examples(space, tasks, seed=config.seed)
    if config.train_share < 1:
        training, _ = share_of(training, config.train_share, seed=config.seed)
    elm = new_elm(config, space)
    start_adapter(elm, training, start="random", seed=config.seed)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory(prefix="vecspeak-check-") as folder:
        run = Path(folder)
        paces = tuple(_pace(elm, stage, training, config, run) for stage in config.stages)
        _heaviest_step(elm, max(config.stages, key=_weight), training, run)
    return Estimate(
        examples=len(training),
        held_out=len(held_out),
        cut=_cut(elm, training),
        paces=paces,
        memory=_peak_memory(),
        device=str(elm.device),
        disk=max(_bytes(elm, stage) for stage in config.stages),
    )


def _pace(elm: Elm, stage: Stage, training: Sequence[Example], config: TrainConfig, run: Path) -> Pace:
    sampler = Sampler([training], [1.0], stage.batch_size, config.seed, config.vector_dropout, elm.fingerprint.mean)
    # before the first step ends the stage has counted the words of all texts, and the libraries have loaded what they
    # put off: of large data that is many times a step
    times = _seconds(elm, stage, sampler, run, steps=1 + TIMED)[1:]
    # batches differ in length, so the pace is taken by character
    timed = sum(_characters(sampler.batch(step)) for step in range(1, 1 + TIMED))
    mean = float(np.mean([_characters([example]) for example in training])) * stage.batch_size
    return Pace(stage, sum(times) * mean / timed)


def _heaviest_step(elm: Elm, stage: Stage, training: Sequence[Example], run: Path) -> None:
    longest = sorted(training, key=lambda example: len(example.target))[-stage.batch_size :]
    _seconds(elm, stage, Sampler([longest], [1.0], stage.batch_size, 0), run, steps=1)


class _Enough(Exception):
    """Ends a stage early, before it writes a checkpoint."""


def _seconds(elm: Elm, stage: Stage, sampler: Sampler, run: Path, *, steps: int) -> list[float]:
    """Time of each of the first steps of a stage."""
    marks = [time.perf_counter()]

    def on_step(progress: Progress) -> None:
        marks.append(time.perf_counter())
        if len(marks) > steps:
            raise _Enough

    unwritten = stage.model_copy(update={"steps": max(stage.steps, steps + 1), "checkpoint_every": steps + 1})
    with suppress(_Enough):
        train_stage(elm, unwritten, sampler, number=0, run=run, on_step=on_step)
    return np.diff(marks).tolist()


def _weight(stage: Stage) -> tuple[bool, int]:
    """Orders stages by the memory of a step."""
    return stage.train != "adapter", stage.batch_size


def _characters(examples: Sequence[Example]) -> int:
    # about MAX_TARGET_TOKENS tokens of English; what is longer is cut
    return sum(len(e.prompt) + min(len(e.target), 4 * MAX_TARGET_TOKENS) for e in examples)


def _cut(elm: Elm, examples: Sequence[Example]) -> int:
    long = [example.target for example in examples if len(example.target) > MAX_TARGET_TOKENS]
    if not long:
        return 0
    ids = elm.tokenizer(long, add_special_tokens=False)["input_ids"]
    return sum(len(row) > MAX_TARGET_TOKENS for row in ids)


def _bytes(elm: Elm, stage: Stage) -> int:
    """A checkpoint holds all weights and two moments of those that train; the model what has changed."""
    trained = set(set_trainable(elm, stage))
    sizes = {name: parameter.numel() for name, parameter in elm.named_parameters()}
    changing = sum(size for name, size in sizes.items() if name in trained)
    return FLOAT * (sum(sizes.values()) + 3 * changing)


def _peak_memory() -> int | None:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return None
    # kibibytes on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
