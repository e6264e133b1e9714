"""Words for the regions of a map: clusters of the space, named by what the adapter makes of their centres."""

import logging
import threading
from dataclasses import dataclass

import numpy as np

from vecspeak.elm import Elm
from vecspeak.labels import centre_of, cluster_numbers, distinct_words
from vecspeak.serve.failures import Failure
from vecspeak.serve.layouts import Layouts
from vecspeak.space import Space

logger = logging.getLogger("vecspeak.serve")

MOST = 40
"""Regions of a map that can be read."""
SMALLEST = 8
"""Entities of a space that is worth dividing."""


@dataclass(frozen=True)
class Region:
    """A cluster, and its middle on one layout."""

    text: str
    x: float
    y: float
    size: int


class Regions:
    """Clusters are found once, in the background; every layout has them in its own places."""

    def __init__(self, elm: Elm, space: Space, layouts: Layouts) -> None:
        self._elm, self._space, self._layouts = elm, space, layouts
        self._clusters: list[tuple[str, np.ndarray]] | None = None
        self._failed = False
        self._thread = threading.Thread(target=self._find, name="regions", daemon=True)
        self._lock = threading.Lock()

    def get(self, layout: str) -> list[Region] | None:
        """Largest first; None while layout or clusters are computed. Raises Failure as `Layouts.get`."""
        with self._lock:
            if not self._thread.ident:
                self._thread.start()
        places_N2 = self._layouts.get(layout)
        if self._failed:
            message = "The labels could not be made; the server's log says why."
            raise Failure(503, message, kind="server_error", code="labels_failed")
        if places_N2 is None or self._clusters is None:
            return None
        return [region(text, places_N2[rows]) for text, rows in self._clusters]

    def _find(self) -> None:
        try:
            self._clusters = named_clusters(self._elm, self._space)
        except Exception:
            logger.exception("Labels could not be made")
            self._failed = True


def named_clusters(elm: Elm, space: Space) -> list[tuple[str, np.ndarray]]:
    """(words, rows) of each cluster, largest first; none in a space too small to divide."""
    if len(space) < SMALLEST:
        return []
    count = min(MOST, max(2, round((len(space) / 2) ** 0.5)))
    numbers = np.array(cluster_numbers(space, np.empty((0, 2)), method="kmeans", count=count))
    rows = sorted((np.flatnonzero(numbers == number) for number in set(numbers)), key=len, reverse=True)
    centres = [centre_of(space, members.tolist(), label="centre") for members in rows]
    return list(zip(distinct_words(elm, centres), rows, strict=True))


def region(text: str, places_K2: np.ndarray) -> Region:
    """A cluster's words at the middle of its places; the median, since some members may lie far off."""
    x, y = np.median(places_K2, axis=0)
    return Region(text, float(x), float(y), len(places_K2))
