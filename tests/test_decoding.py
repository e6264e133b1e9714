"""Decoding on random bases of eight kinds against the plainest oracle: full forward passes, one row, no cache."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from tiny import CONFIGS, V, base
from transformers import AutoModelForCausalLM, Qwen3NextConfig

from vecspeak import decoding
from vecspeak.decoding import PLAUSIBLE, Decoder, Decoding, Row, Token, run
from vecspeak.errors import ConfigError
from vecspeak.keyvalues import keeps_only_attention, shared_columns

LONG = 10
"""Tokens generated: prompts and answers together exceed the sliding windows."""


@cache
def base_of(kind: str):
    return base(kind)


@pytest.fixture(params=list(CONFIGS))
def model(request):
    return base_of(request.param)


def prompt_ids(length: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randint(5, V, (length,), generator=torch.Generator().manual_seed(seed))


def embedded(model, ids_T: torch.Tensor) -> torch.Tensor:
    return model.get_input_embeddings()(ids_T)


def rows_of(model, prompts, *, seeds=None, unguided=None, **options) -> dict[int, Row]:
    seeds = list(range(len(prompts))) if seeds is None else seeds
    decoding = Decoding(**{"max_tokens": LONG, **options})
    means = [None] * len(prompts) if unguided is None else [embedded(model, ids) for ids in unguided]
    return {
        i: Row(embedded(model, ids), decoding, seed, mean)
        for i, (ids, seed, mean) in enumerate(zip(prompts, seeds, means, strict=True))
    }


def decoded(model, rows, *, at_once=100, end_token=None) -> list[list[int]]:
    written = dict(run(Decoder(model, end_token=end_token), rows.items(), at_once=at_once))
    return [written[i] for i in range(len(rows))]


def answers(model, prompts, *, end_token=None, **options) -> list[list[int]]:
    """Token ids of each row, by the code under test."""
    return decoded(model, rows_of(model, prompts, **options), end_token=end_token)


@torch.no_grad()
def next_logits(model, ids: list[int]) -> torch.Tensor:
    """(V,) logits after the ids: no cache, no padding, no mask, no positions given."""
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]


@torch.no_grad()
def naive(model, prompt: torch.Tensor, *, ends: set[int], unguided: torch.Tensor | None = None, guidance: float = 0.0):
    """Greedy answer, and the smallest lead of a chosen token, which says how far the case is from a tie."""
    answer: list[int] = []
    lead = float("inf")
    while len(answer) < LONG:
        logits = next_logits(model, [*prompt.tolist(), *answer])
        if unguided is not None:
            mean = next_logits(model, [*unguided.tolist(), *answer])
            plausible = torch.softmax(logits, 0) >= PLAUSIBLE * torch.softmax(logits, 0).max()
            logits = torch.where(plausible, (1 + guidance) * logits - guidance * mean, -1e9)
        first, second = logits.topk(2).values.tolist()
        lead = min(lead, first - second)
        token = int(logits.argmax())
        if token in ends:
            break
        answer.append(token)
    return answer, lead


@pytest.fixture
def ends(model, monkeypatch):
    """Every fourth token ends an answer, so that rows finish at different times."""
    monkeypatch.setattr(model.generation_config, "eos_token_id", list(range(1, V, 4)))
    return set(range(1, V, 4))


def test_embeddings_of_tokens_are_the_tokens(model):
    """What makes injection possible on any base: both ways in give the same logits."""
    ids_BT = prompt_ids(24).reshape(2, 12)
    with torch.no_grad():
        torch.testing.assert_close(model(inputs_embeds=embedded(model, ids_BT)).logits, model(ids_BT).logits)


def test_greedy_with_cache_is_the_loop_without(model, ends):
    for seed in range(3):
        prompt = prompt_ids(9, seed=seed)
        expected, lead = naive(model, prompt, ends=ends)
        assert lead > 1e-3, "the case is too near a tie to compare"
        assert answers(model, [prompt]) == [expected]


def test_guidance_is_the_formula_from_two_forward_passes(model, ends):
    changed = 0
    for seed in range(3):
        prompt, mean = prompt_ids(9, seed=seed), prompt_ids(9, seed=seed)
        mean[4] = 7  # the prompts differ in the slot alone
        expected, lead = naive(model, prompt, ends=ends, unguided=mean, guidance=2.0)
        assert lead > 1e-3, "the case is too near a tie to compare"
        assert answers(model, [prompt], unguided=[mean], guidance=2.0) == [expected]
        changed += expected != answers(model, [prompt])[0]
    assert changed, "guidance should matter in some case"


OPTIONS = {
    "greedy": {},
    "sampled": {"temperature": 1.0},
    "nucleus": {"temperature": 1.5, "top_p": 0.7},
    "guided": {"guidance": 1.5},
    "guided and sampled": {"temperature": 1.0, "guidance": 1.5},
    "penalised": {"frequency_penalty": 0.7},
    "guided and penalised": {"frequency_penalty": 0.7, "guidance": 1.5},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_rows_of_a_batch_are_those_alone(model, ends, options):
    prompts = [prompt_ids(length, seed=length) for length in (3, 14, 9, 1, 6, 12)]
    means = [torch.full_like(prompt, 9) for prompt in prompts] if "guidance" in options else None
    together = answers(model, prompts, unguided=means, seeds=[3, 4, 5, 6, 7, 8], **options)
    alone = [
        answers(model, [prompt], unguided=means and [means[row]], seeds=[row + 3], **options)[0]
        for row, prompt in enumerate(prompts)
    ]
    assert together == alone
    assert len({len(row) for row in together}) > 1, "rows should finish at different times"


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_rows_that_join_later_are_those_alone(model, ends, options):
    """Three run at once, of ten: the others join as these end."""
    prompts = [prompt_ids(length, seed=length) for length in (3, 14, 9, 1, 6, 12, 2, 8, 5, 11)]
    means = [torch.full_like(prompt, 9) for prompt in prompts] if "guidance" in options else None
    rows = rows_of(model, prompts, unguided=means, **options)
    alone = [decoded(model, {0: row})[0] for row in rows.values()]
    assert decoded(model, rows, at_once=3) == alone
    assert len({len(answer) for answer in alone}) > 1, "rows should finish at different times"


@pytest.mark.parametrize("options", [{}, {"guidance": 1.5}], ids=["greedy", "guided"])
def test_rows_take_the_lanes_of_ended_ones_in_place(model, ends, options, monkeypatch):
    prompts = [prompt_ids(length, seed=length) for length in (7, 9, 8, 6, 7, 5, 8, 7, 6, 9)]
    means = [torch.full_like(prompt, 9) for prompt in prompts] if options else None
    rows = rows_of(model, prompts, unguided=means, **options)
    alone = [decoded(model, {0: row})[0] for row in rows.values()]
    replaced = []
    in_place = decoding._Batch.replace
    monkeypatch.setattr(decoding._Batch, "replace", lambda *both: replaced.append(in_place(*both)) or replaced[-1])
    assert decoded(model, rows, at_once=4) == alone
    assert any(replaced)


def mixed_rows(model) -> dict[int, Row]:
    """Every row with a decoding of its own."""
    return {
        i: replace(rows_of(model, [prompt_ids(4 + i, seed=i)], seeds=[i], unguided=[prompt_ids(4 + i)], **options)[0])
        for i, options in enumerate([*OPTIONS.values(), {"max_tokens": 3}, {"max_tokens": 14}])
    }


def test_every_row_has_its_own_decoding(model, ends):
    rows = mixed_rows(model)
    alone = [decoded(model, {0: row})[0] for row in rows.values()]
    assert decoded(model, rows) == alone
    assert decoded(model, rows, at_once=2) == alone


def test_a_row_that_is_dropped_leaves_the_others_alone(model, ends):
    rows = mixed_rows(model)
    alone = [decoded(model, {0: row})[0] for row in rows.values()]
    decoder, written = Decoder(model, end_token=None), {key: [] for key in rows}
    decoder.add(rows)
    for step in range(20):
        decoder.drop({3, "nobody"} if step == 2 else {5} if step == 4 else ())
        for key, token in decoder.step().items():
            written[key] += [] if token.id is None else [token.id]
    assert len(decoder) == 0
    for key, answer in enumerate(alone):
        assert written[key] == (answer[:2] if key == 3 else answer[:4] if key == 5 else answer)


def test_a_row_may_be_dropped_before_it_runs():
    model = base_of("llama")
    decoder = Decoder(model, end_token=None)
    decoder.add(rows_of(model, [prompt_ids(4), prompt_ids(5)]))
    decoder.drop({0})
    assert len(decoder) == 1
    assert set(decoder.step()) == {1}
    decoder.drop({1})
    assert (len(decoder), decoder.step()) == (0, {})


@pytest.mark.parametrize("guided", [False, True])
def test_a_shared_prefix_and_a_shared_prompt_change_nothing(model, ends, guided):
    """Long prompts that differ near their end, as those of one task, and samples of one prompt."""
    start = prompt_ids(40, seed=1)
    prompts = [torch.cat([start, prompt_ids(3, seed=seed)]) for seed in range(2, 6)]
    options = {"guidance": 1.5, "unguided": [torch.cat([start, prompt_ids(3, seed=9)])] * 4} if guided else {}
    rows = rows_of(model, prompts, temperature=1.0, **options)
    rows |= {4 + seed: replace(rows[0], seed=seed) for seed in range(3)}
    assert shared_columns(torch.stack([row.embeds_TD for row in rows.values()])) == 40
    assert decoded(model, rows) == [decoded(model, {0: row})[0] for row in rows.values()]


def test_shared_columns_leave_one_to_give_logits():
    same = torch.ones(3, 5, 2)
    assert shared_columns(same) == 4
    same[1, 2, 0] = 0
    assert shared_columns(same) == 2
    assert shared_columns(same[:, :1]) == 0


def test_why_a_row_ended(monkeypatch):
    model, prompt = base_of("llama"), prompt_ids(8)
    (free,) = answers(model, [prompt])
    for rows, end_token, expected in (
        (rows_of(model, [prompt], max_tokens=2), None, [Token(free[0], None), Token(free[1], "length")]),
        (rows_of(model, [prompt]), free[0], [Token(None, "stop")]),
    ):
        decoder = Decoder(model, end_token=end_token)
        decoder.add(rows)
        assert [decoder.step()[0] for _ in expected] == expected
        assert len(decoder) == 0


def test_columns_that_only_ended_rows_used_are_freed():
    model = base_of("llama")
    decoder = Decoder(model, end_token=None)
    decoder.add(rows_of(model, [prompt_ids(60)], max_tokens=1))
    decoder.add({1: rows_of(model, [prompt_ids(5)], max_tokens=4)[0], 2: rows_of(model, [prompt_ids(9)])[0]})
    decoder.step()
    assert decoder._batches[0].cache.get_seq_length() == 9


def test_a_base_with_recurrent_layers_answers_row_by_row():
    """Its states cannot be padded or cut to columns."""
    torch.manual_seed(0)
    config = Qwen3NextConfig(
        vocab_size=V, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=48, layer_types=["linear_attention", "full_attention"], linear_num_value_heads=2,
        linear_num_key_heads=2, linear_key_head_dim=8, linear_value_head_dim=8, num_experts=2, num_experts_per_tok=1,
        moe_intermediate_size=16, shared_expert_intermediate_size=16, pad_token_id=0, eos_token_id=1,
        initializer_range=0.3,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    prompts = [prompt_ids(length, seed=length) for length in (9, 4)]
    assert not keeps_only_attention(config)
    assert answers(model, prompts) == [naive(model, prompt, ends={1})[0] for prompt in prompts]


def test_a_guidance_of_zero_is_off():
    model, prompt = base_of("llama"), prompt_ids(8)
    off = answers(model, [prompt])
    assert answers(model, [prompt], guidance=0.0, unguided=[prompt_ids(8, seed=1)]) == off
    assert answers(model, [prompt], guidance=1e-9, unguided=[prompt_ids(8, seed=1)]) == off


def test_guidance_by_the_same_prompt_changes_nothing():
    model, prompt = base_of("llama"), prompt_ids(8)
    assert answers(model, [prompt], guidance=5.0, unguided=[prompt]) == answers(model, [prompt])


@pytest.mark.parametrize("penalty", [0.3, 2.0, -0.5])
def test_a_token_loses_the_penalty_for_each_time_it_was_written(penalty):
    model = base_of("gpt2")
    changed = 0
    for seed in range(4):
        prompt, expected = prompt_ids(6, seed=seed), []
        while len(expected) < 40:
            logits_V = next_logits(model, [*prompt.tolist(), *expected])
            for token in expected:
                logits_V[token] -= penalty
            expected.append(int(logits_V.argmax()))
        assert answers(model, [prompt], max_tokens=40, frequency_penalty=penalty) == [expected]
        changed += expected != answers(model, [prompt], max_tokens=40)[0]
    assert changed, "a random base repeats itself in some case"


def test_guidance_chooses_among_what_is_plausible_after_the_penalty():
    """The penalty comes off both sides, so it is taken once, not once more for every unit of guidance."""
    model, prompt, mean = base_of("llama"), prompt_ids(8), prompt_ids(8, seed=1)
    expected: list[int] = []
    for _ in range(20):
        right_V, mean_V = (next_logits(model, [*p.tolist(), *expected]) for p in (prompt, mean))
        for token in expected:
            right_V[token] -= 0.8
            mean_V[token] -= 0.8
        guided_V = right_V + 2.0 * (right_V - mean_V)
        guided_V[right_V < right_V.max() + np.log(0.1)] = -np.inf
        expected.append(int(guided_V.argmax()))
    assert answers(model, [prompt], unguided=[mean], guidance=2.0, frequency_penalty=0.8, max_tokens=20) == [expected]


def test_equal_seeds_draw_equal_answers():
    model, prompt = base_of("llama"), prompt_ids(8)
    first, again, other = answers(model, [prompt] * 3, seeds=[5, 5, 6], temperature=1.0)
    assert first == again != other
    assert answers(model, [prompt], seeds=[5], temperature=1.0) == [first]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6), (2.0, 0.25), (1.0, 1e-6)])
def test_drawn_tokens_follow_the_nucleus(temperature, top_p):
    model, prompt, draws = base_of("llama"), prompt_ids(6), 3000
    drawn = answers(model, [prompt] * draws, temperature=temperature, top_p=top_p, max_tokens=1)
    found = np.bincount([row[0] for row in drawn if row], minlength=V)
    found[1] = draws - found.sum()  # the end token

    p_V = torch.softmax(next_logits(model, prompt.tolist()).double() / temperature, 0).numpy()
    nucleus, mass = set(), 0.0
    for token in np.argsort(-p_V):
        if mass < top_p:
            nucleus.add(int(token))
        mass += p_V[token]
    kept_V = np.where(np.isin(np.arange(V), list(nucleus)), p_V, 0)
    assert set(np.flatnonzero(found)) <= nucleus
    np.testing.assert_allclose(found / draws, kept_V / kept_V.sum(), atol=0.04)


def test_an_answer_ends_with_the_tokenizers_end_token_or_the_bases(monkeypatch):
    model, prompt = base_of("llama"), prompt_ids(8)
    monkeypatch.setattr(model.generation_config, "eos_token_id", None)
    monkeypatch.setattr(model.config, "eos_token_id", None)
    (free,) = answers(model, [prompt])
    assert len(free) == LONG
    end = next(i for i in range(1, LONG) if free[i] not in free[:i])
    assert answers(model, [prompt], end_token=free[end]) == [free[:end]]
    monkeypatch.setattr(model.config, "eos_token_id", free[end])
    assert answers(model, [prompt]) == [free[:end]]
    monkeypatch.setattr(model.generation_config, "eos_token_id", [free[0], 3])
    assert answers(model, [prompt]) == [[]]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_tokens": 0}, "max_tokens is 0; expected 1 to 4096"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"guidance": -1.0}, "guidance is -1.0"),
        ({"frequency_penalty": -2.1}, "frequency_penalty is -2.1"),
        ({"frequency_penalty": 3}, "frequency_penalty is 3; expected -2 to 2"),
        ({"best_of": 0}, "best_of is 0"),
        ({"best_of": 65}, "best_of is 65"),
        ({"chosen_by": "chance"}, "chosen_by is 'chance'; expected consistency or support"),
    ],
)
def test_values_out_of_range_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        Decoding(**options)


def test_candidates_are_sampled_even_at_temperature_zero():
    assert Decoding().sampling_temperature == 0
    assert Decoding(best_of=2).sampling_temperature == 0.7
    assert Decoding(best_of=2, temperature=1.3).sampling_temperature == 1.3
