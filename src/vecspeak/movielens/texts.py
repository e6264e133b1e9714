"""Texts of films: the corpus that ships with the package, and tables of the user's own."""

import gzip
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vecspeak.bundled import bundled_space_path
from vecspeak.errors import SpaceError
from vecspeak.factors import read_table
from vecspeak.space import Space
from vecspeak.spacefile import one_line

if TYPE_CHECKING:
    import polars as pl

PASSAGE_WORDS = 90
"""Longest passage: the encoder reads 256 tokens."""
SHORTEST = 4
"""Words below which a text says nothing."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_LETTERS = re.compile(r"[^\w]+")


def corpus_films(films: "pl.DataFrame") -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Id in the release -> row of the bundled film space (texts, split, partner; ids those of the release), and notes.

    A film is found by its title and year, as ids differ in old releases; where the title was written otherwise, by its
    id if the years agree and the titles share a word.
    """
    corpus = Space.open(bundled_space_path())
    by_title: dict[tuple[str, int | None], str] = {}
    by_id: dict[str, tuple[str, int | None]] = {}
    for id, title, year in films.select("id", "title", "year").iter_rows():
        by_title.setdefault((_plain(title), year), id)
        by_id[id] = (_plain(title), year)
    columns = {name: corpus.column(name) for name in corpus.columns}
    known = {id: {name: values[row] for name, values in columns.items()} for row, id in enumerate(corpus.ids)}
    found: dict[str, str] = {}
    for id, row in known.items():
        key = (_plain(row["title"]), row["year"])
        title, year = by_id.get(id, ("", None))
        if key in by_title:
            found[id] = by_title[key]
        elif year == row["year"] and set(title.split()) & set(key[0].split()):
            found[id] = id
    rows = {}
    for id, here in found.items():
        row = known[id]
        rows[here] = {**row, "id": here, "partner": found.get(row["partner"] or ""), "vector": corpus[id].vector}
    missing = len(corpus.ids) - len(rows)
    notes = (f"{missing} of the {len(corpus.ids)} films of the corpus are not in this release",) if missing else ()
    return rows, notes


def joined_texts(path: Path, films: "pl.DataFrame") -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Film id -> its texts in a table, and notes on what did not join.

    Args:
        path: CSV, Parquet or JSON lines (also .jsonl.gz) with a column `text` and `movieId` or `imdbId`; where a row
            has both, the movieId counts. An imdbId may be written with or without `tt` and leading zeros.
        films: the release's, with id and imdb.

    Raises:
        SpaceError: no such columns, or no row joins.
    """
    import polars as pl

    table = _read(path)
    keys = [name for name in ("movieId", "imdbId") if name in table.columns]
    if "text" not in table.columns or not keys:
        raise SpaceError(
            f"{path} needs a column `text`, and `movieId` or `imdbId` to join it; it has {', '.join(table.columns)}."
        )
    ids = dict.fromkeys(films["id"].to_list())
    by_imdb = {imdb.lstrip("0"): id for id, imdb in films.select("id", "imdb").iter_rows() if imdb}
    texts: dict[str, list[str]] = defaultdict(list)
    unjoined = short = 0
    columns = [pl.col(name).cast(pl.String).str.strip_chars() for name in (*keys, "text")]
    for *given, text in table.select(columns).iter_rows():
        row = dict(zip(keys, given, strict=True))
        imdb = (row.get("imdbId") or "").removeprefix("tt").lstrip("0")
        id = row["movieId"] if row.get("movieId") in ids else by_imdb.get(imdb)
        if id is None:
            unjoined += 1
        elif text is None or len(text.split()) < SHORTEST:
            short += 1
        else:
            texts[id].append(text)
    if not texts:
        raise SpaceError(f"{path}: no {' or '.join(keys)} is that of a film of the release.")
    told = {"belong to no film of this release": unjoined, f"have fewer than {SHORTEST} words": short}
    notes = tuple(f"{count:,} of {len(table):,} texts of {path.name} {what}" for what, count in told.items() if count)
    return dict(texts), notes


def passages(text: str) -> list[str]:
    """The text in whole sentences of at most PASSAGE_WORDS words together; a longer sentence stays whole."""
    parts: list[list[str]] = [[]]
    words = 0
    for sentence in _SENTENCE_END.split(text.strip()):
        length = len(sentence.split())
        if parts[-1] and words + length > PASSAGE_WORDS:
            parts.append([])
            words = 0
        parts[-1].append(sentence)
        words += length
    return [" ".join(part) for part in parts if part]


def _read(path: Path) -> "pl.DataFrame":
    if not path.name.endswith(".jsonl.gz"):
        return read_table(path)
    import polars as pl

    try:
        with gzip.open(path, "rb") as file:
            return pl.read_ndjson(io.BytesIO(file.read()), infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        raise SpaceError(f"{path} is no table of JSON lines: {one_line(error)}") from error


def _plain(title: str | None) -> str:
    return " ".join(_LETTERS.sub(" ", (title or "").casefold()).split())


def all_texts(paths: Sequence[Path], films: "pl.DataFrame") -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The texts of several tables together, in the order of the tables."""
    texts: dict[str, list[str]] = defaultdict(list)
    notes: list[str] = []
    for path in paths:
        found, told = joined_texts(path, films)
        notes += told
        for id, more in found.items():
            texts[id] += more
    return dict(texts), tuple(notes)
