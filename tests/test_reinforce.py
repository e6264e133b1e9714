"""Consistency as reward: what is computed, that it is learnt, and that the report says what it cost."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from tiny import E, LetterEncoder, vectors

from vecspeak import reinforce as module
from vecspeak import store
from vecspeak.answers import Question
from vecspeak.cli import main
from vecspeak.decoding import Decoding
from vecspeak.elm import Elm
from vecspeak.errors import ConfigError, EncoderError, ModelError, SpaceError, TaskError
from vecspeak.metrics import Interval
from vecspeak.reinforce import (
    ReinforceConfig,
    Sampled,
    Step,
    advantages,
    backward,
    draw_questions,
    frozen_copy,
    k3,
    log_probs,
    reinforce,
    rewards,
    sample,
    train_policy,
)
from vecspeak.reinforced import Reinforced
from vecspeak.space import Space
from vecspeak.stages import Stage, set_trainable
from vecspeak.tasks import parse_tasks

TASKS = """
[[task]]
name = "describe"
slots = ["thing"]
target = "{text}"
prompts = ["Describe {thing}.", "What is {thing}, in one sentence?"]

[[task]]
name = "title"
slots = ["thing"]
target = "{title}"
prompts = ["Name {thing}."]

[[task]]
name = "compare"
slots = ["x", "y"]
target = "{text}"
prompts = ["Compare {x} and {y}."]
"""


def config_of(model: str = "none", **changes) -> ReinforceConfig:
    small = {"steps": 4, "batch_size": 3, "samples": 3, "max_tokens": 5, "lr": 1e-3, "checkpoint_every": 2}
    return ReinforceConfig(model=model, **{**small, **changes})


def sampled(elm: Elm, prompts: list[str], *, samples: int = 2, temperature: float = 1.0, seed: int = 0):
    questions = [Question(p, {"x": v}) for p, v in zip(prompts, vectors(len(prompts)), strict=True)]
    decoding = Decoding(max_tokens=7, temperature=temperature)
    return sample(elm, questions, samples=samples, decoding=decoding, rng=np.random.default_rng(seed))


def state_of(elm: Elm) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in elm.state_dict().items()}


# ---- log-probabilities


def stepwise(elm: Elm, answer: Sampled, *, temperature: float) -> list[float]:
    """Log-probability of each token from a forward pass of its own over all that stands before it."""
    word = elm.word_table()
    soft_KD = elm.adapter(torch.tensor(answer.points["x"]))
    found = []
    for number, token in enumerate(answer.ids):
        embeds_TD = word[[*answer.prompt.ids, *answer.ids[:number]]].clone()
        start = answer.prompt.starts[0]
        embeds_TD[start : start + len(soft_KD)] = soft_KD
        logits_V = elm.base(inputs_embeds=embeds_TD[None]).logits[0, -1].double()
        found.append(torch.log_softmax(logits_V / temperature, 0)[token].item())
    return found


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@torch.no_grad()
def test_log_probs_are_those_of_decoding_token_by_token(kind, temperature):
    elm = tiny.elm(kind, tokens_per_vector=2)
    prompts = ["Describe {x}.", "What kind of viewer would enjoy {x}, the film of love and war?"]
    answers = sampled(elm, prompts, temperature=temperature)
    found_L = log_probs(elm, answers, temperature=temperature)
    expected = [value for answer in answers for value in stepwise(elm, answer, temperature=temperature)]
    np.testing.assert_allclose(found_L.numpy(), expected, atol=1e-4)
    assert len({len(answer.prompt.ids) for answer in answers}) == 2


def test_samples_are_the_policys_and_end_with_the_end_token(monkeypatch):
    elm = tiny.elm()
    end = tiny.tokenizer().eos_token_id
    monkeypatch.setattr(module, "run", lambda *_, **__: {(0, 0): [7, 9, 10], (0, 1): [8]}.items())
    first, second = sample(
        elm, [Question("Say {x}.", {"x": vectors(1)[0]})], samples=2, decoding=Decoding(max_tokens=3),
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert (first.ids, first.tokens) == ((7, 9, 10), 3), "cut, so it has no end"
    assert (second.ids, second.tokens) == ((8, end), 1)
    assert second.text == tiny.tokenizer().decode([8]).strip()


def test_one_seed_samples_the_same_and_answers_differ():
    elm = tiny.elm()
    answers = sampled(elm, ["Say {x}."], samples=6)
    assert [a.ids for a in answers] == [a.ids for a in sampled(elm, ["Say {x}."], samples=6)]
    assert len({a.ids for a in answers}) > 3
    assert [a.ids for a in answers] != [a.ids for a in sampled(elm, ["Say {x}."], samples=6, seed=1)]


# ---- rewards, advantages, KL


def test_rewards_by_hand():
    points_PE = np.array([[2.0, 0.0], [0.0, 1.0]])
    texts_RE = np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 5.0], [0.0, 0.0]])
    np.testing.assert_allclose(rewards(texts_RE, points_PE, reward="consistency"), [[1, 0.6], [1, 0]])
    found = rewards(texts_RE, points_PE, reward="identification")
    expected = [[-np.log(1 + np.exp(-20)), -np.log(1 + np.exp(4))], [-np.log(1 + np.exp(-20)), -np.log(2)]]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_an_answer_is_measured_against_the_others_at_its_point():
    # point 1: 1 - (2+6)/2 = -3, 2 - 3.5 = -1.5, 6 - 1.5 = 4.5; point 2: all alike
    found = advantages(np.array([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]]))
    std = np.sqrt((9 + 2.25 + 20.25) / 6)
    np.testing.assert_allclose(found, np.array([[-3, -1.5, 4.5], [0, 0, 0]]) / std)
    # noise of a float32 encoder is no reason to move
    assert np.abs(advantages(np.array([[0.5, 0.5 + 1e-9]]))).max() < 0.01


def test_k3_by_hand_and_on_average_the_divergence():
    found = k3(torch.log(torch.tensor([0.5, 0.2])), torch.log(torch.tensor([0.25, 0.2])))
    torch.testing.assert_close(found, torch.tensor([0.5 - np.log(0.5) - 1, 0.0]), check_dtype=False)
    p, q = torch.softmax(torch.randn(2, 50, generator=torch.Generator().manual_seed(0)), -1)
    divergence = (p * (p / q).log()).sum()
    torch.testing.assert_close((p * k3(p.log(), q.log())).sum(), divergence)


@pytest.mark.parametrize("rows", [2, 16])
def test_the_loss_and_its_gradient_are_those_of_the_formula(monkeypatch, rows):
    monkeypatch.setattr(module, "ROWS", rows)
    elm = tiny.elm()
    reference = frozen_copy(elm)
    with torch.no_grad():
        for parameter in elm.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    answers = sampled(elm, ["Say {x}.", "Describe {x}, the film."], samples=3)
    advantages_R = np.array([1.0, -0.5, 0.2, 0.0, 2.0, -1.5])
    config = config_of(kl=0.7)

    loss, kl = backward(elm, reference, answers, advantages_R, config=config)
    found = {name: p.grad.clone() for name, p in elm.named_parameters()}
    elm.zero_grad()
    terms, divergences = [], []
    for answer, advantage in zip(answers, advantages_R, strict=True):
        log_L = log_probs(elm, [answer], temperature=1.0)
        r_L = log_probs(reference, [answer], temperature=1.0).detach() - log_L
        divergences.append((r_L.exp() - r_L - 1).mean())
        terms.append(-advantage * log_L.mean() + 0.7 * divergences[-1])
    torch.stack(terms).mean().backward()
    assert loss == pytest.approx(torch.stack(terms).mean().item(), rel=1e-4)
    assert kl == pytest.approx(torch.stack(divergences).mean().item(), rel=1e-4)
    assert kl > 1e-3
    for name, parameter in elm.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5)
    assert all(parameter.grad is None for parameter in reference.parameters())


# ---- what is learnt


def trained(run: Path, *, kind: str = "llama", seed: int = 1, **changes) -> tuple[Elm, list[Step]]:
    """A tiny model rewarded for the letters a, b and c at three points."""
    elm = tiny.elm(kind, seed=seed)
    set_trainable(elm, Stage(name="reinforce", train="all", steps=1))
    settings = {"steps": 40, "samples": 8, "max_tokens": 4, "kl": 0.0, "lr": 3e-3, "seed": seed, **changes}
    settings["checkpoint_every"] = settings["steps"]
    questions = [Question("Say {x}:", {"x": point}) for point in np.eye(E, dtype=np.float32)[:3]]
    told: list[Step] = []
    train_policy(
        elm, config_of(**settings), lambda rng: questions, encoder=LetterEncoder(), run=run, on_step=told.append
    )
    return elm, told


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_reward_is_learnt(kind, tmp_path):
    elm, told = trained(tmp_path, kind=kind)
    rise = np.mean([s.reward for s in told[-5:]]) - np.mean([s.reward for s in told[:5]])
    assert rise > 0.2
    assert told[0].kl == 0
    assert told[-1].kl > 0.1
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [row.pop("stage") for row in rows] == ["reinforce"] * 40
    assert [Step(**row) for row in rows] == told
    assert not elm.training


def test_a_large_kl_term_holds_the_policy_at_the_reference(tmp_path):
    ends = []
    for kl in (0.0, 100.0):
        (tmp_path / str(kl)).mkdir()
        ends.append(trained(tmp_path / str(kl), steps=25, kl=kl, lr=3e-4)[1])
    free, held = ends
    assert free[-1].kl > 0.05
    assert held[-1].kl < free[-1].kl / 5


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    elm = tiny.elm()
    with torch.no_grad():
        elm.adapter.fall.bias.fill_(float("nan"))
    with pytest.raises(ConfigError, match=r"loss became nan at step 1\. Lower the rate"):
        train_policy(
            elm, config_of(), lambda rng: [Question("Say {x}:", {"x": v}) for v in vectors(3)],
            encoder=LetterEncoder(), run=tmp_path,
        )  # fmt: skip
    assert not (tmp_path / "latest").exists()


# ---- the whole run


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    monkeypatch.setattr("vecspeak.elm.load_encoder", lambda name: LetterEncoder())


def make_space(path: Path, *, encoder: str | None = "letters", sides=("train", "train", "validation")) -> Space:
    """18 things, each with a text of its own letters."""
    rng = np.random.default_rng(0)
    words = ["bead", "cab", "face", "deed", "café", "fade", "abba", "dace"]
    texts = [" ".join(rng.choice(words, 5)) + f" number{i}" for i in range(18)]
    columns = {"text": texts, "title": [f"{text.split()[0]} {i}" for i, text in enumerate(texts)]}
    if sides:
        columns["split"] = [sides[i % len(sides)] for i in range(18)]
    encoded = LetterEncoder().encode(texts)
    ids = [f"e{i:02}" for i in range(18)]
    return Space.create(path, ids=ids, vectors=encoded, columns=columns, name="things", encoder=encoder)


def make_model(folder: Path, space: Space, *, change: store.Change = "none", kind: str = "llama") -> str:
    elm = tiny.elm(kind, space=space)
    elm.base.save_pretrained(folder / "base")
    elm.tokenizer.save_pretrained(folder / "base")
    if change == "lora":
        store.add_lora(elm.base, rank=2)
    made = tiny.manifest(elm, base=str(folder / "base"), change=change)
    decoding = Decoding(max_tokens=6, guidance=0.5)
    update = {"space": str(space.path), "decoding": decoding, "scores": {"old": 1}, "provenance": {"by": "hand"}}
    store.save(elm, folder / "tuned", manifest=made.model_copy(update=update))
    return str(folder / "tuned")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A task file, a space and a tuned model."""
    (tmp_path / "tasks.toml").write_text(TASKS, "utf-8")
    make_model(tmp_path, make_space(tmp_path / "things.lance"))
    return tmp_path


