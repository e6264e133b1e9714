"""Prompts with slots become token ids and slot positions. The only place that knows a chat template.

Training and asking both come through here, so they cannot differ. One question is a conversation of one turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Literal, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from vecspeak.errors import PromptError

# Private-use characters: no template, tokenizer or user text holds them by accident.
_OPEN, _CLOSE = "\ue000", "\ue001"

LINES = "{{ bos_token }}{% for message in messages %}{{ message['content'] + '\n' }}{% endfor %}"
"""The chat template of a base that has none, for programs that insist on one: a turn is a line."""

_KEPT = 2_000
"""Characters of the longest text whose ids are kept: training repeats its prompts, a long text comes once."""


@dataclass(frozen=True)
class Turn:
    """What one side said in a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str
    """May hold slots, as any prompt; `{{` is a literal brace."""


Conversation = str | tuple[Turn, ...]
"""One question, or a conversation whose last turn is the user's."""


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt: `ids` with room for the soft tokens of each slot."""

    ids: tuple[int, ...]
    """Token ids; positions of soft tokens hold 0 and are overwritten."""
    slots: tuple[str, ...]
    """Slot names in order of appearance; a name may come twice."""
    starts: tuple[int, ...]
    """First position of each slot, `tokens_per_vector` positions long."""


def slot_names(asked: Conversation) -> tuple[str, ...]:
    """Names in braces, in order: `"Compare {x} and {y}"` -> `("x", "y")`. `{{` is a literal brace.

    Raises:
        PromptError: unbalanced braces, a slot that is not a plain name, or text that is not valid Unicode.
    """
    return tuple(name for turn in _turns(asked) for _, name in _pieces(turn.text) if name is not None)


def the_slot(text: str) -> str:
    """The name of a prompt's one slot. Raises PromptError where it has none or several, or as `slot_names`."""
    names = set(slot_names(text))
    if len(names) != 1:
        raise PromptError(f"The prompt {text!r} needs one slot, as in 'Describe {{x}}.'")
    return names.pop()


def literal(text: str) -> str:
    """The prompt that says this text as it stands: its braces name no slots."""
    return text.replace("{", "{{").replace("}", "}}")


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a text, without the tokens a tokenizer would put around it."""
    return _kept_ids(tokenizer, text) if len(text) <= _KEPT else _ids(tokenizer, text)


def end_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that ends an answer, where the tokenizer has one."""
    return cast("int | None", tokenizer.eos_token_id)


def render(tokenizer: PreTrainedTokenizerBase, asked: Conversation, tokens_per_vector: int) -> Prompt:
    """The turns through the tokenizer's chat template where it has one, else each as a line of its own.

    Each stretch of text between slots is tokenized by itself, so a slot never changes its neighbours.

    Raises:
        PromptError: as `slot_names`; no turn, or a last turn that is not the user's; a chat template that repeats or
            drops a slot, or refuses the order of the turns.
    """
    turns = _turns(asked)
    if not turns or turns[-1].role != "user":
        raise PromptError("A conversation ends with what the user asks: its last turn needs the role 'user'.")
    names = slot_names(asked)
    marked = [
        Turn(turn.role, "".join(said + ("" if name is None else _OPEN + _CLOSE) for said, name in _pieces(turn.text)))
        for turn in turns
    ]
    stretches = _whole(tokenizer, marked).split(_OPEN + _CLOSE)
    if len(stretches) != len(names) + 1:
        raise PromptError(f"The chat template shows {len(stretches) - 1} slots where the prompt has {len(names)}.")
    begins = not tokenizer.chat_template and tokenizer.bos_token_id is not None
    ids: list[int] = [cast(int, tokenizer.bos_token_id)] if begins else []
    starts: list[int] = []
    for number, stretch in enumerate(stretches):
        ids += token_ids(tokenizer, stretch) if stretch else []
        if number < len(names):
            starts.append(len(ids))
            ids += [0] * tokens_per_vector
    return Prompt(tuple(ids), names, tuple(starts))


def _whole(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn]) -> str:
    """The text that the base reads, up to where it answers."""
    if not tokenizer.chat_template:
        return "".join(f"{turn.text}\n" for turn in turns)  # as LINES says it
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:  # templates raise it for roles and orders that the base has not learnt
        raise PromptError(f"The base's chat template refuses this conversation: {error}") from error


def _turns(asked: Conversation) -> tuple[Turn, ...]:
    return (Turn("user", asked),) if isinstance(asked, str) else asked


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return cast(list[int], tokenizer(text, add_special_tokens=False)["input_ids"])


_kept_ids = lru_cache(maxsize=4096)(_ids)


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
    return [(said, name) for said, name, _, _ in parsed]
