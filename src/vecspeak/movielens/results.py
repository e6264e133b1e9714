"""What the experiment found, as typed data: the report is drawn from this alone.

"Paper" is arXiv 2310.04475.
"""

from pydantic import BaseModel, ConfigDict

from vecspeak.metrics import Interval
from vecspeak.report import Report

FROM_VECTOR = "from the vector"
"""Source of a blend: the model itself."""


class _Frozen(BaseModel):
    # a figure that could not be measured is NaN, which JSON can only hold as a string
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class StepTaken(_Frozen):
    """One step of the run; an interrupted step's lost time counts where it began again."""

    name: str
    seconds: float
    peak_gib: float
    """Largest resident memory of the process up to the end of the step."""


class Predictor(_Frozen):
    """How well held-out ratings are predicted."""

    name: str
    """"WALS, 48 factors", "number of ratings", "mean rating"."""
    ndcg: Interval
    """Of each user's held-out films."""
    recall: Interval
    """Of films with four stars or more, among the 20 best of all that the user had not rated."""


class Blend(_Frozen):
    """A bar of the paper's Fig. 3: texts about the middle of two points, judged at the middle."""

    task: str
    source: str
    """"from the vector", "text only, same base", "text only, NAME", "the two ends' own texts"."""
    consistency: Interval
    """SC for films; NDCG against predicted ratings for user profiles."""


class Way(_Frozen):
    """A line of the paper's Fig. 4: SC along a way through the space."""

    task: str
    name: str
    """"interpolation", or the name of a concept."""
    shares: tuple[float, ...]
    """0..1: share of the way."""
    consistency: tuple[Interval, ...]


class Push(_Frozen):
    """A line of the paper's Fig. 5: users pushed along a concept, NDCG on the ratings predicted there."""

    concept: str
    strengths: tuple[float, ...]
    """In standard deviations of the users along the concept."""
    ndcg: tuple[Interval, ...]


class Shown(_Frozen):
    """An answer about a held-out entity, with the teacher's text."""

    task: str
    id: str
    title: str
    text: str
    target: str
    consistency: float


class Dot(_Frozen):
    """A film on the maps."""

    title: str
    genre: str
    side: str
    """train, validation or test."""
    places: dict[str, tuple[float, float]]
    """Layout ("UMAP", "t-SNE", "PCA") -> x, y in 0..1."""


class Results(_Frozen):
    """Everything the report says."""

    release: str
    """Name of the folder."""
    base: str
    encoder: str
    seeds: tuple[int, ...]
    counts: dict[str, int]
    """What was read and how it was split, in words -> how many."""
    notes: tuple[str, ...]
    """What was left out of the data, and how much."""
    steps: tuple[StepTaken, ...]
    predictors: tuple[Predictor, ...]
    films: tuple[Report, ...]
    """The film model's, one for each seed; decodings "greedy", "own" (guidance) and "own, best of 8"."""
    users: tuple[Report, ...]
    """The user model's; empty where there are no profiles."""
    behavioural: tuple[Report, ...]
    """The same questions about films asked of behavioural vectors; empty unless asked for."""
    blends: tuple[Blend, ...]
    paths: tuple[Way, ...]
    pushes: tuple[Push, ...]
    push_random: float
    """Mean NDCG of a random ranking under the pushes' ratings."""
    push_teacher: float
    """Mean NDCG of the teacher's profiles at strength 0."""
    best: tuple[Shown, ...]
    worst: tuple[Shown, ...]
    dots: tuple[Dot, ...]
