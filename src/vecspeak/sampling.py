"""Which examples a step trains on: a pure function of the seed and the step, so that runs can resume."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from vecspeak.examples import Example

POOL = 16
"""Batches drawn together and sorted by length, so that little of a batch is padding."""


@dataclass(frozen=True, eq=False)
class Sampler:
    """Draws batches from groups of examples, each group with its share of the draws.

    Within a group every example comes once before any comes twice.
    """

    groups: Sequence[Sequence[Example]]
    shares: Sequence[float]
    """How often each group is drawn; they sum to 1."""
    batch_size: int
    seed: int
    vector_dropout: float = 0.0
    """Share of examples trained with the mean vector: the model learns what to say knowing nothing,
    which guidance (Decoding.guidance) pushes away from."""
    mean_E: np.ndarray | None = None
    """The mean vector; needed for vector dropout."""

    def batch(self, step: int) -> list[Example]:
        """The examples of a step."""
        return self._pool(step // POOL)[step % POOL]

    @lru_cache(maxsize=2)  # noqa: B019 - lives as long as the sampler, holds two pools
    def _pool(self, number: int) -> list[list[Example]]:
        rng = np.random.default_rng((self.seed, number))
        size = POOL * self.batch_size
        counts = self._counts(number + 1) - self._counts(number)
        drawn: list[Example] = []
        for group, (examples, count) in enumerate(zip(self.groups, counts, strict=True)):
            before = int(self._counts(number)[group])
            drawn += [examples[self._shuffled(group, before + i)] for i in range(int(count))]
        assert len(drawn) == size
        drawn = [self._dropped(example) if rng.random() < self.vector_dropout else example for example in drawn]
        order = sorted(range(size), key=lambda i: (len(drawn[i].prompt) + len(drawn[i].target), i))
        batches = [[drawn[i] for i in order[s : s + self.batch_size]] for s in range(0, size, self.batch_size)]
        return [batches[i] for i in rng.permutation(POOL)]

    def _counts(self, pools: int) -> np.ndarray:
        """Draws of each group in the first `pools` pools: cumulative rounding, so shares hold exactly over time."""
        edges = np.round(np.cumsum(self.shares) / sum(self.shares) * pools * POOL * self.batch_size).astype(np.int64)
        return np.diff(edges, prepend=0)

    def _shuffled(self, group: int, number: int) -> int:
        """Index of the group's draw of that number: a fresh permutation each epoch."""
        epoch, place = divmod(number, len(self.groups[group]))
        return int(_permutation(len(self.groups[group]), self.seed, group, epoch)[place])

    def _dropped(self, example: Example) -> Example:
        assert self.mean_E is not None
        return replace(example, points=dict.fromkeys(example.points, self.mean_E))


@lru_cache(maxsize=16)
def _permutation(size: int, seed: int, group: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, group, epoch)).permutation(size)
