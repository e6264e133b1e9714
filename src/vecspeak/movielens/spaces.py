"""The two spaces of the experiment: films by their texts, and films with users by their ratings.

Shapes: N rows, E dimension, F factors, I films that are rated, U users.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from vecspeak.encode import DEFAULT_ENCODER, Encoder
from vecspeak.errors import SpaceError
from vecspeak.factors import SMALLEST_LENGTH, Factors, Ratings, fold_in
from vecspeak.metrics import unit_rows
from vecspeak.movielens.release import Release
from vecspeak.movielens.texts import corpus_films, passages
from vecspeak.space import Space
from vecspeak.splits import split_entities

TEXT = "text"
"""Column of a film's first own text, beside the corpus's 19."""
VIEWS = 24
"""Further vectors of a training user with a profile, each from a part of the user's ratings: 140 profiles alone teach
few of the directions that tastes lie in."""
HELD_OUT_SHARE = 0.2
"""Of each user's ratings, kept from the factorisation."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Profile:
    """What a teacher wrote of a user, and the films it wrote from."""

    user: str
    lines: list[str]
    films: tuple[str, ...]


def user_key(user: str) -> str:
    """A user's id in the behavioural space, where films have theirs."""
    return f"user-{user}"


def held_out_ratings(ratings: Ratings, *, seed: int) -> np.ndarray:
    """(R,) True for the ratings kept from the factorisation: a share of each user's, at least one rating stays."""
    rng = np.random.default_rng(seed)
    order_R = np.lexsort((rng.random(len(ratings.users_R)), ratings.users_R))
    counts_U = np.bincount(ratings.users_R, minlength=len(ratings.user_ids))
    starts_U = np.cumsum(counts_U) - counts_U
    places_R = np.arange(len(order_R)) - np.repeat(starts_U, counts_U)
    held_R = np.zeros(len(order_R), bool)
    held_R[order_R[places_R < np.repeat((counts_U * HELD_OUT_SHARE).astype(int), counts_U)]] = True
    return held_R


def make_semantic_space(
    release: Release, own: Mapping[str, Sequence[str]], encoder: Encoder, path: Path
) -> tuple[Space, tuple[str, ...]]:
    """Films that have a text, each with the mean of its encoded passages, unit length (paper, section 3.1); and notes.

    Films of the bundled corpus keep its split and its 19 texts; all others are for training, with their first own text
    in the column `text`: the bundled base has read texts of the same kinds.

    Args:
        own: film -> texts beside the corpus's.

    Raises:
        SpaceError: no film of the corpus in the release.
    """
    corpus, notes = corpus_films(release.films)
    rows: list[Row] = []
    unread: list[list[str]] = []
    vectors: dict[str, np.ndarray] = {}
    for film in release.films.iter_rows(named=True):
        id = film["id"]
        if id not in corpus and id not in own:
            continue
        known = corpus.get(id, {})
        row = {**known, "id": id, "title": film["title"], "year": film["year"], "genres": film["genres"]}
        rows.append({**row, "split": known.get("split", "train"), TEXT: None if known else own[id][0]})
        if known and encoder.name == DEFAULT_ENCODER:
            vectors[id] = known["vector"]
        else:
            unread.append([part for text in own.get(id, []) or _corpus_texts(known) for part in passages(text)])
    if not corpus:
        raise SpaceError(
            "None of the 900 films that come with the package is in this release; their texts are the tasks'."
        )
    read = iter(encoder.encode_passages(unread))
    vectors_NE = np.stack([vectors[row["id"]] if row["id"] in vectors else next(read) for row in rows])
    without = len(release.films) - len(rows)
    notes += (f"{without:,} films have no text and no semantic vector",) if without else ()
    space = Space.create(
        path,
        ids=[row["id"] for row in rows],
        vectors=vectors_NE,
        columns=_columns(rows),
        name=path.stem,
        encoder=encoder.name,
        overwrite=True,  # one that a step stopped just before its end has left
    )
    return space, notes


def make_behavioural_space(
    release: Release,
    training: Ratings,
    factors: Factors,
    profiles: Mapping[str, Profile],
    films: Space,
    path: Path,
    *,
    seed: int,
) -> tuple[Space, tuple[str, ...]]:
    """Films and users in one space, as their dot product predicts a rating; all scaled to length 1; and notes.

    The length of a vector before, in `length`, says how sure it is. Films carry the texts and the side of `films`, the
    semantic space. Users with a profile are split 7 : 1 : 2;
    those for training stand there VIEWS times more, each time folded in from half to nine tenths of their ratings.
    """
    sides = user_sides(sorted(profiles))
    known = set(films.ids)
    titles = dict(release.films.select("id", "title").iter_rows())
    rows: list[Row] = []
    vectors: list[np.ndarray] = []
    for id, vector_F in zip(training.item_ids, factors.items_IE, strict=True):
        row = films.row(id) if id in known else {"title": titles[id], "split": "train"}
        rows.append({**row, "id": id, "kind": "film"})
        vectors.append(vector_F)
    for number, (user, vector_F) in enumerate(zip(training.user_ids, factors.users_UE, strict=True)):
        profile = profiles.get(user)
        row = {"title": f"User {user}", "split": sides.get(user, "train"), "kind": "user",
               "profile": profile.lines if profile else None}  # fmt: skip
        rows.append({**row, "id": user_key(user)})
        vectors.append(vector_F)
        if profile and sides[user] == "train":
            views_VF = _views(training, factors, number, seed=seed)
            rows += [{**row, "id": f"{user_key(user)}-view-{view}", "kind": "view"} for view in range(len(views_VF))]
            vectors += list(views_VF)
    vectors_NF = np.stack(vectors)
    lengths_N = np.linalg.norm(vectors_NF, axis=1)
    said = lengths_N > max(1e-6, SMALLEST_LENGTH * float(np.median(lengths_N)))
    rows = [row | {"length": float(length)} for row, length, kept in zip(rows, lengths_N, said, strict=True) if kept]
    kept_ids = {row["id"] for row in rows}
    for row in rows:
        row["partner"] = row.get("partner") if row.get("partner") in kept_ids else None
    silent = int((~said).sum())
    notes = (f"{silent:,} films and users have no like in training, and no behavioural vector",) if silent else ()
    space = Space.create(
        path,
        ids=[row["id"] for row in rows],
        vectors=unit_rows(vectors_NF[said]).astype(np.float32),
        columns=_columns(rows),
        name=path.stem,
        overwrite=True,
    )
    return space, notes


