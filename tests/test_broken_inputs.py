"""Broken inputs of `init`, `space import` and `train`: one clear line, exit code 2, nothing written."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vecspeak.cli import main
from vecspeak.space import Space

ROWS = 12
IDS = [f"e{row}" for row in range(ROWS)]
VECTORS = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)

TASKS = '[[task]]\nname = "describe"\nslots = ["item"]\ntarget = "{text}"\nprompts = ["Describe {item}."]\n'
STAGE = '[[stages]]\nname = "align"\ntrain = "adapter"\nsteps = 2\nbatch_size = 2\n'
CONFIG = f'space = "s.lance"\ntasks = "tasks.toml"\n{STAGE}'

INIT = "init new --vectors v.npy --ids ids.txt --texts t.csv"
IMPORT = "space import v.npy new.lance --ids ids.txt"
TRAIN = "train train.toml"


def table(ids=IDS, *, texts=None) -> str:
    texts = texts or [f"A thing of {number} words, and this is its text." for number in range(len(ids))]
    return "item,text\n" + "".join(f'{id},"{text}"\n' for id, text in zip(ids, texts, strict=True))


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which all three commands would work."""
    monkeypatch.chdir(tmp_path)
    np.save("v.npy", VECTORS)
    Path("ids.txt").write_text("".join(f"{id}\n" for id in IDS))
    Path("t.csv").write_text(table())
    Path("tasks.toml").write_text(TASKS)
    Path("train.toml").write_text(CONFIG)
    texts = [f"Thing {row} of red wood." for row in range(ROWS)]
    Space.create("s.lance", ids=IDS, vectors=VECTORS, name="s", columns={"text": texts})
    return tmp_path


def vectors(change: Callable[[np.ndarray], object]) -> Callable[[], None]:
    """Writes the vectors as `change` gives them."""

    def broken() -> None:
        np.save("v.npy", np.asarray(change(VECTORS.copy())), allow_pickle=True)

    return broken


def text(name: str, content: str | bytes) -> Callable[[], None]:
    """Writes a file."""

    def broken() -> None:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)

    return broken


def gone(name: str) -> Callable[[], None]:
    """Removes a file."""
    return lambda: Path(name).unlink()


def config(old: str, new: str) -> Callable[[], None]:
    """Changes the config."""
    assert old in CONFIG
    return text("train.toml", CONFIG.replace(old, new))


