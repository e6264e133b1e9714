"""Ratings -> a space of items and a space of users, by weighted matrix factorisation (the paper's behavioural vectors).

Hu, Koren, Volinsky 2008, as `implicit` solves it. A rating at or above the user's own mean is a like (1), one below
a dislike (0), both weighted by how far they lie from the mean; everything unrated is a 0 of weight 1. The dot
product of a user and an item predicts the like.

Shapes: R ratings, U users, I items, E factors.
"""

import shutil
import uuid
from collections.abc import Mapping, Sequence
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
REGULARISATION = 20.0
"""Weight of the vectors' squared lengths."""
PER_STAR = 2.0
"""Weight that a rating gains for each step of the scale away from its user's mean."""


@dataclass(frozen=True)
class Ratings:
    """Who rated what, and how; each pair of user and item once."""

    user_ids: list[str]
    item_ids: list[str]
    users_R: np.ndarray
    """Row in `user_ids` of each rating. int32, as `items_R`: a large release has tens of millions."""
    items_R: np.ndarray
    values_R: np.ndarray
    """float32, the higher the better."""
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
    regularisation: float = REGULARISATION
    """They were made with it; folding in uses the same."""


def read_ratings(
    path: Path, *, user: str = "userId", item: str = "movieId", rating: str = "rating", fewest: int = 5
) -> Ratings:
    """Ratings of a CSV or Parquet file, those of items with at least `fewest`.

    Rows without a user, an item or a number are counted in the notes; of two ratings of one pair the later row holds.

    Raises:
        SpaceError: no such file or column, or nothing left.
    """
    rows = _rating_rows(path, user=user, item=item, rating=rating)
    import polars as pl

    whole = rows.filter(
        (pl.col("user").fill_null("") != "") & (pl.col("item").fill_null("") != "") & pl.col("value").is_finite()
    )
    user_ids, users_R = _coded(whole["user"])
    item_ids, items_R = _coded(whole["item"])
    notes = left_out({f"rows of {path.name} without a user, an item or a number": len(rows) - len(whole)})
    read = Ratings(user_ids, item_ids, users_R, items_R, whole["value"].to_numpy(), notes)
    return settled(read, source=path, fewest=fewest)


def _rating_rows(path: Path, *, user: str, item: str, rating: str) -> "pl.DataFrame":
    """Columns user, item (text) and value (Float32), null where a cell is empty or no number."""
    table = read_table(path)
    for role, name in (("user", user), ("item", item), ("rating", rating)):
        if name not in table.columns:
            columns = ", ".join(table.columns)
            raise SpaceError(f"{path} has no column {name!r}. Name it with --{role}-column. Its columns: {columns}.")
    import polars as pl

    try:
        return table.select(
            user=_as_id(table[user]),
            item=_as_id(table[item]),
            value=table[rating].cast(pl.String).str.strip_chars().cast(pl.Float32, strict=False),
        )
    except pl.exceptions.PolarsError as error:
        raise SpaceError(f"{path}: {user}, {item} or {rating} is no plain column: {one_line(error)}") from error


def settled(read: Ratings, *, source: Path, fewest: int, times_R: np.ndarray | None = None) -> Ratings:
    """Each pair once, items with at least `fewest` ratings, ids with a rating; the notes say what went.

    Args:
        read: ratings among which a pair may stand several times.
        source: the file they are from.
        times_R: of two ratings of one pair the one with the higher time holds; the later row where times are equal
            or not known (None).

    Raises:
        SpaceError: nothing left.
    """
    newest_R = _newest_of_each_pair(read, times_R)
    counts_I = np.bincount(read.items_R[newest_R], minlength=len(read.item_ids))
    kept_R = newest_R & (counts_I >= fewest)[read.items_R]
    newest, kept = int(newest_R.sum()), int(kept_R.sum())
    notes = read.notes + left_out(
        {
            "ratings of a pair rated again later": len(newest_R) - newest,
            f"ratings of items with fewer than {fewest}": newest - kept,
        }
    )
    if not kept:
        raise SpaceError(f"{source}: no item has {fewest} ratings or more. {'; '.join(notes) or 'There are no rows'}.")
    user_ids, users_R = _used(read.user_ids, read.users_R[kept_R])
    item_ids, items_R = _used(read.item_ids, read.items_R[kept_R])
    return Ratings(user_ids, item_ids, users_R, items_R, read.values_R[kept_R], notes)


