"""Elm on random bases of eight kinds: injection, loss, answers, and the errors a user can meet."""

import copy
from functools import cache

import numpy as np
import pytest
import tiny
import torch
from tiny import CONFIGS, WINDOW, E, LetterEncoder, V, tokenizer, vectors

from vecspeak.answers import Question
from vecspeak.batching import target_ids
from vecspeak.bundled import load_bundled
from vecspeak.decoding import Decoder, Decoding, Token
from vecspeak.elm import MAX_TARGET_TOKENS, Elm
from vecspeak.errors import ConfigError, EncoderError, PointError, PromptError
from vecspeak.examples import Example
from vecspeak.prompts import render
from vecspeak.space import Point, Space

A, B, C = vectors(3)


@cache
def elm_of(kind: str, *, tokens_per_vector: int = 1, chat: bool = True) -> Elm:
    return tiny.elm(kind, tokens_per_vector=tokens_per_vector, chat=chat)


@pytest.fixture(params=list(CONFIGS))
def elm(request, monkeypatch):
    """Every kind of base; every fourth token ends an answer, so that answers are of different lengths."""
    elm = elm_of(request.param)
    monkeypatch.setattr(elm.base.generation_config, "eos_token_id", list(range(1, V, 4)))
    return elm


@pytest.fixture
def llama():
    return elm_of("llama")


@pytest.fixture
def judged(monkeypatch):
    """An Elm whose space names an encoder."""
    elm = tiny.elm()
    elm.encoder = LetterEncoder()
    return elm


EXAMPLES = [
    Example("one", "Describe {x}.", {"x": A}, "a quiet film", ("a",)),
    Example("one", "{x}", {"x": B}, "love and war, and the sea: one story", ("b",)),
    Example("two", "Compare {x} with {y}, please.", {"x": B, "y": C}, "both", ("b", "c")),
    Example("none", "Say the word.", {}, "sea", ()),
]


# ---- injection


def by_hand(elm: Elm, example: Example) -> torch.Tensor:
    """(1, T, D) embeddings of a prompt: one token after the other."""
    width = elm.adapter.tokens_per_vector
    prompt = render(elm.tokenizer, example.prompt, width)
    slots = dict(zip(prompt.starts, prompt.slots, strict=True))
    pieces: list[torch.Tensor] = []
    position = 0
    while position < len(prompt.ids):
        if position in slots:
            pieces.append(elm.adapter(torch.tensor(example.points[slots[position]])))
            position += width
        else:
            pieces.append(elm.base.get_input_embeddings()(torch.tensor([prompt.ids[position]])))
            position += 1
    return torch.cat(pieces)[None]


@pytest.mark.parametrize("tokens_per_vector", [1, 3])
@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_soft_tokens_stand_exactly_in_the_slots_and_tokens_elsewhere(kind, tokens_per_vector):
    elm = elm_of(kind, tokens_per_vector=tokens_per_vector)
    batch = elm.training_batch(EXAMPLES)
    embeds = elm.embed(batch)
    for row, example in enumerate(EXAMPLES):
        expected = by_hand(elm, example)
        torch.testing.assert_close(embeds[row, : expected.shape[1]], expected[0], rtol=0, atol=1e-6)
        rest = batch.ids_BT[row, expected.shape[1] :]
        assert torch.equal(embeds[row, expected.shape[1] :], elm.base.get_input_embeddings()(rest))


@torch.no_grad()
def test_without_slots_embeddings_are_as_good_as_ids(elm):
    batch = elm.training_batch([EXAMPLES[3]])
    assert torch.equal(elm.base(inputs_embeds=elm.embed(batch)).logits, elm.base(batch.ids_BT).logits)


# ---- loss


