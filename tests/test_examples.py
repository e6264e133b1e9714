"""Examples of a space of four films, written out by hand."""

import numpy as np
import pytest
from tiny import vectors

from vecspeak.errors import PointError, TaskError
from vecspeak.examples import make_examples, partner_pairs
from vecspeak.space import Space
from vecspeak.tasks import parse_tasks

IDS = ["1", "2", "3", "4"]

TASKS = parse_tasks(
    """
    [[task]]
    name = "summary"
    slots = ["film"]
    target = "{summary}"
    prompts = ["Summarise {film}.", "What happens in {film}?"]

    [[task]]
    name = "compare"
    slots = ["x", "y"]
    target = "{summary} / {y.summary}"
    prompts = ["Compare {x} with {y}."]
    """,
    origin="test",
)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    columns = {"summary": ["One.", "Two.", None, "Four."], "partner": ["2", "4", "1", None]}
    folder = tmp_path_factory.mktemp("space") / "s"
    return Space.create(folder, ids=IDS, vectors=vectors(4), columns=columns, name="films")


def told(examples):
    return [(e.task, e.prompt, e.target, e.ids) for e in examples]


def test_every_task_for_every_entity_with_its_text(space):
    examples = make_examples(space, TASKS, ids=IDS)
    assert told(examples) == [
        ("summary", "Summarise {film}.", "One.", ("1",)),
        ("summary", "What happens in {film}?", "Two.", ("2",)),
        ("summary", "What happens in {film}?", "Four.", ("4",)),
    ]
    for example in examples:
        assert list(example.points) == ["film"]
        assert np.array_equal(example.points["film"], space[example.ids[0]].vector)


def test_two_slot_tasks_take_the_pairs_and_points_go_by_slot(space):
    (pair,) = make_examples(space, {"compare": TASKS["compare"]}, ids=IDS, pairs=[("4", "2")])
    assert (pair.target, pair.ids) == ("Four. / Two.", ("4", "2"))
    assert np.array_equal(pair.points["x"], space["4"].vector)
    assert np.array_equal(pair.points["y"], space["2"].vector)


def test_a_pair_never_crosses_a_split(space):
    pairs = [("1", "2"), ("2", "4"), ("4", "1")]
    examples = make_examples(space, {"compare": TASKS["compare"]}, ids=["1", "2"], pairs=pairs)
    assert [example.ids for example in examples] == [("1", "2")]


def test_a_pair_of_which_one_lacks_its_text_gives_none(space):
    assert make_examples(space, {"compare": TASKS["compare"]}, ids=IDS, pairs=[("1", "3")]) == []


def test_unknown_ids_are_refused(space):
    with pytest.raises(PointError, match="no entity '9'"):
        make_examples(space, TASKS, ids=["9"])


def test_partners_come_from_the_column_where_there_is_one(space):
    assert partner_pairs(space) == [("1", "2"), ("2", "4"), ("3", "1")]
    assert partner_pairs(space, "sequel") == []


def test_a_task_of_three_slots_is_refused(space: Space) -> None:
    tasks = parse_tasks(
        '[[task]]\nname = "three"\nslots = ["a", "b", "c"]\ntarget = "{summary}"\nprompts = ["{a} {b} {c}"]',
        origin="test",
    )
    with pytest.raises(TaskError, match="3 slots"):
        make_examples(space, tasks, ids=IDS)
