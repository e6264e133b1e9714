"""Concepts: directions of a space with a name, each with its measured quality.

A concept activation vector (Kim et al. 2018; paper, section 4 and appendix G, after Goepfert et al. 2022): linear,
fitted from two sets of entities, a column, graded preferences or a text. A step of strength 1 is one standard
deviation of the space's entities along the direction.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from vecspeak.encode import Encoder
from vecspeak.errors import ConceptError
from vecspeak.fits import DIFFERENCE_FITS, SET_FITS, SIDE, Quality, balanced_accuracy, pairwise_agreement
from vecspeak.space import Direction, Space

SAME_MIDDLE = 0.2
"""Spreads that a space's middle may move, by rows added or left out, before its concepts are another space's."""

Method = Literal["mean", "logistic", "ranking", "text"]

_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, eq=False)
class Concept(Direction):
    """A named direction of one space. Made by `fit`, `fit_column`, `fit_preferences` or `fit_text`, or loaded."""

    method: Method
    source: str
    """What it was fitted from, in words."""
    quality: Quality | None
    """None for a concept of a text, which has no examples to be measured on."""
    space_mean_E: np.ndarray
    """(E,) mean of the space it belongs to; with metric and encoder it tells another space."""
    metric: str
    encoder: str | None

    @staticmethod
    def fit(
        space: Space,
        positive: Sequence[str],
        negative: Sequence[str] | None = None,
        *,
        name: str,
        method: Literal["mean", "logistic"] = "mean",
        force: bool = False,
    ) -> "Concept":
        """From entities that have it and entities that have not.

        Args:
            positive: ids, at least two.
            negative: ids, at least two; without them, all others of the space.
            name: letters, digits and underscores, not beginning with a digit.
            method: `mean`, the difference of the two means, or `logistic` regression.
            force: keep a concept that is no better than chance.

        Raises:
            ConceptError: fewer than two on a side, an entity on both sides or twice, a bad name, no
                difference at all, or quality no better than chance.
            PointError: an unknown id.
        """
        if negative is None:
            given = set(positive)
            negative = [id for id in space.ids if id not in given]
        source = f"{len(positive)} entities against {len(negative)}"
        return _fitted_sets(space, positive, negative, name=name, method=method, source=source, force=force)

    @staticmethod
    def fit_column(
        space: Space,
        column: str,
        value: str | None = None,
        *,
        name: str,
        method: Literal["mean", "logistic"] = "mean",
        force: bool = False,
    ) -> "Concept":
        """From a column: entities that say or list `value` against the others; of numbers, the upper third against
        the lower.

        Raises:
            SpaceError: an unknown column.
            ConceptError: a value that is missing or that no entity has; else as `fit`.
        """
        values = space.column(column)
        if value is None:
            positive, negative = _thirds(space, column, values)
            source = f"{column}, the upper third against the lower"
        else:
            has = [value in map(str, v) if isinstance(v, list) else str(v) == value for v in values]
            positive = [id for id, yes in zip(space.ids, has, strict=True) if yes]
            negative = [id for id, yes in zip(space.ids, has, strict=True) if not yes]
            source = f"{column} = {value}: {len(positive)} entities against {len(negative)}"
            if not positive:
                raise ConceptError(f"No entity of {space.name} has {value!r} in the column {column}.")
        return _fitted_sets(space, positive, negative, name=name, method=method, source=source, force=force)

    @staticmethod
    def fit_preferences(
        space: Space,
        pairs: Sequence[tuple[str, str]],
        *,
        name: str,
        method: Literal["mean", "ranking"] = "mean",
        force: bool = False,
    ) -> "Concept":
        """From graded preferences (more, less): "the first is funnier than the second".

        Args:
            pairs: ids of two entities each, at least two pairs.
            method: `mean`, the mean of the differences, or `ranking`, logistic regression on them
                (Bradley-Terry; the linear fit of Goepfert et al. 2022).
            name, force: as `fit`.

        Raises: as `fit`.
        """
        check_name(name)
        if len(pairs) < 2:
            raise ConceptError(f"{name!r} needs at least two preferences, got {len(pairs)}.")
        if twins := [more for more, less in pairs if more == less]:
            raise ConceptError(f"{twins[0]!r} is preferred to itself.")
        ids = sorted({id for pair in pairs for id in pair})
        row_of = {id: row for row, id in enumerate(ids)}
        vectors_NE = np.stack([space[id].vector for id in ids]).astype(np.float64)
        rows_N2 = np.array([[row_of[more], row_of[less]] for more, less in pairs])
        difference_NE = vectors_NE[rows_N2[:, 0]] - vectors_NE[rows_N2[:, 1]]
        labels_1N = np.ones((1, len(pairs)), bool)
        direction_E = DIFFERENCE_FITS[method](difference_NE, labels_1N)[0]
        quality = pairwise_agreement(difference_NE, rows_N2, method=method)
        source = f"{len(pairs)} preferences among {len(ids)} entities"
        return _made(space, direction_E, name=name, method=method, source=source, quality=quality, force=force)

    @staticmethod
    def fit_text(space: Space, text: str, *, name: str, encoder: Encoder) -> "Concept":
        """From a text, by the space's encoder: from the middle of the space towards the text.

        Nothing measures its quality; `quality` is None.

        Raises:
            ConceptError: the encoder is not the space's, a bad name, or a blank text.
        """
        check_name(name)
        if encoder.name != space.encoder:
            raise ConceptError(f"{space.name} was encoded by {space.encoder}, not by {encoder.name}.")
        if not text.strip():
            raise ConceptError(f"{name!r} needs a text, got a blank one.")
        direction_E = encoder.encode([text])[0].astype(np.float64) - space.mean_vector
        return _made(space, direction_E, name=name, method="text", source=f"text {text!r}", quality=None, force=True)

    def agreement(self, space: Space, pairs: Sequence[tuple[str, str]]) -> float:
        """Share of preferences (more, less) that the concept orders so, ties counted half; nan for none.

        Raises:
            PointError: an unknown id.
        """
        if not pairs:
            return float("nan")
        rows_N2 = np.array([[space.row_number(more), space.row_number(less)] for more, less in pairs])
        ids, rows_N2 = np.unique(rows_N2, return_inverse=True)
        strengths_N = self.strengths(space.vectors[ids])[rows_N2.reshape(-1, 2)]
        return float(np.mean((np.sign(strengths_N[:, 0] - strengths_N[:, 1]) + 1) / 2))

    def strengths(self, vectors_NE: np.ndarray) -> np.ndarray:
        """(N,) how much vectors have of it: standard deviations from the middle of the space."""
        length = float(np.linalg.norm(self.step_E))
        return (vectors_NE - self.space_mean_E) @ (self.step_E / length**2)

    def check(self, space: Space) -> None:
        """Raises ConceptError where the concept is of another space, saying what differs."""
        theirs = {"metric": space.metric, "encoder": space.encoder, "dimension": space.dimension}
        ours = {"metric": self.metric, "encoder": self.encoder, "dimension": len(self.step_E)}
        for what, value in ours.items():
            if value != theirs[what]:
                raise ConceptError(
                    f"{self.name!r} belongs to a space of {what} {value}, {space.name} has {theirs[what]}. "
                    "Fit it again here."
                )
        apart = float(np.linalg.norm(self.space_mean_E - space.mean_vector) / np.linalg.norm(space.scale))
        if apart > SAME_MIDDLE:
            raise ConceptError(
                f"{self.name!r} belongs to another space: its middle lies {apart:.2f} spreads from that of "
                f"{space.name}. Fit it again here."
            )


def check_name(name: str) -> None:
    """Raises ConceptError for a name that an expression could not hold."""
    if not _NAME.fullmatch(name) or name == "mean":
        raise ConceptError(
            f"{name!r} is no name for a concept: expected letters, digits and underscores, not beginning with a "
            "digit, and not 'mean'."
        )


# ---- beside the space


class _Saved(BaseModel):
    """NAME.json; NAME.safetensors holds step_E and space_mean_E."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    name: str
    method: Method
    source: str
    quality: Quality | None
    metric: str
    encoder: str | None