@torch.no_grad()
def naive_losses(elm: Elm, example: Example) -> torch.Tensor:
    """Nats of each target token from all logits of one row."""
    target = torch.tensor(target_ids(elm.tokenizer, example.target, max_tokens=MAX_TARGET_TOKENS))
    embeds = torch.cat([by_hand(elm, example), elm.base.get_input_embeddings()(target)[None]], 1)
    logits = elm.base(inputs_embeds=embeds, use_cache=False).logits[0].double()
    before = logits[-len(target) - 1 : -1]
    return -torch.log_softmax(before, -1)[torch.arange(len(target)), target]


def test_loss_is_that_of_full_logits_row_by_row(elm):
    expected = [naive_losses(elm, example) for example in EXAMPLES]
    np.testing.assert_allclose(elm.loss(EXAMPLES), [row.mean() for row in expected], rtol=1e-4)
    np.testing.assert_allclose(elm.loss(EXAMPLES, batch_size=2), [row.mean() for row in expected], rtol=1e-4)
    with torch.no_grad():
        tokens = elm(elm.training_batch(EXAMPLES))
    np.testing.assert_allclose(tokens, torch.cat(expected), rtol=1e-3)


@pytest.mark.parametrize("chat", [True, False])
def test_loss_with_wide_slots_and_without_a_template(chat):
    elm = elm_of("llama", tokens_per_vector=3, chat=chat)
    expected = [naive_losses(elm, example).mean() for example in EXAMPLES]
    np.testing.assert_allclose(elm.loss(EXAMPLES), expected, rtol=1e-4)


def test_the_loss_of_nothing_is_nothing(llama):
    assert llama.loss([]).shape == (0,)


def test_loss_reaches_the_adapter_and_the_base(llama):
    llama.zero_grad()
    llama(llama.training_batch(EXAMPLES)).mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in llama.adapter.parameters())
    assert llama.base.get_input_embeddings().weight.grad.abs().sum() > 0
    llama.zero_grad()


# ---- answers

QUESTIONS = [
    Question("Describe {x}.", {"x": A}),
    Question("{x}", {"x": B}),
    Question("What kind of viewer would enjoy {x}, and who would love {y}?", {"x": C, "y": A}),
    Question("Compare {x} with {y}.", {"x": C, "y": B}),
    Question("Describe {x}.", {"x": B}),
]


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "top_p": 0.9, "seed": 4, "guidance": 1.0}])
def test_answers_in_a_batch_are_those_alone(elm, options):
    decoding = Decoding(**options, max_tokens=WINDOW + 4)
    together = elm.ask_many(QUESTIONS, decoding=decoding)
    alone = [elm.ask(q.prompt, **options, max_tokens=WINDOW + 4, **q.points) for q in QUESTIONS]
    assert [(a.text, a.tokens) for a in together] == [(a.text, a.tokens) for a in alone]
    assert elm.ask_many(QUESTIONS, decoding=decoding, batch_size=2)[2].text == alone[2].text
    assert len({answer.tokens for answer in together}) > 1, "answers should be of different lengths"


def test_an_answer_is_greedy_from_the_prompt_with_its_soft_tokens(elm):
    with torch.no_grad():
        embeds, ids = by_hand(elm, EXAMPLES[0]), []
        while len(ids) < 5:
            token = int(elm.base(inputs_embeds=embeds, use_cache=False).logits[0, -1].argmax())
            if token % 4 == 1:
                break
            ids.append(token)
            embeds = torch.cat([embeds, elm.base.get_input_embeddings()(torch.tensor([[token]]))], 1)
    answer = elm.ask(EXAMPLES[0].prompt, max_tokens=5, x=A)
    assert answer.text == elm.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert answer.tokens == len(ids)


