"""The run folder: a run that was killed ends at the very weights of one that was not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from tiny import vectors

from vecspeak import training
from vecspeak.errors import ConfigError
from vecspeak.examples import Example
from vecspeak.files import write_whole
from vecspeak.runs import Checkpoint, log_row, save_checkpoint
from vecspeak.space import Space
from vecspeak.stages import Stage
from vecspeak.training import AdapterConfig, TrainConfig, check_run, gate_examples, manifest, read_config, train

TASKS = """
[[task]]
name = "describe"
slots = ["thing"]
target = "{text}"
prompts = ["Describe {thing}.", "What is {thing}?"]
"""

STAGES = {
    "full": (
        Stage(name="align", train="adapter", steps=6, batch_size=4, checkpoint_every=4),
        Stage(name="tune", train="all", steps=10, batch_size=4, lr=1e-3, bag_loss=0.1, checkpoint_every=4),
    ),
    "muon": (Stage(name="tune", train="all", steps=8, batch_size=4, lr=1e-3, optimizer="muon", checkpoint_every=3),),
    "lora": (
        Stage(name="align", train="adapter", steps=4, batch_size=4, checkpoint_every=4),
        Stage(name="tune", train="lora", steps=6, batch_size=4, lr=1e-2, lora_rank=2, checkpoint_every=3),
        Stage(name="polish", train="adapter", steps=4, batch_size=4, checkpoint_every=3),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A space, a task file and a base with dropout, so that the random state matters."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["the film", "another story", "love and war"]
    ids = [f"e{i}" for i in range(24)]
    texts = [f"{words[i % 3]}, one {i}" for i in range(24)]
    Space.create(folder / "space", ids=ids, vectors=vectors(24), columns={"text": texts}, name="things")
    (folder / "tasks.toml").write_text(TASKS)
    base = tiny.base("gpt2")
    base.config.attn_pdrop = base.config.embd_pdrop = base.config.resid_pdrop = 0.1
    base.save_pretrained(folder / "base")
    tiny.tokenizer().save_pretrained(folder / "base")
    return folder


def config_of(folder: Path, kind: str) -> TrainConfig:
    return TrainConfig(
        space=folder / "space",
        base=str(folder / "base"),
        tasks=str(folder / "tasks.toml"),
        seed=3,
        adapter=AdapterConfig(hidden=16, tokens_per_vector=2),
        stages=STAGES[kind],
    )


def weights(elm) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in elm.state_dict().items()}


@pytest.fixture(scope="module")
def uninterrupted(folder):
    return {kind: weights(train(config_of(folder, kind), folder / f"whole-{kind}")) for kind in STAGES}


class Stopped(Exception):
    """Raised in the middle of a run."""


def stop_at(stage: str, step: int):
    def on_step(progress):
        if (progress.stage, progress.step) == (stage, step):
            raise Stopped

    return on_step


def assert_same(elm, expected: dict[str, torch.Tensor]) -> None:
    found = weights(elm)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("kind", "stops"),
    [
        ("full", [("align", 2)]),  # before any checkpoint
        ("full", [("align", 5), ("tune", 9)]),
        ("full", [("align", 6)]),  # between two stages
        ("muon", [("tune", 5)]),
        ("lora", [("align", 4), ("tune", 5), ("tune", 6), ("polish", 3)]),
    ],
)
def test_a_resumed_run_ends_at_the_same_weights_bit_for_bit(folder, tmp_path, uninterrupted, kind, stops):
    config = config_of(folder, kind)
    for number, stop in enumerate(stops):
        with pytest.raises(Stopped):
            train(config, tmp_path / "run", resume=number > 0, on_step=stop_at(*stop))
    assert_same(train(config, tmp_path / "run", resume=True), uninterrupted[kind])
    assert_same(train(config, tmp_path / "run", resume=True), uninterrupted[kind])  # nothing is left to do


KILLED = """
import os, signal, sys
from pathlib import Path
from vecspeak.training import TrainConfig, train

def on_step(progress):
    if (progress.stage, progress.step) == ("tune", 7):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    train(TrainConfig.model_validate_json(Path(sys.argv[1]).read_text()), sys.argv[2], on_step=on_step)
