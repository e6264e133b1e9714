"""From a config to a model folder: align, gate, tune. Run: vecspeak train CONFIG.toml

base = "pocket"                  # or any Hugging Face causal model
space = "films.lance"
tasks = "films"                  # or the path of a task file

[adapter]
tokens_per_vector = 1

[[stages]]
name = "align"
train = "adapter"
steps = 500
"""

import json
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vecspeak.adapter import Adapter
from vecspeak.decoding import Decoding
from vecspeak.elm import Elm, Fingerprint
from vecspeak.errors import ConfigError
from vecspeak.examples import Example, make_examples, partner_pairs
from vecspeak.files import write_whole
from vecspeak.runs import Checkpoint
from vecspeak.sampling import Sampler
from vecspeak.sharding import is_sharded
from vecspeak.space import Space
from vecspeak.splits import split_entities
from vecspeak.stages import Progress, Stage, check_processes, gate, processes, set_trainable, start_adapter, train_stage
from vecspeak.store import POCKET, Change, Manifest, load_base, save
from vecspeak.tasks import BUNDLED, TaskSet, load_tasks
from vecspeak.wordspace import embedding_of

SPLIT_COLUMN = "split"
"""A column that says train, validation or test; without it a tenth each is held out."""

CONFIG = "config.json"
"""In the run folder: the config it was started with."""

GATE_EXAMPLES = 200
"""Held-out examples the gate is measured on, at most."""


class AdapterConfig(BaseModel):
    """The adapter's size and start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: int = Field(default=1024, gt=0)
    """Width of the hidden layers."""
    depth: int = Field(default=2, ge=1, le=4)
    """Linear layers; 1 is a linear map, without hidden layer."""
    tokens_per_vector: int = Field(default=1, gt=0, le=64)
    """Token positions one vector takes; the paper uses one."""
    start: Literal["texts", "random"] = "texts"
    """`texts`: solved from the entities' texts in about a second; `random`: the paper's."""


class TrainConfig(BaseModel):
    """What `vecspeak train` runs. Rates follow LLaVA's, where the paper gives none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: Path
    """Folder of the space."""
    base: str = "pocket"
    """Any Hugging Face causal model by name or folder, or the bundled `pocket`."""
    tasks: str = "general"
    """A bundled task set (films, user, general) or a task file."""
    seed: int = Field(default=0, ge=0)
    train_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the training entities used, at least one; drawn with the seed, a smaller share from a larger one."""
    vector_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of examples trained with the mean vector; guidance needs some."""
    decoding: Decoding = Decoding()
    """How the model answers where a question does not say."""
    adapter: AdapterConfig = AdapterConfig()
    stages: tuple[Stage, ...] = (
        Stage(name="align", train="adapter", steps=500),
        Stage(name="tune", train="all", steps=2000, adapter_lr=2e-4),
    )

    @model_validator(mode="after")
    def _one_kind_of_change(self) -> "TrainConfig":
        if {"all", "lora"} <= {stage.train for stage in self.stages}:
            raise ValueError("some stages train `all` and others `lora`: a model keeps one kind of change, choose one")
        ranks = {stage.lora_rank for stage in self.stages if stage.train == "lora"}
        if len(ranks) > 1:
            raise ValueError(f"lora_rank is {' and '.join(map(str, sorted(ranks)))}: a model has one LoRA, choose one")
        return self


