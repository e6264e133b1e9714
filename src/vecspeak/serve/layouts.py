"""The maps of a space: computed once for its vectors, kept as files, ready at once the next time."""

import hashlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from vecspeak.bundled import bundled_space_path
from vecspeak.maps import pca_layout
from vecspeak.serve.failures import Failure
from vecspeak.serve.mapping import on_map, write_layout
from vecspeak.space import Space

logger = logging.getLogger("vecspeak.serve")

SMALLEST = 16
"""Entities that UMAP and t-SNE need to be of use."""

KEPT_SECONDS = 0.5
"""In which a file is read."""

Places = np.ndarray
"""(N, 2) float32 in 0..1, one row an entity."""


class Layouts:
    """Asked for by name; `start` begins what the page will want first."""

    def __init__(self, space: Space, folder: Path) -> None:
        self._space, self._folder = space, folder
        self.names = layout_names(space)
        self.default = self.names[0]
        self._known: dict[str, Places] = {}
        self._failed: set[str] = set()
        self._work: dict[str, threading.Thread] = {}
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Begin with what can be shown at once, and with the default."""
        for name in dict.fromkeys(("pca", self.default)):
            self._begin(name)

    def get(self, name: str) -> Places | None:
        """The places, or None while they are computed; PCA and what is kept in a file are waited for.

        Raises:
            Failure: an unknown name, or a layout that could not be computed.
        """
        if name not in self.names:
            raise Failure(400, f"Unknown layout {name!r}. One of: {', '.join(self.names)}.", param="layout")
        if name not in self._known:
            self._begin(name)
            self._work[name].join(None if name == "pca" else KEPT_SECONDS)
        if name in self._failed:
            message = f"The layout {name} could not be computed; the server's log says why. Take another."
            raise Failure(503, message, kind="server_error", param="layout", code="layout_failed")
        return self._known.get(name)

    def close(self) -> None:
        """End what is being computed; it begins anew the next time."""
        with self._lock:
            self._closed = True
            for process in self._processes:
                process.terminate()
        for thread in list(self._work.values()):
            thread.join()

    def _begin(self, name: str) -> None:
        with self._lock:
            if name not in self._work and not self._closed:
                self._work[name] = threading.Thread(target=self._find, args=(name,), name=f"layout {name}", daemon=True)
                self._work[name].start()

    def _find(self, name: str) -> None:
        try:
            path = self._folder / f"{name}-{digest_of(self._space)}.npy"
            places = read_layout(path, len(self._space))
            if places is None and (places := self._computed(name)) is not None:
                keep(path, places)
            if places is not None:
                self._known[name] = places
                return
        except Exception:
            logger.exception("Layout %s could not be computed", name)
        self._failed.add(name)
        if name == self.default:
            self.default = "pca"

    def _computed(self, name: str) -> Places | None:
        if name == "pca":
            return on_map(flat(self._space.vectors))
        with TemporaryDirectory(prefix="vecspeak-") as folder:
            path = Path(folder) / f"{name}.npy"
            self._run([sys.executable, "-m", "vecspeak.serve.mapping", str(self._space.path), name, str(path)], name)
            return read_layout(path, len(self._space))

    def _run(self, command: Sequence[str], name: str) -> None:
        with self._lock:
            if self._closed:
                return
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            self._processes.add(process)
        _, errors = process.communicate()
        self._processes.discard(process)
        if process.returncode and not self._closed:
            logger.error("Layout %s could not be computed: %s", name, errors.decode("utf-8", "replace").strip()[-500:])


def digest_of(space: Space) -> str:
    """Of the vectors: a space that has changed has other layouts."""
    return hashlib.blake2b(space.vectors.data, digest_size=8).hexdigest()


def layout_names(space: Space) -> tuple[str, ...]:
    """What can be computed of a space here, the default first."""
    large = len(space) >= SMALLEST
    return (*(("umap",) if large and find_spec("umap") else ()), "pca", *(("tsne",) if large else ()))


def layout_folder(space: Space) -> Path:
    """Beside the space, films.lance -> films.layouts; in the user's cache where nothing can be written there."""
    beside = space.path.resolve().with_suffix(".layouts")
    if space.path != bundled_space_path() and (beside.is_dir() or os.access(beside.parent, os.W_OK)):
        return beside
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "vecspeak" / "layouts"


def keep(path: Path, places: Places) -> None:
    """For the next start; where that cannot be, this server has them all the same."""
    try:
        write_layout(path, places)
    except OSError as error:
        logger.warning("%s cannot be written, so the map will be computed again: %s", path, error)


def read_layout(path: Path, entities: int) -> Places | None:
    """The places in a file; None where there is none that fits."""
    try:
        places = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = places.shape == (entities, 2) and places.dtype == np.float32 and np.isfinite(places).all()
    return places if fits else None


def flat(vectors_NE: np.ndarray) -> np.ndarray:
    """(N, 2): PCA; fewer than two entities or dimensions have no two directions, the second place is then 0."""
    if min(vectors_NE.shape) >= 2:
        return pca_layout(vectors_NE)
    return np.column_stack([vectors_NE[:, 0], np.zeros(len(vectors_NE), np.float32)])
