"""What one server serves: a model with its space, and all that is kept of them between requests."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from vecspeak.concepts import Concept, concept_folder, load_concepts, save_concept
from vecspeak.elm import Elm
from vecspeak.errors import ConceptError
from vecspeak.serve.engine import Engine
from vecspeak.serve.failures import Failure
from vecspeak.serve.judging import Judge
from vecspeak.serve.layouts import Layouts
from vecspeak.serve.limits import Limits
from vecspeak.serve.metrics import Metrics
from vecspeak.serve.regions import Regions
from vecspeak.serve.search import Index
from vecspeak.serve.table import Tables
from vecspeak.space import Direction, Space
from vecspeak.tasks import Task


class Concepts:
    """Those saved beside the space, and those fitted through the server, which live as long as it does."""

    def __init__(self, space: Space, *, most: int) -> None:
        self._space = space
        self._saved = load_concepts(space)
        self._most = len(self._saved) + most
        self._fitted: dict[str, Concept] = {}
        self._lock = threading.Lock()

    def directions(self) -> dict[str, Direction]:
        """By name, as expressions use them."""
        with self._lock:
            return {**self._saved, **self._fitted}

    def listed(self) -> list[tuple[Concept, bool]]:
        """Each with whether it is saved."""
        with self._lock:
            return [(c, True) for c in self._saved.values()] + [(c, False) for c in self._fitted.values()]

    def fit(self, name: str, positive: Sequence[str], negative: Sequence[str] | None, *, save: bool) -> Concept:
        """A new concept; one of that name that was fitted here is replaced, a saved one is not.

        Raises:
            ConceptError: as `Concept.fit`, or the name of a saved concept or of an entity.
            PointError: an unknown id.
            Failure: too many concepts, or a folder that cannot be written.
        """
        self._check(name)
        concept = Concept.fit(self._space, positive, negative, name=name)
        with self._lock:
            self._check(name)  # another may have been fitted meanwhile
            if save:
                self._save(concept)
                self._fitted.pop(name, None)
            (self._saved if save else self._fitted)[name] = concept
        return concept

    def _check(self, name: str) -> None:
        if name in self._saved:
            raise ConceptError(f"{self._space.name} has a saved concept {name!r}. Choose another name.")
        if name in self._space:
            raise ConceptError(f"{self._space.name} has an entity {name!r}, which would be meant. Choose another name.")
        if name not in self._fitted and len(self._saved) + len(self._fitted) >= self._most:
            raise Failure(400, "As many concepts as this server keeps were fitted already. Restart it to forget them.")

    def _save(self, concept: Concept) -> None:
        try:
            save_concept(concept, concept_folder(self._space))
        except ConceptError:  # its message names the server's folder
            raise Failure(400, "The concepts of this space cannot be written. Fit it without saving.") from None


@dataclass
class Served:
    """Made once, before the server listens; `close` ends its threads and processes."""

    name: str
    """What the model is called in requests."""
    elm: Elm
    space: Space
    tasks: Sequence[Task]
    limits: Limits
    layouts: Layouts
    started: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        self.concepts = Concepts(self.space, most=self.limits.concepts)
        self.index = Index(self.space)
        self.tables = Tables(self.space, self.layouts)
        self.regions = Regions(self.elm, self.space, self.layouts)
        self.judge = Judge(self.elm)
        self.engine = Engine(self.elm, limits=self.limits, metrics=self.metrics)

    @property
    def slot(self) -> str:
        """What the model's questions call an entity."""
        return next((task.slots[0] for task in self.tasks if len(task.slots) == 1), "x")

    @property
    def has_users(self) -> bool:
        """Whether rows of the space are people: all of them, or those that the column `kind` says so of."""
        return self.slot == "user" or ("kind" in self.space.columns and "user" in self.space.column("kind"))

    def close(self) -> None:
        """Finish what runs."""
        self.engine.close(seconds=self.limits.seconds)
        self.judge.close()
        self.layouts.close()