def held(name: str, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[3] = value
        return array

    return change


def nothing() -> None:
    pass


def split_without_training() -> None:
    columns = {"text": ["a text"] * ROWS, "split": ["test"] * ROWS}
    Space.create("s.lance", ids=IDS, vectors=VECTORS, name="s", columns=columns, overwrite=True)


def run_taken() -> None:
    Path("run").mkdir()
    Path("run/config.json").write_text("{}")


def damaged_space() -> None:
    for part in Path("s.lance/data").iterdir():
        part.write_bytes(b"no longer")


BROKEN: list[tuple[str, Callable[[], object], str, str]] = [
    # what is wrong, how it comes about, the command, words of the message
    ("vectors missing", gone("v.npy"), INIT, "There is no v.npy"),
    ("vectors of unknown format", nothing, INIT.replace("v.npy", "ids.docx"), "There is no ids.docx"),
    ("vectors in an unknown format", text("v.xyz", "1"), INIT.replace("v.npy", "v.xyz"), "unknown format"),
    ("pickled objects", vectors(lambda a: np.array([{"x": 1}, None])), INIT, "no array of plain numbers"),
    ("an array of texts", vectors(lambda a: np.array([["a", "b"]])), INIT, "expected real numbers"),
    ("a flat array", vectors(lambda a: a[0]), INIT, "expected (rows, dimensions)"),
    ("no rows", vectors(lambda a: a[:0]), INIT, "12 ids for 0 vectors"),
    ("a download cut short", text("v.npy", b"\x93NUMPY\x01\x00v\x00{'descr'"), INIT, "no array of plain numbers"),
    ("NaN", vectors(held("v", np.nan)), INIT, "1 rows with a value that is not a finite float32 (row 3, id 'e3')"),
    ("zero vector", vectors(held("v", 0)), INIT, "1 rows of zeros, which have no direction under cosine (row 3"),
    ("ids missing", gone("ids.txt"), INIT, "no file of ids"),
    ("too few ids", text("ids.txt", "a\nb\n"), INIT, "2 ids for 12 vectors"),
    ("ids twice", text("ids.txt", "a\na\n" + "".join(f"{n}\n" for n in range(10))), INIT, "whose id came before"),
    ("blank ids", text("ids.txt", "a\n\n" + "".join(f"{n}\n" for n in range(10))), INIT, "without an id (row 1)"),
    ("ids that are not UTF-8", text("ids.txt", b"\xe9\n" * ROWS), INIT, "not UTF-8"),
    ("texts missing", gone("t.csv"), INIT, "no file of texts at t.csv"),
    ("a spreadsheet", text("t.xlsx", "PK"), INIT.replace("t.csv", "t.xlsx"), "unknown format for texts"),
    ("no Parquet", text("t.parquet", "PAR"), INIT.replace("t.csv", "t.parquet"), "is no table"),
    ("ragged CSV", text("t.csv", "item,text\ne0,a,b,c\n"), INIT, "is no table"),
    ("Latin-1", text("t.csv", table(texts=["é"] * ROWS).encode("latin-1")), INIT, "is no table"),
    ("header only", text("t.csv", "item,text\n"), INIT, "has no rows"),
    ("two columns of one name", text("t.csv", "item,text,text\ne0,a,b\n"), INIT, "two columns 'text'"),
    ("broken JSON", text("t.jsonl", '{"item": "e0"\n'), INIT.replace("t.csv", "t.jsonl"), "is no table"),
    ("ids of another table", text("t.csv", table([f"x{row}" for row in range(ROWS)])), INIT, "--id-column"),
    ("unknown id column", nothing, f"{INIT} --id-column key", "no id column 'key'. One of: item, text"),
    ("unknown text column", nothing, f"{INIT} --text-column plot", "no text column 'plot'"),
    ("unknown title column", nothing, f"{INIT} --title-column plot", "no title column 'plot'"),
    ("no texts", text("t.csv", table(texts=["red"] * ROWS)), INIT, "no column of texts"),
    ("no texts at all", nothing, "init new --vectors v.npy --ids ids.txt", "no column of texts"),
    ("rows that do not match", text("t.csv", table(["a"])), "init new --vectors v.npy --texts t.csv", "--ids FILE"),
    ("folder taken", nothing, INIT.replace("new", "s.lance"), "s.lance exists"),
    ("folder of nowhere", nothing, INIT.replace("new", "no/new"), "does not exist; make it first"),
    ("unknown metric", nothing, f"{INIT} --metric hamming", "Unknown metric 'hamming'"),
    ("unknown encoder", nothing, f"{INIT} --encoder ./none", "./none"),
    ("unknown base", nothing, f"{INIT} --base ./none", "./none"),
    ("option that means nothing", nothing, f"{INIT} --vector-column emb", "--vector-column means nothing"),
    ("import: no file", gone("v.npy"), IMPORT, "There is no v.npy"),
    ("import: NaN", vectors(held("v", np.inf)), IMPORT, "Row 3, column 0"),
    ("import: zero", vectors(held("v", 0)), IMPORT, "zero vector"),
    ("import: ids twice", text("ids.txt", "a\n" * ROWS), IMPORT, "'a' is there twice"),
    ("import: target taken", nothing, IMPORT.replace("new.lance", "s.lance"), "--overwrite"),
    ("import: no vectors", nothing, "space import t.csv new.lance --id-column item", "no vector column 'vector'"),
    ("import: unknown metric", nothing, f"{IMPORT} --metric l1", "Unknown metric"),
    ("no config", gone("train.toml"), TRAIN, "No config file"),
    ("config that is no TOML", text("train.toml", "space ="), TRAIN, "not valid TOML"),
    ("config that is a folder", nothing, "train s.lance", "cannot be read"),
    ("unknown setting", config("tasks", "task"), TRAIN, "task"),
    ("steps of none", config("steps = 2", "steps = 0"), TRAIN, "stages.0.steps"),
    ("decoding out of range", config("[[stages]]", "[decoding]\nguidance = -1\n[[stages]]"), TRAIN, "guidance"),
    ("space missing", config("s.lance", "none.lance"), TRAIN, "none.lance: expected a folder"),
    ("space damaged", damaged_space, TRAIN, "s.lance"),
    ("task file missing", gone("tasks.toml"), TRAIN, "tasks.toml'. Give one of films"),
    ("task file broken", text("tasks.toml", "[[task]]\n"), TRAIN, "tasks.toml, task 1"),
    ("column missing", text("tasks.toml", TASKS.replace("{text}", "{plot}")), TRAIN, "they read the columns plot"),
    ("no training entities", split_without_training, TRAIN, "the column split names no entity for training"),
    ("base missing", config("tasks =", 'base = "./none"\ntasks ='), TRAIN, "./none"),
    ("run taken", run_taken, TRAIN, "--resume"),
    ("nothing to resume", nothing, f"{TRAIN} --resume", "no run to resume"),
    ("check: column missing", text("tasks.toml", TASKS.replace("{text}", "{plot}")), f"{TRAIN} --check", "plot"),
    ("check: base missing", config("tasks =", 'base = "./none"\ntasks ='), f"{TRAIN} --check", "./none"),
]


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("broken", "command", "words"), [pytest.param(*case, id=name) for name, *case in BROKEN])
def test_broken_input(
    broken: Callable[[], object], command: str, words: str, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken()
    before = everything(sound)
    assert main(command.split()) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ") and "\n" not in told and len(told) < 700
    assert words in told
    assert everything(sound) == before
    assert json.dumps(sorted(path.name for path in sound.iterdir())).count(".new") == 0
