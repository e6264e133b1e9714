"""Prompts with slots become token ids and slot positions. The only place that knows a chat template.

Training and asking both come through here, so they cannot differ.
"""

from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import cast

from transformers import PreTrainedTokenizerBase

from vecspeak.errors import PromptError

# Private-use characters: no template, tokenizer or user text holds them by accident.
_OPEN, _CLOSE = "\ue000", "\ue001"


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt: `ids` with room for the soft tokens of each slot."""

    ids: tuple[int, ...]
    """Token ids; positions of soft tokens hold 0 and are overwritten."""
    slots: tuple[str, ...]
    """Slot names in order of appearance; a name may come twice."""
    starts: tuple[int, ...]
    """First position of each slot, `tokens_per_vector` positions long."""


def slot_names(text: str) -> tuple[str, ...]:
    """Names in braces, in order: `"Compare {x} and {y}"` -> `("x", "y")`. `{{` is a literal brace.

    Raises:
        PromptError: unbalanced braces, a slot that is not a plain name, or text that is not valid Unicode.
    """
    return tuple(name for _, name in _pieces(text) if name is not None)


def the_slot(text: str) -> str:
    """The name of a prompt's one slot. Raises PromptError where it has none or several, or as `slot_names`."""
    names = set(slot_names(text))
    if len(names) != 1:
        raise PromptError(f"The prompt {text!r} needs one slot, as in 'Describe {{x}}.'")
    return names.pop()


@lru_cache(maxsize=4096)
def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a text, without the tokens a tokenizer would put around it."""
    return cast(list[int], tokenizer(text, add_special_tokens=False)["input_ids"])


def end_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that ends an answer, where the tokenizer has one."""
    return cast("int | None", tokenizer.eos_token_id)


def render(tokenizer: PreTrainedTokenizerBase, text: str, tokens_per_vector: int) -> Prompt:
    """The prompt through the tokenizer's chat template where it has one, else a line of its own.

    Each stretch of text between slots is tokenized by itself, so a slot never changes its neighbours.

    Raises:
        PromptError: as `slot_names`; or a chat template that repeats or drops the prompt.
    """
    pieces = _pieces(text)
    names = [name for _, name in pieces if name is not None]
    marked = "".join(literal + (f"{_OPEN}{_CLOSE}" if name is not None else "") for literal, name in pieces)
    if tokenizer.chat_template:
        message = [{"role": "user", "content": marked}]
        whole = str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
        ids: list[int] = []
    else:
        whole = f"{marked}\n"
        ids = [] if tokenizer.bos_token_id is None else [cast(int, tokenizer.bos_token_id)]
    stretches = whole.split(f"{_OPEN}{_CLOSE}")
    if len(stretches) != len(names) + 1:
        raise PromptError(f"The chat template shows {len(stretches) - 1} slots where the prompt has {len(names)}.")
    starts: list[int] = []
    for number, stretch in enumerate(stretches):
        ids += token_ids(tokenizer, stretch) if stretch else []
        if number < len(names):
            starts.append(len(ids))
            ids += [0] * tokens_per_vector
    return Prompt(tuple(ids), tuple(names), tuple(starts))


def _pieces(text: str) -> list[tuple[str, str | None]]:
    if _OPEN in text or _CLOSE in text:
        raise PromptError("A prompt may not hold the private-use characters U+E000 and U+E001.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise PromptError("The prompt is not valid Unicode: it holds half of a surrogate pair. Pass it as UTF-8 text.")
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise PromptError(f"Braces of the prompt do not match ({error}). Write {{{{ for a literal brace.") from error
    for _, name, spec, conversion in parsed:
        if name is not None and (not name.isidentifier() or spec or conversion):
            raise PromptError(f"{{{name}}} is not a slot: a slot is a plain name, as in 'Describe {{film}}'.")
    return [(literal, name) for literal, name, _, _ in parsed]
