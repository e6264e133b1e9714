"""One layout of a space, computed in a process of its own: `python -m vecspeak.serve.mapping SPACE LAYOUT OUT.npy`.

UMAP and its compiler hold Python's lock for seconds; in the server's process every answer would wait for them.
"""

import os
import sys
from pathlib import Path

import numpy as np

from vecspeak.maps import map_layout, pca_layout, tsne_layout, unit_square
from vecspeak.space import Space

COMPUTED = {"umap": map_layout, "tsne": tsne_layout, "pca": pca_layout}


def on_map(places_N2: np.ndarray) -> np.ndarray:
    """(N, 2) float32 in 0..1, as they are kept and shown."""
    return unit_square(places_N2).astype(np.float32)


def write_layout(path: Path, places_N2: np.ndarray) -> None:
    """`on_map`, in a file that is whole or not there at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        np.save(file, on_map(places_N2))
    temporary.replace(path)


def main(space: str, layout: str, out: str) -> None:
    os.nice(10)  # answers go first
    write_layout(Path(out), COMPUTED[layout](Space.open(space).vectors))


if __name__ == "__main__":
    main(*sys.argv[1:])