def concept_folder(space: Space) -> Path:
    """Where a space's concepts lie: beside it, films.lance -> films.concepts."""
    return space.path.with_suffix(".concepts")


def save_concept(concept: Concept, folder: Path) -> None:
    """Write NAME.safetensors and NAME.json, the json last and each whole or not at all; replaces one of that name.

    Raises:
        ConceptError: the folder cannot be written.
    """
    saved = _Saved(**{field: getattr(concept, field) for field in _Saved.model_fields if field != "format"})
    arrays = {name: np.asarray(getattr(concept, name), np.float32) for name in ("step_E", "space_mean_E")}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{concept.name}.{os.getpid()}.tmp"
        save_file(arrays, temporary)
        temporary.replace(folder / f"{concept.name}.safetensors")
        temporary.write_text(saved.model_dump_json(indent=2) + "\n", encoding="utf-8")
        temporary.replace(folder / f"{concept.name}.json")
    except OSError as error:
        raise ConceptError(
            f"{folder} cannot be written ({error.strerror}). Copy the space to a folder of yours."
        ) from error


def load_concepts(space: Space) -> dict[str, Concept]:
    """All concepts saved beside a space, by name.

    Raises:
        ConceptError: one is damaged, or belongs to another space.
    """
    return {path.stem: _load(path, space) for path in sorted(concept_folder(space).glob("*.json"))}


def load_concept(space: Space, name: str) -> Concept:
    """One concept. Raises ConceptError for an unknown name, which lists the known ones; else as `load_concepts`."""
    folder = concept_folder(space)
    if not _NAME.fullmatch(name) or not (folder / f"{name}.json").is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.json")))
        told = f"Known: {known}." if known else "It has none yet; `vecspeak concept fit` makes one."
        raise ConceptError(f"{space.name} has no concept {name!r}. {told}")
    return _load(folder / f"{name}.json", space)


