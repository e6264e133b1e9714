"""What an ablation measured: `Ablation` and its parts, and their tables in Markdown."""

from collections.abc import Iterable, Sequence
from math import isnan

from pydantic import BaseModel, ConfigDict

from vecspeak.metrics import Interval
from vecspeak.training import TrainConfig

AS_GIVEN = "as-given"
"""The arm that all others are compared with."""


class _Frozen(BaseModel):
    # a figure that could not be measured is NaN, which JSON can only hold as a string
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class ArmRun(_Frozen):
    """One arm trained with one seed, measured on held-out entities; losses in nats per token."""

    seed: int
    trainable: int
    """Parameters that any stage trained."""
    minutes: float
    """Of training steps. A stage that was stopped counts at its pace since it last went on."""
    right: dict[str, float]
    """(First) entity -> mean loss of its examples with their own vectors."""
    gap: dict[str, float]
    """Entity -> how much more its examples cost with another entity's vectors."""


class Spread(_Frozen):
    """Mean over seeds, and standard deviation (of a sample: n - 1)."""

    mean: float
    sd: float


class OverSeeds(_Frozen):
    """How much an arm's figures move with the seed."""

    loss: Spread
    gap: Spread
    difference: Spread


class ArmScores(_Frozen):
    """One arm; intervals resample entities, each with its mean over seeds."""

    name: str
    change: str
    seeds: tuple[int, ...]
    trainable: int
    minutes: float
    """Mean of its runs."""
    loss: Interval
    gap: Interval
    difference: Interval
    """Loss minus that of the config as given, paired by entity and seed; above 0 the arm is worse."""
    over_seeds: OverSeeds | None
    """None for one seed."""


class Ablation(_Frozen):
    """All arms measured so far."""

    config: TrainConfig
    """As given."""
    entities: int
    """Held-out (validation) entities measured on."""
    examples: int
    """Held-out examples, over all seeds."""
    arms: tuple[ArmScores, ...]
    left_out: tuple[str, ...]
    """Arms that are the config as given."""
    failed: dict[str, str]
    """Arm and seed -> why its training ended."""

    def to_json(self) -> str:
        """All figures. `Ablation.model_validate_json` reads it back."""
        return self.model_dump_json(indent=1)

    def to_markdown(self) -> str:
        """The same as tables for people."""
        steps = sum(stage.steps for stage in self.config.stages)
        notes = [f"Not measured: {name}: {why}" for name, why in self.failed.items()]
        if self.left_out:
            notes.append(f"Left out, since the config is so already: {', '.join(self.left_out)}.")
        sections = [
            f"# Ablation: base `{self.config.base}`, space {self.config.space.name}, tasks `{self.config.tasks}`",
            f"Every arm trains {steps} steps; measured on {self.examples} held-out examples of {self.entities} "
            "validation entities.",
            _HOW_TO_READ,
            _table(_COLUMNS, map(_row, self.arms)),
            _seed_section(self.arms),
            *notes,
        ]
        return "\n\n".join(section for section in sections if section) + "\n"


_HOW_TO_READ = (
    "Loss: nats per token of the held-out texts, given their own vectors; lower is better. Gap: how much more they "
    "cost with another entity's vectors; 0 means that the model does not use them. Difference: the loss minus that of "
    f"`{AS_GIVEN}`, entity by entity; above 0 the arm is worse, and an interval that holds 0 does not tell the two "
    "apart. In brackets: 95 % bootstrap intervals over entities; they do not tell how much another seed would change."
)

_COLUMNS = ("arm", "changed", "trainable parameters", "minutes", "loss", "gap to shuffled", "difference")

_SEED_COLUMNS = ("arm", "seeds", "loss", "gap to shuffled", "difference")


def _row(arm: ArmScores) -> tuple[str, ...]:
    difference = "" if arm.name == AS_GIVEN else _cell(arm.difference, sign="+")
    minutes = _figure(arm.minutes, digits=1)
    return (arm.name, arm.change, f"{arm.trainable:,}", minutes, _cell(arm.loss), _cell(arm.gap, sign="+"), difference)


def _seed_section(arms: Sequence[ArmScores]) -> str:
    rows = [_seed_row(arm, arm.over_seeds) for arm in arms if arm.over_seeds]
    return f"## Over seeds: mean ± standard deviation\n\n{_table(_SEED_COLUMNS, rows)}" if rows else ""


def _seed_row(arm: ArmScores, told: OverSeeds) -> tuple[str, ...]:
    difference = "" if arm.name == AS_GIVEN else _spread_cell(told.difference, sign="+")
    return (arm.name, str(len(arm.seeds)), _spread_cell(told.loss), _spread_cell(told.gap, sign="+"), difference)


def _cell(interval: Interval, *, sign: str = "") -> str:
    if isnan(interval.value):
        return "n/a"
    low, high = (_figure(end, sign=sign) for end in (interval.low, interval.high))
    return f"{_figure(interval.value, sign=sign)} [{low}, {high}]"


def _spread_cell(spread: Spread, *, sign: str = "") -> str:
    return f"{_figure(spread.mean, sign=sign)} ± {_figure(spread.sd)}"


def _figure(value: float, *, sign: str = "", digits: int = 3) -> str:
    return "n/a" if isnan(value) else f"{value:{sign}.{digits}f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
