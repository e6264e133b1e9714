"""From vectors, ids and texts to an answered question, without an edit."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny

from vecspeak.cli import main
from vecspeak.errors import SpaceError
from vecspeak.geometry import parse_point
from vecspeak.importing import Reading
from vecspeak.space import Space
from vecspeak.starting import BATCH, EPOCHS, FEWEST_STEPS, steps_of, task_file
from vecspeak.survey import survey
from vecspeak.tasks import parse_tasks
from vecspeak.terminal import ask_command
from vecspeak.training import read_config

ROWS = 30
IDS = [f"{row:03}" for row in range(ROWS)]
COLOURS = ["red", "green", "blue"]
SENTENCES = [f"A {COLOURS[row % 3]} thing that is number {row} of all." for row in range(ROWS)]


def unit(rows: int, dimension: int = 6) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=(rows, dimension))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """v.npy, ids.txt, and t.csv in another order, with rows that the vectors lack and without one that they have."""
    monkeypatch.chdir(tmp_path)
    np.save("v.npy", unit(ROWS))
    Path("ids.txt").write_text("".join(f"{id}\n" for id in IDS))
    rows = [[id, f"Thing {id}", COLOURS[n % 3], 1900 + n, SENTENCES[n]] for n, id in enumerate(IDS)]
    rows = [*reversed(rows[1:]), ["999", "No vector", "red", 1, "It is not there, in any way."], rows[1]]
    with open("t.csv", "w", newline="") as file:
        csv.writer(file).writerows([["year", "sku", "name", "the colour", "what it is"], *map(_reordered, rows)])
    return tmp_path


def _reordered(row: list) -> list:
    id, name, colour, year, text = row
    return [year, id, name, colour, text]


def look(vectors: str = "v.npy", texts: str | None = "t.csv", **options):
    reading = Reading(ids=Path("ids.txt") if vectors == "v.npy" else None)
    return survey(Path(vectors), Path(texts) if texts else None, reading=options.pop("reading", reading), **options)


# ---- what is found


def test_texts_are_joined_by_the_column_that_holds_the_ids(files: Path) -> None:
    found = look()
    assert found.ids == IDS
    assert found.values["what it is"].to_pylist() == [None, *SENTENCES[1:]]
    assert found.values["title"].to_pylist()[:3] == [None, "Thing 001", "Thing 002"]
    assert found.without_text == 1
    assert list(found.notes) == [
        "29 of 30 vectors have a row in t.csv, matched by its column 'sku'.",
        "1 ids of t.csv have no vector; they are left out.",
        "1 rows of t.csv repeat an id; its first row is taken.",
    ]


def test_kinds_of_columns(files: Path) -> None:
    found = {column.name: column for column in look().columns}
    kinds = {name: column.kind for name, column in found.items()}
    assert kinds == {"year": "other", "title": "label", "the colour": "category", "what it is": "text"}
    assert found["what it is"].words == 9 and found["what it is"].filled == 29


def test_ids_of_csv_keep_their_zeros_and_years_their_type(files: Path) -> None:
    found = look()
    assert found.values["year"].type == pa.int64()
    assert "sku" not in found.values


def test_vectors_without_ids_are_matched_by_order_with_as_many_rows(files: Path) -> None:
    pq.write_table(pa.table({"text": SENTENCES, "code": [f"c{row}" for row in range(ROWS)]}), "t.parquet")
    found = look(texts="t.parquet", reading=Reading())
    assert found.ids[:2] == ["c0", "c1"]
    assert found.notes[0] == "Vectors and rows of t.parquet are matched by their order; ids from its column 'code'."
    pq.write_table(pa.table({"text": SENTENCES}), "t.parquet")
    assert look(texts="t.parquet", reading=Reading()).ids[:2] == ["0", "1"]


def test_a_table_may_hold_vectors_and_texts(files: Path) -> None:
    rows = [{"id": id, "vector": v.tolist(), "about": t} for id, v, t in zip(IDS, unit(ROWS), SENTENCES, strict=True)]
    Path("all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = look("all.jsonl", None)
    assert (found.ids, found.dimension, [text.name for text in found.texts]) == (IDS, 6, ["about"])
    chunks = list(found.chunks())
    np.testing.assert_allclose(np.concatenate([chunk.vectors for chunk in chunks]), unit(ROWS), rtol=1e-6)


def test_equal_vectors_are_counted_and_names_a_space_cannot_hold_are_changed(files: Path) -> None:
    vectors = unit(ROWS)
    vectors[[4, 9]] = vectors[2]
    np.save("v.npy", vectors)
    table = {"id": IDS, "vector": ["x y"] * ROWS, "split": ["left"] * ROWS, "a.b": SENTENCES, "none": [None] * ROWS}
    pq.write_table(pa.table(table), "t.parquet")
    found = look(texts="t.parquet")
    assert list(found.values) == ["own_vector", "own_split", "a_b"]
    assert found.notes[1:] == (
        "2 vectors are equal to an earlier one: their answers will be, too.",
        "Column 'vector' is called 'own_vector' in the space.",
        "Column 'split' is called 'own_split' in the space.",
        "Column 'a.b' is called 'a_b' in the space.",
        "Column 'none' is empty and left out.",
    )


@pytest.mark.parametrize(
    ("vectors", "metric", "reason"),
    [
        (unit(ROWS), "cosine", "all vectors have length 1"),
        (unit(ROWS) * np.linspace(9, 11, ROWS)[:, None], "cosine", "direction decides"),
        (unit(ROWS) * np.geomspace(0.1, 10, ROWS)[:, None], "dot", "recommenders"),
        (unit(ROWS, 2) * 3, "euclidean", "map"),
    ],
)
def test_metric_is_seen_from_the_lengths(files: Path, vectors: np.ndarray, metric: str, reason: str) -> None:
    np.save("v.npy", vectors)
    found = look()
    assert found.metric == metric and reason in found.reason
    assert (look(metric="dot").metric, look(metric="dot").reason) == ("dot", "as told")


def test_all_faults_are_told_at_once(files: Path) -> None:
    vectors = unit(ROWS)
    vectors[[1, 2, 3, 5]] = np.nan
    vectors[7] = 0
    np.save("v.npy", vectors)
    with pytest.raises(SpaceError) as caught:
        look()
    assert str(caught.value).startswith(
        "v.npy has 4 rows with a value that is not a finite float32 (row 1, id '001'; 2, id '002'; 3, id '003'; ...); "
        "1 rows of zeros"
    )
    with pytest.raises(
        SpaceError, match=r"4 rows with a value that is not a finite float32 [^;]+;[^;]+;[^;]+; ...[)]. "
    ):
        look(metric="euclidean")


# ---- what is written


def test_the_task_file_parses_whatever_the_columns_are_called(files: Path) -> None:
    texts = {'9 "lives"': SENTENCES, "Straße": [f"{text} " * 5 for text in SENTENCES], "describe": SENTENCES}
    pq.write_table(pa.table({"id": IDS, **texts, "kind": [COLOURS[row % 3] for row in range(ROWS)]}), "t.parquet")
    written = task_file(look(texts="t.parquet"))
    tasks = parse_tasks(written, origin="made")
    assert list(tasks) == ["describe", "summarise", "column_9_lives", "describe_2"]
    assert tasks["describe"].columns == ("Straße",) and tasks["summarise"].sentences == 1
    assert tasks["column_9_lives"].prompts[0] == "Write the 9 lives of {item}."
    uncommented = written.replace("# [[task]]", "[[task]]").replace("\n# ", "\n").split("too.\n")[1]
    assert parse_tasks(uncommented, origin="offered")["kind"].prompts[0] == "What is the kind of {item}?"


def test_from_files_to_an_answer_in_three_commands(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["init", "new", "--vectors", "v.npy", "--ids", "ids.txt", "--texts", "t.csv", "--minutes", "0.1"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "30 vectors of 6 dimensions" in told and "text      what it is: 29 filled, 9 words" in told
    assert sorted(path.name for path in files.iterdir()) == ["ids.txt", "new", "t.csv", "v.npy"]
    assert sorted(path.name for path in Path("new").iterdir()) == ["space.lance", "tasks.toml", "train.toml"]
    space = Space.open("new/space.lance")
    assert (space.name, space.metric, space.source) == ("new", "cosine", "v.npy")
    np.testing.assert_array_equal(space.vectors, unit(ROWS))
    config = read_config(Path("new/train.toml"))
    assert [stage.name for stage in config.stages] == ["align", "tune"]
    fewer_steps(Path("new/train.toml"))
    train, ask = [line.split("vecspeak ", 1)[1] for line in told.splitlines() if ": vecspeak " in line]
    assert train == "train new/train.toml"
    assert main(train.split()) == 0
    assert f"vecspeak {ask}" in capsys.readouterr().out
    assert main([*shlex.split(ask), "--max-tokens", "5"]) == 0
    assert capsys.readouterr().out.strip()


def fewer_steps(path: Path) -> None:
    """For the test's time: everything else stays as it was written."""
    written, stages = re.subn(r"^steps = \d+ ", "steps = 1 ", path.read_text("utf-8"), flags=re.MULTILINE)
    assert stages == 2
    path.write_text(written, "utf-8")


