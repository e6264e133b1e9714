"""Read vectors from the files people have into a space.

    import_space("films.parquet", "films.lance", reading=Reading(id_column="movieId", title_column="name"))

| file                 | ids                                              | vectors                                  |
|----------------------|--------------------------------------------------|------------------------------------------|
| .npy                 | a text file, one per line, or else row numbers   | the array, (rows, dimensions)            |
| .npz .safetensors    | the same, or the 1-d array `ids` (id column)     | the only 2-d array, or the one named     |
| .parquet .csv .jsonl | the id column, `id` unless named                 | the vector column, `vector` unless named |
| folder (Lance)       | the same; a LanceDB table is its db/x.lance      | the same                                 |
| .vec .w2v .txt       | first word of each line (word2vec text, GloVe)   | the numbers after it                     |

In tables a vector is one column of lists (in CSV a JSON list as text, `"[0.1, 0.2]"`), or one number per column:
a vector column that ends in a star, `emb_*`, means all columns that begin with `emb_`, in the order of the file.
All other columns of a table are kept, and other 1-d arrays of as many values as rows; what is not is said in `notes`.

Rows are read, checked and written a few thousand at a time; only .npz is read whole. Nothing is ever unpickled.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from vecspeak.errors import SpaceError
from vecspeak.read_arrays import read_npy, read_npz, read_safetensors, read_words
from vecspeak.read_tables import read_csv, read_jsonl, read_lance, read_parquet
from vecspeak.reading import Incoming, Reading
from vecspeak.space import Space
from vecspeak.spacefile import Header, check_target, write_space

__all__ = ["Imported", "Reading", "import_space", "read_source"]


@dataclass(frozen=True)
class Imported:
    """What an import made."""

    space: Space
    """The new space."""
    notes: tuple[str, ...]
    """What the user should know: ids that were made, arrays that were left out."""


@dataclass(frozen=True)
class _Format:
    read: Callable[[Path, Reading], Incoming]
    takes: frozenset[str]
    """Fields of Reading that mean something here."""


_ARRAYS = frozenset({"ids", "id_column", "vector_column"})
_COLUMNS = frozenset({"id_column", "vector_column", "title_column"})
_WORDS = _Format(read_words, frozenset())
_LANCE = _Format(read_lance, _COLUMNS)

FORMATS = {
    ".npy": _Format(read_npy, frozenset({"ids"})),
    ".npz": _Format(read_npz, _ARRAYS),
    ".safetensors": _Format(read_safetensors, _ARRAYS),
    ".parquet": _Format(read_parquet, _COLUMNS),
    ".csv": _Format(read_csv, _COLUMNS),
    ".jsonl": _Format(read_jsonl, _COLUMNS),
    ".vec": _WORDS,
    ".w2v": _WORDS,
    ".txt": _WORDS,
}
"""Ending of the file name -> how it is read; a folder is a Lance dataset."""


def import_space(
    source: str | Path,
    target: str | Path,
    *,
    header: Header | None = None,
    reading: Reading | None = None,
    overwrite: bool = False,
    on_rows: Callable[[int, int | None], None] | None = None,
) -> Imported:
    """Make a space of a file or a Lance folder.

    Args:
        source: what to read; its name tells the format.
        target: the folder to make.
        header: name, metric and so on; unless given, named after the target, with the cosine metric.
        reading: what to take from the source.
        overwrite: replace a space that is there.
        on_rows: called with the number of rows of each chunk handed on, and the total if it is known.

    Raises:
        SpaceError: a source that is missing, of unknown format or broken, a column that is not there, an
            option that means nothing for the format, vectors of different length, and all that
            `write_space` refuses. Nothing is left behind.
    """
    source, target = Path(source), Path(target)
    header = header or Header(target.stem, source=source.name)
    check_target(target, overwrite=overwrite)
    incoming = read_source(source, reading or Reading())
    write_space(
        target,
        header,
        incoming.chunks,
        overwrite=overwrite,
        on_rows=(lambda rows: on_rows(rows, incoming.rows)) if on_rows else None,
    )
    return Imported(Space.open(target), incoming.notes)


def read_source(source: Path, reading: Reading) -> Incoming:
    """The rows of a file or a Lance folder, not yet checked.

    Raises:
        SpaceError: a source that is missing, of unknown format or broken, a column that is not there, or an
            option that means nothing for the format. Taking the chunks raises it, too.
    """
    return _format(source, reading).read(source, reading)


def _format(source: Path, reading: Reading) -> _Format:
    if not source.exists():
        raise SpaceError(f"There is no {source} to import.")
    known = _LANCE if source.is_dir() else FORMATS.get(source.suffix.lower())
    if known is None:
        raise SpaceError(f"{source} has an unknown format. Known: {' '.join(FORMATS)}, or a folder with a Lance table.")
    for option in fields(reading):
        if getattr(reading, option.name) is not None and option.name not in known.takes:
            flag = "--" + option.name.replace("_", "-")
            raise SpaceError(f"{flag} means nothing for {source}; leave it away.")
    return known
