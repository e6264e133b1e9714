"""Task files: what is accepted, what is refused and how, and the sets that come with the package."""

import contextlib
import tomllib
from pathlib import Path
from string import ascii_lowercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecspeak.errors import TaskError
from vecspeak.prompts import slot_names
from vecspeak.tasks import BUNDLED, Task, as_text, fields, load_tasks, parse_tasks, pick_task

# arXiv 2310.04475, section 4: the 24 film tasks, in the order of our file
FILM_TASKS = [
    *["summary", "description", "positive_review", "negative_review", "neutral_review"],
    *["five_positive", "five_negative", "improve", "criticize", "pitch"],
    *["convince1", "convince2", "convince3", "dissuade1", "dissuade2"],
    *["funnier", "sadder", "scarier", "viewer", "interpolation"],
    *["similarities", "why_like_nn", "diff_than_nn", "common_with_nn"],
]

VALID = """
[[task]]
name = "describe"
slots = ["x"]
target = "{text}"
prompts = ["Describe {x}."]
"""


def task(**changes: object) -> Task:
    return Task.model_validate(
        {"name": "t", "slots": ["x"], "target": "{text}", "prompts": ["Describe {x}."], **changes}
    )


# --- the sets that come with the package


def test_film_tasks_by_name() -> None:
    assert list(load_tasks("films")) == FILM_TASKS
    assert len(FILM_TASKS) == 24


def test_other_sets_by_name() -> None:
    assert list(load_tasks("user")) == ["user_profile"]
    assert list(load_tasks("general")) == ["describe", "summarise", "compare", "characteristics", "audience"]


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_prompt_renders(name: str) -> None:
    for each in load_tasks(name).values():
        assert len(each.prompts) >= 3, f"{each.name} has too few paraphrases"
        assert len(set(each.prompts)) == len(each.prompts)
        for prompt in each.prompts:
            assert sorted(slot_names(prompt)) == sorted(each.slots)
            rendered = prompt.format(**{slot: f"<{slot}>" for slot in each.slots})
            assert not set("{}") & set(rendered)
            assert all(rendered.count(f"<{slot}>") == 1 for slot in each.slots)


@pytest.mark.parametrize("name", BUNDLED)
def test_no_prompt_serves_two_tasks(name: str) -> None:
    prompts = [prompt for each in load_tasks(name).values() for prompt in each.prompts]
    assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_target_fills(name: str) -> None:
    for each in load_tasks(name).values():
        row = {column: f"{column} text." for column in each.columns}
        text = each.target_text(dict.fromkeys(each.slots, row))
        assert text is not None
        assert all(f"{column} text." in text for column in each.columns)


# --- targets


def test_target_reads_the_first_slot_and_named_slots() -> None:
    compare = task(slots=["x", "y"], target="{text} | {y.text} | {x.text}", prompts=["{x} and {y}"])
    assert compare.columns == ("text",)
    assert compare.target_text({"x": {"text": "one"}, "y": {"text": "two"}}) == "one | two | one"


def test_target_without_its_text_is_none() -> None:
    both = task(target="{a} {b}")
    for row in ({"a": "one"}, {"a": "one", "b": None}, {"a": "one", "b": "  "}, {"a": "one", "b": []}):
        assert both.target_text({"x": row}) is None


def test_text_is_never_read_as_a_template() -> None:
    quoting = task(target="{{literally}} {text}")
    assert quoting.target_text({"x": {"text": "a {b} {{c}} \\1"}}) == "{literally} a {b} {{c}} \\1"


def test_first_sentences() -> None:
    short = task(sentences=2)
    text = 'It rains. "Why?" asks the man! Nobody answers. The end.'
    assert short.target_text({"x": {"text": text}}) == 'It rains. "Why?" asks the man!'
    assert task(sentences=9).target_text({"x": {"text": text}}) == text
    assert task(sentences=1).target_text({"x": {"text": "A 2.5 hour film. Long."}}) == "A 2.5 hour film."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", None),
        (" \n", None),
        (" a ", "a"),
        (1994, "1994"),
        (0, "0"),
        ([], None),
        (["", None], None),
        (["a", " b ", ""], "- a\n- b"),
        (("a",), "- a"),
    ],
)
def test_as_text(value: object, text: str | None) -> None:
    assert as_text(value) == text


@given(st.dictionaries(st.text(ascii_lowercase, min_size=1), st.text(), min_size=1), st.data())
def test_target_is_str_format_over_stripped_columns(row: dict[str, str], data: st.DataObject) -> None:
    columns = data.draw(st.lists(st.sampled_from(sorted(row)), min_size=1))
    literals = data.draw(st.lists(st.text(), min_size=len(columns), max_size=len(columns)))
    escaped = [literal.replace("{", "{{").replace("}", "}}") for literal in literals]
    target = "".join(f"{literal}{{{column}}}" for literal, column in zip(escaped, columns, strict=True))
    stripped = {column: text.strip() for column, text in row.items()}
    expected = target.format(**stripped) if all(stripped[column] for column in columns) else None
    assert task(target=target).target_text({"x": row}) == expected


