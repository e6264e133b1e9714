"""Narration: the rows are those of `ask`, once each and in order, whatever is killed, and memory stays flat."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from tiny import E, vectors

from vecspeak import narrate, store
from vecspeak.bundled import bundled_model_path, bundled_space_path, load_bundled
from vecspeak.cli import main
from vecspeak.decoding import Decoding
from vecspeak.errors import ConfigError, EncoderError, ModelError
from vecspeak.narrate import SCHEMA, Job, Local, model_fingerprint, narrate_to, reference
from vecspeak.parts import parts_folder
from vecspeak.space import Space

ROWS = 30
PROMPT = "Describe {x}, and say no more."


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny model, whose answers differ in length, and its space."""
    folder = tmp_path_factory.mktemp("narrate")
    ids = [f"e{i}" for i in range(ROWS)]
    space = Space.create(folder / "space.lance", ids=ids, vectors=vectors(ROWS), name="things")
    elm = tiny.elm("llama", space=space)
    elm.base.generation_config.eos_token_id = list(range(1, tiny.V, 9))
    elm.base.save_pretrained(folder / "base")
    elm.tokenizer.save_pretrained(folder / "base")
    store.save(elm, folder / "model", manifest=tiny.manifest(elm, base=str(folder / "base")))
    return folder


def job_of(folder: Path, **changes: object) -> Job:
    job = Job(folder / "model", folder / "space.lance", PROMPT, Decoding(max_tokens=12), ROWS, batch_size=4)
    return replace(job, **changes)


def narrated(job: Job, out: Path, *, every: int = 4, **more) -> pa.Table:
    narrate_to(out, job, engine=Local, checkpoint_every=every, **more)
    return pq.read_table(out)


@pytest.fixture(scope="module")
def uninterrupted(folder, tmp_path_factory) -> pa.Table:
    return narrated(job_of(folder), tmp_path_factory.mktemp("whole") / "out.parquet")


def test_a_missing_encoder_is_said_before_any_row(tmp_path):
    space = Space.create(
        tmp_path / "space.lance", ids=["a", "b"], vectors=vectors(2), name="things", encoder="./none-here"
    )
    elm = tiny.elm("llama", space=space)
    elm.base.save_pretrained(tmp_path / "base")
    elm.tokenizer.save_pretrained(tmp_path / "base")
    store.save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base=str(tmp_path / "base")))
    (tmp_path / "out").mkdir()
    with pytest.raises(EncoderError, match="none-here"):
        narrated(job_of(tmp_path, rows=2), tmp_path / "out/out.parquet")
    assert not list((tmp_path / "out").iterdir())


def same_rows(found: pa.Table, expected: pa.Table) -> bool:
    return found.equals(expected)


# ---- what comes out


@pytest.mark.parametrize("decoding", [Decoding(max_tokens=12), Decoding(max_tokens=12, temperature=1.0, seed=3)])
def test_rows_are_what_asking_one_by_one_gives(folder, tmp_path, decoding):
    found = narrated(job_of(folder, decoding=decoding), tmp_path / "out.parquet")
    space = Space.open(folder / "space.lance")
    elm = store.load(folder / "model", space=space)
    answers = [elm.ask(PROMPT, x=space[id], **_options(decoding)) for id in space.ids]
    assert found.schema.equals(SCHEMA)
    assert found.column("id").to_pylist() == space.ids
    assert found.column("text").to_pylist() == [answer.text for answer in answers]
    np.testing.assert_allclose(found.column("distance").to_numpy(), [answer.distance for answer in answers], rtol=1e-5)
    assert found.column("consistency").null_count == ROWS, "the space names no encoder"
    assert set(found.column("model").to_pylist()) == {model_fingerprint(folder / "model")}
    assert len({answer.tokens for answer in answers}) > 2, "answers should end at different times"


def _options(decoding: Decoding) -> dict[str, object]:
    return {name: getattr(decoding, name) for name in ("max_tokens", "temperature", "seed")}


