"""Muon: orthogonalised momentum for the hidden matrices, AdamW for everything else.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/); updates scaled to AdamW's size as in Liu et al.
2025 (arXiv:2502.16982), so that one learning rate serves both. `torch.optim.Muon` orthogonalises in bfloat16,
which a CPU without bfloat16 units computes twenty times slower than float32.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Polar Express (Amsel et al. 2025, arXiv:2505.16932): the best quintic of each iteration for singular
# values from 1e-3 to 1; after five of them all lie within 1 +- 0.13
_QUINTICS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845749733, 0.4188073119525673),
)
_MOMENTUM = 0.95
_RMS = 0.2  # of an update at rate 1, which is about AdamW's


class Muon(torch.optim.AdamW):
    """AdamW in which parameter groups with `muon=True` take Muon's step; they hold matrices alone."""

    def __init__(self, groups: Sequence[dict[str, Any]], **adamw: Any):
        super().__init__([{"muon": False, **group} for group in groups], **adamw)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As AdamW's, which would look for its own counters in the matrices' state."""
        groups = state["param_groups"]
        super().__setstate__({**state, "param_groups": [group for group in groups if not group["muon"]]})
        self.param_groups = groups

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step of every group."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["muon"]]
        super().step(closure)
        self.param_groups = groups
        for group in groups:
            if group["muon"]:
                self._step_matrices(group)

    def _step_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape.setdefault(parameter.shape, []).append(parameter)
        for shape, parameters in by_shape.items():
            updates_NAB = orthogonalised(torch.stack([self._momentum(p) for p in parameters]))
            size = group["lr"] * _RMS * max(shape) ** 0.5
            for parameter, update_AB in zip(parameters, updates_NAB, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update_AB, alpha=size)

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        """Nesterov's look ahead along the running sum of gradients."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        running = state["momentum"].mul_(_MOMENTUM).add_(parameter.grad)
        return parameter.grad + _MOMENTUM * running


def orthogonalised(matrices_NAB: Tensor) -> Tensor:
    """U V^T of each matrix U S V^T, nearly: singular values become 1 +- 0.13, where above a thousandth of the norm."""
    tall = matrices_NAB.shape[1] > matrices_NAB.shape[2]
    x_NAB = matrices_NAB.mT if tall else matrices_NAB
    x_NAB = x_NAB / (1.01 * x_NAB.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for a, b, c in _QUINTICS:
        gram_NAA = x_NAB @ x_NAB.mT
        x_NAB = torch.baddbmm(x_NAB, torch.baddbmm(gram_NAA, gram_NAA, gram_NAA, beta=b, alpha=c), x_NAB, beta=a)
    return x_NAB.mT if tall else x_NAB
