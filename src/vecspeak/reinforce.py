"""Consistency as reward, an optional third stage. Run: vecspeak reinforce MODEL --run FOLDER --task summary

Paper, appendix H: REINFORCE at the end of the answer with a KL term to the tuned model, in theory, without results.
The baseline of an answer is the mean of the other answers at its point (RLOO; Kool et al. 2019, Ahmadian et al.
2024, arXiv 2402.14740).

Shapes: P points of a step, M answers at each, R = P * M answers, L tokens of all answers, B rows of a forward pass,
T tokens, E domain dimension, V vocabulary.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from vecspeak.answers import Question
from vecspeak.batching import Batch, answered_batch
from vecspeak.bundled import model_folder, open_model
from vecspeak.decoding import Decoding, run
from vecspeak.elm import Elm
from vecspeak.encode import Encoder
from vecspeak.errors import ConfigError, EncoderError, SpaceError, TaskError
from vecspeak.evaluate import TRAINING_SIDE, evaluate
from vecspeak.files import write_whole
from vecspeak.metrics import TIE, repetition, unit_rows
from vecspeak.prompts import Prompt, end_token, render
from vecspeak.reinforced import GREEDY, Reinforced
from vecspeak.report import Report
from vecspeak.runs import Checkpoint, log_row, save_checkpoint
from vecspeak.space import Point, Space
from vecspeak.stages import Stage, set_trainable
from vecspeak.store import Manifest, read_manifest, save
from vecspeak.tasks import Task, TaskSet, load_tasks, pick_task
from vecspeak.training import CONFIG, SPLIT_COLUMN

Reward = Literal["consistency", "identification"]

SHARPNESS = 0.05
"""Temperature of the softmax over cosines in the reward `identification`."""

ROWS = 16
"""Answers in one forward pass of an update: memory grows with it, the result is the same."""


@dataclass(frozen=True)
class ReinforceConfig:
    """What `vecspeak reinforce` runs. Raises ConfigError for values out of range."""

    model: str
    """Folder of a tuned model, or `films`."""
    space: str | None = None
    """Folder of its space, where the model does not say."""
    tasks: str = "films"
    """Task set or task file."""
    task: tuple[str, ...] = ()
    """Which of its tasks to train and measure; all with one slot where none is named."""
    steps: int = 100
    batch_size: int = 8
    """Points of a step, each another entity of the training side."""
    samples: int = 8
    """Answers sampled at each point."""
    kl: float = 0.05
    """Weight of the KL term that holds the policy near the tuned model, in reward's standard deviations per nat."""
    lr: float = 1e-5
    """Rate of base and adapter, constant."""
    temperature: float = 1.0
    """Of the sampling, and of the policy that is trained: log-probabilities are taken at it."""
    max_tokens: int = 60
    """Longest answer sampled; a longer one is cut and rewarded for what it has."""
    seed: int = 0
    reward: Reward = "consistency"
    """`consistency`: the answer's SC. `identification`: log-probability that the answer's point is picked among the
    step's points by cosine; harder to please with text that fits all of them."""
    side: str = "validation"
    """Whose entities judge the model before and after."""
    checkpoint_every: int = 10
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        for name, low in (
            ("steps", 1), ("batch_size", 2), ("samples", 2), ("max_tokens", 1), ("seed", 0), ("checkpoint_every", 1),
            ("kl", 0),
        ):  # fmt: skip
            if not getattr(self, name) >= low:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected {low} or more.")
        for name in ("lr", "temperature"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected above 0.")
        if self.reward not in get_args(Reward):
            raise ConfigError(f"reward is {self.reward!r}; expected one of {', '.join(get_args(Reward))}.")
        if self.side == TRAINING_SIDE:
            raise ConfigError(f"side {self.side!r} is trained on; expected held-out entities: validation or test.")

    @property
    def decoding(self) -> Decoding:
        """Sampling from the policy itself: no guidance, no penalty, no cut of the distribution."""
        return Decoding(max_tokens=self.max_tokens, temperature=self.temperature)


@dataclass(frozen=True)
class Step:
    """Means over the answers of one step."""

    step: int
    steps: int
    reward: float
    kl: float
    """Nats per token from the tuned model, before the step's update."""
    tokens: float
    """Length of an answer, the end token not counted."""
    repetition: float


def reinforce(
    config: ReinforceConfig,
    run: str | Path,
    *,
    on_step: Callable[[Step], None] = lambda step: None,
    on_event: Callable[[str], None] = lambda event: None,
) -> Reinforced:
    """Reward a tuned model for answers that encode to their points; it is saved in `run/model`.

    A run that was stopped goes on where its last checkpoint was when called again with the same config, and ends
    at the weights of an uninterrupted one.

    Args:
        config: model, tasks, settings.
        run: run folder: config.json, metrics.jsonl, checkpoints, before.json, model, reinforce.md, reinforce.json.
        on_step: called after every step.
        on_event: called with what a user should read.

    Raises:
        ConfigError: the run folder belongs to other settings, a task has two slots or no text, a batch exceeds the
            training side, answers do not fit the base's positions, or the loss became NaN.
        EncoderError: the space names no encoder to reward with.
        SpaceError: the space has no training or no held-out entities.
        ModelError, TaskError: what they name does not load.
    """
    run = Path(run)
    tasks = _chosen(load_tasks(config.tasks), config.task)
    elm = open_model(config.model, None if config.space is None else Path(config.space))
    space = _space_of(elm)
    encoder = _encoder_of(elm)
    ids = _training_ids(space, at_least=config.batch_size)
    _check_length(elm, tasks, config.max_tokens)
    _claim(run, config)
    nn.Module.to(elm.base, torch.float32)  # in bfloat16 an update of 1e-5 is rounded away
    measure = partial(_measured, elm, space, tasks, side=config.side, seed=config.seed, on_event=on_event)
    kept = run / "before.json"
    if not kept.is_file():
        write_whole(kept, measure("before").to_json())
    before = Report.model_validate_json(kept.read_text("utf-8"))
    if not before.tasks:
        reasons = "; ".join(f"`{task}`: {reason}" for task, reason in before.skipped.items())
        raise ConfigError(f"None of the tasks can be measured on side {config.side!r} ({reasons}). Name others.")
    old = read_manifest(model_folder(config.model))
    train = "lora" if old.change == "lora" else "all"
    set_trainable(elm, Stage(name="reinforce", train=train, steps=config.steps))
    draw = partial(draw_questions, space, ids, list(tasks.values()), count=config.batch_size)
    train_policy(elm, config, draw, encoder=encoder, run=run, on_step=on_step)
    save(elm, run / "model", manifest=_manifest(old, config, space))
    found = Reinforced(config=asdict(config), before=before, after=measure("after"))
    write_whole(run / "reinforce.json", found.model_dump_json(indent=1))
    write_whole(run / "reinforce.md", found.to_markdown())
    return found


# ---- the policy


@dataclass(frozen=True, eq=False)
class Sampled:
    """One answer of the policy."""

    prompt: Prompt
    points: Mapping[str, NDArray[np.float32]]
    ids: tuple[int, ...]
    """Its tokens, with the tokenizer's end token where the answer ended of itself; another end token that the base
    may name is counted as that one."""
    text: str
    tokens: int
    """The end token not counted."""


Draw = Callable[[np.random.Generator], list[Question]]
"""The questions (P,) of a step, one slot each."""


def train_policy(
    elm: Elm,
    config: ReinforceConfig,
    draw: Draw,
    *,
    encoder: Encoder,
    run: Path,
    on_step: Callable[[Step], None] = lambda step: None,
) -> None:
    """Train what requires gradients in place, from the run's checkpoint where it has one.

    The loss of a step is the mean over its answers of

        - advantage * (mean log p of the answer's tokens) + kl * (mean k3 of the answer's tokens)

    so a long answer weighs no more than a short one. Everything drawn in a step depends on the seed and the step
    alone. Dropout is off, or the policy that is trained were not the one that answers.

    Args:
        draw: gives the questions of a step from its random generator.
        run: run folder, which exists; gets checkpoints and metrics.jsonl, a row a step. Rows of steps after the
            checkpoint come again when a run goes on.

    Raises:
        ConfigError: the loss became NaN or infinite, or the checkpoint holds other weights.
    """
    reference = frozen_copy(elm)
    parameters = [p for p in elm.parameters() if p.requires_grad]
    # no weight decay: it would pull away from the tuned model
    optimizer = torch.optim.AdamW(parameters, lr=config.lr, betas=(0.9, 0.98), weight_decay=0.0)
    first = 0
    checkpoint = Checkpoint.latest(run)
    if checkpoint is not None:
        checkpoint.load_weights(elm)
        checkpoint.load_moments(optimizer)
        first = checkpoint.step
    elm.eval()
    for step in range(first, config.steps):
        rng = np.random.default_rng((config.seed, step))
        answers = sample(elm, draw(rng), samples=config.samples, decoding=config.decoding, rng=rng)
        points_PE = np.stack([vector for answer in answers[:: config.samples] for vector in answer.points.values()])
        rewards_PM = rewards(encoder.encode([answer.text for answer in answers]), points_PE, reward=config.reward)
        loss, kl = backward(elm, reference, answers, advantages(rewards_PM).ravel(), config=config)
        if not np.isfinite(loss):
            raise ConfigError(f"The loss became {loss} at step {step + 1}. Lower the rate.")
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        done = _step(step + 1, config, rewards_PM, kl, answers)
        log_row(run, {"stage": "reinforce", **asdict(done)})
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            save_checkpoint(run, stage=0, step=step + 1, model=elm, optimizer=optimizer)
        on_step(done)
    elm.forget_words()


def draw_questions(
    space: Space, ids: Sequence[str], tasks: Sequence[Task], rng: np.random.Generator, *, count: int
) -> list[Question]:
    """Questions about `count` different entities of `ids`, each by a prompt of a task, all drawn evenly."""
    drawn = []
    for row in rng.permutation(len(ids))[:count]:
        task = tasks[int(rng.integers(len(tasks)))]
        prompt = task.prompts[int(rng.integers(len(task.prompts)))]
        drawn.append(Question(prompt, {task.slots[0]: space[ids[int(row)]].vector}))
    return drawn


def sample(
    elm: Elm, questions: Sequence[Question], *, samples: int, decoding: Decoding, rng: np.random.Generator
) -> list[Sampled]:
    """`samples` answers (R,) to each question, those of one question together."""
    asked = [elm.check(question, decoding) for question in questions]
    keyed = [
        ((i, n), replace(row, seed=seed))
        for i, (row,) in enumerate(elm.rows(asked, decoding))
        for n, seed in enumerate(rng.integers(2**62, size=samples).tolist())
    ]
    written = dict(run(elm.decoder(), keyed, at_once=len(keyed)))
    end = end_token(elm.tokenizer)
    closing = () if end is None else (end,)
    return [
        Sampled(
            prompt=asked[i].prompt,
            points={slot: point.vector for slot, point in asked[i].points.items()},
            ids=(*written[i, n], *(closing if len(written[i, n]) < decoding.max_tokens else ())),
            text=elm.read(written[i, n]),
            tokens=len(written[i, n]),
        )
        for i, n in (key for key, _ in keyed)
    ]


def log_probs(elm: Elm, answers: Sequence[Sampled], *, temperature: float) -> Tensor:
    """Log-probability (L,) in nats of each token of the answers, one answer after the other, at a temperature."""
    batch = _batch_of(answers).to(elm.device)
    # right padding needs no mask in a causal model: no token of an answer sees it
    keep_BT = batch.target_BT.roll(-1, 1)
    logits_LV = elm.base(inputs_embeds=elm.embed(batch), logits_to_keep=keep_BT, use_cache=False).logits
    ids_L = batch.ids_BT[batch.target_BT]
    return -nn.functional.cross_entropy(logits_LV.float() / temperature, ids_L, reduction="none")


def rewards(texts_RE: ArrayLike, points_PE: ArrayLike, *, reward: Reward) -> NDArray[np.float64]:
    """(P, M) rewards of encoded answers, those of one point together.

    `consistency` is cos(text, own point), -1..1; `identification` the logarithm of the softmax over the points p of
    cos(text, p) / SHARPNESS, at the own point, up to 0.
    """
    points_PE = unit_rows(points_PE)
    P = len(points_PE)
    scores_PMP = (unit_rows(texts_RE) @ points_PE.T).reshape(P, -1, P)
    if reward == "identification":
        scores_PMP = torch.log_softmax(torch.from_numpy(scores_PMP / SHARPNESS), -1).numpy()
    own_P = np.arange(P)
    return scores_PMP[own_P, :, own_P]


def advantages(rewards_PM: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, M): reward minus the mean of the other answers at its point, over the standard deviation of all of these.

    Mean 0 at every point. Rewards that differ by less than an encoder can tell are not blown up.
    """
    M = rewards_PM.shape[1]
    others_PM = (rewards_PM.sum(1, keepdims=True) - rewards_PM) / (M - 1)
    above_PM = rewards_PM - others_PM
    return above_PM / max(float(above_PM.std()), TIE)


def k3(log_policy_L: Tensor, log_reference_L: Tensor) -> Tensor:
    """exp(r) - r - 1 with r = log reference - log policy: its mean on the policy is KL(policy || reference).

    Never negative, and of low variance (Schulman 2020, http://joschu.net/blog/kl-approx.html). Its gradient at fixed
    tokens estimates that of KL(reference || policy) instead: the same minimum and, near it, the same curvature.
    """
    ratio_L = log_reference_L - log_policy_L
    return ratio_L.exp() - ratio_L - 1


def backward(
    elm: Elm, reference: Elm, answers: Sequence[Sampled], advantages_R: NDArray[np.float64], *, config: ReinforceConfig
) -> tuple[float, float]:
    """Add the gradients of a step's loss; returns the loss, and the mean over answers of their tokens' mean k3."""
    loss = kl = 0.0
    for first in range(0, len(answers), ROWS):
        part = answers[first : first + ROWS]
        log_policy_L = log_probs(elm, part, temperature=config.temperature)
        with torch.no_grad():
            log_reference_L = log_probs(reference, part, temperature=config.temperature)
        counts_B = torch.tensor([len(answer.ids) for answer in part], device=elm.device)
        advantages_B = torch.tensor(advantages_R[first : first + ROWS], dtype=torch.float32, device=elm.device)
        weights_L = (1 / (counts_B.clamp(min=1) * len(answers))).repeat_interleave(counts_B)
        k3_L = k3(log_policy_L, log_reference_L)
        gain_L = advantages_B.repeat_interleave(counts_B) * log_policy_L
        total = (weights_L * (config.kl * k3_L - gain_L)).sum()
        total.backward()
        loss += total.item()
        kl += (weights_L * k3_L).sum().item()
    return loss, kl


def frozen_copy(elm: Elm) -> Elm:
    """Base and adapter as they are now, without gradients."""
    copied = Elm(copy.deepcopy(elm.base), elm.tokenizer, copy.deepcopy(elm.adapter), elm.fingerprint)
    return copied.requires_grad_(False).eval()


def _batch_of(answers: Sequence[Sampled]) -> Batch:
    return answered_batch([a.prompt for a in answers], [a.points for a in answers], [a.ids for a in answers])


def _vector(point: Point | np.ndarray) -> NDArray[np.float32]:
    return np.asarray(point.vector if isinstance(point, Point) else point, np.float32)


def _step(
    step: int, config: ReinforceConfig, rewards_PM: NDArray[np.float64], kl: float, answers: Sequence[Sampled]
) -> Step:
    return Step(
        step=step,
        steps=config.steps,
        reward=float(rewards_PM.mean()),
        kl=kl,
        tokens=float(np.mean([answer.tokens for answer in answers])),
        repetition=float(np.mean([repetition(answer.text) for answer in answers])),
    )


# ---- before the work


def _chosen(known: TaskSet, names: Sequence[str]) -> TaskSet:
    one_slot = {name: task for name, task in known.items() if len(task.slots) == 1}
    chosen = {name: pick_task(known, name) for name in names} or one_slot
    if several := sorted(set(chosen) - set(one_slot)):
        raise TaskError(f"Task {several[0]!r} has two slots; the reward compares an answer with one point.")
    if not chosen:
        raise TaskError("No task of the set has one slot; the reward compares an answer with one point.")
    return chosen


def _space_of(elm: Elm) -> Space:
    assert elm.space is not None
    return elm.space


def _encoder_of(elm: Elm) -> Encoder:
    space = _space_of(elm)
    if elm.encoder is None:
        raise EncoderError(
            f"The reward re-encodes the answers, but the space {space.name} names no encoder. Import it with "
            "`--encoder`, the text encoder that made its vectors, and train on it; vectors of behaviour have none."
        )
    return elm.encoder


def _training_ids(space: Space, *, at_least: int) -> list[str]:
    if SPLIT_COLUMN not in space.columns:
        raise SpaceError(
            f"{space.name} has no column {SPLIT_COLUMN!r} that says which entities the model was trained on and which "
            "were held out (train, validation, test). Import it with one."
        )
    sides = space.column(SPLIT_COLUMN)
    ids = sorted(id for id, side in zip(space.ids, sides, strict=True) if side == TRAINING_SIDE)
    if not ids:
        known = ", ".join(sorted({str(side) for side in sides}))
        raise SpaceError(f"{space.name} has no entities on side {TRAINING_SIDE!r}. Sides: {known}.")
    if len(ids) < at_least:
        raise ConfigError(f"batch_size is {at_least}, but {space.name} has {len(ids)} training entities. Lower it.")
    return ids


def _check_length(elm: Elm, tasks: TaskSet, max_tokens: int) -> None:
    prompts = [prompt for task in tasks.values() for prompt in task.prompts]
    longest = max(len(render(elm.tokenizer, prompt, elm.adapter.tokens_per_vector).ids) for prompt in prompts)
    limit = getattr(elm.base.config, "max_position_embeddings", None)
    if limit is not None and longest + max_tokens > limit:
        raise ConfigError(
            f"A prompt of {longest} tokens and {max_tokens} more do not fit the base, which has {limit} positions. "
            "Lower max_tokens."
        )


def _claim(run: Path, config: ReinforceConfig) -> None:
    """Mark the run folder as this config's, or raise ConfigError where it is another's."""
    path = run / CONFIG
    wanted = json.dumps(asdict(config), indent=2) + "\n"
    if path.is_file() and json.loads(path.read_text("utf-8")) != json.loads(wanted):
        raise ConfigError(f"{run} holds a run of other settings (see {path}). Use those, or another folder.")
    run.mkdir(parents=True, exist_ok=True)
    write_whole(path, wanted)


# ---- before and after


def _measured(
    elm: Elm, space: Space, tasks: TaskSet, when: str, *, side: str, seed: int, on_event: Callable[[str], None]
) -> Report:
    return evaluate(
        elm,
        space,
        tasks,
        side=side,
        decodings={GREEDY: Decoding(max_tokens=elm.decoding.max_tokens)},
        seed=seed,
        progress=lambda what, done, total: on_event(f"{when} [{done + 1}/{total}] {what}"),
    )


def _manifest(old: Manifest, config: ReinforceConfig, space: Space) -> Manifest:
    """elm.json of the model trained on: its base has changed, and its scores are no longer true."""
    return old.model_copy(
        update={
            "change": "lora" if old.change == "lora" else "full",
            "space": str(space.path.resolve()),
            "provenance": {"reinforce": asdict(config), "of": old.provenance},
            "scores": {},
        }
    )