# --- files


def test_own_file_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(VALID, "utf-8")
    assert load_tasks(path) == load_tasks(str(path)) == parse_tasks(VALID, origin="mine")


def test_unknown_set_lists_the_known() -> None:
    with pytest.raises(TaskError, match=r"No task set 'film'\. Give one of films, user, general, or the path"):
        load_tasks("film")


def test_unknown_task_lists_the_known() -> None:
    with pytest.raises(TaskError, match=r"Unknown task 'nope'\. One of: describe, summarise, compare"):
        pick_task(load_tasks("general"), "nope")
    assert pick_task(load_tasks("general"), "compare").slots == ("x", "y")


def test_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TaskError, match="cannot be read as UTF-8 text"):
        load_tasks(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"mine: expected \[\[task\]\] tables and nothing else, got nothing"),
        ("task = 1", r"expected \[\[task\]\] tables and nothing else, got \['task'\]"),
        (VALID + "[other]", r"got \['other', 'task'\]"),
        ("[[task", "mine is not valid TOML"),
        ("a = " + "9" * 5000, "mine is not valid TOML"),
        ("a = " + "[" * 5000, "mine is not valid TOML"),
        ("task = [1]", "mine, task 1: Input should be a valid dictionary"),
        (VALID + VALID, "mine: two tasks are named 'describe'"),
        (VALID + "colour = 1", "mine, task 1 'describe': colour: Extra inputs are not permitted"),
        (VALID.replace("target", "goal"), "task 1 'describe': target: Field required"),
        (VALID.replace('"describe"', '"De scribe"'), "task 1 'De scribe': name: String should match"),
        (VALID.replace("{x}.", "."), r"prompt 'Describe \.' names the slots \[\], the task has \['x'\]"),
        (VALID.replace("{x}.", "{x} {x}."), r"names the slots \['x', 'x'\], the task has \['x'\]"),
        (VALID.replace("{x}.", "{x!r}."), "expected a plain name"),
        (VALID.replace("{x}.", "{}."), "expected a plain name"),
        (VALID.replace("{x}.", "{x."), "expected '}' before end of string"),
        (VALID.replace('["x"]', '["x", "x"]'), "name one twice"),
        (VALID.replace('["x"]', "[]"), "slots: Tuple should have at least 1 item"),
        (VALID.replace('["x"]', '["x.y"]'), "slots.0: String should match"),
        (VALID.replace("{text}", "text"), "target 'text' names no column"),
        (VALID.replace("{text}", "{y.text}"), r"holds \{y\.text\}, expected \{column\} or \{slot\.column\}"),
        (VALID.replace("{text}", "{x.}"), r"holds \{x\.\}"),
        (VALID + "sentences = 0", "sentences: Input should be greater than or equal to 1"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        parse_tasks(text, origin="mine")


@given(st.text())
def test_any_text_is_a_task_set_or_a_task_error(text: str) -> None:
    with contextlib.suppress(TaskError):
        assert parse_tasks(text, origin="mine")


BRACED = st.lists(st.sampled_from(["{", "}", "x", "y", ".", "!", ":", "[", "0", " ", "\ud800"])).map("".join)


def toml_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(
    slots=st.lists(BRACED | st.just("x"), max_size=2),
    target=BRACED | st.just("{text}"),
    prompt=BRACED | st.just("{x}"),
    name=st.just("t") | BRACED,
)
def test_any_template_is_usable_or_a_task_error(slots: list[str], target: str, prompt: str, name: str) -> None:
    listed = ", ".join(map(toml_string, slots))
    text = f"[[task]]\nname = {toml_string(name)}\nslots = [{listed}]\n"
    text += f"target = {toml_string(target)}\nprompts = [{toml_string(prompt)}]\n"
    try:
        (made,) = parse_tasks(text, origin="mine").values()
    except TaskError:
        return
    assert tomllib.loads(text)["task"][0]["slots"] == list(made.slots)
    assert sorted(slot_names(prompt)) == sorted(made.slots)
    assert made.target_text(dict.fromkeys(made.slots, dict.fromkeys(made.columns, "filled"))) is not None


@given(BRACED)
def test_fields_are_names_or_a_value_error(template: str) -> None:
    try:
        names = fields(template)
    except ValueError:
        return
    assert template.count("{") >= len(names)
    assert all(name.strip() and not set("{}!:") & set(name) for name in names)