def make_corpus_space(films: Space, path: Path) -> Space:
    """The films with the corpus's 19 texts: their vectors come of texts alike, so that no film stands out by the kind
    of its text where texts about users and films put them in order. Raises SpaceError where there are none."""
    ids = [id for id, summary in zip(films.ids, films.column("summary"), strict=True) if summary is not None]
    return Space.create(
        path,
        ids=ids,
        vectors=np.stack([films[id].vector for id in ids]),
        columns=_columns([films.row(id) for id in ids]),
        name=path.stem,
        encoder=films.encoder,
    )


def make_profile_space(profiles: Mapping[str, Profile], encoder: Encoder, path: Path) -> Space:
    """The teacher's profiles, encoded: what texts about users are compared with, as ratings have no words."""
    users = sorted(profiles)
    return Space.create(
        path,
        ids=[user_key(user) for user in users],
        vectors=encoder.encode_passages([profiles[user].lines for user in users]),
        name=path.stem,
        encoder=encoder.name,
    )


def user_sides(users: Sequence[str]) -> dict[str, str]:
    """User -> train, validation or test, 7 : 1 : 2, by a hash of the id; ([] gives {})."""
    test, validation = len(users) // 5, len(users) // 10
    sizes = {"test": test, "validation": validation, "train": len(users) - test - validation}
    return split_entities(users, pairs=(), sizes=sizes, salt="users") if users else {}


def read_profiles(path: Path | None, ratings: Ratings) -> tuple[dict[str, Profile], tuple[str, ...]]:
    """Profiles of users of this release, and notes; those that come with the package where no file is given.

    A profile of a user who has not rated most of the films it was written from is another user's, and left out.

    Raises:
        SpaceError: a file that cannot be read, or a line without userId and profile.
    """
    source = path or Path(str(resources.files("vecspeak"))) / "data/user_profiles.jsonl"
    rated = _films_of_users(ratings)
    found: dict[str, Profile] = {}
    strangers = 0
    for profile in _profiles(source):
        rated_of_these = sum(film in rated.get(profile.user, ()) for film in profile.films)
        if profile.user not in rated or 2 * rated_of_these < len(profile.films):
            strangers += 1
        else:
            found[profile.user] = profile
    note = f"{strangers} of {strangers + len(found)} profiles are not of users of this release"
    return found, ((note,) if strangers else ())


def _profiles(path: Path) -> list[Profile]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path} cannot be read as text: {error}.") from error
    profiles = []
    for number, line in enumerate(filter(str.strip, lines), 1):
        try:
            row = json.loads(line)
            films = tuple(str(film) for film in [*row.get("likes", ()), *row.get("dislikes", ())])
            profiles.append(Profile(str(row["userId"]), [str(point) for point in row["profile"]], films))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SpaceError(
                f"{path}, line {number}: expected a JSON object with userId, profile (a list of points), likes and "
                f"dislikes (lists of film ids): {error!r}."
            ) from error
    return profiles


def _films_of_users(ratings: Ratings) -> dict[str, set[str]]:
    order_R = np.argsort(ratings.users_R, kind="stable")
    ends_U = np.cumsum(np.bincount(ratings.users_R, minlength=len(ratings.user_ids)))
    parts = np.split(ratings.items_R[order_R], ends_U[:-1])
    return {user: {ratings.item_ids[i] for i in items} for user, items in zip(ratings.user_ids, parts, strict=True)}


def _views(training: Ratings, factors: Factors, user: int, *, seed: int) -> np.ndarray:
    """(VIEWS, F) vectors of one user from random parts of the ratings."""
    mine_R = training.users_R == user
    count = int(mine_R.sum())
    digest = hashlib.sha256(training.user_ids[user].encode()).digest()
    rng = np.random.default_rng((seed, int.from_bytes(digest[:4], "big")))
    parts = [rng.random(count) < rng.uniform(0.5, 0.9) for _ in range(VIEWS)]
    return np.stack([fold_in(factors, training.part(mine_R).part(part)) for part in parts if part.any()])


def _corpus_texts(row: Row) -> list[str]:
    corpus = ("summary", "description", "positive_review", "negative_review", "neutral_review", "viewer", "pitch")
    return [row[name] for name in corpus]


def _columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Values of every column any row has, None where a row lacks it."""
    names = dict.fromkeys(name for row in rows for name in row if name not in ("id", "vector"))
    return {name: [row.get(name) for row in rows] for name in names}
