"""`vecspeak ask`, `train` and `evaluate`: what they print, and one line for every mistake."""

import json
from pathlib import Path

import numpy as np
import pytest

from vecspeak.cli import main
from vecspeak.space import Space


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """A space of twenty entities with texts."""
    rng = np.random.default_rng(0)
    path = tmp_path / "items.lance"
    texts = [f"Thing number {i} of {'red' if i % 2 else 'blue'} wood." for i in range(20)]
    Space.create(
        path, ids=[str(i) for i in range(20)], vectors=rng.normal(size=(20, 6)), columns={"text": texts}, name="items"
    )
    return path


def config(folder: Path, **lines: str) -> Path:
    path = folder / "config.toml"
    path.write_text("\n".join(f"{name} = {value}" for name, value in lines.items()), encoding="utf-8")
    return path


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(argv) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ")
    assert "\n" not in told
    return told


def test_ask_json_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["ask", "films", "Describe {film}.", "--film", "296:356@0.5", "--max-tokens", "8", "--json"]
    assert main(argv) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["points"] == {"film": "296:356@0.5"}
    assert answer["tokens"] <= 8
    assert -1 <= answer["consistency"] <= 1
    assert 0 <= answer["distance"] <= 100
    assert {near["id"] for near in answer["neighbours"][:2]} == {"296", "356"}
    assert len(answer["words"]["film"]) == 8


def test_ask_streams_the_answer_and_tells_trust_apart(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["ask", "films", "Who would enjoy {film}?", "--film=296", "--max-tokens", "8"]
    assert main(argv) == 0
    streamed = capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    assert streamed.out.strip() == json.loads(capsys.readouterr().out)["text"]
    assert streamed.err.startswith("consistency ")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["films", "Describe {film}."], "No point for slot {film}"),
        (["films", "Describe {film}.", "--film", "296", "--user", "356"], "no slot {user}"),
        (["films", "Describe {film}.", "--film", "nothing"], "nothing"),
        (["films", "Describe {film}.", "--film", "296:356@x"], "share"),
        (["films", "Describe {film}.", "--film", "296:356@2"], "share"),
        (["films", "Describe {film}.", "--film"], "needs a point"),
        (["films", "Describe {film}.", "296"], "Expected a slot"),
        (["films", "Describe {film.", "--film", "296"], "Braces"),
        (["films", "Describe {film}.", "--film", "296", "--best-of", "0"], "best_of"),
        (["nowhere", "Describe {film}.", "--film", "296"], "no model folder"),
        (["films", "Describe {film}.", "--film", "296", "--space", "nowhere"], "nowhere"),
    ],
)
def test_ask_refuses(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refused(["ask", *argv], capsys)


def test_train_then_ask(tmp_path: Path, items: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = '[{name = "align", train = "adapter", steps = 2, batch_size = 4}]'
    path = config(tmp_path, space=f'"{items}"', stages=stages)
    assert main(["train", str(path), "--run", str(tmp_path / "run")]) == 0
    assert "after align" in capsys.readouterr().out
    model = str(tmp_path / "run/model")
    assert main(["ask", model, "Describe {x}.", "--x", "3", "--max-tokens", "4"]) == 0
    capsys.readouterr()
    assert "holds a run already" in refused(["train", str(path), "--run", str(tmp_path / "run")], capsys)
    assert main(["train", str(path), "--run", str(tmp_path / "run"), "--resume"]) == 0
    other = config(tmp_path, space=f'"{items}"', stages=stages, seed="1")
    assert "another config" in refused(["train", str(other), "--run", str(tmp_path / "run"), "--resume"], capsys)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ({}, "space"),
        ({"space": '"nowhere.lance"'}, "nowhere.lance"),
        ({"space": "3"}, "space"),
        ({"space": '"{items}"', "colour": '"red"'}, "colour"),
        ({"space": '"{items}"', "tasks": '"poems"'}, "poems"),
        ({"space": '"{items}"', "tasks": '"films"'}, "summary"),
        ({"space": '"{items}"', "base": '"no/such-folder/at-all"'}, "no/such-folder"),
        ({"space": '"{items}"', "vector_dropout": "2"}, "vector_dropout"),
        ({"space": '"{items}"', "stages": '[{{name = "a", train = "some", steps = 1}}]'}, "stages.0.train"),
    ],
)
def test_train_refuses_before_any_work(
    lines: dict[str, str], words: str, tmp_path: Path, items: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(tmp_path, **{name: value.format(items=items) for name, value in lines.items()})
    assert words in refused(["train", str(path), "--run", str(tmp_path / "run")], capsys)
    assert not (tmp_path / "run").exists()


def test_resume_of_nothing_is_refused(tmp_path: Path, items: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(tmp_path, space=f'"{items}"')
    assert "no run to resume" in refused(["train", str(path), "--run", str(tmp_path / "run"), "--resume"], capsys)


def test_evaluate_refuses_an_unknown_task_and_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert "One of" in refused(["evaluate", "films", "--report", "r.md", "--only", "poem"], capsys)
    assert ".json" in refused(["evaluate", "films", "--report", "r.pdf"], capsys)