def settings(folder: Path, **changes) -> ReinforceConfig:
    return config_of(str(folder / "tuned"), tasks=str(folder / "tasks.toml"), **changes)


class Stopped(Exception):
    """Raised in the middle of a run."""


@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_run_ends_at_the_same_weights_bit_for_bit(folder, stop):
    def stopping(step: Step) -> None:
        if step.step == stop:
            raise Stopped

    config = settings(folder)
    whole = reinforce(config, folder / "whole")
    with pytest.raises(Stopped):
        reinforce(config, folder / "run", on_step=stopping)
    steps: list[Step] = []
    resumed = reinforce(config, folder / "run", on_step=steps.append)
    assert [step.step for step in steps] == list(range(3 if stop == 3 else 1, 5))
    assert resumed == whole
    ends = [state_of(store.load(folder / run / "model")) for run in ("whole", "run")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    start = state_of(store.load(folder / "tuned"))
    weights = dict(store.load(folder / "tuned").named_parameters())
    assert all(not torch.equal(ends[0][name], start[name]) for name in weights)
    again: list[Step] = []
    assert reinforce(config, folder / "run", on_step=again.append) == whole
    assert again == [], "nothing is left to do"


def test_the_model_keeps_what_is_true_of_it(folder):
    config = settings(folder, task=("describe",))
    found = reinforce(config, folder / "run")
    old, new = store.read_manifest(folder / "tuned"), store.read_manifest(folder / "run" / "model")
    assert (new.change, new.scores, new.decoding, new.tasks) == ("full", {}, old.decoding, old.tasks)
    assert new.provenance["of"] == {"by": "hand"}
    assert new.provenance["reinforce"]["reward"] == "consistency"
    assert [task.task for task in found.after.tasks] == ["describe"]
    assert (found.after.side, found.after.candidates) == ("validation", 6)
    assert list(found.after.decodings) == ["greedy"]
    assert found.after.decodings["greedy"]["guidance"] == 0
    assert [loss.task for loss in found.after.losses] == ["describe"]
    # what was measured is what was saved
    asked = store.load(folder / "run" / "model")
    prompt = parse_tasks(TASKS, origin="test")["describe"].prompts[0]
    point = Space.open(folder / "things.lance")[found.after.samples[0].id]
    text = asked.ask(prompt, thing=point, max_tokens=6, guidance=0.0).text
    assert text == found.after.samples[0].answers[0].text
    read = Reinforced.model_validate_json((folder / "run" / "reinforce.json").read_text("utf-8"))
    assert (read.after, read.faults) == (found.after, found.faults)
    page = (folder / "run" / "reinforce.md").read_text("utf-8")
    assert page == found.to_markdown()
    assert found.verdict in page
    assert {line.count("|") for line in page.splitlines() if line.startswith("| ")} == {6}


def test_lora_stays_lora(folder):
    make_model(folder, Space.open(folder / "things.lance"), change="lora")
    before = state_of(store.load(folder / "tuned"))
    reinforce(settings(folder, steps=2), folder / "run")
    after = state_of(store.load(folder / "run" / "model"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("lora_" in name for name in moved)
    assert all("lora_" in name or name.startswith("adapter.") for name in moved)
    assert store.read_manifest(folder / "run" / "model").change == "lora"


def test_only_training_entities_and_chosen_tasks_are_drawn(tmp_path):
    space = make_space(tmp_path / "s.lance")
    tasks = [task for task in parse_tasks(TASKS, origin="test").values() if len(task.slots) == 1]
    ids = [id for id, side in zip(space.ids, space.column("split"), strict=True) if side == "train"]
    id_of = {space[id].vector.tobytes(): id for id in space.ids}
    prompts, drawn = set(), set()
    for seed in range(40):
        questions = draw_questions(space, ids, tasks, np.random.default_rng(seed), count=4)
        found = [id_of[question.points["thing"].tobytes()] for question in questions]
        assert len(set(found)) == 4
        prompts |= {question.prompt for question in questions}
        drawn |= set(found)
    assert prompts == {prompt for task in tasks for prompt in task.prompts}
    assert drawn == set(ids)


# ---- the verdict


@pytest.fixture
def found(folder) -> Reinforced:
    return reinforce(settings(folder, steps=1), folder / "run")


def changed(found: Reinforced, *, loss: float = 0.0, repetition: float = 0.0, sc: float = 0.0) -> Reinforced:
    """What a run reports that changed the first task by so much, and nothing else."""
    first, *others = found.before.tasks
    greedy, *controls = first.texts
    moved = Interval(greedy.sc.value + sc, greedy.sc.low + sc, greedy.sc.high + sc)
    greedy = greedy.model_copy(update={"repetition": greedy.repetition + repetition, "sc": moved})
    task = first.model_copy(update={"texts": (greedy, *controls)})
    cost = found.before.losses[0]
    right = Interval(cost.right.value + loss, cost.right.low + loss, cost.right.high + loss)
    losses = (cost.model_copy(update={"right": right}), *found.before.losses[1:])
    after = found.before.model_copy(update={"tasks": (task, *others), "losses": losses})
    return found.model_copy(update={"after": after})


def test_the_first_sentence_says_whether_the_texts_suffered(found):
    right = found.before.losses[0].right
    width = right.high - right.value
    assert width > 0
    same = changed(found, loss=0.9 * width, repetition=0.019)
    assert same.faults == []
    assert same.verdict.startswith("Text quality did not suffer by these measures: ")
    assert "on `describe`, `title`." in same.verdict
    assert "SC up on 0 of 2 tasks and down on 0; " in same.verdict

    dearer = changed(found, loss=1.1 * width)
    assert dearer.verdict.startswith("Text quality suffered: loss on the teacher's texts of `describe` rose beyond")
    assert f"to {right.value + 1.1 * width:.3f})" in dearer.faults[0]
    looping = changed(found, repetition=0.021, sc=1.0)
    assert looping.verdict.startswith("Text quality suffered: repetition of `describe` rose (")
    assert "SC up on 1 of 2 tasks and down on 0; the independent one sees top-10 identification up on 0" in (
        looping.verdict
    )
    assert len(changed(found, loss=1.1 * width, repetition=0.021).faults) == 2
    assert changed(found, loss=-9.0).faults == []


# ---- refusals


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"steps": 0}, "steps is 0; expected 1 or more"),
        ({"samples": 1}, "samples is 1; expected 2"),
        ({"batch_size": 1}, "batch_size is 1; expected 2"),
        ({"kl": -0.1}, "kl is -0.1"),
        ({"kl": float("nan")}, "kl is nan"),
        ({"lr": 0.0}, "lr is 0.0; expected above 0"),
        ({"temperature": 0.0}, "temperature is 0.0; expected above 0"),
        ({"reward": "praise"}, "expected one of consistency, identification"),
        ({"side": "train"}, "expected held-out entities"),
    ],
)
def test_settings_that_cannot_work_are_refused(field, words):
    with pytest.raises(ConfigError, match=words):
        config_of(**field)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"task": ("poem",)}, TaskError, "Unknown task 'poem'. One of: describe"),
        ({"task": ("describe", "compare")}, TaskError, "'compare' has two slots"),
        ({"batch_size": 13}, ConfigError, "batch_size is 13, but things has 12 training entities"),
        ({"max_tokens": 200}, ConfigError, "128 positions. Lower max_tokens"),
        ({"side": "elsewhere"}, SpaceError, "0 entities on side 'elsewhere'"),
        ({"model": "nowhere"}, ModelError, "no model folder"),
    ],
)
def test_a_run_that_cannot_work_is_refused_before_any_step(folder, changes, error, words):
    config = ReinforceConfig(**{**vars(settings(folder)), **changes})
    with pytest.raises(error, match=words):
        reinforce(config, folder / "run")
    assert not (folder / "run" / "metrics.jsonl").exists()


