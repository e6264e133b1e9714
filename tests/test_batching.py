"""Batches against rows written out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import E, tokenizer, vectors

from vecspeak.batching import asking_batch, target_ids, training_batch
from vecspeak.examples import Example
from vecspeak.prompts import Prompt, render

END = 1


def example(prompt: str, target: str, **points: np.ndarray) -> Example:
    return Example("task", prompt, points, target, ())


def ids_of(text: str) -> list[int]:
    return tokenizer()(text, add_special_tokens=False)["input_ids"]


def test_training_pads_on_the_right_and_marks_the_targets():
    a, b, c = vectors(3)
    examples = [
        example("{x}!", "one", x=a),
        example("Say {x} and {y}", "the other", x=b, y=c),
        example("Hm", ""),
    ]
    batch = training_batch(examples, tokenizer(), tokens_per_vector=2, max_target_tokens=50)

    user, assistant = ids_of("<|user|>"), ids_of("<|assistant|>")
    prompts = [
        [*user, 0, 0, *ids_of("!"), *assistant],
        [*ids_of("<|user|>Say "), 0, 0, *ids_of(" and "), 0, 0, *assistant],
        [*ids_of("<|user|>Hm<|assistant|>")],
    ]
    targets = [[*ids_of("one"), END], [*ids_of("the other"), END], [END]]
    width = max(len(prompt) + len(target) for prompt, target in zip(prompts, targets, strict=True))
    for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
        padding = width - len(prompt) - len(target)
        assert batch.ids_BT[row].tolist() == [*prompt, *target, *[0] * padding]
        assert batch.mask_BT[row].tolist() == [1] * (width - padding) + [0] * padding
        assert batch.target_BT[row].tolist() == [False] * len(prompt) + [True] * len(target) + [False] * padding
    assert batch.rows_S.tolist() == [0, 1, 1]
    second = len(ids_of("<|user|>Say ")) + 2 + len(ids_of(" and "))
    assert batch.starts_S.tolist() == [1, len(ids_of("<|user|>Say ")), second]
    assert torch.equal(batch.points_SE, torch.tensor(np.stack([a, b, c])))


def test_asking_pads_on_the_left_and_shifts_the_slots():
    prompts = [Prompt((7, 0, 8), ("x",), (1,)), Prompt((5, 6, 0, 9, 0), ("y", "x"), (2, 4))]
    a, b, c = vectors(3)
    batch = asking_batch(prompts, [{"x": a}, {"x": b, "y": c}])
    assert batch.ids_BT.tolist() == [[0, 0, 7, 0, 8], [5, 6, 0, 9, 0]]
    assert batch.mask_BT.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert batch.starts_S.tolist() == [3, 2, 4]
    assert batch.rows_S.tolist() == [0, 1, 1]
    assert torch.equal(batch.points_SE, torch.tensor(np.stack([a, c, b])))
    assert not batch.target_BT.any()


def test_a_name_that_comes_twice_takes_its_point_twice():
    (a,) = vectors(1)
    batch = training_batch([example("{x} and {x}", "t", x=a)], tokenizer(), tokens_per_vector=1, max_target_tokens=9)
    assert torch.equal(batch.points_SE, torch.tensor(np.stack([a, a])))
    assert len(set(batch.starts_S.tolist())) == 2


def test_points_become_float32():
    batch = asking_batch([Prompt((0,), ("x",), (0,))], [{"x": np.arange(E, dtype=np.float64)}])
    assert batch.points_SE.dtype == torch.float32


def test_no_slots_are_no_points():
    batch = training_batch([example("Hm", "the")], tokenizer(), tokens_per_vector=1, max_target_tokens=9)
    assert len(batch.points_SE) == len(batch.rows_S) == len(batch.starts_S) == 0


@pytest.mark.parametrize("chat", [True, False])
def test_a_target_ends_unless_it_was_cut(chat):
    ids = ids_of("the other film")
    assert target_ids(tokenizer(chat=chat), "the other film", max_tokens=len(ids)) == [*ids, END]
    assert target_ids(tokenizer(chat=chat), "the other film", max_tokens=len(ids) - 1) == ids[:-1]
    assert target_ids(tokenizer(chat=chat), "", max_tokens=5) == [END]


@given(texts=st.lists(st.tuples(st.text("ab ", max_size=9), st.text("the ", max_size=9)),
                      min_size=1, max_size=5))  # fmt: skip
def test_every_row_holds_its_prompt_and_target_whatever_is_beside_it(texts):
    (a,) = vectors(1)
    examples = [example(f"{before}{{x}}", target, x=a) for before, target in texts]
    batch = training_batch(examples, tokenizer(), tokens_per_vector=1, max_target_tokens=4)
    for row, made in enumerate(examples):
        prompt = render(tokenizer(), made.prompt, 1)
        whole = [*prompt.ids, *target_ids(tokenizer(), made.target, max_tokens=4)]
        assert batch.ids_BT[row][batch.mask_BT[row] == 1].tolist() == whole
        assert batch.ids_BT[row][batch.target_BT[row]].tolist() == whole[len(prompt.ids) :]
        assert batch.starts_S[row] == prompt.starts[0]
