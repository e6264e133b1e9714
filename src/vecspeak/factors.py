"""Ratings -> a space of items and a space of users, by weighted matrix factorisation (the paper's behavioural vectors).

Hu, Koren, Volinsky 2008, as `implicit` solves it. A rating at or above the user's own mean is a like (1), one below
a dislike (0), both weighted by how far they lie from the mean; everything unrated is a 0 of weight 1. The dot
product of a user and an item predicts the like.

Shapes: R ratings, U users, I items, E factors.
"""

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vecspeak.errors import SpaceError
from vecspeak.space import Space
from vecspeak.spacefile import check_target, one_line, put_in_place

if TYPE_CHECKING:
    import polars as pl

SMALLEST_LENGTH = 1e-4
"""Vectors shorter than this share of the median are what the solver left of zero, and point anywhere."""
PER_STAR = 2.0
"""Weight that a rating gains for each step of the scale away from its user's mean."""


@dataclass(frozen=True)
class Ratings:
    """Who rated what, and how; each pair of user and item once."""

    user_ids: list[str]
    item_ids: list[str]
    users_R: np.ndarray
    """Row in `user_ids` of each rating."""
    items_R: np.ndarray
    values_R: np.ndarray
    notes: tuple[str, ...] = ()
    """What was left out, and how much of it."""

    def part(self, chosen_R: np.ndarray) -> "Ratings":
        """The ratings of a mask, among the same users and items."""
        return Ratings(
            self.user_ids, self.item_ids, self.users_R[chosen_R], self.items_R[chosen_R], self.values_R[chosen_R]
        )


@dataclass(frozen=True)
class Factors:
    """Vectors whose dot products predict likes."""

    users_UE: np.ndarray
    items_IE: np.ndarray


def read_ratings(
    path: Path, *, user: str = "userId", item: str = "movieId", rating: str = "rating", fewest: int = 5
) -> Ratings:
    """Ratings of a CSV or Parquet file, those of items with at least `fewest`.

    Rows without a user, an item or a number are counted in the notes; of two ratings of one pair the later row holds.

    Raises:
        SpaceError: no such file or column, or nothing left.
    """
    table = read_table(path)
    for role, name in (("user", user), ("item", item), ("rating", rating)):
        if name not in table.columns:
            columns = ", ".join(table.columns)
            raise SpaceError(f"{path} has no column {name!r}. Name it with --{role}-column. Its columns: {columns}.")
    import polars as pl

    try:
        rows = table.select(
            user=_as_id(table[user]),
            item=_as_id(table[item]),
            value=table[rating].cast(pl.String).str.strip_chars().cast(pl.Float32, strict=False),
        )
    except pl.exceptions.PolarsError as error:
        raise SpaceError(f"{path}: {user}, {item} or {rating} is no plain column: {one_line(error)}") from error
    whole = rows.filter(
        (pl.col("user").fill_null("") != "") & (pl.col("item").fill_null("") != "") & pl.col("value").is_finite()
    )
    once = whole.unique(["user", "item"], keep="last", maintain_order=True)
    kept = once.filter(pl.len().over("item") >= fewest)
    lost = {
        f"rows of {path.name} without a user, an item or a number": len(rows) - len(whole),
        "ratings of a pair rated again later": len(whole) - len(once),
        f"ratings of items with fewer than {fewest}": len(once) - len(kept),
    }
    notes = tuple(f"{count:,} {what} left out" for what, count in lost.items() if count)
    if kept.is_empty():
        raise SpaceError(f"{path}: no item has {fewest} ratings or more. {'; '.join(notes) or 'There are no rows'}.")
    user_ids, users_R = _coded(kept["user"])
    item_ids, items_R = _coded(kept["item"])
    return Ratings(user_ids, item_ids, users_R, items_R, kept["value"].to_numpy(), notes)


