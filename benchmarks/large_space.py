"""A space of 200,000 x 384: concept fit, neighbours and distances, with time and memory.

python benchmarks/large_space.py
"""

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vecspeak import Space
from vecspeak.concepts import Concept

ROWS, DIMENSION, ASKED = 200_000, 384, 1_000


def timed(what: str, work: Callable[[], object]) -> None:
    began = time.perf_counter()
    work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what}: {time.perf_counter() - began:.2f} s, peak {peak:.2f} GiB")


def main() -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        made = rng.standard_normal((ROWS, DIMENSION), dtype=np.float32)
        made[: ROWS // 2, 0] += 1
        ids = [str(row) for row in range(ROWS)]
        Space.create(Path(folder) / "s.lance", ids=ids, vectors=made, name="large")
        del made
        space = Space.open(Path(folder) / "s.lance")
        timed("vectors into memory", lambda: space.vectors)
        timed("ids into memory", lambda: space.row_number("0"))
        timed("mean and scale", lambda: (space.mean_vector, space.scale))
        timed("concept of 200,000 entities", lambda: Concept.fit(space, ids[: ROWS // 2], name="first"))
        points = [space.point(v) for v in rng.standard_normal((ASKED, DIMENSION), dtype=np.float32)]
        timed(f"10 neighbours of {ASKED} points", lambda: space.neighbours_of(points, 10))
        timed("own distances, once", lambda: space[ids[0]].distance)
        timed(f"distances of {ASKED} points", lambda: space.distances(points))


if __name__ == "__main__":
    main()