def read_config(path: Path) -> TrainConfig:
    """A config file; paths in it are relative to its folder. Raises ConfigError naming the field that is wrong."""
    try:
        return _beside(path.parent, TrainConfig.model_validate(tomllib.loads(path.read_text("utf-8"))))
    except FileNotFoundError:
        raise ConfigError(f"No config file {path}. docs/train.md shows one.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    except OSError as error:
        raise ConfigError(f"Config file {path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


def _beside(folder: Path, config: TrainConfig) -> TrainConfig:
    found: dict[str, Path | str] = {"space": (folder / config.space).resolve()}
    if config.tasks not in BUNDLED:
        found["tasks"] = str((folder / config.tasks).resolve())
    return config.model_copy(update={**found, "base": found_base(config.base, folder)})


def found_base(base: str, folder: Path = Path()) -> str:
    """A base that is a folder, seen from `folder`, by its whole path; any other by its name."""
    return str((folder / base).resolve()) if base != POCKET and (folder / base).is_dir() else base


def train(
    config: TrainConfig,
    run: str | Path,
    *,
    resume: bool = False,
    on_step: Callable[[Progress], None] = lambda progress: None,
    on_event: Callable[[str], None] = lambda event: None,
) -> Elm:
    """Train an Elm stage by stage and save it in `run/model`.

    Under `accelerate launch` all processes call it alike; the first of them writes and tells.

    Args:
        config: space, base, tasks, stages.
        run: run folder: config.json, metrics.jsonl, checkpoints, gates.json, model.
        resume: go on with a run that was stopped; it ends at the weights of an uninterrupted one.
        on_step: called after every step.
        on_event: called with what a user should read: counts, the warm start, the gate after each stage.

    Raises:
        ConfigError: the run folder is taken, or (with resume) belongs to another config; a task's
            texts are missing; a batch is too small for the processes; the loss became NaN.
        SpaceError, TaskError, ModelError: what they name does not load.
    """
    run, accelerator = Path(run), processes()  # first, as it gives each process its GPU
    if not accelerator.is_main_process:
        on_step, on_event = (lambda progress: None), (lambda event: None)
    check_processes(config.stages, accelerator.num_processes)
    space, tasks = Space.open(config.space), load_tasks(config.tasks)
    training, held_out = split_examples(space, tasks, seed=config.seed)
    check_run(run, config, resume=resume)
    if config.train_share < 1:
        training, told = share_of(training, config.train_share, seed=config.seed)
        on_event(told)
    on_event(f"{len(training)} training examples, {len(held_out)} held out for the gate")
    gated = gate_examples(held_out, on_event)
    if not gated:
        on_event("no gate: no task has two held-out examples to swap vectors; whether they are used is not measured")
    elm = new_elm(config, space)
    accelerator.wait_for_everyone()  # all have seen a free folder
    if accelerator.is_main_process:
        run.mkdir(parents=True, exist_ok=True)
        write_whole(run / CONFIG, config.model_dump_json(indent=2) + "\n")
    if Checkpoint.latest(run) is None:
        r2 = start_adapter(elm, training, start=config.adapter.start, seed=config.seed)
        if config.adapter.start == "texts":
            on_event(_told(r2))
    for number, stage in enumerate(config.stages):
        checkpoint = Checkpoint.latest(run)
        if checkpoint is not None and checkpoint.stage > number:
            set_trainable(elm, stage)  # what a finished stage added must be there to be loaded
            continue
        if number and is_sharded():  # the stage before has left it in parts
            elm = _put_together(config, space, run, config.stages[:number])
        sampler = Sampler(
            [training], [1.0], stage.batch_size, config.seed + number, config.vector_dropout, space.mean_vector
        )
        train_stage(elm, stage, sampler, number=number, run=run, on_step=on_step)
        if gated:
            told = gate(elm, gated)
            on_event(f"after {stage.name}: {told}")
            if accelerator.is_main_process:
                _remember_gate(run, stage.name, told.right, told.shuffled, told.low)
    if is_sharded():
        elm = _put_together(config, space, run, config.stages)
    if accelerator.is_main_process:
        save(elm, run / "model", manifest=manifest(elm, config))
    accelerator.wait_for_everyone()
    return elm


def _told(r2: float | None) -> str:
    """How the adapter was started from texts."""
    if r2 is None:
        return "adapter started at random: no example speaks of one entity alone"
    if isnan(r2):
        return "adapter started from texts; fewer than 20 entities, or texts all alike, do not tell how well"
    return f"adapter solved from texts: R2 {r2:.2f} on entities left out"


def _put_together(config: TrainConfig, space: Space, run: Path, done: Sequence[Stage]) -> Elm:
    """The whole Elm in this process, as the run's checkpoint has it after those stages."""
    elm = new_elm(config, space)
    for stage in done:
        set_trainable(elm, stage)
    checkpoint = Checkpoint.latest(run)
    assert checkpoint is not None
    checkpoint.load_weights(elm)
    return elm.eval()


def new_elm(config: TrainConfig, space: Space) -> Elm:
    """An untrained Elm for a space: the base, and an adapter that is not started. On the CPU if to be sharded."""
    base, tokenizer = load_base(config.base, on_cpu=is_sharded())
    fingerprint = Fingerprint.of(space)
    adapter = Adapter(
        torch.tensor(fingerprint.mean),
        torch.tensor(fingerprint.scale),
        dim_out=embedding_of(base).embedding_dim,
        hidden=config.adapter.hidden,
        tokens_per_vector=config.adapter.tokens_per_vector,
        depth=config.adapter.depth,
    )
    return Elm(base, tokenizer, adapter.to(base.device), fingerprint, space=space, decoding=config.decoding)


def split_examples(space: Space, tasks: TaskSet, *, seed: int) -> tuple[list[Example], list[Example]]:
    """Training examples, and at most GATE_EXAMPLES of validation entities; test entities give none.

    Raises:
        ConfigError: no entity has the texts that any of the tasks need.
    """
    pairs = partner_pairs(space)
    if SPLIT_COLUMN in space.columns:
        side = dict(zip(space.ids, space.column(SPLIT_COLUMN), strict=True))
    else:
        tenth = len(space) // 10
        sizes = {"test": tenth, "validation": tenth, "train": len(space) - 2 * tenth}
        side = split_entities(space.ids, pairs=pairs, sizes=sizes, salt=str(seed))
    ids = {name: [id for id in space.ids if side[id] == name] for name in ("train", "validation")}
    if not ids["train"]:
        raise ConfigError(f"{space.name!r}: the column {SPLIT_COLUMN} names no entity for training, expected `train`.")
    training = make_examples(space, tasks, ids=ids["train"], pairs=pairs)
    if not training:
        wanted = sorted({column for task in tasks.values() for column in task.columns})
        raise ConfigError(
            f"No entity of {space.name!r} has a text for these tasks: they read the columns {', '.join(wanted)}; "
            f"the space has {', '.join(space.columns) or 'none'}. Import the texts, or name another task file."
        )
    held_out = make_examples(space, tasks, ids=ids["validation"], pairs=pairs)
    return training, held_out[:: max(1, -(-len(held_out) // GATE_EXAMPLES))]


def gate_examples(examples: Sequence[Example], on_event: Callable[[str], None]) -> list[Example]:
    """Held-out examples but those alone in their task, which have none to swap vectors with; their number is told."""
    counts = Counter(example.task for example in examples)
    kept = [example for example in examples if counts[example.task] > 1]
    if len(kept) < len(examples):
        on_event(f"{len(examples) - len(kept)} of {len(examples)} held-out examples, alone in their task, left out")
    return kept


def share_of(examples: Sequence[Example], share: float, *, seed: int) -> tuple[list[Example], str]:
    """The examples that speak of a drawn share of the entities alone, and a line that says how many those are.

    With one seed a smaller share is part of a larger one.

    Raises:
        ConfigError: no example speaks of the drawn entities alone.
    """
    ids = sorted({id for example in examples for id in example.ids})
    drawn = {ids[i] for i in np.random.default_rng(seed).permutation(len(ids))[: max(1, round(share * len(ids)))]}
    kept = [example for example in examples if drawn.issuperset(example.ids)]
    told = f"train_share {share:g}: {len(drawn)} of {len(ids)} training entities"
    if not kept:
        raise ConfigError(f"{told} leaves no example, as each speaks of two entities. Raise train_share.")
    return kept, told


def check_run(run: Path, config: TrainConfig, *, resume: bool) -> None:
    """Raise ConfigError unless the folder is free or, with resume, holds a run of this config."""
    path = run / CONFIG
    if resume and not path.is_file():
        raise ConfigError(f"{run} holds no run to resume. Leave out --resume to start one.")
    if resume and not _same_config(path, config):
        raise ConfigError(f"{run} was started with another config (see {path}). Use that one, or another folder.")
    if not resume and path.exists():
        raise ConfigError(f"{run} holds a run already. Add --resume to go on with it, or choose another folder.")


def _same_config(path: Path, config: TrainConfig) -> bool:
    # read as a config and not compared as text: one kept before a field came has the field's default. And by whole
    # paths: one may have been kept with those from the folder that the command was given in
    try:
        return _beside(Path(), TrainConfig.model_validate_json(path.read_bytes())) == _beside(Path(), config)
    except ValidationError:
        return False


def manifest(elm: Elm, config: TrainConfig) -> Manifest:
    """elm.json for a model trained with this config."""
    trained = {stage.train for stage in config.stages}
    change: Change = "full" if "all" in trained else "lora" if "lora" in trained else "none"
    return Manifest(
        base=found_base(config.base),
        revision=getattr(elm.base.config, "_commit_hash", None),
        change=change,
        dimension=elm.fingerprint.dimension,
        hidden=elm.adapter.hidden,
        depth=elm.adapter.depth,
        width=elm.adapter.dim_out,
        tokens_per_vector=elm.adapter.tokens_per_vector,
        metric=elm.fingerprint.metric,
        encoder=elm.fingerprint.encoder,
        space=str(config.space.resolve()),
        tasks=config.tasks if config.tasks in BUNDLED else str(Path(config.tasks).resolve()),
        decoding=elm.decoding,
        provenance={"config": json.loads(config.model_dump_json())},
    )


def _remember_gate(run: Path, stage: str, right: float, shuffled: float, low: float) -> None:
    path = run / "gates.json"
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    known[stage] = {"right": right, "shuffled": shuffled, "gap": shuffled - right, "gap_low": low}
    write_whole(path, json.dumps(known, indent=2) + "\n")