def factorise(
    ratings: Ratings, *, factors: int = 48, regularisation: float = 20.0, iterations: int = 15, seed: int = 0
) -> Factors:
    """Vectors of all users and items; an item or user without a rating gets zeros.

    Raises:
        SpaceError: `implicit` is not installed, or ratings so large that the least squares overflow.
    """
    check_installed()
    from implicit.als import AlternatingLeastSquares
    from implicit.recommender_base import ModelFitError
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    confidence = csr_matrix(
        (signed_weights(ratings), (ratings.users_R, ratings.items_R)),
        shape=(len(ratings.user_ids), len(ratings.item_ids)),
    )
    with threadpool_limits(1, "blas"):  # it has threads of its own, and warns where BLAS brings more
        model = AlternatingLeastSquares(
            factors=factors, regularization=regularisation, iterations=iterations, random_state=seed, use_gpu=False
        )
        try:
            model.fit(confidence, show_progress=False)
        except ModelFitError as error:
            largest = float(np.abs(ratings.values_R).max())
            raise SpaceError(
                f"Ratings as large as {largest:g} do not factorise; expected a scale of a few steps."
            ) from error
    return Factors(np.asarray(model.user_factors), np.asarray(model.item_factors))


def signed_weights(ratings: Ratings) -> np.ndarray:
    """(R,) 1 + PER_STAR |r - mean|, negative where r lies below the mean of its user: `implicit` reads that as a 0."""
    totals_U = np.bincount(ratings.users_R, ratings.values_R)
    means_U = totals_U / np.maximum(np.bincount(ratings.users_R), 1)
    away_R = ratings.values_R - means_U[ratings.users_R]
    liked_R = away_R >= -1e-6  # a user who rates all alike likes all
    return np.where(liked_R, 1, -1).astype(np.float32) * (1 + PER_STAR * np.abs(away_R)).astype(np.float32)


def write_spaces(
    ratings: Ratings,
    factors: Factors,
    items: Path,
    users: Path,
    *,
    entities: Path | None = None,
    entity_column: str = "movieId",
    source: str | None = None,
    licence: str | None = None,
    overwrite: bool = False,
) -> tuple[Space, Space, tuple[str, ...]]:
    """The two spaces, both or neither, and notes on what was left out or did not join.

    Their metric is cosine: direction is taste, length how sure it is, so that by dot product the most rated items
    would be everybody's neighbours. Entities without a like, or with too few ratings to say anything, come out as
    zero and are left out.

    Args:
        entities: a table of the items (CSV, Parquet or JSON lines), whose other columns the items get.
        entity_column: its column of ids.

    Raises:
        SpaceError: a target that exists or is both, a table that does not join, or vectors that are all zero.
    """
    check_targets(items, users, overwrite=overwrite)
    notes: list[str] = []
    fresh = {path: path.with_name(f".{path.name}.{uuid.uuid4().hex}.new") for path in (items, users)}
    try:
        for path, ids, vectors_NE, rows_R, table in (
            (items, ratings.item_ids, factors.items_IE, ratings.items_R, entities),
            (users, ratings.user_ids, factors.users_UE, ratings.users_R, None),
        ):
            kept = _rows_that_say_something(ratings, vectors_NE, rows_R)
            if not len(kept):
                raise SpaceError(f"All vectors of {path.stem} are zero: too few ratings. Lower --regularisation.")
            kept_ids = [ids[row] for row in kept]
            columns: dict[str, list[Any]] = {}
            if len(kept) < len(ids):
                notes.append(f"{len(ids) - len(kept):,} of {path.stem} without a like, or with too little, left out")
            if table is not None:
                columns, found = _joined(table, entity_column, kept_ids)
                notes += found
            columns["ratings"] = np.bincount(rows_R, minlength=len(ids))[kept].tolist()
            Space.create(
                fresh[path],
                ids=kept_ids,
                vectors=vectors_NE[kept],
                columns=columns,
                name=path.stem,
                source=source,
                licence=licence,
            )
        for path, folder in fresh.items():
            put_in_place(folder, path)
    finally:
        for folder in fresh.values():
            shutil.rmtree(folder, ignore_errors=True)
    return Space.open(items), Space.open(users), tuple(notes)


