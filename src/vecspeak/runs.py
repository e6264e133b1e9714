"""The run folder: checkpoints and metrics, so that a killed run goes on and ends at the same weights."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vecspeak.errors import ConfigError
from vecspeak.sharding import part_like, whole


def log_row(run: Path, row: dict[str, Any]) -> None:
    """Append one line to metrics.jsonl."""
    with open(run / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def save_checkpoint(
    run: Path, *, stage: int, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, writes: bool = True
) -> None:
    """Replace the run's checkpoint; a kill at any moment leaves the old or the new one, never a mixture.

    Args:
        writes: False in the processes that only hand over their parts of a sharded model.
    """
    state = optimizer.state_dict()["state"]
    moments = _gathered(((f"{i}.{key}", value) for i, slot in state.items() for key, value in slot.items()), writes)
    weights = _gathered(model.named_parameters(), writes)
    if not writes:
        return
    temporary = run / f"checkpoint.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(weights, temporary / "weights.safetensors")
    save_file(moments, temporary / "optimizer.safetensors", metadata={"stage": str(stage), "step": str(step)})
    final = run / f"checkpoint-{stage}-{step}"
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    pointer = run / "latest.tmp"
    pointer.write_text(final.name, encoding="utf-8")
    pointer.rename(run / "latest")
    for old in run.glob("checkpoint*"):  # those of killed processes, half written, too
        if old != final:
            shutil.rmtree(old)


def _gathered(tensors: Iterable[tuple[str, Tensor]], keep: bool) -> dict[str, Tensor]:
    """Whole tensors on the CPU; one after the other, so that a GPU never holds more than one beside its parts."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors:
        together = whole(tensor.detach())
        if keep:
            found[name] = together.cpu().contiguous()
    return found


class Checkpoint:
    """The latest checkpoint of a run, opened for reading."""

    def __init__(self, folder: Path):
        self.folder = folder
        with safe_open(folder / "optimizer.safetensors", "pt") as file:
            self.stage, self.step = (int(file.metadata()[key]) for key in ("stage", "step"))

    @staticmethod
    def latest(run: Path) -> "Checkpoint | None":
        """None where the run has none yet."""
        pointer = run / "latest"
        return Checkpoint(run / pointer.read_text(encoding="utf-8")) if pointer.is_file() else None

    def load_weights(self, model: nn.Module) -> None:
        """Copy the weights into `model`. Raises ConfigError where the names differ: another config."""
        own = dict(model.named_parameters())
        with safe_open(self.folder / "weights.safetensors", "pt") as file, torch.no_grad():
            if set(file.keys()) != set(own):
                raise ConfigError(f"{self.folder} holds other weights than this config makes. Use another run folder.")
            for name, parameter in own.items():
                parameter.copy_(file.get_tensor(name))

    def load_moments(self, optimizer: torch.optim.Optimizer) -> None:
        """Copy the optimizer's state."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        with safe_open(self.folder / "optimizer.safetensors", "pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                number, key = name.split(".", 1)
                state.setdefault(int(number), {})[key] = part_like(file.get_tensor(name), parameters[int(number)])
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