def test_guidance_pushes_away_from_the_mean_vector(llama):
    mean = llama.fingerprint.mean
    assert llama.ask("{x}", max_tokens=8, guidance=3.0, x=mean).text == llama.ask("{x}", max_tokens=8, x=mean).text
    plain, guided = (llama.ask("{x}", max_tokens=8, guidance=g, x=A).text for g in (0.0, 3.0))
    assert plain != guided


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"temperature": 1.5, "guidance": 1.0}])
def test_streamed_pieces_join_to_the_answer(elm, options):
    for seed in range(2):
        pieces = list(elm.stream("Describe {x}.", max_tokens=14, seed=seed, **options, x=A))
        assert "".join(pieces) == elm.ask("Describe {x}.", max_tokens=14, seed=seed, **options, x=A).text
        assert all(pieces)


def test_a_stream_holds_back_only_what_may_change(llama, monkeypatch):
    text = 'A naïve city - and "love".  \n'
    ids = tokenizer()(text)["input_ids"]
    assert any("\ufffd" in tokenizer().decode([token]) for token in ids), "the accent should be in two tokens"
    steps = iter([*({0: Token(token, None)} for token in ids), {0: Token(None, "stop")}])
    monkeypatch.setattr(Decoder, "step", lambda self: next(steps))
    monkeypatch.setattr(Decoder, "__len__", lambda self: steps.__length_hint__())
    pieces = list(llama.stream("{x}", x=A))
    assert "".join(pieces) == text.strip()
    assert len(pieces) > 6
    assert pieces[-1] == '".'


def test_a_raw_vector_and_a_point_give_the_same_answer(llama):
    raw, point = llama.ask("{x}", max_tokens=6, x=A), llama.ask("{x}", max_tokens=6, x=Point(A, "made"))
    assert raw.text == point.text
    assert (raw.points["x"].label, point.points["x"].label) == ("raw", "made")
    assert (raw.consistency, raw.distance, raw.neighbours, raw.candidates) == (None, None, (), ())


def test_answers_tell_where_their_points_lie(tmp_path):
    columns = {"title": ["Alpha", "Beta", "Gamma", "Delta", "Omega"]}
    space = Space.create(tmp_path / "s", ids=list("abcde"), vectors=vectors(5), columns=columns, name="s")
    elm = tiny.elm(space=space)
    answer = elm.ask("Compare {x} with {y}.", max_tokens=3, x=space["a"], y=space["b"])
    assert answer.prompt == "Compare {x} with {y}."
    assert answer.neighbours == tuple(space.neighbours(space["a"], 3))
    assert answer.distance == max(space["a"].distance, space["b"].distance)
    raw = elm.ask("{x}", max_tokens=3, x=vectors(5)[2])
    assert raw.neighbours[0].id == "c"


# ---- best of


def test_best_of_returns_the_most_consistent_candidate(judged):
    options = {"max_tokens": 8, "temperature": 1.0, "seed": 2}
    point = np.abs(A)
    answer = judged.ask("Describe {x}.", best_of=6, x=point, **options)
    scores = [candidate.consistency for candidate in answer.candidates]
    assert len(scores) == 6
    assert scores == sorted(scores, reverse=True)
    assert (answer.text, answer.consistency) == (answer.candidates[0].text, scores[0])
    for candidate in answer.candidates:
        by_hand = LetterEncoder().encode([candidate.text])[0] @ (point / np.linalg.norm(point))
        assert candidate.consistency == pytest.approx(float(by_hand), abs=1e-6)
    assert len({candidate.text for candidate in answer.candidates}) > 1
    assert judged.ask("Describe {x}.", x=point, **options).text in {c.text for c in answer.candidates}


@torch.no_grad()
def support_by_hand(elm: Elm, prompt: str, vector: np.ndarray, ids: list[int]) -> float:
    """Log-likelihood of the tokens with the vector, less that with the mean vector: one row, full logits."""
    found = []
    for point in (vector, elm.fingerprint.mean):
        start = by_hand(elm, Example("", prompt, {"x": point}, "", ()))
        embeds = torch.cat([start, elm.base.get_input_embeddings()(torch.tensor([ids]))], 1)
        logits_TV = elm.base(inputs_embeds=embeds, use_cache=False).logits[0, start.shape[1] - 1 : -1]
        found.append(torch.log_softmax(logits_TV.double(), -1)[torch.arange(len(ids)), ids].sum().item())
    return found[0] - found[1]