def check_targets(items: Path, users: Path, *, overwrite: bool) -> None:
    """Raises SpaceError unless both spaces may be written."""
    if items.resolve() == users.resolve():
        raise SpaceError(f"Items and users would both be {items}. Name two folders.")
    for target in (items, users):
        check_target(target, overwrite=overwrite)


def check_installed() -> None:
    """Raises SpaceError where `implicit` or `polars` is missing."""
    for package in ("implicit", "polars"):
        if find_spec(package) is None:
            raise SpaceError(f"Ratings need the package {package}: pip install 'vecspeak[movielens]'.")


def _rows_that_say_something(ratings: Ratings, vectors_NE: np.ndarray, rows_R: np.ndarray) -> np.ndarray:
    lengths_N = np.linalg.norm(vectors_NE, axis=1)
    liked_N = np.bincount(rows_R[signed_weights(ratings) > 0], minlength=len(vectors_NE)) > 0
    # without the fixed floor a factorisation shrunk to nothing as a whole would pass
    floor = max(1e-6, SMALLEST_LENGTH * float(np.median(lengths_N)))
    return np.flatnonzero(liked_N & (lengths_N > floor))


def read_table(path: Path) -> "pl.DataFrame":
    """A CSV, Parquet or JSON-lines file, ids kept as written. Raises SpaceError where it cannot be read."""
    check_installed()
    import polars as pl

    readers = {
        ".csv": lambda: pl.read_csv(path, infer_schema=False),
        ".parquet": lambda: pl.read_parquet(path),
        ".jsonl": lambda: pl.read_ndjson(path, infer_schema_length=None),
    }
    if not path.is_file() or path.suffix.lower() not in readers:
        raise SpaceError(f"{path}: expected a file that ends in {', '.join(readers)}.")
    try:
        return readers[path.suffix.lower()]()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SpaceError(f"{path} is no table: {one_line(error)}") from error


def check_entities(path: Path, column: str) -> "pl.DataFrame":
    """The table of the items, its ids as text. Raises SpaceError: no such column, or an id twice."""
    import polars as pl

    table = read_table(path)
    if column not in table.columns:
        columns = ", ".join(table.columns)
        raise SpaceError(f"{path} has no column {column!r}. Name it with --entity-column. Its columns: {columns}.")
    keyed = table.with_columns(_as_id(table[column]).alias(column))
    if twice := keyed[column].filter(keyed[column].is_duplicated()).drop_nulls().head(1).to_list():
        raise SpaceError(f"{path} has several rows of the same id, such as {twice[0]!r}.")
    return keyed.filter(pl.col(column).is_not_null())


def _joined(path: Path, column: str, item_ids: Sequence[str]) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """The table's other columns in the order of the items, None where it lacks one, and notes."""
    import polars as pl

    table = check_entities(path, column)
    wanted = pl.DataFrame({column: item_ids}, schema={column: pl.String})
    missing = int((~wanted[column].is_in(table[column].to_list())).sum())
    if missing == len(item_ids):
        raise SpaceError(f"{path}: no {column} is the id of a rated item; the items have ids like {item_ids[0]!r}.")
    joined = wanted.join(table, on=column, how="left", maintain_order="left").drop(column)
    columns = joined.to_dict(as_series=False)
    for name in {"id", "vector", "ratings"} & set(columns):
        other = f"{path.stem}_{name}"
        while other in columns:
            other += "_"
        columns[other] = columns.pop(name)
    note = f"{missing:,} of {len(item_ids):,} items are not in {path.name}"
    return columns, ((note,) if missing else ())


def _coded(ids: "pl.Series") -> tuple[list[str], np.ndarray]:
    """The different ids, sorted, and the row of each among them."""
    import polars as pl

    known = ids.unique().sort()
    return known.to_list(), ids.cast(pl.Enum(known)).to_physical().to_numpy()


def _as_id(column: "pl.Series") -> "pl.Series":
    """As text; whole numbers that a missing value has turned into floats are written as whole numbers."""
    import polars as pl

    if column.dtype.is_float() and (column.drop_nulls() == column.drop_nulls().round()).all():
        column = column.cast(pl.Int64, strict=False)
    return column.cast(pl.String).str.strip_chars()
