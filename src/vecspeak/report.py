"""Report: what `evaluate` measured on held-out entities, with its controls; as JSON and as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from typing import Literal

from pydantic import BaseModel, ConfigDict

from vecspeak.metrics import Interval

TEACHER = "teacher's own text"
NEAREST = "nearest training entity's text"
MEAN_VECTOR = "answer to the mean vector"
SHUFFLED = "answers of other entities"

Kind = Literal["decoding", "selected", "control"]
"""`selected`: the answer was chosen among samples by semantic consistency, the measure itself."""


class _Frozen(BaseModel):
    # a figure that could not be measured is NaN, which JSON can only hold as a string
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class TextScores(_Frozen):
    """The texts of one source (a decoding or a control) for one task, judged. Formulas: `vecspeak.metrics`."""

    name: str
    kind: Kind
    sc: Interval
    floor: Interval
    """What this source's texts about the other entities reach at an entity's vector."""
    ceiling: Interval
    """The teacher's own text."""
    normalised: Interval
    top1: Interval
    top10: Interval
    mean_rank: Interval
    independent_top1: Interval
    """Identification by the TF-IDF/LSA encoder, among the teacher's texts of the candidates."""
    independent_top10: Interval
    repetition: float
    """Mean share of repeated word trigrams."""
    empty: int
    """Blank texts; they are scored like any other."""
    behaviour: dict[str, Interval] = {}
    """Name of a behavioural measure -> its mean, where the evaluation had one (paper, section 3.2)."""


class TaskScores(_Frozen):
    """One task with one slot."""

    task: str
    prompt: str
    entities: int
    """Entities asked about: those of the side that have the teacher's text."""
    texts: tuple[TextScores, ...]

    def of(self, name: str) -> TextScores:
        """The scores of a decoding or control. Raises KeyError."""
        return {scores.name: scores for scores in self.texts}[name]


class LossScores(_Frozen):
    """How much one task's targets cost, in nats per token, and how much more without the right vectors."""

    task: str
    slots: int
    examples: int
    entities: int
    """What the intervals resample: examples of one (first) entity count as one."""
    right: Interval
    gap_shuffled: Interval
    """Loss with another entity's vectors minus loss with the right ones."""
    gap_mean: Interval
    """Loss with the mean vector in every slot minus loss with the right ones."""


class SampleAnswer(_Frozen):
    decoding: str
    text: str
    consistency: float


class Sample(_Frozen):
    """The answers about one entity, unpicked: see `Report.samples`."""

    task: str
    id: str
    title: str | None
    target: str
    answers: tuple[SampleAnswer, ...]


class Chance(_Frozen):
    """What identification reaches by chance among the candidates."""

    top1: float
    top10: float
    mean_rank: float

    @staticmethod
    def among(candidates: int) -> "Chance":
        return Chance(top1=1 / candidates, top10=min(10, candidates) / candidates, mean_rank=(candidates + 1) / 2)