def test_steps_fit_the_minutes_and_the_data() -> None:
    # 15 % and 85 % of ten minutes, at a second and at two a step
    assert steps_of([1, 2], minutes=10, examples=10**6) == [90, 255]
    # a faster machine: of the 1,000 examples, EPOCHS times in batches of BATCH
    most = EPOCHS * 1000 / BATCH
    assert steps_of([0.001, 0.001], minutes=10, examples=1000) == [int(0.15 * most), int(0.85 * most)]
    assert steps_of([60, 60], minutes=1, examples=1000) == [FEWEST_STEPS, FEWEST_STEPS]
    assert steps_of([0.001, 0.001], minutes=10, examples=3) == [FEWEST_STEPS, FEWEST_STEPS]


def test_json_says_what_was_found(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = "sentence-transformers/all-MiniLM-L6-v2"
    np.save("v.npy", unit(ROWS, 384))
    tiny.base().save_pretrained("base")
    tiny.tokenizer().save_pretrained("base")
    words = ["init", "new", "--vectors", "v.npy", "--ids", "ids.txt", "--texts", "t.csv", "--minutes", "0.1"]
    assert main([*words, "--encoder", encoder, "--base", "./base", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["entities"], told["metric"], told["without_text"], told["tasks"]) == (30, "cosine", 1, ["describe"])
    assert "DID NOT MAKE THESE VECTORS" in told["encoder"]
    assert Space.open("new/space.lance").encoder == encoder
    config = read_config(Path("new/train.toml"))
    assert (config.stages[1].train, config.decoding.frequency_penalty) == ("lora", 0)
    assert config.base == str(files / "base")  # which the working directory says, not the folder of the config


@pytest.mark.parametrize("id", ["3", "red boots", "a:b", "https://x.org/?a=1&b=2", 'the "it"', "it's $HOME"])
def test_the_command_that_is_told_asks_about_the_entity(id: str, tmp_path: Path) -> None:
    tasks = parse_tasks(task_of('Say "{item}"?'), origin="t")
    told = shlex.split(ask_command(tmp_path / "my shop", tasks, [id, "other"]))
    assert told[:5] == ["vecspeak", "ask", str(tmp_path / "my shop"), 'Say "{item}"?', "--item"]
    space = Space.create(tmp_path / "s.lance", ids=[id, "a", "b"], vectors=unit(3), name="s")
    np.testing.assert_array_equal(parse_point(space, told[5]).vector, unit(3)[0])


def task_of(prompt: str) -> str:
    return f"[[task]]\nname = 'a'\nslots = ['item']\ntarget = '{{text}}'\nprompts = ['{prompt}']\n"
