"""Rendering: slots land where the text has them, and change nothing around them."""

import copy
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiny import tokenizer

from vecspeak.errors import PromptError
from vecspeak.prompts import Prompt, render, slot_names

ANY_TEXT = st.text(st.characters()) | st.text(st.sampled_from("{}x!:[.0 \n\\<|end|>"))
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="{}\ue000\ue001"), max_size=12)


def ids_of(text: str) -> list[int]:
    return tokenizer()(text, add_special_tokens=False)["input_ids"] if text else []


@pytest.mark.parametrize("chat", [True, False])
@given(text=ANY_TEXT, tokens_per_vector=st.integers(1, 3))
@example(text="{x", tokens_per_vector=1)
@example(text="a lone surrogate \ud800", tokens_per_vector=1)
@example(text="{film\ue000}", tokens_per_vector=1)
def test_any_text_renders_or_is_refused_as_a_prompt(chat, text, tokens_per_vector):
    try:
        names = slot_names(text)
        prompt = render(tokenizer(chat=chat), text, tokens_per_vector)
    except PromptError as error:
        assert str(error)
        return
    assert prompt.slots == names
    ends = [start + tokens_per_vector for start in prompt.starts]
    assert all(end <= start for end, start in zip(ends, prompt.starts[1:], strict=False))
    assert all(
        prompt.ids[start:end] == (0,) * tokens_per_vector for start, end in zip(prompt.starts, ends, strict=True)
    )
    assert not ends or ends[-1] <= len(prompt.ids)


@pytest.mark.parametrize("chat", [True, False])
@given(literals=st.lists(PLAIN, min_size=1, max_size=4), tokens_per_vector=st.integers(1, 4))
def test_ids_and_positions_are_those_of_the_stretches_by_themselves(chat, literals, tokens_per_vector):
    names = [f"slot{number}" for number in range(len(literals) - 1)]
    text = literals[0] + "".join(f"{{{name}}}{literal}" for name, literal in zip(names, literals[1:], strict=True))
    before, after = ("<|user|>", "<|assistant|>") if chat else ("", "\n")
    begin = [] if chat else [tokenizer(chat=False).bos_token_id]

    stretches = [before + literals[0], *literals[1:]]
    stretches[-1] += after
    ids, starts = [*begin, *ids_of(stretches[0])], []
    for stretch in stretches[1:]:
        starts.append(len(ids))
        ids += [0] * tokens_per_vector + ids_of(stretch)

    expected = Prompt(tuple(ids), tuple(names), tuple(starts))
    assert render(tokenizer(chat=chat), text, tokens_per_vector) == expected


@pytest.mark.parametrize("text", ["What would a viewer say about {x}?", "{x}{y}", "Compare {x} with {y} and {x}."])
def test_names_and_widths_of_slots_leave_the_other_tokens_alone(text):
    def around(prompt: Prompt, width: int) -> list[int]:
        soft = {start + step for start in prompt.starts for step in range(width)}
        return [token for position, token in enumerate(prompt.ids) if position not in soft]

    one, three = (render(tokenizer(), text, width) for width in (1, 3))
    assert around(one, 1) == around(three, 3)
    other = render(tokenizer(), text.replace("x", "a_longer_name"), 1)
    assert (other.ids, other.starts) == (one.ids, one.starts)
    assert other.slots == tuple("a_longer_name" if name == "x" else name for name in one.slots)


def test_doubled_braces_are_literal():
    assert slot_names("{{not}} {film} {{{x}}}") == ("film", "x")
    prompt = render(tokenizer(chat=False), "{{not}} {film}", 1)
    assert tokenizer().decode(prompt.ids[1 : prompt.starts[0]]) == "{not} "


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("Describe {film.", "do not match"),
        ("Describe film}.", "do not match"),
        ("Describe {}.", "{} is not a slot"),
        ("Describe {0}.", "{0} is not a slot"),
        ("Describe {the film}.", "{the film} is not a slot"),
        ("Describe {film.title}.", "{film.title} is not a slot"),
        ("Describe {film!r}.", "{film} is not a slot"),
        ("Describe {film:>9}.", "{film} is not a slot"),
        ("Describe \ue000\ue001.", "private-use"),
        ("Describe \udcff {film}.", "not valid Unicode"),
    ],
)
def test_refused_prompts_say_why(text, match):
    with pytest.raises(PromptError, match=re.escape(match)):
        render(tokenizer(), text, 1)


@pytest.mark.parametrize("template", ["{{ messages[0]['content'] * 2 }}", "Hello."])
def test_a_template_that_repeats_or_drops_the_prompt_is_refused(template):
    odd = copy.copy(tokenizer())
    odd.chat_template = template
    with pytest.raises(PromptError, match=r"chat template shows [02] slots where the prompt has 1"):
        render(odd, "Describe {film}.", 1)
