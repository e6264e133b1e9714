"""`train --check`: what a training would take, from real steps, and nothing written."""

import time
from pathlib import Path

import pytest
import tiny

from vecspeak import stages
from vecspeak.cli import main
from vecspeak.cli_train import told
from vecspeak.errors import ConfigError
from vecspeak.estimates import TIMED, estimate
from vecspeak.space import Space
from vecspeak.stages import Stage
from vecspeak.training import AdapterConfig, TrainConfig, read_config

ROWS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space of texts, one of them long, a tiny base, and a config with its paths relative to it."""
    folder = tmp_path_factory.mktemp("check")
    texts = [f"Number {row} of love and war." for row in range(ROWS - 1)] + ["war " * 400]
    side = ["validation" if row % 10 == 0 else "train" for row in range(ROWS)]
    columns = {"text": texts, "split": side}
    ids = [str(row) for row in range(ROWS)]
    Space.create(folder / "s.lance", ids=ids, vectors=tiny.vectors(ROWS), columns=columns, name="things")
    tiny.base().save_pretrained(folder / "base")
    tiny.tokenizer().save_pretrained(folder / "base")
    stages = "".join(
        f'[[stages]]\nname = "{name}"\ntrain = "{train}"\nsteps = {steps}\nbatch_size = 4\n'
        for name, train, steps in (("align", "adapter", 600), ("tune", "all", 60))
    )
    (folder / "train.toml").write_text(f'space = "s.lance"\nbase = "base"\n[adapter]\nhidden = 16\n{stages}')
    return folder


def config_of(folder: Path, **changes) -> TrainConfig:
    stages = (Stage(name="align", train="adapter", steps=600, batch_size=4),
              Stage(name="tune", train="lora", steps=60, batch_size=4, lora_rank=2))  # fmt: skip
    settings = {"space": folder / "s.lance", "base": str(folder / "base"), "adapter": AdapterConfig(hidden=16)}
    return TrainConfig(**{**settings, "stages": stages, **changes})


def test_examples_steps_and_what_is_cut_are_counted(folder: Path) -> None:
    found = estimate(config_of(folder))
    # describe and summarise of `general`; one sentence each, so the long text is cut in both
    assert (found.examples, found.held_out, found.cut) == (72, 8, 2)
    assert [pace.stage.name for pace in found.paces] == ["align", "tune"]
    assert all(0 < pace.seconds_per_step < 5 for pace in found.paces)
    assert found.seconds == sum(pace.seconds for pace in found.paces)
    assert found.paces[0].seconds == 600 * found.paces[0].seconds_per_step
    assert found.memory is None or found.memory > 50 << 20


def test_disk_is_that_of_the_weights_and_of_the_moments_of_what_trains(folder: Path) -> None:
    adapter_only = config_of(folder, stages=(Stage(name="align", train="adapter", steps=2, batch_size=4),))
    base = sum(parameter.numel() for parameter in tiny.base().parameters())
    adapter = tiny.E * 16 + 16 + 16 * tiny.D + tiny.D
    assert estimate(adapter_only).disk == 4 * (base + 4 * adapter)
    whole = config_of(folder, stages=(Stage(name="tune", train="all", steps=2, batch_size=4),))
    assert estimate(whole).disk == 4 * 4 * (base + adapter)


def test_what_a_stage_does_before_its_first_step_is_no_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting the words of all texts, for the bag loss: seconds for large data, once."""
    count = stages._idf
    monkeypatch.setattr(stages, "_idf", lambda *given: time.sleep(3) or count(*given))
    stage = Stage(name="align", train="adapter", steps=9, batch_size=4, bag_loss=0.1)
    assert estimate(config_of(folder, stages=(stage,))).paces[0].seconds_per_step < 0.9


def test_few_examples_and_short_stages_are_enough(folder: Path) -> None:
    few = config_of(folder, train_share=0.03, stages=(Stage(name="a", train="adapter", steps=1, batch_size=64),))
    found = estimate(few)
    assert (found.examples, len(found.paces)) == (2, 1)
    assert found.seconds == found.paces[0].seconds_per_step


def test_check_writes_nothing_and_finds_paths_beside_the_config(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # relative paths are the config's, not the caller's
    before = sorted(path.name for path in folder.iterdir())
    assert main(["train", str(folder / "train.toml"), "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "72 training examples, 8 held out for the gate"
    assert lines[1] == "2 targets are longer than the 256 tokens that are learnt; they are cut"
    assert lines[2].startswith("align: 600 steps of ") and lines[3].startswith("tune: 60 steps of ")
    assert f"from {TIMED} real steps of each stage" in lines[4] and lines[5].startswith("memory at most ")
    assert sorted(path.name for path in folder.iterdir()) == before
    assert not list(tmp_path.iterdir())


def test_told_in_units_that_people_read(folder: Path) -> None:
    found = estimate(config_of(folder))
    slow = [type(pace)(pace.stage, 60.0) for pace in found.paces]
    lines = told(type(found)(**{**vars(found), "paces": tuple(slow), "cut": 0, "memory": 3 << 30, "disk": 1 << 29}))
    assert lines[1:] == [
        "align: 600 steps of 60.00 s, 10.0 h",
        "tune: 60 steps of 60.00 s, 60 min",
        f"in all 11.0 h on {found.device}, from {TIMED} real steps of each stage",
        "memory at most 3.0 GiB in a step of the longest texts; disk 0.50 GiB",
    ]


def test_a_config_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path)
