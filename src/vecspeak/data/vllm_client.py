"""Ask a vLLM server about points of a space: vectors become `prompt_embeds` parts of a chat message.

    from openai import OpenAI
    from vecspeak_client import Points

    points = Points(".")                       # the folder of this file, with adapter.safetensors
    client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")
    content = points.content("Describe {film}.", film=vector)      # vector: (E,) numbers
    client.chat.completions.create(model="base", messages=[{"role": "user", "content": content}])

Needs numpy, safetensors and torch. Start the server as README.md beside this file says.
"""

import base64
import io
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import gelu, linear

SMALLEST_SCALE = 1e-12
CONSTANT = 1e-4
"""A dimension whose scale is below this share of the median scale was constant in the data and says nothing."""


class Points:
    """The adapter of a model: vectors of E numbers in, soft tokens of the base out."""

    def __init__(self, folder: str | Path) -> None:
        with safe_open(Path(folder) / "adapter.safetensors", "pt") as file:
            told = file.metadata()
            self._weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        self.tokens_per_vector = int(told["tokens_per_vector"])
        self.dimension = len(self._weights["mean_E"])
        self.dtype: torch.dtype = getattr(torch, told["dtype"])
        self._layers = told["layers"].split(",")

    def soft(self, vectors: np.ndarray) -> Tensor:
        """(n, tokens_per_vector, width) soft tokens of (n, E) vectors, in the dtype of the base."""
        points = torch.from_numpy(np.array(vectors, np.float32))
        if points.ndim != 2 or points.shape[1] != self.dimension or not points.isfinite().all():
            raise ValueError(f"Expected finite vectors of {self.dimension} numbers, got shape {tuple(points.shape)}.")
        values = self._standardised(points)
        for number, name in enumerate(self._layers):
            values = linear(gelu(values) if number else values, *self._layer(name))
        return values.unflatten(-1, (self.tokens_per_vector, -1)).to(self.dtype)

    def content(self, prompt: str, **vectors: np.ndarray) -> list[dict[str, Any]]:
        """The content parts of a prompt with slots: `content("Compare {x} and {y}.", x=..., y=...)`."""
        return parts(prompt, dict(zip(vectors, self.soft(np.stack(list(vectors.values()))), strict=True)))

    def _standardised(self, points: Tensor) -> Tensor:
        mean, scale = self._weights["mean_E"], self._weights["scale_E"]
        varied = scale > SMALLEST_SCALE
        typical = scale[varied].median() if varied.any() else scale.new_tensor(1.0)
        return torch.where(varied & (scale > CONSTANT * typical), (points - mean) / scale, 0.0)

    def _layer(self, name: str) -> tuple[Tensor, Tensor]:
        return self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]


def parts(prompt: str, soft: dict[str, Tensor]) -> list[dict[str, Any]]:
    """The content parts of a prompt, with the soft tokens (tokens_per_vector, width) of each slot."""
    found: list[dict[str, Any]] = []
    for text, slot, _, _ in Formatter().parse(prompt):
        if text:
            found.append({"type": "text", "text": text})
        if slot is not None:
            found.append({"type": "prompt_embeds", "data": packed(soft[slot])})
    return found


def packed(embeds: Tensor) -> str:
    """(K, D) embeddings as vLLM reads them: the bytes of `torch.save` in base64."""
    buffer = io.BytesIO()
    torch.save(embeds.detach().clone().contiguous(), buffer)
    return base64.b64encode(buffer.getvalue()).decode()
