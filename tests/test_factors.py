"""Ratings to behavioural vectors: what is read, what is left out, and that the vectors predict."""

import json

import numpy as np
import polars as pl
import pytest

from vecspeak.cli import main
from vecspeak.errors import SpaceError
from vecspeak.factors import PER_STAR, Ratings, factorise, read_ratings, signed_weights, write_spaces
from vecspeak.space import Space

USERS, ITEMS = 40, 30


@pytest.fixture(scope="module")
def two_tastes():
    """Even users like even items and dislike odd ones; odd users the other way round; two thirds are rated."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((USERS, ITEMS)) < 0.66)
    values = np.where(users % 2 == items % 2, 5.0, 1.0).astype(np.float32)
    return Ratings([f"u{u}" for u in range(USERS)], [f"i{i}" for i in range(ITEMS)], users, items, values)


def csv_file(folder, lines, *, name="ratings.csv", header="userId,movieId,rating,timestamp"):
    path = folder / name
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_vectors_predict_ratings_that_were_held_out(two_tastes):
    held_out_R = np.random.default_rng(1).random(len(two_tastes.values_R)) < 0.3
    factors = factorise(two_tastes.part(~held_out_R), factors=2, regularisation=1.0)
    scores_UI = factors.users_UE @ factors.items_IE.T
    rated = scores_UI[two_tastes.users_R[held_out_R], two_tastes.items_R[held_out_R]]
    liked = two_tastes.values_R[held_out_R] > 3
    assert rated[liked].min() > rated[~liked].max()


def test_users_solve_their_own_weighted_ridge_regression(two_tastes):
    """The normal equations of Hu et al. 2008, (Y'Y + Y'(C - I)Y + rI) x = Y'Cp, solved for each user by hand."""
    factors = factorise(two_tastes, factors=4, regularisation=3.0, iterations=60)
    weights = np.zeros((USERS, ITEMS))
    weights[two_tastes.users_R, two_tastes.items_R] = signed_weights(two_tastes)
    Y = factors.items_IE.astype(float)
    for user in range(USERS):
        confidence = np.where(weights[user] == 0, 1.0, np.abs(weights[user]))
        liked = (weights[user] > 0).astype(float)
        solved = np.linalg.solve((Y.T * confidence) @ Y + 3.0 * np.eye(4), (Y.T * confidence) @ liked)
        np.testing.assert_allclose(factors.users_UE[user], solved, atol=0.02)


def test_weights_are_signed_by_the_users_own_mean():
    ratings = Ratings(["a", "b"], ["x", "y", "z"], np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1]),
                      np.array([5, 4, 3, 2, 2], np.float32))  # fmt: skip
    expected = [1 + PER_STAR, 1, -(1 + PER_STAR), 1, 1]  # one who rates all alike likes all
    np.testing.assert_allclose(signed_weights(ratings), expected)


def test_equal_seeds_give_equal_vectors(two_tastes):
    first, again = (factorise(two_tastes, factors=4, seed=3) for _ in range(2))
    np.testing.assert_allclose(first.items_IE, again.items_IE, rtol=1e-5, atol=1e-6)


def test_what_is_left_out_is_counted(tmp_path):
    lines = [*(f"{u},7,4.0,0" for u in range(5)), *(f"{u},007,3.5,0" for u in range(5)), "1,7,2.0,9", "1,8,5,0",
             ",7,3,0", "2,,3,0", "3,7,good,0", "4,7,nan,0"]  # fmt: skip
    ratings = read_ratings(csv_file(tmp_path, lines))
    assert ratings.item_ids == ["007", "7"]  # ids stay as they are written
    assert len(ratings.values_R) == 10
    again = (ratings.users_R == ratings.user_ids.index("1")) & (ratings.items_R == ratings.item_ids.index("7"))
    assert ratings.values_R[again].tolist() == [2.0]
    assert ratings.notes == (
        "4 rows of ratings.csv without a user, an item or a number left out",
        "1 ratings of a pair rated again later left out",
        "1 ratings of items with fewer than 5 left out",
    )


