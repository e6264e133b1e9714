"""Tiny real models, made on the spot: a trained tokenizer of 340 tokens, random bases of every kind, an Elm on them."""

from functools import cache

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from vecspeak.adapter import Adapter
from vecspeak.elm import Elm, Fingerprint
from vecspeak.encode import Encoder
from vecspeak.space import Space
from vecspeak.store import Change, Manifest

E, D, V = 6, 32, 340
"""Domain dimension, width and vocabulary of everything here."""

WINDOW = 6
"""Sliding attention windows are shorter than the prompts, so that they matter."""

CORPUS = [
    "The film tells a quiet story about love and war, one winter by the sea.",
    "Two brothers lose one house and find another; their mother watches, and waits.",
    "What kind of viewer would enjoy this film? Describe it, and compare the story with another.",
    "Rain, robots and detectives: a bleak city where nobody sleeps — and a naïve ending.",
]

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

_SIZES = {"vocab_size": V, "hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 4, "bos_token_id": None,
          "eos_token_id": 1, "pad_token_id": 0, "max_position_embeddings": 128}  # fmt: skip
_GATED = {**_SIZES, "intermediate_size": 48, "num_key_value_heads": 2}

CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**_GATED),
    "qwen3": Qwen3Config(**_GATED, head_dim=8),
    # untied: a random base with scaled and tied embeddings repeats its last token for ever
    "gemma3": Gemma3TextConfig(
        **_GATED,
        head_dim=8,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention"],
        tie_word_embeddings=False,
    ),
    "gpt2": GPT2Config(**_SIZES),
    "mistral": MistralConfig(**_GATED, sliding_window=WINDOW),
    "phi3": Phi3Config(**_GATED),
    "gpt_neox": GPTNeoXConfig(**_SIZES, intermediate_size=48),
    "bert": BertConfig(**_SIZES, intermediate_size=48, is_decoder=True),
}


@cache
def tokenizer(*, chat: bool = True) -> PreTrainedTokenizerBase:
    """Byte-level BPE of V tokens; 0 pads, 1 ends. Without `chat` it has no template, and a begin token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|begin|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=V, special_tokens=special, initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    bpe.train_from_iterator(CORPUS * 3, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=special[0], eos_token=special[1])
    fast.chat_template = CHAT_TEMPLATE if chat else None
    fast.bos_token = None if chat else special[4]
    assert len(fast) == V
    return fast


def base(kind: str = "llama", *, seed: int = 0) -> PreTrainedModel:
    """A random causal model, with weights large enough that its answers differ from prompt to prompt."""
    config = type(CONFIGS[kind]).from_dict(CONFIGS[kind].to_dict())
    config.initializer_range = 0.3
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config).eval()


def elm(
    kind: str = "llama", *, tokens_per_vector: int = 1, chat: bool = True, seed: int = 0, space: Space | None = None
) -> Elm:
    """An Elm on a random base, with a random adapter whose outputs are as large as token embeddings."""
    rng = np.random.default_rng(seed)
    mean, scale = rng.normal(size=E).astype(np.float32), rng.uniform(0.5, 2, size=E).astype(np.float32)
    fingerprint = Fingerprint(E, "cosine", None, mean, scale) if space is None else Fingerprint.of(space)
    model = base(kind, seed=seed)
    adapter = Adapter(
        torch.tensor(fingerprint.mean),
        torch.tensor(fingerprint.scale),
        dim_out=D,
        hidden=24,
        tokens_per_vector=tokens_per_vector,
    )
    adapter.start_random(rms=0.3, seed=seed)
    return Elm(model, tokenizer(chat=chat), adapter, fingerprint, space=space).eval()


def vectors(n: int, *, seed: int = 0) -> np.ndarray:
    """(n, E) float32 of unit length."""
    drawn = np.random.default_rng(seed).normal(size=(n, E))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def manifest(elm: Elm, *, base: str, change: Change = "none") -> Manifest:
    """elm.json of such an Elm."""
    return Manifest(
        base=base,
        change=change,
        dimension=elm.fingerprint.dimension,
        hidden=elm.adapter.hidden,
        width=elm.adapter.dim_out,
        tokens_per_vector=elm.adapter.tokens_per_vector,
        metric=elm.fingerprint.metric,
        encoder=elm.fingerprint.encoder,
        tasks="general",
    )


class LetterEncoder(Encoder):
    """Counts the letters a to f, scaled to length 1: E dimensions, legible by hand."""

    name = "letters"
    dimension = E

    def encode(self, texts):
        counts = np.array([[text.count(letter) for letter in "abcdef"] for text in texts], np.float32)
        return counts.reshape(-1, E) / np.maximum(np.linalg.norm(counts.reshape(-1, E), axis=1, keepdims=True), 1e-9)
