"""Training of a model too large for one GPU: each process holds a part of every weight, gradient and moment.

Under `accelerate launch --use_fsdp`. A layer's weights come together for as long as it computes (FSDP2,
`torch.distributed.fsdp.fully_shard`). Files hold whole tensors, so any number of processes can go on with them.
"""

import os

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from vecspeak.elm import Elm


def is_sharded() -> bool:
    """Whether the processes were started to divide the model; `Accelerator` says so on GPUs only."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def shard(elm: Elm, *, processes: int) -> None:
    """Divide an Elm on the CPU among the processes, in place; layer by layer, so that no GPU ever holds all of it.

    What is frozen later than this is not seen: call it when the stage has chosen what it trains.
    """
    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (processes,))
    for layer in _layers(elm.base):
        fully_shard(layer, mesh=mesh)
    # the rest stays together between forward and backward: the bag loss reads adapter and embeddings by themselves
    fully_shard(elm, mesh=mesh, reshard_after_forward=False)


def _layers(base: PreTrainedModel) -> list[nn.Module]:
    """What a base wants kept together, but for embedding tables, which often serve the output too."""
    kept = set(base._no_split_modules or ())
    layers = [module for module in base.modules() if type(module).__name__ in kept]
    return [layer for layer in layers if not any(isinstance(module, nn.Embedding) for module in layer.modules())]


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which each process holds a part, put together; all processes must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_like(tensor: Tensor, parameter: nn.Parameter | Tensor) -> Tensor:
    """This process's part of a whole tensor, divided as the parameter is; scalars are not divided."""
    if not isinstance(parameter, DTensor) or tensor.shape != parameter.shape:
        return tensor
    return distribute_tensor(tensor.to(parameter.device), parameter.device_mesh, parameter.placements)
