"""The model folder: save, load, check that the parts fit.

    elm.json              format, base, adapter sizes, space fingerprint, tasks, provenance, scores
    adapter.safetensors   the adapter's weights and the vectors' mean and scale
    lora/ or base/        what stage "tune" changed in the base: a PEFT adapter, or all weights

Never a copy of an unchanged base; only safetensors, nothing is unpickled.
"""

import copy
import json
import os
import shutil
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from vecspeak.adapter import Adapter
from vecspeak.decoding import Decoding
from vecspeak.elm import Elm, Fingerprint
from vecspeak.errors import ModelError
from vecspeak.space import Space
from vecspeak.spacefile import one_line
from vecspeak.wordspace import embedding_of

FORMAT = 1
POCKET = "pocket"
"""The base that comes with the package."""

Change = Literal["none", "lora", "full"]
"""What training did to the base."""


class Manifest(BaseModel):
    """elm.json."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = FORMAT
    base: str
    """Hub name, folder, or `pocket`."""
    revision: str | None = None
    """Commit of the hub's base, where it has one."""
    change: Change
    dimension: Annotated[int, Field(gt=0)]
    hidden: Annotated[int, Field(gt=0)]
    depth: Annotated[int, Field(gt=0, le=4)] = 2
    """Linear layers of the adapter; folders that do not say have two."""
    width: Annotated[int, Field(gt=0)]
    """Embedding width of the base."""
    tokens_per_vector: Annotated[int, Field(gt=0)]
    metric: str
    encoder: str | None
    space: str | None = None
    """Folder of the space it was trained on, where that may still be."""
    tasks: str
    """Task set the model was trained on."""
    provenance: dict[str, Any] = {}
    decoding: Decoding = Decoding()
    """How it answers where a question does not say."""
    scores: dict[str, Any] = {}


def pocket_folder() -> Path:
    """Folder of the bundled base."""
    return Path(str(resources.files("vecspeak"))) / "data" / POCKET


