"""Rendering: slots land where the text has them, and change nothing around them."""

import copy
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiny import tokenizer

from vecspeak import prompts
from vecspeak.errors import PromptError
from vecspeak.prompts import Prompt, Turn, literal, render, slot_names, token_ids

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


# ---- conversations

TURNS = st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), ANY_TEXT), max_size=4)


@pytest.mark.parametrize("chat", [True, False])
@given(turns=TURNS)
def test_any_conversation_renders_or_is_refused_as_a_prompt(chat, turns):
    conversation = tuple(Turn(role, text) for role, text in turns)
    try:
        names = slot_names(conversation)
        prompt = render(tokenizer(chat=chat), conversation, 2)
    except PromptError as error:
        assert str(error)
        return
    assert conversation[-1].role == "user"
    assert prompt.slots == names
    assert len(prompt.starts) == len(names)


@pytest.mark.parametrize("chat", [True, False])
@given(text=PLAIN)
def test_one_question_is_a_conversation_of_one_turn(chat, text):
    asked = f"{{x}}{text}"
    assert render(tokenizer(chat=chat), asked, 2) == render(tokenizer(chat=chat), (Turn("user", asked),), 2)


def test_turns_go_through_the_chat_template_and_slots_stand_in_any_of_them():
    turns = (
        Turn("system", "Be brief."),
        Turn("user", "Describe {x}."),
        Turn("assistant", "{y} too"),
        Turn("user", "And {x}?"),
    )
    prompt = render(tokenizer(), turns, 3)
    assert prompt.slots == ("x", "y", "x")
    stretches = ["<|system|>Be brief.<|user|>Describe ", ".<|assistant|>", " too<|user|>And ", "?<|assistant|>"]
    expected, starts = ids_of(stretches[0]), []
    for stretch in stretches[1:]:
        starts.append(len(expected))
        expected += [0] * 3 + ids_of(stretch)
    assert (list(prompt.ids), list(prompt.starts)) == (expected, starts)


def test_without_a_template_every_turn_is_a_line():
    turns = (Turn("user", "Describe {x}."), Turn("assistant", "A story."), Turn("user", "Why?"))
    prompt = render(tokenizer(chat=False), turns, 1)
    assert tokenizer().decode(prompt.ids[prompt.starts[0] + 1 :]) == ".\nA story.\nWhy?\n"


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\ue000\ue001")))
@example(text="{x} {{y}} {")
def test_a_literal_text_has_no_slots_and_stays_as_it_is(text):
    assert slot_names(literal(text)) == ()
    prompt = render(tokenizer(chat=False), literal(text), 1)
    assert list(prompt.ids[1:]) == ids_of(f"{text}\n")


@pytest.mark.parametrize("turns", [(), (Turn("user", "Describe {x}."), Turn("assistant", "A story."))])
def test_a_conversation_ends_with_the_user(turns):
    with pytest.raises(PromptError, match="its last turn needs the role 'user'"):
        render(tokenizer(), turns, 1)


def test_what_a_template_refuses_is_said():
    strict = copy.copy(tokenizer())
    strict.chat_template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    with pytest.raises(PromptError, match="refuses this conversation: no system role"):
        render(strict, (Turn("system", "Be brief."), Turn("user", "Describe {x}.")), 1)


def test_long_texts_are_not_kept():
    """A server reads texts of strangers; thousands of long ones would fill its memory."""
    before = prompts._kept_ids.cache_info().currsize
    for number in range(3):
        assert token_ids(tokenizer(), f"{number}" + "x" * prompts._KEPT)
    assert prompts._kept_ids.cache_info().currsize == before