def test_consistency_is_that_of_asking(tmp_path):
    decoding = Decoding(max_tokens=10, best_of=2, guidance=0.5)
    job = Job(bundled_model_path(), bundled_space_path(), "Summarise {film}.", decoding, 5)
    found = narrated(job, tmp_path / "out.parquet")
    films = load_bundled()
    asked = [films.ask("Summarise {film}.", film=films.space[id], max_tokens=10, best_of=2, guidance=0.5,
                       frequency_penalty=0.0) for id in films.space.ids[:5]]  # fmt: skip
    assert found.column("text").to_pylist() == [answer.text for answer in asked]
    np.testing.assert_allclose(found.column("consistency").to_numpy(), [a.consistency for a in asked], atol=1e-4)
    np.testing.assert_allclose(found.column("distance").to_numpy(), [a.distance for a in asked], rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_no_row_depends_on_the_batch(folder, tmp_path, uninterrupted, batch_size):
    found = narrated(job_of(folder, batch_size=batch_size), tmp_path / "out.parquet", every=100)
    assert same_rows(found, uninterrupted)


def test_the_limit_takes_the_first_rows(folder, tmp_path, uninterrupted):
    assert same_rows(narrated(job_of(folder, rows=9), tmp_path / "out.parquet"), uninterrupted.slice(0, 9))


def test_rows_are_told_as_they_are_done(folder, tmp_path):
    told: list[int] = []
    narrated(job_of(folder), tmp_path / "out.parquet", on_start=told.append, on_rows=told.append)
    assert told[0] == 0
    assert sum(told) == ROWS
    narrated(job_of(folder), tmp_path / "out.parquet", on_start=told.append, on_rows=told.append)
    assert told[-1] == ROWS, "all of them were there"


# ---- stopped and resumed


class Stopped(Exception):
    """Raised in the middle of a run."""


def stop_after(rows: int):
    done = 0

    def on_rows(more: int) -> None:
        nonlocal done
        done += more
        if done >= rows:
            raise Stopped

    return on_rows


@pytest.mark.parametrize("stops", [[1], [5, 5, 5], [29], [4, 1, 20]])
def test_a_stopped_run_goes_on_to_the_same_rows(folder, tmp_path, uninterrupted, stops):
    out = tmp_path / "out.parquet"
    for stop in stops:
        with pytest.raises(Stopped):
            narrated(job_of(folder), out, on_rows=stop_after(stop))
        assert not out.exists()
    begun: list[int] = []
    assert same_rows(narrated(job_of(folder), out, on_start=begun.append), uninterrupted)
    assert begun[0] % 4 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_narrate import Local, job_of, narrate_to

done = 0
def on_rows(more):
    global done
    done += more
    if done >= 17:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    narrate_to(Path(sys.argv[3]), job_of(Path(sys.argv[2])), engine=Local, checkpoint_every=4, on_rows=on_rows)
"""


def test_a_killed_process_goes_on_with_every_row_once(folder, tmp_path, uninterrupted):
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(Path(__file__).parent), str(folder)]
    killed = subprocess.run(
        [*command, str(tmp_path / "out.parquet")], env={**os.environ}, capture_output=True, text=True, timeout=300
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    begun: list[int] = []
    found = narrated(job_of(folder), tmp_path / "out.parquet", on_start=begun.append)
    assert 0 < begun[0] < ROWS
    assert same_rows(found, uninterrupted)


def test_what_was_made_of_something_else_is_left_alone(folder, tmp_path):
    out = tmp_path / "out.parquet"
    with pytest.raises(Stopped):
        narrated(job_of(folder), out, on_rows=stop_after(5))
    other_model = tmp_path / "model"
    manifest = (folder / "model/elm.json").read_text()
    other_model.mkdir()
    (other_model / "elm.json").write_text(manifest.replace('"scores": {}', '"scores": {"a": 1}'))
    (other_model / "adapter.safetensors").write_bytes((folder / "model/adapter.safetensors").read_bytes())
    other_space = Space.create(
        tmp_path / "s.lance", ids=[f"e{i}" for i in range(ROWS)], vectors=vectors(ROWS, seed=1), name="things"
    )
    changes = {
        "prompt": {"prompt": "Another {x}."},
        "decoding.max_tokens": {"decoding": Decoding(max_tokens=13)},
        "rows": {"rows": 8},
        "model": {"model": other_model},
        "space.first": {"space": other_space.path},
    }

    def refuses_all() -> None:
        before = {path: path.read_bytes() for path in tmp_path.glob("out*/**/*") if path.is_file()}
        for name, change in changes.items():
            with pytest.raises(ConfigError, match=f"made with another {name}: .*Choose another --out"):
                narrated(job_of(folder, **change), out)
        assert before == {path: path.read_bytes() for path in tmp_path.glob("out*/**/*") if path.is_file()}

    refuses_all()
    narrated(job_of(folder), out)
    refuses_all()


# ---- memory


def test_rows_are_read_as_they_are_needed(folder, monkeypatch):
    read: list[int] = []
    take = narrate.take_rows
    monkeypatch.setattr(narrate, "READ", 3)
    monkeypatch.setattr(narrate, "take_rows", lambda dataset, rows: read.extend(rows) or take(dataset, rows))
    engine = Local(job_of(folder, batch_size=2))
    tables = engine.tables(5, size=2, on_rows=lambda rows: None)
    assert next(tables).column("id").to_pylist() == ["e5", "e6"]
    assert read[0] == 5
    assert len(read) < 20
    assert sum(len(table) for table in tables) == ROWS - 7
    assert read == list(range(5, ROWS))


def test_distances_in_a_huge_space_are_those_in_a_drawn_part_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(narrate, "EXACT_UP_TO", 40)
    rng = np.random.default_rng(0)
    ids, made = [f"e{i}" for i in range(200)], rng.normal(size=(200, E))
    space = Space.create(tmp_path / "s.lance", ids=ids, vectors=made, name="huge")
    near = reference(space)
    assert len(near) == 40
    assert set(near.ids) < set(ids)
    assert not {"vectors", "ids"} & vars(space).keys(), "nothing of the whole space was read into memory"
    assert [near[id].vector.tolist() for id in near.ids] == [space[id].vector.tolist() for id in near.ids]
    assert len(near.distances([space[id] for id in ids])) == 200
    assert reference(space).ids == near.ids
    monkeypatch.setattr(narrate, "EXACT_UP_TO", 200)
    assert reference(space) is space


# ---- the command


def narrate_films(out: Path, *more: str) -> list[str]:
    return ["narrate", "films", "films", "--out", str(out), "--max-tokens", "6", *more]


def test_the_command_writes_and_says_so(tmp_path, capsys):
    out = tmp_path / "out.parquet"
    assert main(narrate_films(out, "--task", "summary", "--limit", "3")) == 0
    assert "3 rows, 3 of them now" in capsys.readouterr().out
    table = pq.read_table(out)
    assert table.column("consistency").null_count == 0
    assert b'"prompt": "Summarise {film}."' in table.schema.metadata[b"vecspeak"]
    assert main(narrate_films(out, "--task", "summary", "--limit", "3")) == 0
    assert "3 rows, 0 of them now" in capsys.readouterr().out
    assert main(narrate_films(out, "--prompt", "Describe {film}.", "--limit", "3")) == 2
    assert "made with another prompt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--out", "{tmp}/out.csv"], "ending in .parquet"),
        (["--out", "{tmp}/no/such/out.parquet"], "folder that exists"),
        (["--out", "{tmp}/notes.parquet"], "was not made by this command"),
        (["--task", "poem"], "Unknown task 'poem'"),
        (["--tasks", "{tmp}/none.toml", "--task", "summary"], "none.toml"),
        (["--task", "similarities"], "one slot"),
        (["--prompt", "No slot."], "one slot"),
        (["--prompt", "{{x} and {{y"], "Braces"),
        (["--prompt", "{{x}", "--task", "summary"], "either --task NAME or --prompt"),
        ([], "either --task NAME or --prompt"),
        (["--prompt", "{{x}", "--limit", "0"], "rows is 0"),
        (["--prompt", "{{x}", "--batch-size", "0"], "batch_size is 0"),
        (["--prompt", "{{x}", "--max-tokens", "0"], "max_tokens is 0"),
        (["--prompt", "{{x}", "--max-tokens", "4000"], "positions"),
        (["--prompt", "{{x}", "--engine", "spark"], "One of: local, ray"),
        (["--prompt", "{{x}", "--engine", "ray", "--workers", "0"], "workers is 0"),
        (["--prompt", "{{x}", "--workers", "2"], "--workers is for engine ray"),
        (["--prompt", "{{x}", "--model", "nowhere"], "no elm.json"),
        (["--prompt", "{{x}", "--space", "nowhere.lance"], "no space at nowhere.lance"),
        (["--prompt", "{{x}", "--space", "{space}"], "reads vectors of dimension 384"),
    ],
)
def test_broken_inputs_are_refused_and_leave_nothing(change, words, folder, tmp_path, capsys):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "notes.parquet")
    given = [text.replace("{tmp}", str(tmp_path)).replace("{space}", str(folder / "space.lance")) for text in change]
    given = [text.replace("{{", "{") for text in given]
    options = dict(zip(given[::2], given[1::2], strict=True))
    model, space = options.pop("--model", "films"), options.pop("--space", "films")
    out = options.pop("--out", str(tmp_path / "out.parquet"))
    if "--out" in change:
        options.setdefault("--prompt", "{x}")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert main(["narrate", model, space, "--out", out, *(text for pair in options.items() for text in pair)]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ")
    assert "\n" not in told
    assert words in told
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_a_model_that_does_not_load_leaves_nothing(folder, tmp_path):
    broken = tmp_path / "model"
    broken.mkdir()
    (broken / "elm.json").write_bytes((folder / "model/elm.json").read_bytes())
    (broken / "adapter.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="does not load as the adapter"):
        narrated(job_of(folder, model=broken), tmp_path / "out.parquet")
    assert not parts_folder(tmp_path / "out.parquet").exists()