def test_support_is_what_the_point_adds_to_the_likelihood(elm):
    prompts, answers = ["Describe {x}.", "{x}", "Tell me what {x} is about.", "{x}"], [[7, 8, 9], [4], [20, 21], []]
    asked = [elm.check(Question(prompt, {"x": A}), Decoding(max_tokens=3)) for prompt in prompts]
    expected = [support_by_hand(elm, p, A, ids) if ids else 0.0 for p, ids in zip(prompts, answers, strict=True)]
    np.testing.assert_allclose(elm.support(asked, answers), expected, atol=1e-4)
    np.testing.assert_allclose(elm.support(asked, answers, batch_size=1), expected, atol=1e-4)


def test_best_by_support_needs_no_encoder(llama, judged):
    options = {"max_tokens": 8, "temperature": 1.0, "seed": 2, "best_of": 6}
    answer = llama.ask("Describe {x}.", x=A, **options)
    supports = [candidate.support for candidate in answer.candidates]
    assert supports == sorted(supports, reverse=True) and len(set(supports)) > 1
    assert answer.text == answer.candidates[0].text
    assert {candidate.consistency for candidate in answer.candidates} == {None}
    chosen = judged.ask("Describe {x}.", x=A, chosen_by="support", **options)
    other = judged.ask("Describe {x}.", x=A, chosen_by="consistency", **options)
    assert sorted(c.text for c in chosen.candidates) == sorted(c.text for c in other.candidates)
    assert chosen.text == answer.text and chosen.candidates[0].support == max(c.support for c in other.candidates)


def test_consistency_with_two_points_is_the_mean_of_both(judged):
    answer = judged.ask("Compare {x} with {y}.", max_tokens=8, x=3 * A, y=B)
    text_E = LetterEncoder().encode([answer.text])[0]
    assert answer.consistency == pytest.approx((text_E @ A + text_E @ B) / 2, abs=1e-6)
    assert answer.candidates == ()


def test_best_of_in_a_batch_is_best_of_alone(judged):
    decoding = Decoding(max_tokens=6, best_of=3, seed=1)
    together = judged.ask_many(QUESTIONS, decoding=decoding)
    for question, answer in zip(QUESTIONS, together, strict=True):
        alone = judged.ask(question.prompt, max_tokens=6, best_of=3, seed=1, **question.points)
        assert [c.text for c in alone.candidates] == [c.text for c in answer.candidates]


def test_the_models_own_decoding_holds_where_a_question_does_not_say(judged):
    own = {"guidance": 2.0, "frequency_penalty": 1.5, "max_tokens": 9}
    asked = Elm(judged.base, judged.tokenizer, judged.adapter, judged.fingerprint, decoding=Decoding(**own)).eval()
    told = judged.ask("Describe {x}.", x=A, **own).text
    plain = judged.ask("Describe {x}.", x=A, max_tokens=9).text
    assert told != plain
    assert asked.ask("Describe {x}.", x=A).text == told
    assert "".join(asked.stream("Describe {x}.", x=A)).strip() == told
    assert asked.ask("Describe {x}.", x=A, guidance=0, frequency_penalty=0).text == plain


def test_no_questions_no_answers(judged):
    assert judged.ask_many([], decoding=Decoding()) == []


# ---- words


