"""`vecspeak rate`: what it prints, and one line and exit code 2 for every mistake."""

import json
import re

import pytest
from test_rating import BOTH_TASKS, HEADER, report, sample

from vecspeak.cli import main
from vecspeak.space import Space


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    (tmp_path / "report.json").write_text(BOTH_TASKS.to_json(), "utf-8")
    return tmp_path


def run(capsys, *words):
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def hidden_items(folder):
    return json.loads((folder / "forms" / "key.json").read_text("utf-8"))["items"]


def write_ratings(folder, rater, *, generated, reference):
    marks = {"generated": generated, "reference": reference}
    lines = [f"{rater},{number},,{marks[item['kind']]}\n" for number, item in hidden_items(folder).items()]
    text = HEADER.replace("export,", "note,") + "".join(lines)
    (folder / f"{rater}.csv").write_text(text, "utf-8")


def test_export_import(folder, capsys):
    code, out, err = run(capsys, "rate", "export", "report.json", "forms", "--per-task", "2")
    assert (code, err) == (0, "")
    assert out == "8 items, 3 forms -> forms; keep forms/key.json from the raters\n"
    write_ratings(folder, "ann", generated="3,5,1", reference="5,5,")
    write_ratings(folder, "bob", generated="2,5,1", reference="5,5,9")
    code, out, err = run(capsys, "rate", "import", "forms", "ann.csv", "bob.csv")
    assert (code, err) == (0, "")
    lines = [line.split() for line in re.sub("[│┃]", " ", out).splitlines()]
    means = {tuple(line[:3]): line[3::3] for line in lines if line and line[0] in ("pitch", "summary")}
    assert means == {
        (task, kind, "2/2"): figures
        for task in ("pitch", "summary")
        for kind, figures in (("generated", ["0.38", "1.00", "0.00"]), ("reference", ["1.00", "1.00", "n/a"]))
    }
    assert "40 ratings by 2 raters of films, decoding 'own'." in out
    # language and quality: one value only
    assert re.search(r"alpha \(ordinal\): consistency 0\.\d{3}, language n/a, quality n/a\n", out)
    assert "problems: 4\n  bob.csv, line " in out


def test_import_as_json(folder, capsys):
    assert run(capsys, "rate", "export", "report.json", "forms")[0] == 0
    write_ratings(folder, "ann", generated="3,5,1", reference="5,5,")
    found = json.loads(run(capsys, "rate", "import", "forms", "ann.csv", "--json")[1])
    assert (found["raters"], found["ratings"], found["decoding"]) == (["ann"], 30, "own")
    assert found["agreement"] == dict.fromkeys(("consistency", "language", "quality"), "NaN")
    first = found["tasks"][0]
    assert first["scores"]["consistency"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert found["problems"] == []


def test_many_problems_are_counted_and_the_first_named(folder, capsys):
    assert run(capsys, "rate", "export", "report.json", "forms")[0] == 0
    bad = "".join(f"a,{number},,1,1,1\n" for number in range(100, 125))
    (folder / "a.csv").write_text(f"{HEADER}a,1,,1,1,1\n{bad}".replace("export", "note"), "utf-8")
    out = run(capsys, "rate", "import", "forms", "a.csv")[1]
    assert "problems: 25\n" in out and out.endswith("  and 5 more; --json lists all\n")
    assert out.count("no item") == 20


def test_every_option_of_export_reaches_the_forms(folder, capsys):
    (folder / "one.json").write_text(report(sample("pitch", "e1")).to_json(), "utf-8")
    Space.create("s.lance", ids=["e1", "x"], vectors=[[1, 0], [0, 1]], name="s", columns={"story": ["A story.", None]})
    task = '[[task]]\nname = "tell"\nslots = ["x"]\ntarget = "{story}"\nprompts = ["Tell {x}."]\n'
    (folder / "tasks.toml").write_text(task, "utf-8")
    options = "--decoding beamy --raters 1 --seed 7 --space s.lance --tasks tasks.toml --per-task 1 --overwrite"
    for _ in range(2):
        code, out, _ = run(capsys, "rate", "export", "one.json", "forms", *options.split())
        assert (code, out) == (0, "2 items, 1 form -> forms; keep forms/key.json from the raters\n")
    key = json.loads((folder / "forms" / "key.json").read_text("utf-8"))
    assert (key["decoding"], key["seed"]) == ("beamy", 7)
    table = (folder / "forms" / "items.csv").read_text("utf-8-sig")
    assert table.count("A story.") == 2 and "beamy-pitch-e1" in table


def test_notes_say_what_was_left_out(folder, capsys):
    (folder / "one.json").write_text(report(sample("pitch", "e1")).to_json(), "utf-8")
    out = run(capsys, "rate", "export", "one.json", "forms")[1].splitlines()
    assert out[0].startswith("1 items, 3 forms")
    assert out[1].startswith("pitch: no other text of the teacher") and out[2].endswith("pitch 1")


@pytest.mark.parametrize(
    "words, message",
    [
        (["export", "none.json", "forms"], "none.json cannot be read"),
        (["export", "bad.json", "forms"], "bad.json is no report"),
        (["export", "report.json", "taken"], "taken exists"),
        (["export", "report.json", "taken", "--overwrite"], "taken exists and is no export"),
        (["export", "report.json", "no/forms"], "does not exist; make it first"),
        (["export", "report.json", "forms", "--decoding", "x"], "No answer of decoding 'x'"),
        (["export", "report.json", "forms", "--space", "none.lance"], "no space at none.lance"),
        (["export", "report.json", "forms", "--space", "films", "--tasks", "x"], "No task set 'x'"),
        (["export", "report.json", "forms", "--space", "films"], "Entity 'e1' of the report is not in films"),
        (["import", "taken", "bad.json"], "key.json cannot be read"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(folder, capsys, words, message):
    (folder / "taken").mkdir()
    (folder / "bad.json").write_text("[]", "utf-8")
    code, out, err = run(capsys, "rate", *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert not (folder / "forms").exists()


@pytest.mark.parametrize("option", ["--per-task", "--raters"])
def test_numbers_out_of_range_are_refused(folder, capsys, option):
    code, _, err = run(capsys, "rate", "export", "report.json", "forms", option, "0")
    assert code == 2 and option in err
