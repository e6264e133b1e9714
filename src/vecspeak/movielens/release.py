"""Any MovieLens release -> its ratings and its films.

Which one is told by the files of the folder, as GroupLens publishes them:

    ratings.csv, movies.csv, links.csv    ml-20m, ml-25m, ml-32m, ml-latest, ml-latest-small
    ratings.dat, movies.dat               ml-1m, ml-10m
    u.data, u.item, u.genre               ml-100k

Shapes: R ratings, I films that are rated, N numbers of one kind.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vecspeak.errors import SpaceError
from vecspeak.factors import Ratings, check_installed, left_out, settled

if TYPE_CHECKING:
    import polars as pl

HIGHEST = 5
"""Stars. All releases rate up to five, from one star or from half a star."""
NAMED = 3
"""Films named where many are not in the film table."""
BLOCK = 1 << 25
"""Bytes of ratings read at once; they take about ten times as much while they become numbers."""

GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""The flags of u.item in order, for a folder without u.genre."""
NO_GENRE = {"", "unknown", "(no genres listed)"}

_ROLES = {"userId": "user", "movieId": "item", "rating": "value", "timestamp": "time"}
"""Column -> what it is called here; the files without a header have them in this order."""
_AROUND = ' \t\r\n"'
"""What may stand around a cell of ratings."""
_YEAR = re.compile(r"(?P<title>.*\S)\s*\((?P<year>\d{4})(?:\s*[-\u2013]\s*(?:\d{4})?)?\s*\)", re.DOTALL)


@dataclass(frozen=True)
class Release:
    """A MovieLens release as read."""

    name: str
    """Name of its folder."""
    ratings: Ratings
    """Those of films with enough of them; the ids are written as plain numbers, in ascending order."""
    films: "pl.DataFrame"
    """All films of the film table, also those without a rating here, in its order.

    id (String), title (String, without the year, otherwise as written: "Matrix, The"), year (Int64 or null; the first
    of a range), genres (List[String]), imdb (String or null: seven digits or more, as in links.csv).
    """
    notes: tuple[str, ...]
    """What was left out or did not join, and how much of it."""


class _Film(NamedTuple):
    """Cells as they are written."""

    id: str
    title: str
    genres: list[str]


@dataclass(frozen=True)
class _Format:
    ratings: str
    films: str
    separator: str
    """Of the ratings."""
    example: str
    """A first line of ratings."""
    film_rows: Callable[[Path], Iterator[_Film | None]]
    """None for a row that is not whole."""

    @property
    def has_header(self) -> bool:
        return self.ratings.endswith(".csv")


def read_release(folder: Path, *, fewest: int = 5) -> Release:
    """Ratings of films with at least `fewest`, and all films. Nothing is written.

    A row without whole-number ids or with a rating that is not above 0 and at most 5 is left out and counted, as are
    ratings of films that the film table lacks. Of two ratings of one film by one user the later one holds.

    Raises:
        SpaceError: no folder, no known release in it, a file of it missing or not as published, or no rating left.
    """
    check_installed()
    form = _format(folder)
    films, film_notes = _read_films(folder / form.films, form.film_rows(folder / form.films))
    films, link_notes = _with_imdb(films, folder / "links.csv")
    ratings = _read_ratings(folder / form.ratings, form, films=films, film_file=form.films, fewest=fewest)
    without = len(films) - len(ratings.item_ids)
    few = (f"{without:,} of {len(films):,} films have fewer than {fewest} ratings",) if without else ()
    notes = (*ratings.notes, *film_notes, *link_notes, *few)
    return Release(folder.resolve().name, ratings, films, notes)


