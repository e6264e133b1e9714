"""The whole experiment on a made release of a few of the corpus's films, with a tiny random base."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel

from vecspeak.bundled import bundled_space_path
from vecspeak.errors import ConfigError
from vecspeak.movielens import experiment
from vecspeak.movielens.experiment import Settings, Told, run_experiment
from vecspeak.movielens.results import Results
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
        patch.setattr(experiment, "OWN", experiment.OWN.but(max_tokens=4))
        yield


@pytest.fixture(scope="module")
def whole(short_answers: None, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """An uninterrupted run and where it is."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert experiment.OWN.max_tokens == 4
    return run_experiment(settings, out, silent()), out


def test_one_run_goes_from_the_folder_to_the_report(whole: tuple[Results, Path]) -> None:
    results, out = whole
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


def test_an_interrupted_run_goes_on_and_ends_at_the_same_results(
    whole: tuple[Results, Path],
    folder: Path,
    base: Path,
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "run"
    stops = ["make_behavioural_space", "judge_films", "make_points", "write_report"]
    for stop in stops:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(experiment, stop, interrupt)
            run_experiment(settings, out, silent())
    heard: list[str] = []
    results = run_experiment(settings, out, Told(heard.append, lambda progress: None))
    assert not [event for event in heard if event.startswith(("semantic", "training", "film answers"))]
    assert without_times(results) == without_times(whole[0])


def without_times(results: Results) -> str:
    """As JSON, where NaN equals NaN."""
    return results.model_copy(update={"steps": ()}).model_dump_json()


def interrupt(*args: object, **kwargs: object) -> None:
    raise KeyboardInterrupt


def test_training_and_answers_are_taken_up_where_they_stopped(
    whole: tuple[Results, Path], settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole[1], out)
    for gone in (
        "steps/film answers-0.json",
        "steps/made points.json",
        "steps/maps.json",
        "steps/training films-0.json",
    ):
        (out / gone).unlink()
    shutil.rmtree(out / "films-0/model")
    (next((out / "answers/films-0").iterdir())).unlink()
    seen: list[str] = []
    results = run_experiment(settings, out, Told(lambda event: None, lambda p: seen.append(p.stage)))
    assert seen == []  # the last checkpoint was at the last step
    assert without_times(results) == without_times(whole[0])


def test_other_settings_or_a_full_folder_are_refused(
    whole: tuple[Results, Path], folder: Path, base: Path, encoder: Path
) -> None:
    with pytest.raises(ConfigError, match=r"another tune_steps \(2\)"):
        run_experiment(settings.model_copy(update={"tune_steps": 3}), whole[1], silent())
    with pytest.raises(ConfigError, match="holds other things"):
        run_experiment(settings, folder, silent())