def _load(path: Path, space: Space) -> Concept:
    try:
        saved = _Saved.model_validate(json.loads(path.read_text("utf-8")))
        arrays = load_file(path.with_suffix(".safetensors"))
        step_E, mean_E = arrays["step_E"], arrays["space_mean_E"]
    except (OSError, KeyError, ValueError, ValidationError, SafetensorError) as error:
        raise ConceptError(f"Concept {path} does not load ({str(error).splitlines()[0]}). Fit it again.") from error
    if step_E.ndim != 1 or step_E.shape != mean_E.shape or not (np.isfinite(step_E).all() and step_E.any()):
        raise ConceptError(f"Concept {path} holds no direction. Fit it again.")
    facts: dict[str, Any] = saved.model_dump(exclude={"format", "quality"})
    concept = Concept(**facts, step_E=step_E, space_mean_E=mean_E, quality=saved.quality)
    concept.check(space)
    return concept


# ---- fitting


def _fitted_sets(
    space: Space,
    positive: Sequence[str],
    negative: Sequence[str],
    *,
    name: str,
    method: Literal["mean", "logistic"],
    source: str,
    force: bool,
) -> Concept:
    check_name(name)
    for side, ids in (("positive", positive), ("negative", negative)):
        if len(ids) < 2:
            raise ConceptError(f"{name!r} needs at least two {side} examples, got {len(ids)}.")
    if twice := _first_twice([*positive, *negative]):
        raise ConceptError(f"Entity {twice!r} is given twice; each belongs to one side, once.")
    rows_N = np.array([space.row_number(id) for id in (*positive, *negative)])
    label_N = np.arange(len(rows_N)) < len(positive)
    if method == "mean":  # without a copy of all vectors, which may be many
        total_E = space.mean_vector.astype(np.float64) * len(space)
        direction_E = _mean_of(space, rows_N[label_N], total_E) - _mean_of(space, rows_N[~label_N], total_E)
    else:
        direction_E = SET_FITS[method](space.vectors[rows_N].astype(np.float64), label_N[None])[0]
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(np.flatnonzero(side))[:SIDE] for side in (label_N, ~label_N)]
    sample = np.concatenate(drawn)
    quality = balanced_accuracy(space.vectors[rows_N[sample]].astype(np.float64), label_N[sample], method=method)
    return _made(space, direction_E, name=name, method=method, source=source, quality=quality, force=force)


def _made(
    space: Space,
    direction_E: np.ndarray,
    *,
    name: str,
    method: Method,
    source: str,
    quality: Quality | None,
    force: bool,
) -> Concept:
    length = float(np.linalg.norm(direction_E))
    if length < 1e-9 * float(np.linalg.norm(space.scale)):
        raise ConceptError(f"{name!r} has no direction: both sides have the same middle.")
    if quality is not None and not quality.beats_chance and not force:
        raise ConceptError(f"{name!r} is no better than chance: {quality}. Give more or clearer examples.")
    unit_E = direction_E / length
    spread = float(np.std(space.vectors @ unit_E.astype(np.float32), dtype=np.float64))
    if spread == 0:
        raise ConceptError(f"{name!r}: the entities of {space.name} do not differ along this direction.")
    step_E = (unit_E * spread).astype(np.float32)
    return Concept(name, step_E, method, source, quality, space.mean_vector, space.metric, space.encoder)


def _mean_of(space: Space, rows_N: np.ndarray, total_E: np.ndarray) -> np.ndarray:
    """Mean of the rows; of nearly all of them, by leaving the others out of the total."""
    if 2 * len(rows_N) <= len(space):
        return space.vectors[rows_N].mean(0, dtype=np.float64)
    others = np.ones(len(space), bool)
    others[rows_N] = False
    return (total_E - space.vectors[others].sum(0, dtype=np.float64)) / len(rows_N)


# ---- helpers


def _thirds(space: Space, column: str, values: Sequence[Any]) -> tuple[list[str], list[str]]:
    numbers = [(v, id) for v, id in zip(values, space.ids, strict=True) if isinstance(v, int | float) and v == v]
    if len(numbers) < 6 or any(isinstance(v, bool | str | list) for v in values if v is not None):
        raise ConceptError(f"The column {column} holds no numbers to split into thirds: give a value, {column}=VALUE.")
    numbers.sort(key=lambda found: found[0])
    low, high = numbers[len(numbers) // 3 - 1][0], numbers[-(len(numbers) // 3)][0]
    if low == high:
        raise ConceptError(f"The column {column} is {low} for too many entities to be split into thirds.")
    return [id for v, id in numbers if v >= high], [id for v, id in numbers if v <= low]


def _first_twice(ids: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            return id
        seen.add(id)
    return None