def _format(folder: Path) -> _Format:
    """Raises SpaceError unless the folder holds one release."""
    if not folder.exists():
        raise SpaceError(f"There is no folder {folder}. Expected the folder of a MovieLens release, such as ml-25m.")
    if not folder.is_dir():
        todo = "Unzip it and name the folder." if folder.suffix.lower() == ".zip" else "Name the folder it lies in."
        raise SpaceError(f"{folder} is a file; expected the folder of a MovieLens release. {todo}")
    found = [form for form in _FORMATS if (folder / form.ratings).is_file()]
    if not found:
        raise SpaceError(_no_release(folder))
    if len(found) > 1:
        several = " and ".join(form.ratings for form in found)
        raise SpaceError(f"{folder} holds several releases: {several}. Put each into a folder of its own.")
    if not (folder / found[0].films).is_file():
        raise SpaceError(f"{folder} has {found[0].ratings} but no {found[0].films}, which names the films. Add it.")
    return found[0]


def _no_release(folder: Path) -> str:
    expected = ", or ".join(f"{form.ratings} and {form.films}" for form in _FORMATS)
    message = f"{folder} holds no MovieLens release: expected {expected}."
    for entry in sorted(folder.iterdir()):
        if any((entry / form.ratings).is_file() for form in _FORMATS):
            return f"{message} Did you mean {entry}?"
        if entry.suffix.lower() == ".zip":
            return f"{message} Unzip {entry.name} and name its folder."
    return message


def _read_films(path: Path, rows: Iterable[_Film | None]) -> tuple["pl.DataFrame", tuple[str, ...]]:
    """Columns id, title, year, genres; of several rows of one id the first."""
    import polars as pl

    films: dict[int, tuple[str, str, int | None, list[str]]] = {}
    lost: Counter[str] = Counter()
    for row in rows:
        number = _whole_number(row.id) if row else None
        if row is None or number is None or not row.title.strip():
            lost[f"rows of {path.name} without a film id, a title or all other cells"] += 1
        elif number in films:
            lost[f"rows of {path.name} with the id of an earlier film"] += 1
        else:
            genres = [genre.strip() for genre in row.genres if genre.strip() not in NO_GENRE]
            films[number] = (str(number), *_title_and_year(row.title), genres)
    if not films:
        raise SpaceError(f"{path} has no film. {'; '.join(left_out(lost)) or 'There are no rows'}.")
    schema = {"id": pl.String, "title": pl.String, "year": pl.Int64, "genres": pl.List(pl.String)}
    return pl.DataFrame(list(films.values()), schema=schema, orient="row"), left_out(lost)


def _title_and_year(text: str) -> tuple[str, int | None]:
    """ "Heat (1995)" -> "Heat", 1995."""
    found = _YEAR.fullmatch(text.strip())
    return (found["title"], int(found["year"])) if found else (text.strip(), None)


def _whole_number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _with_imdb(films: "pl.DataFrame", links: Path) -> tuple["pl.DataFrame", tuple[str, ...]]:
    import polars as pl

    if not links.is_file():
        return films.with_columns(imdb=pl.lit(None, pl.String)), ("no links.csv: no film has an IMDb id",)
    imdb: dict[str, str] = dict.fromkeys(films["id"], "")
    lost: Counter[str] = Counter()
    for row in _csv_rows(links, ("movieId", "imdbId")):
        film, link = (_whole_number(cell) for cell in row or ("", ""))
        if film is None or link is None:
            lost["rows of links.csv without a film id, an IMDb id or all other cells"] += 1
        elif str(film) not in imdb:
            lost["rows of links.csv for films that the film table lacks"] += 1
        elif imdb[str(film)]:
            lost["rows of links.csv with the id of an earlier film"] += 1
        else:
            imdb[str(film)] = f"{link:07d}"
    column = pl.Series("imdb", [link or None for link in imdb.values()], pl.String)
    missing = column.null_count()
    unlinked = (f"{missing:,} of {len(films):,} films have no IMDb id in links.csv",) if missing else ()
    return films.with_columns(column), (*left_out(lost), *unlinked)


