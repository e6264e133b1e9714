"""The whole experiment on a made release of a few of the corpus's films, with a tiny random base."""

import gzip
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel

from vecspeak.bundled import bundled_space_path
from vecspeak.cli import main
from vecspeak.errors import ConfigError, SpaceError
from vecspeak.factors import factorise, fold_in
from vecspeak.movielens import data, experiment, made_points, models
from vecspeak.movielens.experiment import run_experiment
from vecspeak.movielens.release import read_release
from vecspeak.movielens.results import Results
from vecspeak.movielens.settings import Settings, Told
from vecspeak.movielens.spaces import held_out_ratings, read_profiles, user_sides
from vecspeak.movielens.texts import corpus_films, joined_texts, passages
from vecspeak.space import Space

USERS = 30
FILMS = {"train": 14, "validation": 3, "test": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ratings.csv, movies.csv, links.csv, plots.csv and profiles.jsonl: half the users like the first half of films."""
    folder = tmp_path_factory.mktemp("ml-made")
    corpus = Space.open(bundled_space_path())
    sides = list(zip(corpus.ids, corpus.column("split"), strict=True))
    ids = [id for side, count in FILMS.items() for id in [id for id, s in sides if s == side][:count]]
    titles = [f'"{corpus.row(id)["title"]} ({corpus.row(id)["year"]})"' for id in ids]
    genres = ["Drama|Romance" if row % 2 else "Comedy" for row in range(len(ids))]
    films = [*zip(ids, titles, genres, strict=True), ("900001", "An Unknown Film (1999)", "Drama")]
    rng = np.random.default_rng(0)
    ratings, profiles = [], []
    for user in range(1, USERS + 1):
        stars = {id: 5 - 3 * ((row + user) % 2) - (rng.random() < 0.3) / 2 for row, (id, _, _) in enumerate(films)}
        ratings += [f"{user},{id},{star},{1000 + user}" for id, star in stars.items()]
        kinds = ("quiet films of the sea", "loud films of war", "slow films", "bright films")
        lines = [f"Likes {kinds[user % 4]}", f"Avoids {kinds[(user + user // 7) % 4]} of {1930 + user}"]
        profile = {"userId": user, "profile": lines}
        profiles.append(json.dumps({**profile, "likes": [int(ids[user % 2])], "dislikes": [int(ids[1 - user % 2])]}))
    write(folder / "ratings.csv", "userId,movieId,rating,timestamp", ratings)
    write(folder / "movies.csv", "movieId,title,genres", [",".join(film) for film in films])
    write(folder / "links.csv", "movieId,imdbId,tmdbId", [f"{id},{n:07d},{n}" for n, (id, _, _) in enumerate(films, 1)])
    plots = [f"tt{len(films):07d},A long story of two sisters who run a lighthouse.", "0999999,Of no film here at all."]
    write(folder / "plots.csv", "imdbId,text", plots)
    write(folder / "profiles.jsonl", None, profiles)
    return folder


def write(path: Path, header: str | None, lines: list[str]) -> None:
    path.write_text("\n".join([*([header] if header else []), *lines]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base")
    model = tiny.base("llama")
    model.config.max_position_embeddings = 4096  # its positions are rotary; a text is many bytes
    model.save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence encoder of random weights, for the real one takes minutes for all the answers."""
    torch.manual_seed(0)
    parts, path = tmp_path_factory.mktemp("parts"), tmp_path_factory.mktemp("encoder")
    size = {"vocab_size": tiny.V, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(**size, intermediate_size=16, max_position_embeddings=512)).save_pretrained(parts)
    tiny.tokenizer().save_pretrained(parts)
    words = Transformer(str(parts), max_seq_length=128)
    SentenceTransformer(modules=[words, Pooling(16)]).save(str(path))
    return path


@pytest.fixture(scope="module")
def settings(folder: Path, base: Path, encoder: Path) -> Settings:
    return Settings(
        folder=folder, texts=(folder / "plots.csv",), profiles=folder / "profiles.jsonl", base=str(base),
        encoder=str(encoder), align_steps=2, tune_steps=2, batch_size=4, factors=4, films_of_behaviour=True,
    )  # fmt: skip


def silent() -> Told:
    return Told(lambda event: None, lambda progress: None)


@pytest.fixture(scope="module", autouse=True)
def short_answers() -> Iterator[None]:
    """Random models never end an answer; a few tokens show as much."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (models, made_points):
            patch.setattr(module, "OWN", models.OWN.but(max_tokens=4))
        yield


STOPS = (
    (data, "make_behavioural_space"),
    (experiment, "judge_films"),
    (experiment, "make_points"),
    (experiment, "write_report"),
)


@pytest.fixture(scope="module")
def whole(
    short_answers: None, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Results, Path, list[str]]:
    """What a run finds that was interrupted at each of STOPS, where it is, and what it told after the last of them."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert models.OWN.max_tokens == 4
    for module, stop in STOPS:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module, stop, interrupt)
            run_experiment(settings, out, silent())
    heard: list[str] = []
    return run_experiment(settings, out, Told(heard.append, lambda progress: None)), out, heard


