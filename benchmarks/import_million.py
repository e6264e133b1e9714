"""Import 1,000,000 x 384 float32 from .npy: rows per second, and peak resident memory above a bare interpreter.

Run: python benchmarks/import_million.py [--rows 1000000] [--dimension 384]

Needs room for the array twice in the temporary folder (TMPDIR). The import runs in a process of its own, whose base
memory is read at its first line, before vecspeak and its libraries are imported.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_GIB = 1.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--step", choices=["write", "measure"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "write":
        write_vectors(options.folder / "vectors.npy", options.rows, options.dimension)
        return 0
    if options.step == "measure":
        return measure(options.folder)
    with tempfile.TemporaryDirectory() as folder:
        # a process starts with the peak of the one that forked it (Linux), so this one must stay small
        for step in ("write", "measure"):
            command = [sys.executable, __file__, *sys.argv[1:], "--step", step, "--folder", folder]
            code = subprocess.run(command, check=False).returncode
            if code:
                return code
    return 0


def write_vectors(path: Path, rows: int, dimension: int) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, dimension))
    for start in range(0, rows, 10_000):
        part = array[start : start + 10_000]
        part[:] = rng.standard_normal(part.shape, np.float32)
    array.flush()


def measure(folder: Path) -> int:
    base = peak_gib()
    began = time.perf_counter()
    from vecspeak.importing import import_space

    space = import_space(folder / "vectors.npy", folder / "vectors.lance").space
    seconds = time.perf_counter() - began
    above = peak_gib() - base
    print(f"{len(space):,} x {space.dimension} in {seconds:.1f} s: {len(space) / seconds:,.0f} rows/s")
    print(f"peak resident memory {above:.2f} GiB above the interpreter's {base:.2f} GiB (limit {LIMIT_GIB})")
    return 0 if above < LIMIT_GIB else 1


def peak_gib() -> float:
    """Largest resident memory of this process so far. Linux counts KiB, macOS bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (30 if sys.platform == "darwin" else 20)


if __name__ == "__main__":
    sys.exit(main())