def _read_ratings(path: Path, form: _Format, *, films: "pl.DataFrame", film_file: str, fewest: int) -> Ratings:
    rows, notes = _rating_rows(path, form)
    # each column is let go as soon as it is coded: with 25 million rows they are what fills the memory
    user_ids, users_R = _coded(rows.drop_in_place("user").to_numpy())
    item_ids, items_R = _coded(rows.drop_in_place("item").to_numpy())
    undated = rows["time"].null_count() == len(rows)
    times_R = None if undated else rows.drop_in_place("time").fill_null(-1).to_numpy()
    read = Ratings(user_ids, item_ids, users_R, items_R, rows.drop_in_place("value").to_numpy())
    unknown_I = ~np.isin(item_ids, films["id"].to_list())
    if unknown_I.any():
        known_R = ~unknown_I[items_R]
        unknown = [item_ids[row] for row in np.flatnonzero(unknown_I).tolist()]
        named = ", ".join(unknown[:NAMED]) + (", ..." if len(unknown) > NAMED else "")
        what = f"ratings of {len(unknown):,} films that {film_file} lacks ({named})"
        notes += left_out({what: len(known_R) - int(known_R.sum())})
        read = read.part(known_R)
        times_R = times_R if times_R is None else times_R[known_R]
    return settled(replace(read, notes=notes), source=path, fewest=fewest, times_R=times_R)


def _rating_rows(path: Path, form: _Format) -> tuple["pl.DataFrame", tuple[str, ...]]:
    """Whole rows as columns user, item (Int32), value (Float32), time (Int64, null where it cannot be read); notes."""
    import polars as pl

    parts: list[pl.DataFrame] = []
    count = whole = 0
    for part in _number_blocks(path, form):
        rated = part.filter(
            pl.col("user").is_not_null()
            & pl.col("item").is_not_null()
            & (pl.col("value") > 0)
            & (pl.col("value") <= HIGHEST)  # polars ranks NaN above all numbers
            & pl.col("beyond").is_null()
        )
        count, whole = count + len(part), whole + len(rated)
        parts.append(rated.drop("beyond"))
    if not count:
        raise SpaceError(f"{path} has no ratings. Expected lines like {form.example}.")
    if not whole:
        raise SpaceError(f"{path}: none of {count:,} rows is a rating. Expected lines like {form.example}.")
    rows = pl.concat(parts)
    notes = left_out({f"rows of {path.name} without a user, a film and a rating above 0 and up to 5": count - whole})
    undated = rows["time"].null_count()
    if 0 < undated < whole:
        notes += (f"{undated:,} rows of {path.name} without a time taken for older than all others",)
    return rows, notes


def _number_blocks(path: Path, form: _Format) -> Iterator["pl.DataFrame"]:
    """The rows of a few million bytes at a time; a cell that is no number is null, `beyond` what follows the last."""
    import polars as pl

    types = {"user": pl.Int32, "item": pl.Int32, "value": pl.Float32, "time": pl.Int64}
    try:
        with path.open("rb") as file:
            places, width = _places(path, form, file)
            cells = pl.col("line").str.splitn(form.separator, width + 1).struct
            numbers = {
                role: cells.field(f"field_{places[role]}") if role in places else pl.lit(None, pl.String)
                for role in types
            }
            while block := file.read(BLOCK) + file.readline():
                # split here, for polars' own reader takes separators of one byte only
                lines = pl.DataFrame({"line": block.decode("utf-8", errors="replace").split("\n")})
                lines = lines.filter(pl.col("line").str.strip_chars() != "")
                yield lines.select(
                    **{
                        role: text.str.strip_chars(_AROUND).cast(types[role], strict=False)
                        for role, text in numbers.items()
                    },
                    beyond=cells.field(f"field_{width}"),
                )
    except OSError as error:
        raise SpaceError(f"{path} cannot be read: {error.strerror}.") from error


def _places(path: Path, form: _Format, file: io.BufferedReader) -> tuple[dict[str, int], int]:
    """Which cell of a rating is the user, item, value and time, and how many there are. Moves past the header."""
    if b"\0" in file.peek(1 << 12):
        raise SpaceError(f"{path} is not text. Expected lines like {form.example}.")
    if not form.has_header:
        return {role: place for place, role in enumerate(_ROLES.values())}, len(_ROLES)
    line = file.readline().decode("utf-8-sig", errors="replace")
    header = [name.strip(_AROUND) for name in line.split(form.separator)]
    _check_columns(path, header, ("userId", "movieId", "rating"))
    return {role: header.index(name) for name, role in _ROLES.items() if name in header}, len(header)


