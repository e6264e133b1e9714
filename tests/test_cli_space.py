import json
import subprocess
import sys

import numpy as np
import pytest

from vecspeak.cli import main
from vecspeak.space import Space

VECTORS = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("v.npy", VECTORS)
    return tmp_path


@pytest.fixture
def space(folder):
    titles = ["[bold]Tom & Jerry", None, *[f"Film {row}" for row in range(2, 12)]]
    ids = [f"f{row}" for row in range(12)]
    return Space.create("s.lance", ids=ids, vectors=VECTORS, name="films", columns={"title": titles}, licence="CC0-1.0")


def run(capsys, *words):
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_import_says_what_it_made(folder, capsys):
    code, out, err = run(capsys, "space", "import", "v.npy", "v.lance")
    assert (code, err) == (0, "")
    assert out.startswith("12 entities, 4 dimensions, cosine -> v.lance (") and "rows/s" in out
    assert "The ids are row numbers" in out
    np.testing.assert_array_equal(Space.open("v.lance").vectors, VECTORS)


def test_every_option_of_import_reaches_the_space(folder, capsys):
    rows = [{"key": f"k{row}", "emb": VECTORS[row].tolist(), "label": f"L{row}"} for row in range(12)]
    (folder / "v.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "v.lance").mkdir()
    Space.create("v.lance/x", ids=["a"], vectors=VECTORS[:1], name="old")
    words = "--id-column key --vector-column emb --title-column label --metric dot --name mine --encoder enc"
    target = ["space", "import", "v.jsonl", "v.lance/x", *words.split(), "--licence", "MIT", "--overwrite", "--json"]
    code, out, _ = run(capsys, *target)
    facts = json.loads(out)
    assert code == 0 and facts.pop("seconds") > 0
    assert facts == {
        "name": "mine",
        "entities": 12,
        "dimension": 4,
        "metric": "dot",
        "encoder": "enc",
        "source": "v.jsonl",
        "licence": "MIT",
        "columns": ["title"],
        "notes": [],
    }
    assert Space.open("v.lance/x").row("k3") == {"id": "k3", "title": "L3"}


def test_import_takes_ids_from_a_file(folder, capsys):
    (folder / "ids.txt").write_text("".join(f"n{row}\n" for row in range(12)))
    assert run(capsys, "space", "import", "v.npy", "v.lance", "--ids", "ids.txt")[0] == 0
    assert Space.open("v.lance").ids[11] == "n11"


def test_info(space, capsys):
    code, out, _ = run(capsys, "space", "info", "s.lance")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["name", "films"],
        ["entities", "12"],
        ["dimension", "4"],
        ["metric", "cosine"],
        ["encoder", "-"],
        ["source", "-"],
        ["licence", "CC0-1.0"],
        ["columns", "title"],
    ]
    facts = json.loads(run(capsys, "space", "info", "s.lance", "--json")[1])
    assert facts["entities"] == 12 and facts["encoder"] is None


def test_neighbours(space, capsys):
    code, out, _ = run(capsys, "space", "neighbours", "s.lance", "f5", "-k", "11")
    expected = space.neighbours(space["f5"], 11)
    assert code == 0
    places = [out.index(f" {neighbour.id} ") for neighbour in expected]
    assert places == sorted(places)
    assert "[bold]Tom & Jerry" in out
    assert f"distance to the data: {space['f5'].distance:.0f} (percentile)" in out


def test_neighbours_as_json(space, capsys):
    answer = json.loads(run(capsys, "space", "neighbours", "s.lance", "f5", "-k", "3", "--json")[1])
    expected = space.neighbours(space["f5"], 3)
    assert (answer["id"], answer["distance"]) == ("f5", space["f5"].distance)
    assert answer["neighbours"] == [
        {"id": near.id, "similarity": near.similarity, "title": near.title} for near in expected
    ]
    Space.create("one.lance", ids=["a"], vectors=VECTORS[:1], name="one")
    alone = json.loads(run(capsys, "space", "neighbours", "one.lance", "a", "--json")[1])
    assert alone == {"id": "a", "distance": None, "neighbours": []}


