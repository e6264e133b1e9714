"""What a choice is worth: a config and one variant of it at a time, all else equal, compared on held-out entities.

Run: vecspeak ablate CONFIG.toml --run FOLDER

The paper has one such comparison, of one stage with two, on a toy (appendix D).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import nan
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pydantic import ValidationError

from vecspeak import metrics
from vecspeak.ablation_report import AS_GIVEN, Ablation, ArmRun, ArmScores, OverSeeds, Spread
from vecspeak.elm import Elm
from vecspeak.errors import ConfigError
from vecspeak.examples import Example
from vecspeak.files import write_whole
from vecspeak.metrics import Interval
from vecspeak.space import Space
from vecspeak.stages import Progress, shuffled
from vecspeak.tasks import load_tasks
from vecspeak.training import CONFIG, TrainConfig, check_run, gate_examples, manifest, split_examples, train

JSON, MARKDOWN = "ablations.json", "ablations.md"
"""In the folder of the ablation: what was measured so far."""

RESULT = "ablation.json"
"""In an arm's run folder: what was measured of it; the run is finished where it exists."""

PACE = "seconds.json"
"""In an arm's run folder: seconds of each finished stage."""

GATE_SHUFFLE = 0
"""Seed of who is swapped with whom: the gate's, so that an arm's gap is the one its training told."""

StepSink = Callable[[Progress], None]


@dataclass(frozen=True)
class Arm:
    """One config of the comparison."""

    name: str
    """Also the name of its run folder."""
    change: str
    """Against the config as given."""
    config: TrainConfig