def _coded(numbers_R: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The different numbers as text, ascending, and the row of each among them, int32."""
    known_N = np.unique(numbers_R)
    return [str(number) for number in known_N.tolist()], np.searchsorted(known_N, numbers_R).astype(np.int32)


def _check_columns(path: Path, header: list[str], needed: tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in header]
    if missing:
        came = f"Its first line is {','.join(header)[:80]!r}" if any(header) else "It is empty"
        raise SpaceError(f"{path} has no column {missing[0]!r}. Expected {','.join(needed)} between commas. {came}.")


def _csv_rows(path: Path, needed: tuple[str, ...]) -> Iterator[list[str] | None]:
    """The needed cells of each row; None for one of another number of cells than the header, or a quote left open."""
    try:
        rows = csv.reader(io.StringIO(_text(path), newline=""))
        header = [name.strip() for name in next(rows, [])]
        _check_columns(path, header, needed)
        places = [header.index(name) for name in needed]
        for cells in rows:
            if cells:
                whole = len(cells) == len(header) and not any("\n" in cell for cell in cells)
                yield [cells[place] for place in places] if whole else None
    except csv.Error as error:
        raise SpaceError(f"{path} is no CSV file: {error}.") from error


def _csv_films(path: Path) -> Iterator[_Film | None]:
    for cells in _csv_rows(path, ("movieId", "title", "genres")):
        yield _Film(cells[0], cells[1], cells[2].split("|")) if cells else None


def _dat_films(path: Path) -> Iterator[_Film | None]:
    """id::title::genres; a title may hold colons."""
    for line in _lines(path):
        cells = line.split("::")
        yield _Film(cells[0], "::".join(cells[1:-1]), cells[-1].split("|")) if len(cells) > 2 else None


def _item_films(path: Path) -> Iterator[_Film | None]:
    """id|title|date|video date|address|a 0 or 1 for each genre"""
    names = _genres(path.with_name("u.genre"))
    for line in _lines(path):
        cells = line.split("|")
        flags = cells[5:]
        whole = len(flags) == len(names) and set(flags) <= {"0", "1"}
        genres = [name for name, flag in zip(names, flags, strict=False) if flag == "1"]
        yield _Film(cells[0], cells[1], genres) if whole else None


def _genres(path: Path) -> tuple[str, ...]:
    """Names in the order of u.item's flags."""
    if not path.is_file():
        return GENRES_100K
    rows = [line.rpartition("|") for line in _lines(path)]
    if not rows or not all(name and number.isdecimal() for name, _, number in rows):
        raise SpaceError(f"{path}: expected a genre and its number on each line, such as Action|1.")
    return tuple(name for name, _, _ in sorted(rows, key=lambda row: int(row[2])))


def _lines(path: Path) -> Iterator[str]:
    """Lines that are not blank, of UTF-8 (ml-10m) or Latin-1 (ml-1m, ml-100k)."""
    for line in _text(path, or_latin=True).split("\n"):  # splitlines would break Latin-1's U+0085
        if line.strip():
            yield line.strip("\r")


def _text(path: Path, *, or_latin: bool = False) -> str:
    """Raises SpaceError where the file is not text."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SpaceError(f"{path} cannot be read: {error.strerror}.") from error
    if b"\0" in raw:
        raise SpaceError(f"{path} is not text. Take it from the release again.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if or_latin:
            return raw.decode("latin-1")
        line = raw[: error.start].count(b"\n") + 1
        raise SpaceError(
            f"{path}, line {line}: not UTF-8. Take it from the release again or save it as UTF-8."
        ) from error


_FORMATS = (
    _Format("ratings.csv", "movies.csv", ",", "1,296,5.0,1147880044", _csv_films),
    _Format("ratings.dat", "movies.dat", "::", "1::1193::5::978300760", _dat_films),
    _Format("u.data", "u.item", "\t", "196<tab>242<tab>3<tab>881250949", _item_films),
)
