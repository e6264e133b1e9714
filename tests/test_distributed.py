"""Training in several processes: two of them end at the model of one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import tiny
import torch
from accelerate import Accelerator, DistributedType
from safetensors.torch import load_file
from tiny import vectors

from vecspeak import stages
from vecspeak.errors import ConfigError
from vecspeak.runs import Checkpoint
from vecspeak.space import Space
from vecspeak.stages import Stage, check_processes, share_of_mean
from vecspeak.training import AdapterConfig, TrainConfig, train

TOLERANCE = 1e-4
"""Of a loss, in nats: float32 sums in another order, and AdamW's division."""

TASKS = """
[[task]]
name = "describe"
slots = ["thing"]
target = "{text}"
prompts = ["Describe {thing}.", "What is {thing}?"]
"""

LAUNCH = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1",
          "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]  # fmt: skip
KINDS = {"copies": ["--multi_gpu"], "parts": ["--use_fsdp", "--fsdp_version", "2"]}
"""Each process holds the model, or a part of it. Without a GPU the processes find the CPU and gloo."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A space whose texts differ much in length, so that a mean of means is not the mean."""
    folder = tmp_path_factory.mktemp("pair")
    texts = ["the film " * (1 + 7 * (i % 3)) + f"one {i}" for i in range(24)]
    ids = [f"e{i}" for i in range(24)]
    Space.create(folder / "space", ids=ids, vectors=vectors(24), columns={"text": texts}, name="things")
    (folder / "tasks.toml").write_text(TASKS)
    base = tiny.base("bert")
    base.config.hidden_dropout_prob = base.config.attention_probs_dropout_prob = 0.0  # drawn by each process for itself
    base.save_pretrained(folder / "base")
    tiny.tokenizer().save_pretrained(folder / "base")
    return folder


def config_of(folder: Path, *stages: Stage) -> TrainConfig:
    return TrainConfig(
        space=folder / "space",
        base=str(folder / "base"),
        tasks=str(folder / "tasks.toml"),
        adapter=AdapterConfig(hidden=16),
        stages=stages,
    )


def toml(config: TrainConfig, path: Path) -> Path:
    def value(found: object) -> str:
        if isinstance(found, dict):
            return "{" + ", ".join(f"{name} = {value(inner)}" for name, inner in found.items()) + "}"
        if isinstance(found, list):
            return "[" + ", ".join(map(value, found)) + "]"
        return json.dumps(found)

    path.write_text(
        "\n".join(
            f"{name} = {value(found)}" for name, found in config.model_dump(mode="json", exclude_none=True).items()
        )
    )
    return path


def start_pair(config: Path, run: Path, *more: str, kind: str = "copies") -> subprocess.Popen[str]:
    """`accelerate launch` of `vecspeak train` in two processes."""
    training = ["-m", "vecspeak.cli", "train", str(config), "--run", str(run), *more]
    command = [sys.executable, *LAUNCH, *KINDS[kind], *training]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def distance(model: Path, other: Path) -> float:
    """Of all weights together, relative to their length: some have no gradient but rounding, which AdamW blows up."""
    apart = length = 0.0
    for file in ("adapter.safetensors", "base/model.safetensors"):
        ours, theirs = load_file(model / file), load_file(other / file)
        assert ours.keys() == theirs.keys()
        apart += sum((ours[name] - theirs[name]).square().sum().item() for name in ours)
        length += sum(tensor.square().sum().item() for tensor in ours.values())
    return (apart / length) ** 0.5