class Report(_Frozen):
    """Measured figures of one model on the held-out entities of one space."""

    space: str
    encoder: str
    side: str
    asked: int
    """Entities asked about."""
    candidates: int
    """Entities of the side, all of which identification chooses among."""
    training: int
    """Entities the nearest training text comes from."""
    seed: int
    decodings: dict[str, dict[str, int | float | str | None]]
    chance: Chance
    tasks: tuple[TaskScores, ...]
    losses: tuple[LossScores, ...]
    overall_gap: Interval
    """`gap_shuffled` over all one-slot tasks; an entity's gap is its mean over tasks."""
    skipped: dict[str, str]
    """Tasks not measured, and why."""
    samples: tuple[Sample, ...]
    """Unpicked: number k is task k modulo the tasks, about entity k modulo its entities in the order of ids."""

    def to_json(self) -> str:
        """The whole report. `Report.model_validate_json` reads it back."""
        return self.model_dump_json(indent=1)

    def to_markdown(self) -> str:
        """Tables for people: decodings, answers selected by the measure, controls, loss, samples."""
        sections = [
            self._head(),
            *self._text_sections("decoding", "Answers"),
            *self._text_sections("selected", "Answers selected by the measure itself", _SELECTED),
            *self._text_sections("control", "Controls"),
            self._loss_section(),
            self._sample_section(),
        ]
        return "\n\n".join(section for section in sections if section) + "\n"

    def _head(self) -> str:
        lines = [
            f"# {self.space}: {self.asked} entities of side `{self.side}`, given only their vectors",
            f"Encoder `{self.encoder}`; identification among {self.candidates} entities, by chance top-1 "
            f"{self.chance.top1:.3f}, top-10 {self.chance.top10:.3f}, mean rank {self.chance.mean_rank:.1f}; "
            f"{self.training} training entities; seed {self.seed}.",
            _HOW_TO_READ,
            *(f"Decoding *{name}*: {_settings(values)}." for name, values in self.decodings.items()),
            *(f"Not measured: `{task}`, {reason}." for task, reason in self.skipped.items()),
        ]
        return "\n\n".join(lines)

    def _text_sections(self, kind: Kind, title: str, note: str = "") -> list[str]:
        names = dict.fromkeys(scores.name for task in self.tasks for scores in task.texts if scores.kind == kind)
        if not names:
            return []
        tables = [f"### {name}\n\n{_table(_TEXT_COLUMNS, map(_text_row, self._rows(name)))}" for name in names]
        return [f"## {title}", *([note] if note else []), *tables]

    def _rows(self, name: str) -> list[tuple[TaskScores, TextScores]]:
        return [(task, task.of(name)) for task in self.tasks]

    def _loss_section(self) -> str:
        rows = [
            (x.task, str(x.examples), str(x.entities), _cell(x.right), _cell(x.gap_shuffled), _cell(x.gap_mean))
            for x in self.losses
        ]
        if not rows:
            return ""
        gap = f"Gap to shuffled vectors over all one-slot tasks: **{_cell(self.overall_gap)}** nats per token."
        return f"## Loss on the teacher's texts, nats per token\n\n{gap}\n\n{_table(_LOSS_COLUMNS, rows)}"

    def _sample_section(self) -> str:
        if not self.samples:
            return ""
        note = "Unpicked: the tasks in turn; number k is about the k-th entity in the order of ids."
        parts = [_sample(number, sample) for number, sample in enumerate(self.samples, 1)]
        return "\n\n".join([f"## {len(self.samples)} sample answers", note, *parts])


_HOW_TO_READ = (
    "SC: cosine of the re-encoded text with the vector. Floor: texts of the same source about other entities. "
    "Ceiling: the teacher's own text. Normalised: 0 at the floor, 1 at the ceiling; beside it the same for the "
    "nearest training entity's text. Top-1, top-10, mean rank: does the text find its own vector. Independent: "
    "the same by TF-IDF/LSA, fitted on training texts, among the teacher's texts. Repeated: word trigrams said "
    "before. In brackets: 95 % bootstrap intervals over entities."
)

_SELECTED = (
    "Each answer is the most consistent of several samples, so SC, normalised SC and identification are raised "
    "by the choice. Judge these rows by the independent columns."
)

_TEXT_COLUMNS = (
    "task", "n", "SC", "floor", "ceiling", "normalised", "nearest, normalised", "top-1", "top-10", "mean rank",
    "independent top-1", "independent top-10", "repeated", "empty",
)  # fmt: skip

_LOSS_COLUMNS = ("task", "examples", "entities", "right vector", "gap to shuffled", "gap to mean vector")


def _text_row(row: tuple[TaskScores, TextScores]) -> tuple[str, ...]:
    task, scores = row
    return (
        task.task,
        str(task.entities),
        _cell(scores.sc),
        _figure(scores.floor.value),
        _figure(scores.ceiling.value),
        _cell(scores.normalised),
        _figure(task.of(NEAREST).normalised.value),
        _cell(scores.top1),
        _cell(scores.top10),
        _cell(scores.mean_rank, digits=1),
        _cell(scores.independent_top1),
        _cell(scores.independent_top10),
        _figure(scores.repetition),
        str(scores.empty),
    )


def _cell(interval: Interval, *, digits: int = 3) -> str:
    if isnan(interval.value):
        return "n/a"
    ends = f"{_figure(interval.low, digits=digits)}, {_figure(interval.high, digits=digits)}"
    return f"{_figure(interval.value, digits=digits)} [{ends}]"


def _figure(value: float, *, digits: int = 3) -> str:
    return "n/a" if isnan(value) else f"{value:.{digits}f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _settings(values: Mapping[str, int | float | str | None]) -> str:
    told = {name: value for name, value in values.items() if value is not None}
    return ", ".join(f"{name} {value if isinstance(value, str) else f'{value:g}'}" for name, value in told.items())


def _sample(number: int, sample: Sample) -> str:
    title = f" {sample.title}" if sample.title else ""
    texts = [("Teacher", sample.target)]
    texts += [(f"{answer.decoding}, SC {answer.consistency:.3f}", answer.text) for answer in sample.answers]
    quotes = [f"> **{label}**: " + text.replace("\n", "\n> ") for label, text in texts]
    return "\n\n".join([f"**{number}. `{sample.task}`, {sample.id}{title}**", "\n>\n".join(quotes)])