def load_base(
    name: str, *, revision: str | None = None, on_cpu: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer, by hub name, folder or `pocket`; never with remote code.

    On a GPU in the dtype it was saved in, on the CPU in float32.

    Args:
        on_cpu: leave it there though there is a GPU, in the dtype for the GPU.

    Raises:
        ModelError: there is no such model, it is not a causal one, or it is not in safetensors.
    """
    source = pocket_folder() if name == POCKET else Path(name) if Path(name).is_dir() else name
    transformers_logging.disable_progress_bar()  # a bar for half a second, in the middle of an answer
    dtype = "auto" if torch.cuda.is_available() else torch.float32
    try:
        base = AutoModelForCausalLM.from_pretrained(
            source, revision=revision, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"Base {name!r} does not load: {str(error).splitlines()[0]} "
            "Give a causal model of the Hugging Face hub, a folder with config.json and *.safetensors, or 'pocket'."
        ) from error
    nn.Module.to(base, "cuda" if torch.cuda.is_available() and not on_cpu else "cpu")
    return base, tokenizer


def save(elm: Elm, folder: Path, *, manifest: Manifest, half: bool = False) -> None:
    """Write the model folder, whole or not at all; an existing one is replaced.

    A kill between the two renames of that leaves none at `folder`: the old one is then beside it, as `.NAME.*.old`.

    Args:
        manifest: what elm.json says; its sizes must be the model's.
        half: store weights as float16 (half the size; the bundled model is so).
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    dtype = torch.float16 if half else torch.float32
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in elm.adapter.state_dict().items()}
    layers = {name: t if name in ("mean_E", "scale_E") else t.to(dtype) for name, t in weights.items()}
    save_file(layers, temporary / "adapter.safetensors")
    if manifest.change == "lora":
        elm.base.save_pretrained(temporary / "lora")
    elif manifest.change == "full":
        base = elm.base
        if base.dtype != dtype:
            base = copy.deepcopy(elm.base)  # its own must not be rounded
            nn.Module.to(base, dtype)
        base.save_pretrained(temporary / "base")
        elm.tokenizer.save_pretrained(temporary / "base")
    (temporary / "elm.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        folder.rename(old)
        temporary.rename(folder)
        shutil.rmtree(old)
    else:
        temporary.rename(folder)


def read_manifest(folder: Path) -> Manifest:
    """elm.json of a model folder. Raises ModelError where it is missing, newer or damaged."""
    path = folder / "elm.json"
    if not path.is_file():
        raise ModelError(f"{folder} is no model folder: it has no elm.json. `vecspeak train` makes one.")
    try:
        content = json.loads(path.read_text("utf-8"))
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise ModelError(f"{path} has format {found!r}; this version reads {FORMAT}. Upgrade vecspeak.")
        return Manifest.model_validate(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not valid JSON ({error}). Restore or train it again.") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


def load(path: str | Path, *, space: Space | None = None) -> Elm:
    """An Elm from its folder, ready to ask.

    Args:
        path: the model folder.
        space: the space to locate points in (distance, neighbours); checked against the model's.

    Raises:
        ModelError: the folder is incomplete, or base, adapter and space do not fit each other.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    if manifest.change == "full":
        base, tokenizer = load_base(str(folder / "base"))
    else:
        base, tokenizer = load_base(manifest.base, revision=manifest.revision)
    if manifest.change == "lora":
        _load_lora(base, folder / "lora")
    width = embedding_of(base).embedding_dim
    if width != manifest.width:
        raise ModelError(f"Base {manifest.base!r} has embeddings of width {width}, the adapter makes {manifest.width}.")
    adapter, fingerprint = load_adapter(folder, manifest)
    if space is not None:
        check_space(fingerprint, space)
    return Elm(base, tokenizer, adapter.to(base.device), fingerprint, space=space, decoding=manifest.decoding).eval()


def load_adapter(folder: Path, manifest: Manifest) -> tuple[Adapter, Fingerprint]:
    """The adapter of a model folder, on the CPU, and what it remembers of its space. Raises ModelError."""
    adapter = _load_adapter(folder / "adapter.safetensors", manifest)
    mean_E, scale_E = adapter.mean_E.numpy(), adapter.scale_E.numpy()
    return adapter, Fingerprint(manifest.dimension, manifest.metric, manifest.encoder, mean_E, scale_E)


def check_space(fingerprint: Fingerprint, space: Space) -> None:
    """Refuse a space the model was not trained for. Raises ModelError naming what differs."""
    for what, ours, theirs in (
        ("dimension", fingerprint.dimension, space.dimension),
        ("metric", fingerprint.metric, space.metric),
        ("encoder", fingerprint.encoder, space.encoder),
    ):
        if ours != theirs:
            raise ModelError(f"The model reads vectors of {what} {ours}, space {space.name!r} has {theirs}.")


def _load_lora(base: PreTrainedModel, folder: Path) -> None:
    if not (folder / "adapter_model.safetensors").is_file():  # PEFT would look for a pickle next
        raise ModelError(f"{folder} holds no adapter_model.safetensors. Restore the folder or train it again.")
    try:
        base.load_adapter(str(folder))
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder} does not load as LoRA of this base: {one_line(error)}") from error


def _load_adapter(path: Path, manifest: Manifest) -> Adapter:
    blank = torch.ones(manifest.dimension)
    adapter = Adapter(
        blank,
        blank,
        dim_out=manifest.width,
        hidden=manifest.hidden,
        tokens_per_vector=manifest.tokens_per_vector,
        depth=manifest.depth,
    )
    try:
        weights = {name: tensor.float() for name, tensor in load_file(path).items()}
        adapter.load_state_dict(weights)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{path} does not load as the adapter of elm.json: {one_line(error)}") from error
    if not all(np.isfinite(tensor.numpy()).all() for tensor in weights.values()):
        raise ModelError(f"{path} holds NaN or infinity. Train it again.")
    return adapter


def add_lora(base: PreTrainedModel, *, rank: int) -> None:
    """LoRA on every linear layer but the output (PEFT), in place."""
    from peft import LoraConfig  # a second to import, which asking should not wait for

    transposed = any(isinstance(module, Conv1D) for module in base.modules())  # weights kept as (in, out)
    base.add_adapter(
        LoraConfig(
            r=rank, lora_alpha=2 * rank, target_modules="all-linear", lora_dropout=0.0, fan_in_fan_out=transposed
        )
    )
