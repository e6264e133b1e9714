"""Ablations: what each arm changes, figures against the models of its own run folders, and going on after a stop."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from tiny import D, E, vectors

from vecspeak import ablation, store, training
from vecspeak.ablation import ablate, arms_of
from vecspeak.ablation_report import AS_GIVEN, Ablation
from vecspeak.cli import main
from vecspeak.errors import ConfigError
from vecspeak.examples import Example
from vecspeak.metrics import RESAMPLES
from vecspeak.space import Space
from vecspeak.stages import Stage, shuffled
from vecspeak.tasks import load_tasks
from vecspeak.training import AdapterConfig, TrainConfig, read_config, share_of, split_examples, train

TASKS = """
[[task]]
name = "describe"
slots = ["thing"]
target = "{text}"
prompts = ["Describe {thing}.", "What is {thing}?"]
"""

CONFIG = """
space = "{folder}/things"
base = "{folder}/base"
tasks = "{folder}/tasks.toml"
seed = 3

[adapter]
hidden = 16

[[stages]]
name = "align"
train = "adapter"
steps = 3
batch_size = 4
checkpoint_every = 2

[[stages]]
name = "tune"
train = "all"
steps = 4
batch_size = 4
lr = 1e-3
checkpoint_every = 2
"""

N = 60
SIDES = ["train"] * 44 + ["validation"] * 8 + ["test"] * 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A space of 60 entities of three kinds, a task file, a base, a config."""
    folder = tmp_path_factory.mktemp("ablation")
    words = ["the film", "another story", "love and war"]
    texts = [f"{words[i % 3]}, one {i}" for i in range(N)]
    columns = {"text": texts, "split": SIDES}
    Space.create(folder / "things", ids=[f"e{i}" for i in range(N)], vectors=vectors(N), columns=columns, name="things")
    (folder / "tasks.toml").write_text(TASKS, encoding="utf-8")
    tiny.base().save_pretrained(folder / "base")
    tiny.tokenizer().save_pretrained(folder / "base")
    (folder / "config.toml").write_text(CONFIG.replace("{folder}", str(folder)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def config(folder) -> TrainConfig:
    return read_config(folder / "config.toml")


@pytest.fixture(scope="module")
def whole(folder) -> Path:
    """An ablation of two arms by the command, never stopped."""
    assert main(["ablate", str(folder / "config.toml"), "--run", str(folder / "whole"), *ONLY]) == 0
    return folder / "whole"


ONLY = ["--only", "one-stage", "--only", "depth-1"]


def read(folder: Path) -> Ablation:
    return Ablation.model_validate_json((folder / "ablations.json").read_text("utf-8"))


def held_out_of(config: TrainConfig) -> list[Example]:
    return split_examples(Space.open(config.space), load_tasks(config.tasks), seed=config.seed)[1]


class Stopped(Exception):
    """Raised in the middle of a run."""


def stop_at(stage: str, step: int):
    def on_step(progress):
        if (progress.stage, progress.step) == (stage, step):
            raise Stopped

    return on_step


# ---- arms


def changes(config: TrainConfig, arm: TrainConfig) -> dict:
    """Fields that differ, with the arm's values; the adapter's by name."""
    old, new = ({**c.model_dump(exclude={"adapter"}), **c.adapter.model_dump()} for c in (config, arm))
    return {name: new[name] for name in new if new[name] != old[name]}


def test_every_arm_changes_one_thing(config):
    arms = {arm.name: changes(config, arm.config) for arm in arms_of(config)}
    align, tune = (stage.model_dump() for stage in config.stages)
    assert arms == {
        "as-given": {},
        "one-stage": {"stages": ({**tune, "steps": 7},)},
        "depth-1": {"depth": 1},
        "depth-3": {"depth": 3},
        "quarter-width": {"hidden": 4},
        "fourfold-width": {"hidden": 64},
        "tokens-4": {"tokens_per_vector": 4},
        "lora": {"stages": (align, {**tune, "train": "lora"})},
        "random-start": {"start": "random"},
        "quarter-entities": {"train_share": 0.25},
        "sixteenth-entities": {"train_share": 0.0625},
    }


def test_arms_of_another_config_take_the_other_side():
    given = TrainConfig(
        space=Path("s"),
        train_share=0.5,
        adapter=AdapterConfig(tokens_per_vector=4, start="random", depth=1),
        stages=(
            Stage(name="a", train="all", steps=5, optimizer="muon"),
            Stage(name="b", train="adapter", steps=2),
            Stage(name="c", train="all", steps=10),
        ),
    )
    arms = {arm.name: arm.config for arm in arms_of(given)}
    assert {name for name, arm in arms.items() if arm == given} == {
        *("as-given", "depth-1", "quarter-width", "fourfold-width", "random-start")
    }
    assert arms["tokens-1"].adapter.tokens_per_vector == 1
    assert [(s.name, s.steps) for s in arms["one-stage"].stages] == [("c", 17)]
    assert [(s.train, s.optimizer) for s in arms["lora"].stages] == [
        *(("lora", "adamw"), ("adapter", "adamw"), ("lora", "adamw"))
    ]
    assert arms["quarter-entities"].train_share == 0.125
    again = {arm.name: arm.config for arm in arms_of(arms["lora"])}
    assert [s.train for s in again["full"].stages] == ["all", "adapter", "all"]


def test_an_adapter_alone_has_no_lora_arm():
    given = TrainConfig(space=Path("s"), stages=(Stage(name="align", train="adapter", steps=5),))
    same = {arm.name for arm in arms_of(given) if arm.config == given}
    assert same == {"as-given", "one-stage", "lora"}


# ---- figures


def test_figures_are_those_of_the_models_in_the_run_folders(whole, config):
    found = read(whole)
    assert [arm.name for arm in found.arms] == ["as-given", "one-stage", "depth-1"]
    assert (found.entities, found.examples, found.left_out, found.failed) == (8, 8, (), {})
    assert found.config == config
    examples = held_out_of(config)
    assert {SIDES[int(example.ids[0][1:])] for example in examples} == {"validation"}
    right = {}
    for arm in found.arms:
        elm = store.load(whole / arm.name / "model")
        right[arm.name] = elm.loss(examples)
        gaps = elm.loss(shuffled(examples, seed=0)) - right[arm.name]
        assert arm.loss.value == pytest.approx(right[arm.name].mean(), rel=1e-5)
        assert arm.gap.value == pytest.approx(gaps.mean(), abs=1e-5)
        differences = right[arm.name] - right[AS_GIVEN]
        assert arm.difference.value == pytest.approx(differences.mean(), abs=1e-5)
        for interval, values in ((arm.gap, gaps), (arm.difference, differences)):
            drawn = np.random.default_rng(8).choice(values, (RESAMPLES, len(values))).mean(1)
            low, high = np.percentile(drawn, (2.5, 97.5))
            assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.2 * (high - low) + 1e-6)
        gate = json.loads((whole / arm.name / "gates.json").read_text("utf-8"))["tune"]
        assert (arm.loss.value, arm.gap.value) == pytest.approx((gate["right"], gate["gap"]), abs=1e-5)
        assert 0 < arm.minutes < 5
        assert (arm.seeds, arm.over_seeds) == ((3,), None)
    base = sum(p.numel() for p in tiny.base().parameters())
    assert found.arms[0].trainable == base + 16 * (E + 1) + D * (16 + 1)
    assert found.arms[2].trainable == base + D * (E + 1)


def test_the_arms_train_equally_long(whole):
    rows = {
        name: [json.loads(line) for line in (whole / name / "metrics.jsonl").read_text("utf-8").splitlines()]
        for name in ("as-given", "one-stage")
    }
    assert [(row["stage"], row["step"]) for row in rows["as-given"]] == [("align", 3), ("tune", 4)]
    assert [(row["stage"], row["step"]) for row in rows["one-stage"]] == [("tune", 7)]


def cells(markdown: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("|")]


def test_the_table_holds_what_the_json_holds(whole):
    found = read(whole)
    _, _, *rows = cells((whole / "ablations.md").read_text("utf-8"))
    assert len(rows) == len(found.arms)
    for row, arm in zip(rows, found.arms, strict=True):
        figures = [f"{x.value:{s}.3f} [{x.low:{s}.3f}, {x.high:{s}.3f}]"
                   for x, s in ((arm.loss, ""), (arm.gap, "+"), (arm.difference, "+"))]  # fmt: skip
        expected = [arm.name, arm.change, f"{arm.trainable:,}", f"{arm.minutes:.1f}", *figures]
        assert row == (expected[:-1] if arm.name == AS_GIVEN else expected)
    assert Ablation.model_validate_json(found.to_json()) == found


# ---- going on


def without_minutes(found: Ablation) -> list[dict]:
    return [arm.model_dump(exclude={"minutes"}) for arm in found.arms]


def test_a_stopped_ablation_goes_on_and_ends_at_the_same_figures(folder, whole, config, tmp_path, capsys):
    run = tmp_path / "run"
    for stop in (("as-given: align", 3), ("as-given: tune", 3), ("depth-1: tune", 3)):
        with pytest.raises(Stopped):
            ablate(config, run, only=("one-stage", "depth-1"), on_step=stop_at(*stop))
    assert [arm.name for arm in read(run).arms] == ["as-given", "one-stage"]
    capsys.readouterr()
    assert main(["ablate", str(folder / "config.toml"), "--run", str(run), *ONLY]) == 0
    told = capsys.readouterr().out
    assert f"measured before: {run / 'one-stage'}" in told
    assert f"measured before: {run / 'depth-1'}" not in told
    assert f"written: {run / 'ablations.md'}" in told
    assert without_minutes(read(run)) == without_minutes(read(whole))
    assert all(0 < arm.minutes < 5 for arm in read(run).arms), "stages of earlier sessions count"
    assert not list(run.rglob("*.tmp"))


def test_what_is_finished_is_not_trained_again_and_stays_in_the_table(whole, config):
    before = read(whole)
    again = ablate(config, whole, only=["one-stage"], on_step=lambda progress: pytest.fail("trained again"))
    assert again.arms == before.arms == read(whole).arms


def test_another_config_is_refused(folder, whole, tmp_path, capsys):
    other = tmp_path / "other.toml"
    other.write_text((folder / "config.toml").read_text("utf-8").replace("hidden = 16", "hidden = 8"), encoding="utf-8")
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert main(["ablate", str(other), "--run", str(whole)]) == 2
    assert "was started with another config" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_a_damaged_result_is_told(whole, config, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    path = run / "depth-1" / "ablation.json"
    path.write_text(path.read_text("utf-8")[:-20], encoding="utf-8")
    with pytest.raises(ConfigError, match=r"depth-1/ablation\.json is damaged .* Delete it"):
        ablate(config, run, only=["one-stage"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"only": ["bigger"]}, r"Unknown arm 'bigger'. One of: one-stage, depth-1, .*sixteenth-entities"),
        ({"seeds": 0}, "seeds is 0, expected 1 or more"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(config, tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        ablate(config, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_space_with_nothing_held_out_is_refused(config, tmp_path):
    ids, texts = [f"e{i}" for i in range(12)], [f"one {i}" for i in range(12)]  # a tenth of which is one
    Space.create(tmp_path / "few", ids=ids, vectors=vectors(12), columns={"text": texts}, name="few")
    with pytest.raises(ConfigError, match=r"has 1 held-out \(validation\) examples, and no task has two"):
        ablate(config.model_copy(update={"space": tmp_path / "few"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ---- several seeds, failures, arms left out


def test_seeds_are_told_apart_and_averaged_by_entity(config, tmp_path):
    told: list[str] = []
    found = ablate(config, tmp_path, only=["depth-1"], seeds=2, on_event=told.append)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        *("as-given", "as-given-seed-4", "depth-1", "depth-1-seed-4")
    ]
    examples = {seed: held_out_of(config.model_copy(update={"seed": seed})) for seed in (3, 4)}
    losses = {
        (name, seed): store.load(tmp_path / (name if seed == 3 else f"{name}-seed-4") / "model").loss(examples[seed])
        for name in ("as-given", "depth-1")
        for seed in (3, 4)
    }
    given, linear = found.arms
    assert linear.seeds == (3, 4)
    assert linear.over_seeds is not None
    means = [losses["depth-1", seed].mean() for seed in (3, 4)]
    assert (linear.over_seeds.loss.mean, linear.over_seeds.loss.sd) == pytest.approx(
        (np.mean(means), np.std(means, ddof=1)), rel=1e-4
    )
    by_seed = [(losses["depth-1", seed] - losses["as-given", seed]).mean() for seed in (3, 4)]
    assert linear.over_seeds.difference.mean == pytest.approx(np.mean(by_seed), abs=1e-5)
    assert linear.over_seeds.difference.sd == pytest.approx(np.std(by_seed, ddof=1), abs=1e-5)
    assert linear.difference.value == pytest.approx(np.mean(by_seed), abs=1e-5), "the split column is the same for both"
    assert given.difference.value == 0
    markdown = (tmp_path / "ablations.md").read_text("utf-8")
    spread = linear.over_seeds.gap
    assert f"| depth-1 | 2 | {np.mean(means):.3f} ± {np.std(means, ddof=1):.3f} | " in markdown
    assert f" | {spread.mean:+.3f} ± {spread.sd:.3f} | " in markdown
    assert any(event.startswith("depth-1, seed 4: ") for event in told)


def test_a_variant_that_fails_is_told_and_the_others_go_on(config, tmp_path, monkeypatch):
    def failing(settings, run, **options):
        if settings.adapter.depth == 1:
            raise ConfigError("The loss became nan at step 2 of tune. Lower the rates.")
        return train(settings, run, **options)

    monkeypatch.setattr(ablation, "train", failing)
    found = ablate(config, tmp_path, only=["depth-1", "tokens-4"])
    assert [arm.name for arm in found.arms] == ["as-given", "tokens-4"]
    assert found.failed == {"depth-1": "The loss became nan at step 2 of tune. Lower the rates."}
    assert "Not measured: depth-1: The loss became nan" in (tmp_path / "ablations.md").read_text("utf-8")
    monkeypatch.undo()
    again = ablate(config, tmp_path, only=["depth-1", "tokens-4"])
    assert [arm.name for arm in again.arms] == ["as-given", "depth-1", "tokens-4"]
    assert again.failed == {}


def test_the_config_as_given_must_not_fail(config, tmp_path):
    stages = [stage.model_copy(update={"adapter_lr": 1e30}) for stage in config.stages]
    with pytest.raises(ConfigError, match="The loss became"):
        ablate(config.model_copy(update={"stages": tuple(stages)}), tmp_path, only=["depth-1"])


def test_an_arm_that_is_the_config_is_left_out_and_said_so(config, tmp_path):
    given = config.model_copy(update={"stages": (config.stages[0].model_copy(update={"steps": 1}),)})
    told: list[str] = []
    found = ablate(given, tmp_path, only=["one-stage", "lora"], on_event=told.append)
    assert [arm.name for arm in found.arms] == ["as-given"]
    assert found.left_out == ("one-stage", "lora")
    assert "arms: as-given; left out: one-stage, lora" in told
    markdown = (tmp_path / "ablations.md").read_text("utf-8")
    assert "Left out, since the config is so already: one-stage, lora." in markdown
    adapter_alone = 16 * (E + 1) + D * (16 + 1)
    assert found.arms[0].trainable == adapter_alone


def test_lora_counts_its_own_weights(config, tmp_path):
    found = ablate(config, tmp_path, only=["lora"])
    weights = store.load(tmp_path / "lora" / "model").base.named_parameters()
    lora = sum(parameter.numel() for name, parameter in weights if "lora_" in name)
    assert lora > 0
    assert found.arms[1].trainable == lora + 16 * (E + 1) + D * (16 + 1)


# ---- train_share


def pairs_and_singles() -> list[Example]:
    ones = [Example("one", "{x}", {}, "t", (f"e{i}",)) for i in range(40)]
    return [*ones, *(Example("two", "{x}{y}", {}, "t", (f"e{i}", f"e{i + 1}")) for i in range(39))]


def test_a_share_of_the_entities_is_drawn_and_every_example_of_them_alone_kept():
    examples = pairs_and_singles()
    kept, told = share_of(examples, 0.5, seed=1)
    entities = {example.ids[0] for example in kept if example.task == "one"}
    assert len(entities) == 20
    assert kept == [example for example in examples if set(example.ids) <= entities]
    assert any(example.task == "two" for example in kept)
    assert told == "train_share 0.5: 20 of 40 training entities"
    assert kept == share_of(examples, 0.5, seed=1)[0]
    assert kept != share_of(examples, 0.5, seed=2)[0]
    smaller = {example.ids[0] for example in share_of(examples, 0.1, seed=1)[0]}
    assert len(smaller) == 4
    assert smaller < entities


def test_at_least_one_entity_is_drawn():
    kept, told = share_of(pairs_and_singles()[:40], 1e-6, seed=0)
    assert len(kept) == 1
    assert told.endswith("1 of 40 training entities")
    with pytest.raises(ConfigError, match=r"leaves no example.* Raise train_share"):
        share_of(pairs_and_singles()[40:], 1e-6, seed=0)


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_training_uses_the_share_and_never_a_test_entity(config, tmp_path, monkeypatch, share):
    seen: list[Example] = []
    start = training.start_adapter
    monkeypatch.setattr(
        training,
        "start_adapter",
        lambda elm, examples, **rest: (seen.extend(examples), start(elm, examples, **rest))[1],
    )
    told: list[str] = []
    short = tuple(stage.model_copy(update={"steps": 1}) for stage in config.stages[:1])
    settings = config.model_copy(update={"train_share": share, "stages": short})
    train(settings, tmp_path / "run", on_event=told.append)
    assert {SIDES[int(id[1:])] for example in seen for id in example.ids} == {"train"}
    assert len({id for example in seen for id in example.ids}) == 44 * share
    assert ("train_share 0.25: 11 of 44 training entities" in told) == (share < 1)


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_shares_that_cannot_be_are_refused(share):
    with pytest.raises(ValueError, match="train_share"):
        TrainConfig(space=Path("s"), train_share=share)


def test_a_run_started_before_a_field_came_still_resumes(config, tmp_path):
    short = tuple(stage.model_copy(update={"steps": 1}) for stage in config.stages[:1])
    settings = config.model_copy(update={"stages": short})
    train(settings, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    old = json.loads(path.read_text("utf-8"))
    del old["train_share"], old["adapter"]["depth"]
    path.write_text(json.dumps(old), encoding="utf-8")
    train(settings, tmp_path / "run", resume=True)
    path.write_text(json.dumps({**old, "colour": "red"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="another config"):
        train(settings, tmp_path / "run", resume=True)
