"""The worked examples: every command of their READMEs, in order, on some hundred senses and a few training steps.

The senses are a part of the real file where it lies beside the checkout, and made by hand where it does not.
"""

import csv
import gzip
import hashlib
import re
import runpy
import shlex
import shutil
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from test_docs import blocks

from vecspeak.cli import main
from vecspeak.space import Space

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared/data/wordnet/glosses.tsv.gz"
FIELDS = ("synset", "lexfile", "pos", "members", "definition", "example", "hypernyms")

SMALL = {
    "senses.py": ["--train", "200", "--validation", "12", "--test", "20"],
    "graph.py": ["--dimension", "16"],
    "living.py": ["--count", "2"],
    "measure.py": ["--limit", "2"],
    "evaluate": ["--limit", "2"],
    "ask": ["--max-tokens", "4"],
}
"""What is added to the commands of the READMEs."""

ID = re.compile(r"\b\d{8}-[a-z]\b")


def unread(id: str) -> bool:
    """Whether `senses.py` may hold the sense out."""
    return hashlib.sha256(id.encode()).digest()[0] < 5


def real_rows(count: int) -> list[dict[str, str]]:
    """Nouns and adjectives of the real file, those to hold out among them, and all that is above them."""
    of = {row["synset"]: row for row in read(REAL)}
    waiting = [id for id in of if unread(id)][::25] + [id for id in of if not unread(id)][:: len(of) // count]
    chosen: dict[str, dict[str, str]] = {}
    while waiting:
        id = waiting.pop()
        if id in of and id not in chosen:
            chosen[id] = of[id]
            waiting += of[id]["hypernyms"].split("|")
    return list(chosen.values())


def made_rows(count: int) -> list[dict[str, str]]:
    """Nouns in a tree, a third of them below "living thing", with a few words of two senses; and adjectives."""
    rng = np.random.default_rng(0)
    told = {
        "noun.plant": ["a low plant with {} leaves that grows in {} soil", "a tree whose {} wood comes from {} land"],
        "noun.artifact": ["a {} tool for the work in {} rooms", "a {} vehicle that is driven on {} roads"],
        "noun.state": ["the {} condition of being {} for long", "a {} feeling that comes after {} days"],
    }
    kinds = ["red", "green", "soft", "heavy", "narrow", "broad", "early", "late", "wet", "dry", "cold", "warm"]
    roots = {"noun.plant": "00004258-n", "noun.artifact": "00021939-n", "noun.state": "00024720-n"}
    rows = [
        dict.fromkeys(FIELDS, "") | {"synset": id, "lexfile": lexfile, "pos": "n", "members": f"top of {lexfile}"}
        for lexfile, id in roots.items()
    ]
    for row in rows:
        row["definition"] = f"what all of {row['members']} have in common"
    above = {lexfile: [id] for lexfile, id in roots.items()}
    for number in range(count):
        lexfile = [*told, "adj.all"][number % 4]
        id = f"{1_000_000 + 7 * number:08d}-{lexfile[0]}"
        sentence = str(rng.choice(told.get(lexfile, ["somewhat {} and yet not {}"])))
        hypernym = str(rng.choice(above[lexfile])) if lexfile in above else ""
        word = f"word{number // 2 if number % 40 == 1 else number}"
        values = (id, lexfile, lexfile[0], word, sentence.format(*rng.choice(kinds, 2)), "", hypernym)
        rows.append(dict(zip(FIELDS, values, strict=True)))
        if lexfile in above and number % 3 == 0:
            above[lexfile].append(id)
    return rows


def read(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def write(path: Path, rows: list[dict[str, str]]) -> None:
    lines = [FIELDS, *([row[name] for name in FIELDS] for row in rows)]
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        file.write("\n".join("\t".join(line) for line in lines))


@pytest.fixture(scope="module")
def glosses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glosses") / "glosses.tsv.gz"
    rows = real_rows(500) if REAL.is_file() else made_rows(1600)
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        file.write(
            "\n".join("\t".join(row[name] for name in FIELDS) for row in [{name: name for name in FIELDS}, *rows])
        )
    return path


def copied(name: str, folder: Path, glosses: Path) -> str:
    """The example in a folder of its own, with few steps to train; its README."""
    shutil.copytree(ROOT / "examples" / name, folder)
    shutil.copy(glosses, folder)
    config = folder / "train.toml"
    text = re.sub(r"^steps = \d+", "steps = 2", config.read_text("utf-8"), flags=re.MULTILINE)
    config.write_text(re.sub(r"^batch_size = \d+", "batch_size = 4", text, flags=re.MULTILINE), "utf-8")
    return (folder / "README.md").read_text("utf-8")


def run(command: str, ids: Iterator[str]) -> str:
    """One command of a README, small; ids of the real file become some that are there. Gives its name."""
    program, *arguments = shlex.split(ID.sub(lambda found: next(ids), command).replace("\\\n", " "))
    name = arguments[0]
    small = SMALL.get(name, [])
    if program == "vecspeak":
        assert main([*arguments, *small]) == 0
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", [*arguments, *small])
            runpy.run_path(name, run_name="__main__")
    return name


def run_readme(readme: str) -> list[str]:
    """All its console commands but those of the shell; their names."""
    ids: Iterator[str] = iter(())
    done = []
    for block in blocks(readme):
        if block.language != "console" or "no-run" in block.tags:
            continue
        for command in re.findall(r"^\$ ((?:vecspeak|python) (?:[^\n]*\\\n)*[^\n]*)$", block.body, re.MULTILINE):
            if ID.search(command):
                spaces = [Space.open(path) for path in Path().glob("*.lance")]
                ids = cycle(id for id in spaces[0].ids if all(id in space for space in spaces) and id.endswith("n"))
            done.append(run(command, ids))
    return done


@pytest.fixture(scope="module")
def words(glosses: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the first example, its README run; the second builds on it."""
    folder = tmp_path_factory.mktemp("examples") / "words"
    readme = copied("word-senses", folder, glosses)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert {"senses.py", "space", "train", "evaluate", "living.py", "ask"} <= set(run_readme(readme))
    return folder


def test_word_senses_end_to_end(words: Path) -> None:
    report = (words / "results.md").read_text("utf-8")
    assert "2 entities of side `test`" in report and "among 20 entities" in report
    assert "Gap to shuffled vectors" in report and "nearest training entity's text" in report
    living = (words / "living.md").read_text("utf-8")
    assert "chance 0.5" in living and re.findall(r"^\| (\d) \|", living, re.MULTILINE) == ["0", "1", "2", "3"]


def test_no_training_sense_is_near_a_held_out_one(words: Path, glosses: Path) -> None:
    of = {row["synset"]: row for row in read(glosses)}
    table = parquet.read_table(words / "senses.parquet")
    side = dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))
    held = [id for id in side if side[id] != "train"]
    assert len(held) >= 20 and all(unread(id) for id in held)
    for id in held:
        its = of[id]
        for other in (of[other] for other in side if side[other] == "train"):
            near, far = set(its["hypernyms"].split("|")) - {""}, set(other["hypernyms"].split("|")) - {""}
            assert not near & far and id not in far and other["synset"] not in near
            assert not set(its["members"].lower().split("|")) & set(other["members"].lower().split("|"))


def test_living_is_what_stands_below_living_thing(words: Path, glosses: Path) -> None:
    above = {row["synset"]: row["hypernyms"].split("|") for row in read(glosses)}

    def climbs(id: str) -> bool:
        return id == "00004258-n" or any(climbs(hypernym) for hypernym in above.get(id, ()))

    table = parquet.read_table(words / "senses.parquet")
    told = dict(zip(table["id"].to_pylist(), table["living"].to_pylist(), strict=True))
    assert {told[id] for id in told if not id.endswith("-n")} <= {None}
    nouns = {id: value for id, value in told.items() if id.endswith("-n")}
    assert nouns == {id: "yes" if climbs(id) else "no" for id in nouns}
    assert len(set(nouns.values())) == 2


def test_word_graph_end_to_end(words: Path, glosses: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = words.parent / "graph"
    readme = copied("word-graph", folder, glosses)
    monkeypatch.chdir(folder)
    assert {"graph.py", "space", "train", "measure.py", "ask"} <= set(run_readme(readme))
    report = (folder / "results.md").read_text("utf-8")
    assert "graph: 2 entities" in report and "all-MiniLM-L6-v2" in report and "Gap to shuffled vectors" in report
    assert Space.open(folder / "graph.lance").encoder is None


def test_no_text_reaches_the_vectors_of_the_graph(glosses: Path, tmp_path: Path) -> None:
    """Other definitions, and every word written otherwise: the same vectors."""
    graph = runpy.run_path(str(ROOT / "examples/word-graph/graph.py"))
    rows = read(glosses)
    for row in rows:
        words = row["members"].lower().split("|")
        row["members"] = "|".join(hashlib.sha256(word.encode()).hexdigest() for word in words)
        row["definition"] = row["example"] = "said otherwise"
    other = tmp_path / "other.tsv.gz"
    write(other, rows)
    made = [graph["vectors"](graph["read_relations"](path), dimension=8) for path in (glosses, other)]
    np.testing.assert_array_equal(*made)


def test_katz_and_homonyms_by_hand() -> None:
    """d is a kind of b and of c, which are kinds of a; d and e share a word."""
    graph = runpy.run_path(str(ROOT / "examples/word-graph/graph.py"))
    relations = graph["Relations"](
        {id: row for row, id in enumerate("abcde")},
        [["one"], ["two"], ["three"], ["four", "same"], ["same"]],
        [[""], ["a"], ["a"], ["b", "c"], ["not there"]],
    )
    expected = np.eye(5)
    expected[1, 0] = expected[2, 0] = expected[3, 1] = expected[3, 2] = 0.9
    expected[3, 0] = 2 * 0.9**2
    np.testing.assert_allclose(graph["climbs"](relations).toarray(), expected)
    shared = np.zeros((5, 5))
    shared[3:, 3:] = 0.5
    np.testing.assert_allclose(graph["homonyms"](relations).toarray(), shared)