def test_words_are_the_whole_words_nearest_to_the_soft_token(elm):
    film, story = (elm.tokenizer.convert_tokens_to_ids(word) for word in ("Ġfilm", "Ġstory"))
    adapter = copy.deepcopy(elm.adapter)
    odd = Elm(elm.base, elm.tokenizer, adapter, elm.fingerprint)
    with torch.no_grad():
        table_VD = elm.base.get_input_embeddings()(torch.arange(V))
        adapter.fall.weight.zero_()
        adapter.fall.bias.copy_(table_VD[film] + 0.3 * (table_VD[story] - table_VD.mean(0)))
    words = odd.words(A, 3)
    assert words[:1] == ["film"]
    assert len(words) == len(set(words)) == 3
    everything = odd.words(A, 1000)
    assert {"film", "story"} <= set(everything)
    assert not {"one", "another"} & set(everything), "stop words tell nothing"
    assert all(word.isalpha() and len(word) > 2 and word == word.casefold() for word in everything)
    assert "mother" not in everything, "it begins no word"


def test_a_token_that_the_base_goes_on_with_is_no_word(elm, monkeypatch):
    """Of the bundled base: "smugg" is a token, and "smuggler" two."""
    bundled = load_bundled()
    table_VD = bundled.word_table().detach()
    token = bundled.tokenizer.convert_tokens_to_ids("Ġsmugg")
    monkeypatch.setattr(type(bundled.adapter), "forward", lambda self, point: table_VD[[token]])
    words = bundled.words(bundled.space["296"], 5)
    assert bundled._words.nearest(table_VD[[token]], 1) == {"smugg": token}
    assert "smugg" not in words and len(words) == 5


# ---- errors


@pytest.mark.parametrize(
    ("prompt", "points", "error", "match"),
    [
        ("Describe {x}.", {}, PromptError, r"No point for slot \{x\}. Points were given for: none"),
        ("Compare {x}, {y}.", {"x": A}, PromptError, r"No point for slot \{y\}. Points were given for: x"),
        ("Describe {x}.", {"x": A, "film": B}, PromptError, r"no slot \{film\}. Its slots: x"),
        ("Describe it.", {}, PromptError, "has no slot. Name one"),
        ("Describe it.", {"x": A}, PromptError, "has no slot. Name one"),
        ("Describe {x.", {"x": A}, PromptError, "Braces"),
        ("Describe {x}.", {"x": A[:3]}, PointError, r"shape \(3,\); this model reads \(6,\)"),
        ("Describe {x}.", {"x": A[None]}, PointError, r"\{x\}: .* got shape \(1, 6\)"),
        ("Describe {x}.", {"x": None}, PointError, r"\{x\}: .* got shape \(\)"),
        ("Describe {x}.", {"x": Point(A[:3], "short")}, PointError, r"shape \(3,\)"),
        ("Describe {x}.", {"x": [1.0, 2.0, np.nan, 0.0, 0.0, 0.0]}, PointError, r"\{x\}: .* got nan in dimension 2"),
        ("Describe {x}.", {"x": np.full(E, np.inf)}, PointError, r"\{x\}: .* got inf in dimension 0"),
        ("Describe {x}.", {"x": "296"}, PointError, r"\{x\} is the text '296', expected a point"),
    ],
)
def test_questions_that_do_not_fit_are_refused(llama, prompt, points, error, match):
    with pytest.raises(error, match=match):
        llama.ask(prompt, max_tokens=2, **points)
    with pytest.raises(error, match=match):
        list(llama.stream(prompt, max_tokens=2, **points))


def test_one_bad_question_stops_all_before_any_answer(llama, monkeypatch):
    monkeypatch.setattr(Decoder, "step", lambda self: pytest.fail("generated before checking"))
    with pytest.raises(PromptError):
        llama.ask_many([*QUESTIONS, Question("Describe it.", {})], decoding=Decoding(max_tokens=2))


def test_choosing_by_consistency_needs_an_encoder(llama):
    with pytest.raises(EncoderError, match=r"names no encoder\. Choose by support"):
        llama.ask("{x}", best_of=2, chosen_by="consistency", x=A)


def test_more_tokens_than_positions_are_refused(llama):
    with pytest.raises(ConfigError, match=r"do not fit the base, which has 128 positions. Lower max_tokens"):
        llama.ask("{x}", max_tokens=128, x=A)