def interrupt(*args: object, **kwargs: object) -> None:
    raise KeyboardInterrupt


def test_one_run_goes_from_the_folder_to_the_report(whole: tuple[Results, Path, list[str]]) -> None:
    results, out, _ = whole
    assert {path.name for path in (out / "report").iterdir()} >= {"report.html", "report.md", "report.json"}
    again = Results.model_validate_json((out / "report/report.json").read_text("utf-8"))
    assert again.model_dump_json() == results.model_dump_json()
    assert len(results.films) == len(results.users) == len(results.behavioural) == 1
    assert len(results.films[0].tasks) == 19 and len(results.films[0].losses) >= 19
    assert results.counts["films with the corpus's texts, test"] == FILMS["test"]
    assert results.counts["users with a profile, test"] == USERS // 5
    assert [step.name for step in results.steps][:3] == ["semantic vectors", "held-out ratings", "behavioural vectors"]
    measured = {name for task in results.films[0].tasks for text in task.texts for name in text.behaviour}
    assert measured == {f"BC {m}, {c}" for m in ("NDCG", "Spearman") for c in ("rated", "unrated = 0")}
    assert {blend.source for blend in results.blends} == {
        "from the vector", "text only, same base", "the two ends' own texts"
    }  # fmt: skip


def without_times(results: Results) -> str:
    """As JSON, where NaN equals NaN."""
    return results.model_copy(update={"steps": ()}).model_dump_json()


def test_an_interrupted_run_goes_on_and_finds_what_an_uninterrupted_one_does(
    whole: tuple[Results, Path, list[str]], settings: Settings, tmp_path: Path
) -> None:
    results, out, heard = whole
    assert not [event for event in heard if event.startswith(("semantic", "training", "film answers", "made points"))]
    shutil.copytree(out, tmp_path / "run")
    for gone in ("semantic vectors", "training films-0", "film answers-0", "made points"):
        (tmp_path / f"run/steps/{gone}.json").unlink()
    for gone in ("films-0", "answers", "report"):
        shutil.rmtree(tmp_path / "run" / gone)
    again = run_experiment(settings, tmp_path / "run", silent())
    assert without_times(again) == without_times(results)
    assert {path.name for path in (tmp_path / "run/answers").iterdir()} == {"films-0"}  # the others were kept


def test_other_settings_or_a_full_folder_are_refused(
    whole: tuple[Results, Path, list[str]], settings: Settings, folder: Path
) -> None:
    with pytest.raises(ConfigError, match=r"another tune_steps \(2\)"):
        run_experiment(settings.model_copy(update={"tune_steps": 3}), whole[1], silent())
    with pytest.raises(ConfigError, match="holds other things"):
        run_experiment(settings, folder, silent())


# ---- the parts


