"""The adapter E_A: a domain vector becomes one or more token embeddings of the base.

A two-layer MLP on standardised vectors (paper, section 2); other depths are for comparison. Two ways to start
it: random, with outputs as large as the base's own token embeddings, or solved in closed form from entity texts.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Ridge penalties tried, per entity."""
SMALLEST_SCALE = 1e-12
CONSTANT = 1e-4
"""A dimension whose scale is below this share of the median scale counts as constant."""


class Adapter(nn.Module):
    """E_A: vectors `(..., E)` -> soft tokens `(..., K, D)`, K = `tokens_per_vector`.

    `mean_E` and `scale_E` standardise the vectors; they are buffers, saved with the weights. `depth` (1 or more)
    counts linear layers with GELU between them; a linear map, depth 1, has no hidden layer, and `hidden` no effect.
    """

    mean_E: Tensor
    scale_E: Tensor

    def __init__(
        self, mean_E: Tensor, scale_E: Tensor, *, dim_out: int, hidden: int, tokens_per_vector: int, depth: int = 2
    ):
        super().__init__()
        self.dim_out = dim_out
        self.hidden = hidden
        self.tokens_per_vector = tokens_per_vector
        self.register_buffer("mean_E", mean_E.detach().clone().float())
        self.register_buffer("scale_E", scale_E.detach().clone().float().clamp(min=SMALLEST_SCALE))
        first, *others = pairwise([len(mean_E), *[hidden] * (depth - 1), tokens_per_vector * dim_out])
        self.rise = nn.Linear(*first)
        self.middle = nn.ModuleList(nn.Linear(*sizes) for sizes in others[:-1])
        if others:
            self.fall = nn.Linear(*others[-1])

    @property
    def layers(self) -> list[nn.Linear]:
        """From input to output."""
        return [module for module in self.modules() if isinstance(module, nn.Linear)]

    @property
    def depth(self) -> int:
        return len(self.layers)

    @property
    def dim_in(self) -> int:
        return self.rise.in_features

    def features(self, points: Tensor) -> Tensor:
        """What the output layer reads: the last hidden layer `(..., H)`, at depth 1 the standardised vectors."""
        values = self.standardised(points)
        for layer in self.layers[:-1]:
            values = nn.functional.gelu(layer(values))
        return values

    def standardised(self, points: Tensor) -> Tensor:
        """In units of each dimension's scale; a dimension that is constant in the data says nothing, so it gives 0.

        Off the data it would else drown all others: a made point can be anything there.
        """
        varied_E = self.scale_E > SMALLEST_SCALE
        typical = self.scale_E[varied_E].median() if varied_E.any() else self.scale_E.new_tensor(1.0)
        says_E = varied_E & (self.scale_E > CONSTANT * typical)
        return torch.where(says_E, (points - self.mean_E) / self.scale_E, 0.0)

    def forward(self, points: Tensor) -> Tensor:
        return self.layers[-1](self.features(points)).unflatten(-1, (self.tokens_per_vector, self.dim_out))

    @torch.no_grad()
    def start_random(self, *, rms: float, seed: int) -> None:
        """Random weights whose outputs have root-mean-square `rms` on standardised vectors.

        Adapters that skipped this failed: outputs many times larger than token embeddings drown the prompt.
        """
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layers:
            layer.weight.normal_(std=layer.in_features**-0.5, generator=generator)
            layer.bias.zero_()
        probe = self.mean_E + self.scale_E * torch.randn(512, self.dim_in, generator=generator)
        self.layers[-1].weight.mul_(rms / self(probe).pow(2).mean().sqrt())

    @torch.no_grad()
    def start_from_texts(self, points_NE: Tensor, embeddings_ND: Tensor, *, rms: float, seed: int) -> float:
        """Solve the output layer by ridge regression to `embeddings_ND`, the entities' texts in word space.

        Hidden layers stay random. The penalty is the best of seven on every tenth entity, the
        outputs are scaled to `rms`, since shrunken ones would whisper.

        Returns:
            Share of variance explained (R2, at most 1) on the entities held out. NaN below 20 entities, or
            where all texts say the same, which leaves the random start.
        """
        self.start_random(rms=rms, seed=seed)
        features_NH = self.features(points_NE).double()
        centre_H = features_NH.mean(0)
        features_NH = features_NH - centre_H
        target_ND = (embeddings_ND - embeddings_ND.mean(0)).double()
        if not target_ND.any():
            return float("nan")
        penalty, r2 = _best_penalty(features_NH, target_ND)
        weight_HD = _ridge(features_NH.T @ features_NH, features_NH.T @ target_ND, penalty * len(points_NE))
        weight_HD *= rms / (features_NH @ weight_HD).pow(2).mean().sqrt()
        output = self.layers[-1]
        weight = weight_HD.T.repeat(self.tokens_per_vector, 1).to(output.weight.dtype)
        output.weight.copy_(weight)
        output.bias.copy_(-(centre_H.to(weight.dtype) @ weight.T))
        return r2


def _ridge(gram_HH: Tensor, moment_HD: Tensor, penalty: float) -> Tensor:
    return torch.linalg.solve(gram_HH + penalty * torch.eye(len(gram_HH), dtype=gram_HH.dtype), moment_HD)


def _best_penalty(features_NH: Tensor, target_ND: Tensor) -> tuple[float, float]:
    """The penalty, per entity, that predicts every tenth entity best from the others, and its R2 there."""
    if len(features_NH) < 20:
        return 0.1, float("nan")
    probe_N = torch.arange(len(features_NH)) % 10 == 9
    fitted_NH, probed_NH = features_NH[~probe_N], features_NH[probe_N]
    gram_HH, moment_HD = fitted_NH.T @ fitted_NH, fitted_NH.T @ target_ND[~probe_N]
    total = target_ND[probe_N].pow(2).sum()
    best = (0.1, float("-inf"))
    for penalty in PENALTIES:
        weight_HD = _ridge(gram_HH, moment_HD, penalty * len(fitted_NH))
        r2 = 1 - ((probed_NH @ weight_HD - target_ND[probe_N]).pow(2).sum() / total).item()
        best = max(best, (penalty, r2), key=lambda found: found[1])
    return best
