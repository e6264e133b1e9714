"""Training stages: what they change, what they compute, and that they teach."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from tiny import D, E, V, tokenizer, vectors

from vecspeak import muon, store
from vecspeak.adapter import Adapter
from vecspeak.elm import Elm, Fingerprint
from vecspeak.errors import ConfigError
from vecspeak.examples import Example
from vecspeak.sampling import Sampler
from vecspeak.stages import Gate, Stage, bag_losses, gate, rate, set_trainable, shuffled, start_adapter, train_stage

WORDS = [" the film", " another story", " love and war", " one sea"]


def topics(n: int, *, seed: int = 0) -> list[Example]:
    """Vectors near one of four corners, and a text that says which."""
    rng = np.random.default_rng(seed)
    corners = 2 * np.eye(4, E)
    made = []
    for i in range(n):
        vector = (corners[i % 4] + 0.1 * rng.normal(size=E)).astype(np.float32)
        made.append(Example("topic", "About {x}:", {"x": vector}, WORDS[i % 4], (f"{seed}.{i}",)))
    return made


def topic_elm(kind: str = "llama", *, seed: int = 0) -> Elm:
    """An Elm for such vectors."""
    points = np.stack([example.points["x"] for example in topics(40)])
    fingerprint = Fingerprint(E, "cosine", None, points.mean(0), points.std(0))
    adapter = Adapter(
        torch.tensor(fingerprint.mean), torch.tensor(fingerprint.scale), dim_out=D, hidden=24, tokens_per_vector=1
    )
    return Elm(tiny.base(kind, seed=seed), tokenizer(), adapter, fingerprint)


def sampler_of(examples: list[Example], *, batch_size: int = 8) -> Sampler:
    return Sampler([examples], [1.0], batch_size, seed=0)


def state_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def changed(before: dict[str, torch.Tensor], module: torch.nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if not torch.equal(before[name], parameter)}


# ---- what a stage changes


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_an_adapter_stage_leaves_the_base_bit_identical(kind, tmp_path):
    elm = topic_elm(kind)
    start_adapter(elm, topics(40), start="random", seed=0)
    before = state_of(elm)
    stage = Stage(name="align", train="adapter", steps=3, batch_size=4, bag_loss=0.1)
    train_stage(elm, stage, sampler_of(topics(40), batch_size=4), number=0, run=tmp_path)
    assert changed(before, elm) == {
        f"adapter.{layer}.{kind}" for layer in ("rise", "fall") for kind in ("weight", "bias")
    }
    assert not elm.training


def test_a_full_stage_changes_both_and_logs_its_steps(tmp_path):
    elm = topic_elm()
    start_adapter(elm, topics(40), start="random", seed=0)
    before, told = state_of(elm), []
    stage = Stage(name="tune", train="all", steps=12, batch_size=4, lr=1e-3)
    train_stage(elm, stage, sampler_of(topics(40), batch_size=4), number=0, run=tmp_path, on_step=told.append)
    assert changed(before, elm) == set(before)
    assert [(progress.stage, progress.step, progress.steps) for progress in told] == [
        ("tune", s + 1, 12) for s in range(12)
    ]
    assert told[-1].seconds_left == 0
    assert all(progress.examples_per_second > 0 for progress in told)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows] == [("tune", 10), ("tune", 12)]
    assert rows[-1]["loss"] == pytest.approx(told[-1].loss, abs=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_lora_trains_its_own_weights_and_answers_the_same_from_its_folder(kind, tmp_path):
    elm = topic_elm(kind)
    elm.base.save_pretrained(tmp_path / "base")
    elm.tokenizer.save_pretrained(tmp_path / "base")
    start_adapter(elm, topics(40), start="random", seed=0)
    before = state_of(elm.base)
    stage = Stage(name="tune", train="lora", steps=4, batch_size=4, lr=1e-2, lora_rank=2)
    train_stage(elm, stage, sampler_of(topics(40), batch_size=4), number=0, run=tmp_path)
    after = {name.replace(".base_layer", ""): p for name, p in elm.base.named_parameters() if "lora_" not in name}
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert any("lora_B" in name and parameter.any() for name, parameter in elm.base.named_parameters())

    point, options = topics(4)[1].points["x"], {"max_tokens": 8}
    plain = Elm(store.load_base(str(tmp_path / "base"))[0], elm.tokenizer, elm.adapter, elm.fingerprint)
    store.save(elm, tmp_path / "model", manifest=tiny.manifest(elm, base=str(tmp_path / "base"), change="lora"))
    loaded = store.load(tmp_path / "model")
    assert loaded.ask("About {x}:", x=point, **options).text == elm.ask("About {x}:", x=point, **options).text
    np.testing.assert_allclose(loaded.loss(topics(8)), elm.loss(topics(8)), rtol=1e-6)
    assert not np.allclose(plain.loss(topics(8)), elm.loss(topics(8)), rtol=1e-3)
    assert not (tmp_path / "model" / "base").exists()


def test_loras_start_does_not_depend_on_what_was_drawn_before(tmp_path):
    """A run resumed between two stages has drawn nothing in this process."""
    ends = []
    for draws in (0, 5):
        elm = topic_elm()
        elm.adapter.start_random(rms=0.3, seed=0)
        torch.rand(draws)
        stage = Stage(name="tune", train="lora", steps=1, batch_size=2, lora_rank=2)
        train_stage(elm, stage, sampler_of(topics(8), batch_size=2), number=0, run=tmp_path / str(draws))
        ends.append(state_of(elm))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_trainable_names_are_told():
    elm = topic_elm()
    adapter = {name for name, _ in elm.named_parameters() if name.startswith("adapter.")}
    everything = {name for name, _ in elm.named_parameters()}
    assert set(set_trainable(elm, Stage(name="a", train="adapter", steps=1))) == adapter
    assert set(set_trainable(elm, Stage(name="b", train="all", steps=1))) == everything
    lora = set(set_trainable(elm, Stage(name="c", train="lora", steps=1)))
    assert adapter < lora
    assert all("lora_" in name for name in lora - adapter)
    assert lora == {name for name, parameter in elm.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("train", ["adapter", "lora", "all"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_base_in_16_bits_is_trained_in_32(train, dtype, tmp_path):
    """As bases are loaded on a GPU. What is frozen stays as it is, but for float16."""
    elm = topic_elm()
    torch.nn.Module.to(elm.base, dtype)
    stage = Stage(name="s", train=train, steps=2, batch_size=4, bag_loss=0.1)
    with torch.autocast("cpu", torch.bfloat16):  # as `Accelerator` does it on a GPU
        train_stage(elm, stage, sampler_of(topics(8), batch_size=4), number=0, run=tmp_path)
    kinds = {parameter.requires_grad: parameter.dtype for parameter in elm.base.parameters()}
    assert kinds.get(True, torch.float32) == torch.float32
    frozen = torch.float32 if dtype == torch.float16 else dtype
    assert kinds.get(False, frozen) == frozen
    assert elm.words(topics(1)[0].points["x"], 2)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_layer_of_the_adapter_is_trained_at_any_depth(depth, tmp_path):
    elm = topic_elm()
    elm.adapter = Adapter(
        elm.adapter.mean_E, elm.adapter.scale_E, dim_out=D, hidden=24, tokens_per_vector=1, depth=depth
    )  # fmt: skip
    r2 = start_adapter(elm, topics(40), start="texts", seed=0)
    assert r2 > 0.8
    before = state_of(elm)
    stage = Stage(name="align", train="adapter", steps=2, batch_size=4)
    train_stage(elm, stage, sampler_of(topics(40), batch_size=4), number=0, run=tmp_path)
    adapter = {name for name in before if name.startswith("adapter.")}
    assert len(adapter) == 2 * depth
    assert changed(before, elm) == adapter


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    elm = topic_elm()
    with torch.no_grad():
        elm.adapter.fall.bias.fill_(float("nan"))
    stage = Stage(name="align", train="adapter", steps=5, batch_size=2, checkpoint_every=1)
    with pytest.raises(ConfigError, match=r"loss became nan at step 1 of align\. Lower the rates"):
        train_stage(elm, stage, sampler_of(topics(8), batch_size=2), number=0, run=tmp_path)
    assert not (tmp_path / "latest").exists()


# ---- what a stage computes


def test_rates_rise_stay_and_fall():
    stage = Stage(name="s", train="all", steps=100, warmup=0.1, decay=0.4)
    by_hand = {0: 0.1, 4: 0.5, 9: 1.0, 10: 1.0, 60: 1.0, 80: 0.5, 98: 0.05, 99: 0.025}
    assert {step: rate(step, stage) for step in by_hand} == pytest.approx(by_hand)
    flat = Stage(name="s", train="all", steps=10, warmup=0, decay=0)
    assert [rate(step, flat) for step in range(10)] == [1.0] * 10


def test_bag_losses_are_the_weighted_cross_entropy_of_the_targets_words():
    elm = tiny.elm(tokens_per_vector=2)
    a, b, c = vectors(3)
    examples = [
        Example("t", "About {x}:", {"x": a}, "the film the", ("a",)),
        Example("t", "About {x} and {y}:", {"x": a, "y": b}, "story", ("a", "b")),
        Example("t", "{x}", {"x": c}, "another", ("c",)),
        Example("t", "None.", {}, "one", ()),
    ]
    idf_V = torch.rand(V, generator=torch.Generator().manual_seed(1))
    found = bag_losses(elm, elm.training_batch(examples), idf_V)

    table = elm.base.get_input_embeddings().weight.detach().double()
    unit = torch.nn.functional.normalize(table - table.mean(0), dim=1)
    expected = []
    for example in (examples[0], examples[2]):
        soft = elm.adapter(torch.tensor(example.points["x"])).detach().double().mean(0) - table.mean(0)
        log_p = torch.log_softmax(16 * unit @ (soft / soft.norm()), 0)
        ids = [*tokenizer()(example.target)["input_ids"], tokenizer().eos_token_id]
        weights = idf_V[ids].double()
        expected.append(-(weights * log_p[ids]).sum() / weights.sum())
    assert found.tolist() == pytest.approx([float(loss) for loss in expected], rel=1e-4)
    found.mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in elm.adapter.parameters())
    assert not len(bag_losses(elm, elm.training_batch(examples[1::2]), idf_V))


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_a_start_from_texts_names_the_topics_before_any_training(kind):
    elm = topic_elm(kind)
    r2 = start_adapter(elm, topics(200), start="texts", seed=0)
    assert r2 > 0.8
    table = elm.word_table().detach()
    texts = torch.stack([table[tokenizer()(text)["input_ids"]].mean(0) for text in WORDS])
    unseen = topics(20, seed=1)
    with torch.no_grad():
        soft = elm.adapter(torch.from_numpy(np.stack([example.points["x"] for example in unseen])))[:, 0]
    apart = torch.nn.functional.normalize(texts - texts.mean(0), dim=1)
    assert [WORDS[i] for i in (soft @ apart.T).argmax(1)] == [example.target for example in unseen]


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
@pytest.mark.parametrize("start", ["texts", "random"])
def test_a_started_adapter_is_as_loud_as_the_tokens_beside_it(kind, start):
    elm = topic_elm(kind)
    start_adapter(elm, topics(200), start=start, seed=0)
    batch = elm.training_batch(topics(64, seed=1))
    with torch.no_grad():
        soft = elm.adapter(batch.points_SE).pow(2).mean().sqrt()
        tokens = elm.base.get_input_embeddings()(torch.arange(V)).pow(2).mean().sqrt()
    assert soft.item() == pytest.approx(tokens.item(), rel=0.25)


def test_without_texts_of_single_entities_the_start_is_random():
    elm, random = topic_elm(), topic_elm()
    a, b = vectors(2)
    pairs = [Example("pair", "{x} {y}", {"x": a, "y": b}, "both", ("a", "b"))]
    assert start_adapter(elm, pairs, start="texts", seed=3) is None
    start_adapter(random, pairs, start="random", seed=3)
    assert torch.equal(elm.adapter.fall.weight, random.adapter.fall.weight)


def test_muon_takes_the_hidden_matrices_and_leaves_the_tables(monkeypatch, tmp_path):
    """Of a base with an output layer of its own, and of one whose weights lie the other way round."""
    taken: list[torch.nn.Parameter] = []
    monkeypatch.setattr(muon.Muon, "_step_matrices", lambda self, group: taken.extend(group["params"]))
    for kind, matrices in (("gemma3", 2 * 7), ("gpt2", 2 * 4)):
        elm = topic_elm(kind)
        taken.clear()
        stage = Stage(name="tune", train="all", steps=1, batch_size=4, optimizer="muon")
        train_stage(elm, stage, sampler_of(topics(8), batch_size=4), number=0, run=tmp_path / kind)
        assert len(taken) == matrices
        assert all(p.ndim == 2 and V not in p.shape for p in taken)
        assert not {id(p) for p in taken} & {id(p) for p in elm.adapter.parameters()}


def test_muon_is_for_all_weights_alone():
    with pytest.raises(ValueError, match="optimizer `muon` is for train `all`, not `lora`"):
        Stage(name="tune", train="lora", steps=1, optimizer="muon")


# ---- the gate


def test_shuffling_moves_points_within_a_task_and_nothing_else():
    examples = [*topics(9), Example("other", "{x}", {"x": vectors(1)[0]}, "t", ("z",))]
    moved = shuffled(examples, seed=0)
    assert [(e.task, e.prompt, e.target, e.ids) for e in moved] == [
        (e.task, e.prompt, e.target, e.ids) for e in examples
    ]
    same = [m.points["x"] is e.points["x"] for m, e in zip(moved, examples, strict=True)]
    assert same == [False] * 9 + [True], "an example alone in its task has nobody to swap with"
    assert {id(e.points["x"]) for e in moved} == {id(e.points["x"]) for e in examples}


def test_the_gate_is_the_mean_gap_and_its_lower_bound():
    rng = np.random.default_rng(0)
    right, gaps = rng.uniform(1, 3, 60), rng.normal(0.2, 0.5, 60)
    losses = iter([right, right + gaps])
    told = gate(SimpleNamespace(loss=lambda examples: next(losses)), topics(60))
    assert told.right == pytest.approx(right.mean())
    assert told.gap == pytest.approx(gaps.mean())
    normal = gaps.mean() - 1.96 * gaps.std() / np.sqrt(60)  # what a bootstrap of a mean comes to
    assert told.low == pytest.approx(normal, abs=0.03)


def test_the_gate_says_what_it_saw():
    assert "the vectors are used (gap +0.500)" in str(Gate(2.0, 2.5, 0.3))
    closed = Gate(2.0, 2.01, -0.2)
    assert not closed.open
    assert "NOT USED (gap +0.010, interval from -0.200)" in str(closed)


def trained(examples: list[Example], run) -> Elm:
    elm = topic_elm()
    start_adapter(elm, examples, start="texts", seed=0)
    for number, stage in enumerate(
        (
            Stage(name="align", train="adapter", steps=40, batch_size=8, adapter_lr=3e-3),
            Stage(name="tune", train="all", steps=60, batch_size=8, lr=3e-3, adapter_lr=3e-3),
        )
    ):
        train_stage(elm, stage, sampler_of(examples), number=number, run=run)
    return elm


def test_the_gate_opens_where_vectors_tell_the_text(tmp_path):
    elm = trained(topics(120), tmp_path)
    told = gate(elm, topics(40, seed=1))
    assert told.open
    assert told.gap > 0.5
    answers = [elm.ask(e.prompt, max_tokens=5, **e.points).text for e in topics(4, seed=2)]
    assert answers == [word.strip() for word in WORDS]


def test_the_gate_stays_closed_where_texts_are_of_other_vectors(tmp_path):
    rng = np.random.default_rng(0)
    wrong = [Example(e.task, e.prompt, e.points, WORDS[rng.integers(4)], e.ids) for e in topics(120)]
    held_out = [Example(e.task, e.prompt, e.points, WORDS[rng.integers(4)], e.ids) for e in topics(40, seed=1)]
    told = gate(trained(wrong, tmp_path), held_out)
    assert not told.open


def test_two_vectors_learn_their_words_in_two_stages(tmp_path):
    """Paper, appendix D: [1, 0] -> "one", [0, 1] -> "two" converges where the base learns after the adapter."""
    fingerprint = Fingerprint(2, "euclidean", None, np.full(2, 0.5, np.float32), np.full(2, 0.5, np.float32))
    half = torch.full((2,), 0.5)
    adapter = Adapter(half, half, dim_out=D, hidden=16, tokens_per_vector=1)
    elm = Elm(tiny.base(), tokenizer(), adapter, fingerprint)
    one, two = np.eye(2, dtype=np.float32)
    examples = [
        Example("word", "Which? {x}", {"x": one}, "one", ("1",)),
        Example("word", "Which? {x}", {"x": two}, "two", ("2",)),
    ]
    start_adapter(elm, examples, start="random", seed=0)
    before = [elm.ask("Which? {x}", max_tokens=6, x=point).text for point in (one, two)]
    losses = []
    for number, stage in enumerate(
        (
            Stage(name="align", train="adapter", steps=60, batch_size=2),
            Stage(name="tune", train="all", steps=60, batch_size=2, lr=3e-3),
        )
    ):
        train_stage(elm, stage, sampler_of(examples, batch_size=2), number=number, run=tmp_path)
        losses.append(elm.loss(examples).mean())
    assert before != ["one", "two"]
    assert [elm.ask("Which? {x}", max_tokens=6, x=point).text for point in (one, two)] == ["one", "two"]
    assert losses[1] < losses[0]
    assert losses[1] < 0.05


@pytest.mark.parametrize("field", [{"steps": 0}, {"train": "both"}, {"lr": 0}, {"warmup": 1}, {"rate": 1}])
def test_stages_that_cannot_work_are_refused(field):
    with pytest.raises(ValueError):
        Stage(**{"name": "s", "train": "all", "steps": 1, **field})
