"""A model for serving at scale, by a server that knows no adapter: vLLM.

    base/                  the whole base in the Hugging Face format, LoRA merged
    adapter.safetensors    what turns a point into soft tokens; the client's part
    vecspeak_client.py     the client, without vecspeak
    README.md              how to start the server and ask

vLLM takes soft tokens as `prompt_embeds` content parts, the bytes of `torch.save` in base64. The client writes them;
nothing of ours reads any.
"""

import copy
import os
import shutil
from importlib import resources
from pathlib import Path

from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from vecspeak.elm import Elm
from vecspeak.errors import ModelError
from vecspeak.prompts import LINES
from vecspeak.wordspace import embedding_of

CLIENT = "vecspeak_client.py"

README = """\
# {name}, for vLLM

    vllm serve base --served-model-name {name} --enable-prompt-embeds

`--enable-prompt-embeds` lets whoever reaches the server send pickled tensors: only for clients that you trust.

    from openai import OpenAI
    from vecspeak_client import Points

    points = Points(".")
    content = points.content({prompt!r}, {slot}=vector)    # {dimension} numbers
    client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")
    client.chat.completions.create(model="{name}", messages=[{{"role": "user", "content": content}}]{options})

The client needs numpy, safetensors and torch.{guidance}
"""

GUIDANCE = """
The model answers with guidance {guidance:g} by itself, which vLLM does not offer: its answers there are plainer."""


def export_vllm(elm: Elm, folder: Path, *, name: str, prompt: str, slot: str) -> None:
    """Write the folder, whole or not at all.

    Args:
        name: what the server shall call the model.
        prompt, slot: an example of a question, for the README.

    Raises:
        ModelError: the folder exists, or cannot be written.
    """
    if folder.exists():
        raise ModelError(f"{folder} exists already. Name a folder that does not.")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        base = merged(elm.base)
        base.save_pretrained(temporary / "base")
        _with_template(elm.tokenizer).save_pretrained(temporary / "base")
        _save_adapter(elm, temporary / "adapter.safetensors")
        shutil.copyfile(Path(str(resources.files("vecspeak"))) / "data" / "vllm_client.py", temporary / CLIENT)
        (temporary / "README.md").write_text(_readme(elm, name, prompt, slot), encoding="utf-8")
        temporary.rename(folder)
    except OSError as error:
        raise ModelError(f"{folder} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def merged(base: PreTrainedModel) -> PreTrainedModel:
    """The base without LoRA layers, their changes added to its weights; the base itself where it has none."""
    if not any(isinstance(module, BaseTunerLayer) for module in base.modules()):
        return base
    plain = copy.deepcopy(base)
    for name, module in list(plain.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            plain.set_submodule(name, module.get_base_layer())
    plain._hf_peft_config_loaded = False  # else transformers would save the LoRA alone
    return plain


def _with_template(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """vLLM refuses conversations with a base that has no chat template."""
    if tokenizer.chat_template:
        return tokenizer
    templated = copy.deepcopy(tokenizer)
    templated.chat_template = LINES
    return templated


def _save_adapter(elm: Elm, path: Path) -> None:
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in elm.adapter.state_dict().items()}
    name_of = {module: name for name, module in elm.adapter.named_modules()}
    told = {
        "tokens_per_vector": str(elm.adapter.tokens_per_vector),
        "layers": ",".join(name_of[layer] for layer in elm.adapter.layers),
        "dtype": str(embedding_of(elm.base).weight.dtype).removeprefix("torch."),
    }
    save_file(weights, path, metadata=told)


def _readme(elm: Elm, name: str, prompt: str, slot: str) -> str:
    decoding = elm.decoding
    options = f", max_tokens={decoding.max_tokens}, temperature={decoding.temperature:g}"
    if decoding.frequency_penalty:
        options += f", frequency_penalty={decoding.frequency_penalty:g}"
    guidance = GUIDANCE.format(guidance=decoding.guidance) if decoding.guidance else ""
    dimension = elm.fingerprint.dimension
    return README.format(name=name, prompt=prompt, slot=slot, dimension=dimension, options=options, guidance=guidance)