"""


def test_a_killed_process_resumes_to_the_same_weights_bit_for_bit(folder, tmp_path, uninterrupted):
    config = config_of(folder, "full")
    (tmp_path / "config.json").write_text(config.model_dump_json())
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "config.json"), str(tmp_path / "run")]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    latest = Checkpoint.latest(tmp_path / "run")
    assert latest is not None
    assert (latest.stage, latest.step) == (1, 4)
    assert_same(train(config, tmp_path / "run", resume=True), uninterrupted["full"])


# ---- checkpoints


def model_and_optimizer(*, seed: int = 0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def step(model, optimizer) -> None:
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_a_checkpoint_holds_weights_and_moments(tmp_path):
    model, optimizer = model_and_optimizer()
    step(model, optimizer)
    save_checkpoint(tmp_path, stage=2, step=7, model=model, optimizer=optimizer)

    other, fresh = model_and_optimizer(seed=1)
    checkpoint = Checkpoint.latest(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.stage, checkpoint.step) == (2, 7)
    checkpoint.load_weights(other)
    checkpoint.load_moments(fresh)
    for _ in range(2):
        step(model, optimizer)
        step(other, fresh)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_only_the_latest_checkpoint_is_kept_and_remains_of_killed_ones_go(tmp_path):
    model, optimizer = model_and_optimizer()
    assert Checkpoint.latest(tmp_path) is None
    (tmp_path / "checkpoint.999.tmp").mkdir()
    for number in range(3):
        step(model, optimizer)
        save_checkpoint(tmp_path, stage=0, step=number, model=model, optimizer=optimizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-0-2", "latest"]


def test_a_kill_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    model, optimizer = model_and_optimizer()
    step(model, optimizer)
    save_checkpoint(tmp_path, stage=0, step=1, model=model, optimizer=optimizer)
    for at in ("rename", "write_text"):
        monkeypatch.setattr(Path, at, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, stage=0, step=2, model=model, optimizer=optimizer)
        monkeypatch.undo()
        latest = Checkpoint.latest(tmp_path)
        assert latest is not None
        assert latest.step == 1
        latest.load_weights(model)
    save_checkpoint(tmp_path, stage=0, step=2, model=model, optimizer=optimizer)
    assert Checkpoint.latest(tmp_path).step == 2


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    model, optimizer = model_and_optimizer()
    step(model, optimizer)
    save_checkpoint(tmp_path, stage=0, step=1, model=model, optimizer=optimizer)
    with pytest.raises(ConfigError, match="other weights than this config makes"):
        Checkpoint.latest(tmp_path).load_weights(torch.nn.Linear(3, 4))


def test_metrics_are_appended(tmp_path):
    log_row(tmp_path, {"step": 1, "loss": 2.5})
    log_row(tmp_path, {"step": 2, "loss": 2.25})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.25}\n'


# ---- the run folder


def test_a_folder_is_one_run_of_one_config(folder, tmp_path, uninterrupted):
    config, run = config_of(folder, "full"), folder / "whole-full"
    with pytest.raises(ConfigError, match=r"holds a run already\. Add --resume"):
        train(config, run)
    with pytest.raises(ConfigError, match="started with another config"):
        train(config.model_copy(update={"seed": 4}), run, resume=True)
    with pytest.raises(ConfigError, match="holds no run to resume"):
        train(config, tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()


def test_a_model_keeps_one_kind_of_change(folder):
    config = config_of(folder, "full")
    stages = [stage.model_dump() for stage in (*config.stages, *STAGES["lora"])]
    with pytest.raises(ValueError, match="one kind of change"):
        TrainConfig.model_validate({**config.model_dump(), "stages": stages})
    lora = [stage.model_dump() for stage in STAGES["lora"]]
    TrainConfig.model_validate({**config.model_dump(), "stages": [*lora, lora[1]]})  # that of `adapter` is not used
    with pytest.raises(ValueError, match="lora_rank is 2 and 16: a model has one LoRA"):
        TrainConfig.model_validate({**config.model_dump(), "stages": [*lora, {**lora[1], "lora_rank": 16}]})


def test_the_base_is_found_again_from_another_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    config = config_of(folder, "full").model_copy(update={"base": "base"})
    assert manifest(tiny.elm(), config).base == str(folder / "base")


def test_a_config_is_the_same_from_every_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("shop").mkdir()
    Path("shop/base").symlink_to(folder / "base")
    Path("shop/train.toml").write_text('space = "s.lance"\ntasks = "t.toml"\nbase = "base"\n')
    config, run = read_config(Path("shop/train.toml")), tmp_path / "run"
    kept = config.model_copy(update={"space": Path("shop/s.lance"), "tasks": "shop/t.toml", "base": "shop/base"})
    run.mkdir()
    (run / "config.json").write_text(kept.model_dump_json())  # as versions before this did
    check_run(run, config, resume=True)
    monkeypatch.chdir("shop")
    assert read_config(Path("train.toml")) == config
    assert config.base == str(folder / "base")


def test_a_kill_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "gates.json"
    write_whole(path, "old")
    monkeypatch.setattr(Path, "write_text", lambda self, text, **more: Path.write_bytes(self, text[:1].encode()))
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])
    monkeypatch.undo()
    write_whole(path, "neu")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("neu", [path])


def test_what_a_run_tells_of_itself_is_never_half_written(folder, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(training, "write_whole", lambda path, text: written.append(path.name))
    settings = config_of(folder, "full").model_copy(update={"stages": STAGES["full"][:1]})
    train(settings, tmp_path / "run")
    assert written == ["config.json", "gates.json"]
    assert not (tmp_path / "run/config.json").exists()


# ---- what is told


def test_a_run_of_few_entities_tells_that_neither_start_nor_gate_is_measured(folder, tmp_path):
    ids = [f"e{i}" for i in range(12)]  # of which one is held out
    Space.create(tmp_path / "few", ids=ids, vectors=vectors(12), columns={"text": ids}, name="few")
    stages = (Stage(name="align", train="adapter", steps=1, batch_size=2),)
    told = []
    few = config_of(folder, "full").model_copy(update={"space": tmp_path / "few", "stages": stages})
    train(few, tmp_path / "run", on_event=told.append)
    assert told[0] == "10 training examples, 1 held out for the gate"
    assert told[1] == "1 of 1 held-out examples, alone in their task, left out"
    assert told[2].startswith("no gate: no task has two")
    assert told[3].startswith("adapter started from texts; fewer than 20 entities")
    assert len(told) == 4 and not (tmp_path / "run" / "gates.json").exists()


def test_the_gate_has_two_examples_of_each_task():
    examples = [Example(task, "{x}", {"x": vectors(1)[0]}, "t", (task,)) for task in "ababc"]
    told = []
    assert gate_examples(examples, told.append) == examples[:4]
    assert told == ["1 of 5 held-out examples, alone in their task, left out"]
    assert gate_examples(examples[:4], told.append) == examples[:4] and len(told) == 1