def test_a_space_without_encoder_or_sides_is_refused(tmp_path):
    (tmp_path / "tasks.toml").write_text(TASKS, "utf-8")
    for name, options, error, words in (
        ("mute", {"encoder": None}, EncoderError, "names no encoder. Import it with `--encoder`"),
        ("unsplit", {"sides": ()}, SpaceError, "no column 'split'"),
        ("untaught", {"sides": ("validation",)}, SpaceError, "no entities on side 'train'. Sides: validation"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        model = make_model(folder, make_space(folder / "s.lance", **options))
        with pytest.raises(error, match=words):
            reinforce(config_of(model, tasks=str(tmp_path / "tasks.toml")), folder / "run")
        assert not (folder / "run").exists()


def test_tasks_without_held_out_texts_are_refused(folder):
    (folder / "tasks.toml").write_text(TASKS.replace("{title}", "{poem}"), "utf-8")
    with pytest.raises(ConfigError, match=r"None of the tasks .*`title`: 0 of 2 examples on side 'validation'"):
        reinforce(settings(folder, task=("title",)), folder / "run")


def test_a_task_that_cannot_be_measured_is_named(folder):
    (folder / "tasks.toml").write_text(TASKS.replace("{title}", "{poem}"), "utf-8")
    found = reinforce(settings(folder, steps=1), folder / "run")
    assert [task.task for task in found.after.tasks] == ["describe"]
    assert "Trained on but not measured: `title`, 0 of 2 examples" in found.to_markdown()


def test_a_run_folder_is_of_one_config(folder):
    reinforce(settings(folder, steps=1), folder / "run")
    with pytest.raises(ConfigError, match="holds a run of other settings"):
        reinforce(settings(folder, steps=2), folder / "run")


# ---- command line


def test_the_command_goes_round(folder, capsys):
    argv = ["reinforce", str(folder / "tuned"), "--run", str(folder / "run"), "--tasks", str(folder / "tasks.toml")]
    argv += ["--task", "describe", "--steps", "2", "--batch-size", "3", "--samples", "2", "--max-tokens", "4"]
    argv += ["--reward", "identification", "--lr", "1e-4", "--kl", "0.1", "--temperature", "0.9", "--seed", "3"]
    assert main(argv) == 0
    told = capsys.readouterr()
    assert told.out.startswith("Text quality ")
    assert "step 2/2: reward -" in told.err
    config = json.loads((folder / "run" / "config.json").read_text("utf-8"))
    assert config == {
        "model": str(folder / "tuned"), "space": None, "tasks": str(folder / "tasks.toml"), "task": ["describe"],
        "steps": 2, "batch_size": 3, "samples": 2, "kl": 0.1, "lr": 1e-4, "temperature": 0.9, "max_tokens": 4,
        "seed": 3, "reward": "identification", "side": "validation", "checkpoint_every": 10,
    }  # fmt: skip
    assert main(["ask", str(folder / "run" / "model"), "Describe {x}.", "--x", "e01", "--max-tokens", "4"]) == 0
    capsys.readouterr()
    assert main([*argv, "--side", "test"]) == 2
    assert "other settings" in capsys.readouterr().err
    assert main([*argv[:-1], "3", "--reward", "praise"]) == 2
    assert "expected one of consistency, identification" in capsys.readouterr().err