def save_npy(array, **options):
    return lambda: np.save("bad.npy", array, **options)


def save_text(name, text):
    def write():
        with open(name, "w") as file:
            file.write(text)

    return write


def nothing():
    pass


NAN = VECTORS.copy()
NAN[7, 2] = np.nan
INFINITE = VECTORS.copy()
INFINITE[7, 2] = -np.inf

REFUSALS = {
    "nan": (save_npy(NAN), "bad.npy", "Row 7, column 2 (counted from 0), id '7': expected a finite float32, got nan."),
    "infinity": (save_npy(INFINITE), "bad.npy", "Row 7, column 2 (counted from 0), id '7'"),
    "duplicate id": (save_text("i", "a\n" * 12), "v.npy --ids i", "Id 'a' is there twice, again in row 1"),
    "duplicate id over lines": (
        save_text("b.csv", 'id,vector\n"a\nb",[1]\n"a\nb",[2]\n'), "b.csv", "Id 'a\\nb' is there twice"
    ),
    "ragged": (
        save_text("b.jsonl", '{"id": 1, "vector": [1, 2]}\n{"id": 2, "vector": [1]}\n'),
        "b.jsonl",
        "row 1 (counted from 0) has 1 numbers, the first row has 2",
    ),
    "one dimension": (save_npy(np.ones(3)), "bad.npy", "has shape (3,), expected (rows, dimensions)"),
    "no rows": (save_npy(np.ones((0, 3))), "bad.npy", "There are no rows"),
    "no id column": (save_text("b.csv", "key,vector\na,[1]\n"), "b.csv", "with --id-column one of: key, vector."),
    "number of ids": (save_text("i", "a\nb\n"), "v.npy --ids i", "i has 2 ids for 12 vectors"),
    "pickle": (save_npy(np.array([[1, "a"]], object), allow_pickle=True), "bad.npy", "no array of plain numbers"),
    "zero under cosine": (save_npy(np.zeros((2, 3))), "bad.npy", "a zero vector has no direction"),
    "format": (save_text("b.pkl", ""), "b.pkl", "b.pkl has an unknown format. Known: .npy"),
    "no source": (nothing, "nope.npy", "There is no nope.npy to import."),
    "metric": (nothing, "v.npy --metric cos", "Unknown metric 'cos'. One of: cosine, dot, euclidean."),
    "option": (nothing, "v.npy --title-column x", "--title-column means nothing for v.npy"),
}  # fmt: skip


def refusal(capsys, *words):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_imports(folder, capsys, case):
    prepare, words, message = REFUSALS[case]
    prepare()
    before = sorted(folder.iterdir())
    source, *options = words.split()
    assert message in refusal(capsys, "space", "import", source, "out.lance", *options)
    assert sorted(folder.iterdir()) == before


def test_a_target_that_exists_is_refused_and_stays(space, folder, capsys):
    before = sorted(folder.iterdir())
    assert "s.lance exists" in refusal(capsys, "space", "import", "v.npy", "s.lance")
    np.save("bad.npy", NAN)
    assert "got nan" in refusal(capsys, "space", "import", "bad.npy", "s.lance", "--overwrite")
    assert sorted(folder.iterdir()) == sorted([*before, folder / "bad.npy"])
    assert Space.open("s.lance").name == "films"
    code, _, _ = run(capsys, "space", "import", "v.npy", "s.lance", "--overwrite")
    assert code == 0 and Space.open("s.lance").name == "s"


def test_refused_looks(space, capsys):
    assert "There is no space at nope" in refusal(capsys, "space", "info", "nope")
    assert "films has no entity 'x'" in refusal(capsys, "space", "neighbours", "s.lance", "x")
    assert "at least 1 neighbour" in refusal(capsys, "space", "neighbours", "s.lance", "f1", "-k", "0")


def test_space_commands_never_import_torch(space):
    code = (
        "import sys; from vecspeak.cli import main; main(['space', 'import', 'v.npy', 'o.lance']);"
        "main(['space', 'neighbours', 's.lance', 'f1']); main(['space', 'info', 's.lance']);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
