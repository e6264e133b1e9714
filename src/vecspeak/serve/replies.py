"""What `/api` answers."""

from typing import Any

from pydantic import BaseModel

from vecspeak.concepts import Concept
from vecspeak.fits import Quality


class SpaceReply(BaseModel):
    name: str
    count: int
    dimension: int
    metric: str
    columns: list[str]
    """That can colour the map."""
    id_example: str
    slot: str
    """What the model's questions call an entity."""


class ModelReply(BaseModel):
    """What is served."""

    model: str
    space: SpaceReply
    layouts: list[str]
    """The default first."""
    default_layout: str
    decoding: dict[str, float | str | None]
    users: bool
    """Whether some rows are people."""
    version: str


class TaskReply(BaseModel):
    name: str
    title: str
    prompt: str
    slots: list[str]


class TasksReply(BaseModel):
    tasks: list[TaskReply]


class EntityReply(BaseModel):
    id: str
    title: str


class SearchReply(BaseModel):
    results: list[EntityReply]
    total: int


class NeighbourReply(BaseModel):
    id: str
    title: str | None
    similarity: float
    """Larger is nearer: cosine, dot product, or minus the Euclidean distance."""


class NeighboursReply(BaseModel):
    neighbours: list[NeighbourReply]


class PointReply(BaseModel):
    """The geometry of a point."""

    label: str
    point: str | None
    """The expression that makes it, to be pushed, mixed and linked to; null for a vector."""
    hypothetical: bool
    """No entity is this point."""
    x: float | None
    y: float | None
    distance: float | None
    """Percentile 0..100 of the distance to the data."""
    caution: str | None
    neighbours: list[NeighbourReply]
    words: list[str]
    vector: list[float]
    row: dict[str, Any] | None


class QualityReply(Quality):
    text: str
    """In words."""


class ConceptReply(BaseModel):
    name: str
    source: str
    quality: QualityReply | None
    saved: bool
    """Kept beside the space; else it lives as long as the server."""

    @classmethod
    def of(cls, concept: Concept, *, saved: bool) -> "ConceptReply":
        quality = concept.quality
        told = None if quality is None else QualityReply(**quality.model_dump(), text=str(quality))
        return cls(name=concept.name, source=concept.source, quality=told, saved=saved)


class ConceptsReply(BaseModel):
    concepts: list[ConceptReply]


class LabelReply(BaseModel):
    text: str
    x: float
    y: float
    size: int


class LabelsReply(BaseModel):
    labels: list[LabelReply]