def left_out(counts: Mapping[str, int]) -> tuple[str, ...]:
    """What -> how many, as notes; nothing is said of zeros."""
    return tuple(f"{count:,} {what} left out" for what, count in counts.items() if count)


def factorise(
    ratings: Ratings, *, factors: int = 48, regularisation: float = REGULARISATION, iterations: int = 15, seed: int = 0
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
    return Factors(np.asarray(model.user_factors), np.asarray(model.item_factors), regularisation)


def fold_in(factors: Factors, ratings: Ratings) -> np.ndarray:
    """(E,) the vector of one user from `ratings` alone, the items' vectors as they are (Hu et al. 2008, equation 4).

        x = (Y'Y + Y'(C - I)Y + lambda I)^-1 Y'Cp

    Args:
        ratings: of one user, among the items that were factorised.
    """
    weights_R = signed_weights(ratings).astype(np.float64)
    items_IE = factors.items_IE.astype(np.float64)
    rated_RE = items_IE[ratings.items_R]
    left_EE = items_IE.T @ items_IE + rated_RE.T @ (rated_RE * (np.abs(weights_R) - 1)[:, None])
    left_EE[np.diag_indices_from(left_EE)] += factors.regularisation
    return np.linalg.solve(left_EE, rated_RE.T @ np.maximum(weights_R, 0)).astype(np.float32)


def signed_weights(ratings: Ratings) -> np.ndarray:
    """(R,) 1 + PER_STAR |r - mean|, negative where r lies below the mean of its user: `implicit` reads that as a 0."""
    totals_U = np.bincount(ratings.users_R, ratings.values_R)
    means_U = (totals_U / np.maximum(np.bincount(ratings.users_R), 1)).astype(np.float32)
    away_R = ratings.values_R - means_U[ratings.users_R]
    weights_R = 1 + PER_STAR * np.abs(away_R)
    return np.negative(weights_R, out=weights_R, where=away_R < -1e-6)  # a user who rates all alike likes all


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
    liked_N = np.zeros(len(vectors_NE), bool)
    liked_N[rows_R[signed_weights(ratings) > 0]] = True
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
    return known.to_list(), ids.cast(pl.Enum(known)).to_physical().cast(pl.Int32).to_numpy()


def _newest_of_each_pair(read: Ratings, times_R: np.ndarray | None) -> np.ndarray:
    """(R,) bool."""
    pairs_R = read.users_R * np.int64(len(read.item_ids)) + read.items_R
    if (pairs_R[1:] > pairs_R[:-1]).all():  # sorted, as MovieLens's large files are: each pair stands there once
        return np.ones(len(pairs_R), bool)
    order_R = np.argsort(pairs_R, kind="stable") if times_R is None else np.lexsort((times_R, pairs_R))
    pairs_R = pairs_R[order_R]
    newest_R = np.zeros(len(pairs_R), bool)
    newest_R[order_R[np.append(pairs_R[1:] != pairs_R[:-1], True)]] = True
    return newest_R


def _used(ids: Sequence[str], rows_R: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The ids that have a rating, and the row of each rating among them."""
    used_N = np.bincount(rows_R, minlength=len(ids)) > 0
    places_N = np.cumsum(used_N, dtype=np.int32) - 1
    return [ids[row] for row in np.flatnonzero(used_N).tolist()], places_N[rows_R]


def _as_id(column: "pl.Series") -> "pl.Series":
    """As text; whole numbers that a missing value has turned into floats are written as whole numbers."""
    import polars as pl

    if column.dtype.is_float() and (column.drop_nulls() == column.drop_nulls().round()).all():
        column = column.cast(pl.Int64, strict=False)
    return column.cast(pl.String).str.strip_chars()