@pytest.fixture(scope="module")
def one(folder) -> tuple[TrainConfig, Path]:
    """What one process makes: batches of 5 are 3 and 2 examples for two, of other lengths, and the bag loss is
    averaged over other rows than the loss."""
    config = config_of(
        folder,
        Stage(name="align", train="adapter", steps=10, batch_size=5, bag_loss=0.1),
        Stage(name="tune", train="all", steps=20, batch_size=5, lr=1e-3, bag_loss=0.1, checkpoint_every=10),
    )
    train(config, folder / "one")
    return config, folder / "one"


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_the_model_of_one(one, tmp_path, kind):
    config, alone = one
    pair = start_pair(toml(config, tmp_path / "config.toml"), tmp_path / "pair", kind=kind)
    told, _ = pair.communicate(timeout=240)
    assert pair.returncode == 0, told
    np.testing.assert_allclose(losses(tmp_path / "pair"), losses(alone), atol=TOLERANCE)
    assert len(losses(tmp_path / "pair")) == 3
    assert distance(tmp_path / "pair/model", alone / "model") < 1e-3
    assert told.count("saved in") == 1
    gates = [json.loads((run / "gates.json").read_text()) for run in (tmp_path / "pair", alone)]
    assert gates[0]["tune"] == pytest.approx(gates[1]["tune"], abs=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "trains"), [("copies", "muon"), ("copies", "lora"), ("parts", "all"), ("parts", "lora")]
)
def test_two_killed_processes_go_on_to_the_model_of_one(folder, tmp_path, kind, trains):
    change = {"train": "all", "optimizer": "muon"} if trains == "muon" else {"train": trains}
    stage = Stage(name="tune", steps=400, batch_size=4, lr=1e-4, checkpoint_every=20, **change)
    config = config_of(folder, stage)
    path, run = toml(config, tmp_path / "config.toml"), tmp_path / "pair"
    killed = start_pair(path, run, kind=kind)
    deadline = time.monotonic() + 120
    while not (run / "latest").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    launcher = psutil.Process(killed.pid)
    for process in [*launcher.children(recursive=True), launcher]:
        process.kill()
    killed.communicate()
    latest = Checkpoint.latest(run)
    assert latest is not None
    assert latest.step < 400
    if trains == "lora":  # one alone may go on
        train(config, run, resume=True)
    else:
        resumed = start_pair(path, run, "--resume", kind=kind)
        told, _ = resumed.communicate(timeout=240)
        assert resumed.returncode == 0, told
    train(config, tmp_path / "one")
    np.testing.assert_allclose(losses(run)[-10:], losses(tmp_path / "one")[-10:], atol=1e-2)


def test_the_mean_over_all_processes_is_no_mean_of_means():
    """Two processes, of three values and of one: their losses and gradients average to those of the four."""
    shares = [torch.tensor([1.0, 2.0, 3.0], requires_grad=True), torch.tensor([10.0], requires_grad=True)]
    two = SimpleNamespace(num_processes=2, reduce=lambda count, how: torch.tensor(4))
    losses = [share_of_mean(share, two) for share in shares]
    assert sum(losses).item() / 2 == pytest.approx(16 / 4)
    (sum(losses) / 2).backward()
    assert all(torch.equal(share.grad, torch.full_like(share, 1 / 4)) for share in shares)
    alone = Accelerator(cpu=True)
    assert share_of_mean(shares[0], alone).item() == pytest.approx(2)
    assert share_of_mean(shares[0][:0], alone).item() == 0


def test_processes_that_divide_the_model_in_another_way_are_refused(monkeypatch):
    """Their checkpoints would be parts."""
    divided = SimpleNamespace(distributed_type=DistributedType.DEEPSPEED)
    monkeypatch.setattr(stages, "Accelerator", lambda **_: divided)
    with pytest.raises(ConfigError, match=r"by FSDP, got DEEPSPEED\. Launch with --multi_gpu"):
        stages.processes()


def test_muon_is_refused_where_matrices_are_divided(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match=r"Muon works on whole matrices.*adamw in tune"):
        check_processes([Stage(name="tune", train="all", optimizer="muon", steps=1)], 2)


def test_more_processes_than_examples_of_a_batch_are_refused():
    stages = [Stage(name="align", train="adapter", steps=1, batch_size=4), Stage(name="b", train="all", steps=1)]
    check_processes(stages, 4)
    with pytest.raises(ConfigError, match=r"A batch of align has 4 examples for 5 processes.*Raise batch_size"):
        check_processes(stages, 5)
