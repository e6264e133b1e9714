"""What reinforcement did to a model: `Reinforced`, before and after on held-out entities, in words and as Markdown."""

from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

from vecspeak.metrics import Interval
from vecspeak.report import Report

REPETITION_MARGIN = 0.02
"""Repetition (0..1) is said to have risen beyond this: two more trigrams in a hundred said before."""

SHOWN = 5
"""Answers before and after that the report shows."""

GREEDY = "greedy"
"""Name of the decoding that both reports hold."""


class Reinforced(BaseModel):
    """What a run did to the model, measured on held-out entities with greedy answers."""

    # a figure that could not be measured is NaN, which JSON can only hold as a string
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    config: dict[str, Any]
    before: Report
    after: Report

    @computed_field
    @property
    def faults(self) -> list[str]:
        """In words, where the texts got worse; empty where they did not by these measures."""
        loss = [
            f"loss on the teacher's texts of `{old.task}` rose beyond its interval ({_cell(old.right)} to "
            f"{new.right.value:.3f})"
            for old, new in zip(self.before.losses, self.after.losses, strict=True)
            if new.right.value > old.right.high
        ]
        repeated = [
            f"repetition of `{old.task}` rose ({old.of(GREEDY).repetition:.3f} to {new.of(GREEDY).repetition:.3f})"
            for old, new in zip(self.before.tasks, self.after.tasks, strict=True)
            if new.of(GREEDY).repetition > old.of(GREEDY).repetition + REPETITION_MARGIN
        ]
        return loss + repeated

    @property
    def verdict(self) -> str:
        """Whether text quality suffered, in the first sentence, then what both encoders see."""
        tasks = ", ".join(f"`{task.task}`" for task in self.before.tasks)
        first = f"Text quality suffered: {'; '.join(self.faults)}."
        if not self.faults:
            first = (
                "Text quality did not suffer by these measures: the loss on the teacher's texts did not rise beyond "
                f"its interval, nor repetition by more than {REPETITION_MARGIN}, on {tasks}."
            )
        return (
            f"{first} The encoder of the reward sees SC {self._moves('sc')}; the independent one sees top-10 "
            f"identification {self._moves('independent_top10')}."
        )

    def to_markdown(self) -> str:
        """Verdict, figures before and after, and some answers, for people."""
        settings = ", ".join(f"{name} {value}" for name, value in self.config.items())
        parts = [
            f"# {self.after.space}: reinforced by {self.config['reward']}",
            self.verdict,
            _HOW_TO_READ,
            f"{self.after.asked} entities of side `{self.after.side}` of {self.after.space}, greedy answers, "
            f"identification among {self.after.candidates}. Settings: {settings}.",
            *(f"Trained on but not measured: `{task}`, {reason}." for task, reason in self.after.skipped.items()),
            self._table(),
            "## Answers before and after, unpicked",
            *self._answers(),
        ]
        return "\n\n".join(parts) + "\n"

    def _moves(self, figure: str) -> str:
        pairs = [
            (getattr(old.of(GREEDY), figure), getattr(new.of(GREEDY), figure))
            for old, new in zip(self.before.tasks, self.after.tasks, strict=True)
        ]
        moves = [_move(old, new) for old, new in pairs]
        return f"up on {moves.count('up')} of {len(moves)} tasks and down on {moves.count('down')}"

    def _table(self) -> str:
        lines = ["| task | figure | before | after | beyond its interval |", "| --- | --- | ---: | ---: | --- |"]
        for old, new in zip(self.before.tasks, self.after.tasks, strict=True):
            for label, name in _FIGURES.items():
                lines.append(_line(old.task, label, getattr(old.of(GREEDY), name), getattr(new.of(GREEDY), name)))
            was, now = old.of(GREEDY).repetition, new.of(GREEDY).repetition
            lines.append(f"| {old.task} | repetition | {was:.3f} | {now:.3f} |  |")
        for old, new in zip(self.before.losses, self.after.losses, strict=True):
            lines.append(_line(old.task, "loss, teacher's texts", old.right, new.right))
            lines.append(_line(old.task, "gap to shuffled vectors", old.gap_shuffled, new.gap_shuffled))
        return "\n".join(lines)

    def _answers(self) -> list[str]:
        quotes = []
        for old, new in list(zip(self.before.samples, self.after.samples, strict=True))[:SHOWN]:
            title = f" {old.title}" if old.title else ""
            texts = (("Before", old.answers[0].text), ("After", new.answers[0].text))
            told = [f"> **{label}**: " + text.replace("\n", "\n> ") for label, text in texts]
            quotes.append("\n\n".join([f"**`{old.task}`, {old.id}{title}**", "\n>\n".join(told)]))
        return quotes


_HOW_TO_READ = (
    "The model was rewarded by the encoder behind SC and top-10, so these do not judge it. The independent top-10 "
    "(TF-IDF/LSA, fitted on training texts) and the loss do: where SC rises and they do not follow, the answers "
    "please the encoder and say no more. In brackets: 95 % bootstrap intervals over entities; what moved within "
    "them may still have moved."
)

_FIGURES = {"SC": "sc", "top-10": "top10", "independent top-10": "independent_top10"}


def _move(old: Interval, new: Interval) -> str:
    return "up" if new.value > old.high else "down" if new.value < old.low else ""


def _line(task: str, figure: str, old: Interval, new: Interval) -> str:
    return f"| {task} | {figure} | {_cell(old)} | {_cell(new)} | {_move(old, new)} |"


def _cell(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