def test_the_command_refuses_before_any_work(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        ([str(tmp_path / "none")], "There is no folder"),
        ([str(folder), "--tune", "some"], "expected all or lora"),
        ([str(folder), "--texts", str(tmp_path / "none.csv")], "expected a file that ends in"),
        ([str(folder), "--profiles", str(folder / "ratings.csv")], "line 1: expected a JSON object with userId"),
        ([str(tmp_path), "--download", "ml-1g"], "ml-1g"),
    ):
        assert main(["movielens", *arguments, "--out", str(tmp_path / "run")]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_films_of_the_corpus_are_found_by_title_where_ids_differ(folder: Path) -> None:
    films = read_release(folder).films
    found, notes = corpus_films(films)
    assert set(found) == set(films["id"]) - {"900001"} and len(found) == sum(FILMS.values())
    renumbered = films.with_columns(id=pl.Series([str(10**6 + row) for row in range(len(films))]))
    moved, _ = corpus_films(renumbered)
    assert {row["title"] for row in moved.values()} == {row["title"] for row in found.values()}
    assert all(row["id"] == id for id, row in moved.items())
    assert notes == (f"{900 - len(found)} of the 900 films of the corpus are not in this release",)


def test_texts_join_by_film_and_by_imdb_id_and_the_rest_is_counted(folder: Path, tmp_path: Path) -> None:
    films = read_release(folder).films
    id = films["id"][0]
    rows = [
        {"movieId": id, "imdbId": None, "text": "Joined by its film id, five words."},
        {"movieId": None, "imdbId": "tt1", "text": "Joined by its IMDb id, as written there."},
        {"movieId": "77", "imdbId": None, "text": "Of no film of the release."},
        {"movieId": id, "imdbId": None, "text": "Too short."},
    ]
    path = tmp_path / "texts.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, rows)))
    texts, notes = joined_texts(path, films)
    assert texts == {id: [rows[0]["text"], rows[1]["text"]]}
    assert notes == (
        "1 of 4 texts of texts.jsonl.gz belong to no film of this release",
        "1 of 4 texts of texts.jsonl.gz have fewer than 4 words",
    )
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SpaceError, match="no table of JSON lines"):
        joined_texts(path, films)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_passages_hold_all_sentences_in_order_and_are_short(lengths: list[int]) -> None:
    sentences = [" ".join(["word"] * (length - 1) + [f"end{n}."]) for n, length in enumerate(lengths)]
    parts = passages(" ".join(sentences))
    assert " ".join(parts) == " ".join(sentences)
    assert all(len(part.split()) <= 90 for part in parts)
    assert all(len((a + " " + b.split(". ")[0]).split()) > 90 for a, b in itertools.pairwise(parts))


def test_a_share_of_each_users_ratings_is_held_out(folder: Path) -> None:
    ratings = read_release(folder).ratings
    held_R = held_out_ratings(ratings, seed=0)
    counts_U = np.bincount(ratings.users_R)
    assert (np.bincount(ratings.users_R[held_R], minlength=len(counts_U)) == (counts_U * 0.2).astype(int)).all()
    assert (held_R == held_out_ratings(ratings, seed=0)).all()
    assert (held_R != held_out_ratings(ratings, seed=1)).any()


def test_folding_in_all_ratings_gives_the_factorised_user(folder: Path) -> None:
    """`implicit` solves by conjugate gradients, this exactly: after many iterations both have converged."""
    ratings = read_release(folder).ratings
    factors = factorise(ratings, factors=3, regularisation=0.5, iterations=200)
    for user in (0, 7):
        folded = fold_in(factors, ratings.part(ratings.users_R == user))
        np.testing.assert_allclose(folded, factors.users_UE[user], atol=2e-3)


def test_users_are_split_once_and_profiles_of_strangers_are_counted(folder: Path, tmp_path: Path) -> None:
    ratings = read_release(folder).ratings
    profiles, notes = read_profiles(folder / "profiles.jsonl", ratings)
    assert len(profiles) == USERS and notes == ()
    sides = user_sides(sorted(profiles))
    assert Counter(sides.values()) == {"train": 21, "validation": 3, "test": 6}
    assert sides == user_sides(sorted(profiles, reverse=True))
    stranger = json.loads((folder / "profiles.jsonl").read_text("utf-8").splitlines()[0])
    path = tmp_path / "profiles.jsonl"
    path.write_text("\n".join(json.dumps({**stranger, "userId": user}) for user in (1, 99)), encoding="utf-8")
    known, told = read_profiles(path, ratings)
    assert list(known) == ["1"] and told == ("1 of 2 profiles are not of users of this release",)


def test_held_out_users_and_films_are_in_no_training_row(whole: tuple[Results, Path, list[str]]) -> None:
    space = Space.open(whole[1] / "behavioural.lance")
    sides = dict(zip(space.ids, space.column("split"), strict=True))
    views = [id for id, kind in zip(space.ids, space.column("kind"), strict=True) if kind == "view"]
    assert views and all(sides[id.split("-view-")[0]] == sides[id] == "train" for id in views)
    films = Space.open(whole[1] / "semantic.lance")
    assert all(sides[id] == side for id, side in zip(films.ids, films.column("split"), strict=True) if id in sides)
    assert Counter(films.column("split"))["test"] == FILMS["test"]
    np.testing.assert_allclose(np.linalg.norm(np.stack([space[id].vector for id in space.ids]), axis=1), 1, atol=1e-5)