def test_the_command_writes_both_spaces_with_what_the_table_says(tmp_path, capsys):
    lines = [f"{u},{i},{5 if u % 2 == i % 2 else 1},0" for u in range(8) for i in range(6)]
    lines += [f"{u},99,{1 + u % 2 / 2},0" for u in range(8)]  # nobody likes it
    source = csv_file(tmp_path, lines)
    table = csv_file(tmp_path, [f"{i},Item {i}" for i in range(5)], name="movies.csv", header="movieId,title")
    items, users = tmp_path / "items.lance", tmp_path / "users.lance"
    argv = ["space", "factorise", str(source), str(items), str(users), "--entities", str(table), "--factors", "3"]
    assert main([*argv, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["notes"] == [
        "1 of items without a like, or with too little, left out",
        "1 of 6 items are not in movies.csv",
    ]
    space = Space.open(items)
    assert (space.ids, space.dimension, space.metric) == ([str(i) for i in range(6)], 3, "cosine")
    assert space.column("title") == [*(f"Item {i}" for i in range(5)), None]
    assert space.column("ratings") == [8] * 6
    assert [near.id for near in space.neighbours(space["0"], 2)] == ["2", "4"]
    assert Space.open(users).column("ratings") == [7] * 8
    assert main(argv) == 2  # they exist
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--item-column", "film"], "no column 'film'. Name it with --item-column. Its columns: userId, movieId"),
        (["--fewest", "9"], "no item has 9 ratings or more. 24 ratings of items with fewer than 9 left out"),
        (["--entities", "missing.csv"], "missing.csv: expected a file"),
        (["--entities", "other.csv"], "no movieId is the id of a rated item"),
        (["--entities", "other.csv", "--entity-column", "nr"], "no column 'nr'"),
        (["--entities", "twice.csv"], "several rows of the same id, such as '1'"),
    ],
)
def test_what_cannot_be_factorised_says_why_and_writes_nothing(tmp_path, monkeypatch, capsys, options, match):
    monkeypatch.chdir(tmp_path)
    csv_file(tmp_path, [f"{u},{i},{1 + (u + i) % 5},0" for u in range(6) for i in range(4)])
    csv_file(tmp_path, ["x,1"], name="other.csv", header="movieId,year")
    csv_file(tmp_path, ["1,1", "1,2"], name="twice.csv", header="movieId,year")
    assert (
        main(["space", "factorise", "ratings.csv", "items.lance", "users.lance", *options, "--regularisation", "0.1"])
        == 2
    )
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.lance"))


def test_a_file_that_is_no_table(tmp_path):
    for name, content in (("a.csv", b"\xff\xfe\x00"), ("b.parquet", b"PAR1"), ("c.txt", b"1"), ("d.jsonl", b"{")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SpaceError, match=name):
            read_ratings(path)


def test_one_that_fails_half_way_leaves_neither(two_tastes, tmp_path, monkeypatch):
    create, calls = Space.create, []

    def failing(path, **options):
        calls.append(path)
        if len(calls) == 2:
            raise SpaceError("the disk is full")
        return create(path, **options)

    monkeypatch.setattr(Space, "create", failing)
    with pytest.raises(SpaceError, match="the disk is full"):
        write_spaces(two_tastes, factorise(two_tastes, factors=3), tmp_path / "items.lance", tmp_path / "users.lance")
    assert len(calls) == 2
    assert not list(tmp_path.iterdir())


def test_items_and_users_are_two_folders(two_tastes, tmp_path):
    with pytest.raises(SpaceError, match="would both be"):
        write_spaces(
            two_tastes, factorise(two_tastes, factors=3), tmp_path / "a.lance", tmp_path / "b" / ".." / "a.lance"
        )


def test_vectors_that_shrank_to_nothing_are_left_out(two_tastes, tmp_path):
    """Five users and one item apart from all others: the solver leaves rounding of them, which points anywhere."""
    users, items = len(two_tastes.user_ids), len(two_tastes.item_ids)
    ratings = Ratings(
        [*two_tastes.user_ids, *(f"alone{u}" for u in range(5))],
        [*two_tastes.item_ids, "alone"],
        np.append(two_tastes.users_R, np.arange(users, users + 5)),
        np.append(two_tastes.items_R, [items] * 5),
        np.append(two_tastes.values_R, np.float32([5, 4, 5, 4, 5])),
    )
    made = write_spaces(ratings, factorise(ratings, factors=3), tmp_path / "i.lance", tmp_path / "u.lance")
    assert (made[0].ids, made[1].ids) == (two_tastes.item_ids, two_tastes.user_ids)
    assert made[2] == (
        "1 of i without a like, or with too little, left out",
        "5 of u without a like, or with too little, left out",
    )


def test_too_few_ratings_for_any_vector(two_tastes, tmp_path):
    few = two_tastes.part(np.arange(len(two_tastes.values_R)) < 3)
    with pytest.raises(SpaceError, match=r"too few ratings\. Lower --regularisation"):
        write_spaces(few, factorise(few, factors=3, regularisation=1e6), tmp_path / "i.lance", tmp_path / "u.lance")
    assert not list(tmp_path.iterdir())


def test_ratings_that_are_no_ratings(two_tastes):
    times = Ratings(**{**vars(two_tastes), "values_R": two_tastes.values_R * np.float32(1e25)})
    with pytest.raises(SpaceError, match="Ratings as large as 5e"):
        factorise(times, factors=3)


def test_ids_that_a_missing_value_turned_into_floats(tmp_path):
    users, items = [1.0, 2.0, None, 3.0] * 5, [float(i) for i in range(5) for _ in range(4)]
    pl.DataFrame({"userId": users, "movieId": items, "rating": [4] * 20}).write_parquet(tmp_path / "r.parquet")
    ratings = read_ratings(tmp_path / "r.parquet", fewest=3)
    assert (ratings.user_ids, ratings.item_ids) == (["1", "2", "3"], ["0", "1", "2", "3", "4"])


def test_columns_that_hold_lists(tmp_path):
    pl.DataFrame({"userId": [[1]], "movieId": [1], "rating": [4]}).write_parquet(tmp_path / "r.parquet")
    with pytest.raises(SpaceError, match="no plain column"):
        read_ratings(tmp_path / "r.parquet")
