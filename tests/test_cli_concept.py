"""`vecspeak concept` as a user meets it."""

import json

import numpy as np
import pytest

from vecspeak.cli import main
from vecspeak.space import Space

N = 80


@pytest.fixture
def space(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = np.random.default_rng(0).normal(size=(N, 6))
    made[::2, 0] += 3
    columns = {"kind": ["even" if row % 2 == 0 else "odd" for row in range(N)], "title": [f"No. {r}" for r in range(N)]}
    return Space.create("s.lance", ids=[f"e{row}" for row in range(N)], vectors=made, name="s", columns=columns)


def run(capsys, *words):
    code = main(["concept", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_fit_measures_keeps_and_names_the_extremes(space, capsys):
    code, out, err = run(capsys, "fit", "s.lance", "even", "--column", "kind=even")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("even: balanced accuracy 0.9")
    assert lines[1] == "from kind = even: 40 entities against 40; kept in s.concepts"
    assert all(int(title.removeprefix("No. ")) % 2 == 0 for title in lines[2].removeprefix("most of it: ").split(", "))
    assert all(int(title.removeprefix("No. ")) % 2 == 1 for title in lines[3].removeprefix("least: ").split(", "))


def test_every_kind_of_example_can_be_given(space, tmp_path, capsys):
    (tmp_path / "ids.txt").write_text("\n".join(space.ids[::2]) + "\n")
    rows = [f"{more},{less}" for more, less in zip(space.ids[::2], space.ids[1::2], strict=True)] * 3
    (tmp_path / "p.csv").write_text("\n".join(["more,less", *rows]))
    for name, options in {
        "file": ["--positive", "ids.txt"],
        "both": ["--positive", "ids.txt", "--negative", ",".join(space.ids[1::2]), "--method", "logistic"],
        "prefs": ["--preferences", "p.csv", "--method", "ranking"],
    }.items():
        code, out, _ = run(capsys, "fit", "s.lance", name, *options, "--json")
        assert code == 0
        assert json.loads(out)["quality"]["p"] <= 0.05
    assert [row["name"] for row in json.loads(run(capsys, "list", "s.lance", "--json")[1])] == ["both", "file", "prefs"]
    told = json.loads(run(capsys, "test", "s.lance", "both", "--preferences", "p.csv", "--json")[1])
    assert told["agreement"] > 0.9 and told["preferences"] == len(rows)
    assert "balanced accuracy" in run(capsys, "list", "s.lance")[1]
    sides = ["--positive", "e0,e2,e4", "--negative", "e1,e3"]
    assert "of 6 preferences in the right order" in run(capsys, "test", "s.lance", "both", *sides)[1]


def test_an_empty_list_says_how_to_begin(space, capsys):
    assert run(capsys, "list", "s.lance")[1].strip() == "no concepts yet; `vecspeak concept fit` makes one"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["fit", "s.lance", "a"], "Expected one of --positive, --column, --preferences, --text; got none"),
        (["fit", "s.lance", "a", "--column", "kind=even", "--text", "x"], "got --column and --text"),
        (["fit", "s.lance", "a", "--column", "kind=even", "--negative", "e1"], "--negative goes with --positive"),
        (["fit", "s.lance", "a", "--column", "kind=even", "--method", "ranking"], "One of: mean, logistic"),
        (["fit", "s.lance", "a", "--text", "x", "--method", "logistic"], "One of: mean."),
        (["fit", "s.lance", "a", "--text", "x"], "s names no text encoder"),
        (["fit", "s.lance", "a", "--positive", "none.txt"], "No file none.txt"),
        (["fit", "s.lance", "a", "--positive", "e0"], "at least two positive examples, got 1"),
        (["fit", "s.lance", "a", "--positive", "e0,nobody"], "no entity 'nobody'"),
        (["fit", "s.lance", "a b", "--column", "kind=even"], "'a b' is no name for a concept"),
        (["fit", "s.lance", "a", "--preferences", "bad.csv"], "bad.csv needs the columns more and less; it has x"),
        (["fit", "s.lance", "a", "--preferences", "short.csv"], "short.csv: row 2 lacks an id"),
        (["fit", "s.lance", "a", "--preferences", "none.csv"], "none.csv cannot be read"),
        (["fit", "t.lance", "a", "--column", "kind=even"], "t.lance"),
        (["test", "s.lance", "a", "--preferences", "bad.csv"], "no concept 'a'. It has none yet"),
        (["test", "s.lance", "a", "--positive", "e0"], "Expected --preferences FILE, or both"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(space, tmp_path, capsys, words, match):
    (tmp_path / "bad.csv").write_text("x\n1\n")
    (tmp_path / "short.csv").write_text("more,less\ne0,e1\ne2,\n")
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ") and err.count("\n") == 1
    assert match in err
    assert not (tmp_path / "s.concepts").exists()