def arms_of(config: TrainConfig) -> tuple[Arm, ...]:
    """The config as given, then its variants with one change each; some may be the config itself."""
    adapter, last = config.adapter, config.stages[-1]
    steps = sum(stage.steps for stage in config.stages)
    tokens = 1 if adapter.tokens_per_vector == 4 else 4
    widths = {"quarter-width": max(1, adapter.hidden // 4), "fourfold-width": 4 * adapter.hidden}
    if adapter.depth == 1:  # no hidden layer, no width
        widths = dict.fromkeys(widths, adapter.hidden)
    shares = {"quarter-entities": config.train_share / 4, "sixteenth-entities": config.train_share / 16}
    alone = [{**last.model_dump(), "steps": steps}]
    return (
        Arm(AS_GIVEN, "nothing", config),
        Arm("one-stage", f"`{last.name}` alone, for all {steps} steps", _changed(config, stages=alone)),
        Arm("depth-1", "adapter of 1 layer, linear", _with_adapter(config, depth=1)),
        Arm("depth-3", "adapter of 3 layers", _with_adapter(config, depth=3)),
        *(Arm(name, f"adapter width {width}", _with_adapter(config, hidden=width)) for name, width in widths.items()),
        Arm(f"tokens-{tokens}", f"tokens per vector {tokens}", _with_adapter(config, tokens_per_vector=tokens)),
        _base_trained_otherwise(config),
        Arm("random-start", "adapter from random weights", _with_adapter(config, start="random")),
        *(Arm(name, f"train_share {share:g}", _changed(config, train_share=share)) for name, share in shares.items()),
    )


def ablate(
    config: TrainConfig,
    folder: str | Path,
    *,
    only: Sequence[str] = (),
    seeds: int = 1,
    on_step: StepSink = lambda progress: None,
    on_event: Callable[[str], None] = lambda event: None,
) -> Ablation:
    """Train the config and its variants, each in a run folder of its own, and compare them.

    What is finished is read, what was stopped goes on: call it again with the same config. The tables are written
    after every run, and hold the arms measured by earlier calls too.

    Args:
        config: of the arm as given; with several seeds, that of the first.
        folder: gets ablations.md, ablations.json, and a run folder for each arm (and each seed after the first).
        only: names of variants to train; by default all. The config as given is always trained.
        seeds: how many seeds to train each arm with, from the config's upwards.
        on_step: called after every step; the stage is told with its arm.
        on_event: called with what a user should read.

    Raises:
        ConfigError: an unknown arm, no seed, fewer than two held-out examples of a task, or a folder that belongs
            to another config; what `train` raises, for the config as given.
        SpaceError, TaskError, ModelError: what they name does not load.
    """
    folder = Path(folder)
    arms, left_out = _chosen(config, only)
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}, expected 1 or more.")
    held_out = {seed: _held_out(config, seed, on_event) for seed in range(config.seed, config.seed + seeds)}
    check_run(folder / AS_GIVEN, config, resume=(folder / AS_GIVEN / CONFIG).is_file())
    on_event(f"arms: {', '.join(arm.name for arm in arms)}; left out: {', '.join(left_out) or 'none'}")
    failed: dict[str, str] = {}
    for seed, arm in product(held_out, arms):
        label = arm.name if seeds == 1 else f"{arm.name}, seed {seed}"
        on_event(f"{label}: {arm.change}")
        settings, run = arm.config.model_copy(update={"seed": seed}), _place(folder, arm, config, seed)
        try:
            _run(settings, held_out[seed], run, on_step=_named(on_step, label), on_event=on_event)
        except ConfigError as error:  # that a variant's loss became NaN is a finding, and the others wait
            if arm.name == AS_GIVEN:
                raise
            failed[label] = str(error)
            on_event(f"{label}: not measured: {error}")
        found = _collected(folder, config, held_out, left_out=left_out, failed=failed)
        write_whole(folder / JSON, found.to_json())
        write_whole(folder / MARKDOWN, found.to_markdown())
    return _collected(folder, config, held_out, left_out=left_out, failed=failed)


# ---- arms


def _changed(config: TrainConfig, **fields: Any) -> TrainConfig:
    return TrainConfig.model_validate({**config.model_dump(), **fields})


def _with_adapter(config: TrainConfig, **fields: Any) -> TrainConfig:
    return _changed(config, adapter={**config.adapter.model_dump(), **fields})


def _base_trained_otherwise(config: TrainConfig) -> Arm:
    has_lora = any(stage.train == "lora" for stage in config.stages)
    old, new, name = ("lora", "all", "full") if has_lora else ("all", "lora", "lora")
    # AdamW is all that LoRA can have
    stages = [
        {**stage.model_dump(), "train": new, "optimizer": "adamw"} if stage.train == old else stage.model_dump()
        for stage in config.stages
    ]
    return Arm(name, f"`{new}` for `{old}`, at the same rates, AdamW", _changed(config, stages=stages))


def _chosen(config: TrainConfig, only: Sequence[str]) -> tuple[list[Arm], tuple[str, ...]]:
    """The arms to train, and the names of those that are the config as given."""
    given, *variants = arms_of(config)
    names = [arm.name for arm in variants]
    if unknown := [name for name in only if name not in names]:
        raise ConfigError(f"Unknown arm {unknown[0]!r}. One of: {', '.join(names)}.")
    live = [arm for arm in variants if arm.config != config and (not only or arm.name in only)]
    return [given, *live], tuple(arm.name for arm in variants if arm.config == config)


# ---- one run


def _held_out(config: TrainConfig, seed: int, on_event: Callable[[str], None]) -> list[Example]:
    """The examples of the gate."""
    _, examples = split_examples(Space.open(config.space), load_tasks(config.tasks), seed=seed)
    measured = gate_examples(examples, on_event)
    if not measured:
        raise ConfigError(
            f"{config.space} has {len(examples)} held-out (validation) examples, and no task has two, which a "
            "comparison with shuffled vectors needs. Import more entities, or name more of them in the column `split`."
        )
    return measured


def _place(folder: Path, arm: Arm, config: TrainConfig, seed: int) -> Path:
    return folder / (arm.name if seed == config.seed else f"{arm.name}-seed-{seed}")


def _run(
    config: TrainConfig,
    examples: Sequence[Example],
    run: Path,
    *,
    on_step: StepSink,
    on_event: Callable[[str], None],
) -> None:
    """Train and write the result, unless that was done before."""
    if (run / RESULT).is_file():
        on_event(f"measured before: {run / RESULT}")
        return
    resume = (run / CONFIG).is_file()
    elm = train(config, run, resume=resume, on_step=_timed(on_step, config, run), on_event=on_event)
    write_whole(run / RESULT, _measured(elm, examples, config, run).model_dump_json(indent=1))


def _measured(elm: Elm, examples: Sequence[Example], config: TrainConfig, run: Path) -> ArmRun:
    right_N = elm.loss(examples)
    gap_N = metrics.vector_use(right_N, elm.loss(shuffled(examples, seed=GATE_SHUFFLE)))
    ids = [example.ids[0] for example in examples]
    seconds = _seconds(run)
    return ArmRun(
        seed=config.seed,
        trainable=_trainable(elm, config),
        minutes=sum(seconds.get(stage.name, nan) for stage in config.stages) / 60,
        right=metrics.mean_by(right_N, ids),
        gap=metrics.mean_by(gap_N, ids),
    )


def _trainable(elm: Elm, config: TrainConfig) -> int:
    change = manifest(elm, config).change
    return sum(
        parameter.numel()
        for name, parameter in elm.named_parameters()
        if name.startswith("adapter.") or change == "full" or (change == "lora" and "lora_" in name)
    )


def _named(on_step: StepSink, label: str) -> StepSink:
    return lambda progress: on_step(replace(progress, stage=f"{label}: {progress.stage}"))


def _timed(on_step: StepSink, config: TrainConfig, run: Path) -> StepSink:
    """Keeps the seconds of every stage that ends, so that a run stopped between stages still knows them."""
    batch_sizes = {stage.name: stage.batch_size for stage in config.stages}

    def on_timed_step(progress: Progress) -> None:
        if progress.step == progress.steps:
            seconds = progress.steps * batch_sizes[progress.stage] / progress.examples_per_second
            write_whole(run / PACE, json.dumps({**_seconds(run), progress.stage: seconds}))
        on_step(progress)

    return on_timed_step


def _seconds(run: Path) -> dict[str, float]:
    path = run / PACE
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


# ---- all runs


def _collected(
    folder: Path,
    config: TrainConfig,
    held_out: Mapping[int, Sequence[Example]],
    *,
    left_out: tuple[str, ...],
    failed: dict[str, str],
) -> Ablation:
    """The arms that have results for any of the seeds; the config as given, trained first, has them for all so far."""

    def results(arm: Arm) -> list[ArmRun]:
        found = (_result(_place(folder, arm, config, seed)) for seed in held_out)
        return [run for run in found if run]

    first, *variants = arms_of(config)
    given = {run.seed: run for run in results(first)}
    runs = [(first, list(given.values())), *((arm, results(arm)) for arm in variants if arm.name not in left_out)]
    measured = [example for seed in given for example in held_out[seed]]
    return Ablation(
        config=config,
        entities=len({example.ids[0] for example in measured}),
        examples=len(measured),
        arms=tuple(_scores(arm, found, given, seed=config.seed) for arm, found in runs if found),
        left_out=left_out,
        failed=dict(failed),
    )


def _result(run: Path) -> ArmRun | None:
    path = run / RESULT
    if not path.is_file():
        return None
    try:
        return ArmRun.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigError(
            f"{path} is damaged ({error.errors()[0]['msg']}). Delete it to measure the arm again."
        ) from error


def _scores(arm: Arm, runs: Sequence[ArmRun], given: Mapping[int, ArmRun], *, seed: int) -> ArmScores:
    losses, gaps = [run.right for run in runs], [run.gap for run in runs]
    differences = [{id: loss - given[run.seed].right[id] for id, loss in run.right.items()} for run in runs]
    return ArmScores(
        name=arm.name,
        change=arm.change,
        seeds=tuple(run.seed for run in runs),
        trainable=runs[0].trainable,
        minutes=mean(run.minutes for run in runs),
        loss=_over_entities(losses, seed=seed),
        gap=_over_entities(gaps, seed=seed),
        difference=_over_entities(differences, seed=seed),
        over_seeds=OverSeeds(loss=_spread(losses), gap=_spread(gaps), difference=_spread(differences))
        if len(runs) > 1
        else None,
    )


def _over_entities(values: Sequence[Mapping[str, float]], *, seed: int) -> Interval:
    """Mean over entities; an entity's value is its mean over the seeds that held it out."""
    pairs = [pair for found in values for pair in found.items()]
    by_entity = metrics.mean_by([value for _, value in pairs], [id for id, _ in pairs])
    return metrics.mean_interval(list(by_entity.values()), seed=seed)


def _spread(values: Sequence[Mapping[str, float]]) -> Spread:
    means = [mean(found.values()) for found in values]
    return Spread(mean=mean(means), sd=stdev(means))
