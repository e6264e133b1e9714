"""One stage of training: "align" trains the adapter on a frozen base, "tune" the base with it.

Paper, section 2 and appendix D: without the first stage the second collapses.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from accelerate import Accelerator, DistributedType
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vecspeak.batching import Batch
from vecspeak.elm import Elm
from vecspeak.errors import ConfigError
from vecspeak.examples import Example
from vecspeak.muon import Muon
from vecspeak.runs import Checkpoint, log_row, save_checkpoint
from vecspeak.sampling import Sampler
from vecspeak.sharding import is_sharded, shard
from vecspeak.store import add_lora
from vecspeak.wordspace import embedding_of, inverse_frequency, mean_embeddings

Trainable = Literal["adapter", "all", "lora"]

REFUSED = (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
"""Ways to divide a model among processes that checkpoints could not be put together from."""


class Stage(BaseModel):
    """One phase of training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    train: Trainable
    """`adapter` freezes the base; `all` trains everything; `lora` low-rank changes of the base."""
    steps: int = Field(gt=0)
    batch_size: int = Field(default=32, gt=0)
    """Examples of a step; several processes share them."""
    lr: float = Field(default=2e-5, gt=0)
    """Peak rate of the base's weights, per step."""
    adapter_lr: float = Field(default=1e-3, gt=0)
    """Peak rate of the adapter's weights."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps in which the rates rise."""
    decay: float = Field(default=0.4, ge=0, le=1)
    """Share of the steps, at the end, in which the rates fall linearly to zero."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Of the base's matrices, with `all`; Muon needs fewer tokens, and a third more time for each."""
    lora_rank: int = Field(default=16, gt=0)
    """Used by `lora`, the same in all its stages."""
    bag_loss: float = Field(default=0.0, ge=0)
    """Weight of an auxiliary loss: the adapter's output alone must predict the target's content words."""
    checkpoint_every: int = Field(default=200, gt=0)
    """Steps between checkpoints."""

    @model_validator(mode="after")
    def _muon_trains_matrices(self) -> "Stage":
        if self.optimizer == "muon" and self.train != "all":
            raise ValueError(f"optimizer `muon` is for train `all`, not `{self.train}`")
        return self


@dataclass(frozen=True)
class Progress:
    """Where a stage stands, after each step."""

    stage: str
    step: int
    steps: int
    loss: float
    """Nats per target token of the step."""
    examples_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Gate:
    """Does the model use its vectors? Held-out loss with right and with shuffled vectors, nats per token."""

    right: float
    shuffled: float
    low: float
    """Lower end of the 95 % bootstrap interval of the gap, over examples."""

    @property
    def gap(self) -> float:
        return self.shuffled - self.right

    @property
    def open(self) -> bool:
        """True where the gap is above zero beyond chance."""
        return self.low > 0

    def __str__(self) -> str:
        told = f"loss {self.right:.3f} with the right vectors, {self.shuffled:.3f} with shuffled ones"
        if self.open:
            return f"{told}: the vectors are used (gap {self.gap:+.3f})."
        return (
            f"{told}: THE VECTORS ARE NOT USED (gap {self.gap:+.3f}, interval from {self.low:+.3f}). "
            "Train longer, raise adapter_lr, or check that the texts belong to these vectors."
        )


def train_stage(
    elm: Elm,
    stage: Stage,
    sampler: Sampler,
    *,
    number: int,
    run: Path,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Train one stage in place, from the run's checkpoint where it has one in this stage.

    Under `accelerate launch` each process works on its share of every batch; they end at one model, that of one
    process but for rounding, and the first of them writes. With `--use_fsdp` the Elm comes on the CPU and is left
    divided among them, to be asked by all together; the whole model is in the checkpoint of the last step.

    Args:
        sampler: the batches, by step.
        number: position of the stage in the run, for its checkpoints.
        run: run folder; gets metrics.jsonl and checkpoints.
        on_step: called in every process, with the numbers of all of them.

    Raises:
        ConfigError: the loss became NaN, the checkpoint belongs to another config, or there are more processes
            than examples in a batch.
    """
    run.mkdir(parents=True, exist_ok=True)
    accelerator = processes()
    check_processes([stage], accelerator.num_processes)
    torch.manual_seed(sampler.seed)  # LoRA's start, the same in a run resumed between two stages
    names = set_trainable(elm, stage)
    latest = Checkpoint.latest(run)
    checkpoint = latest if latest is not None and latest.stage == number else None
    if checkpoint is not None:
        checkpoint.load_weights(elm)
    if is_sharded():
        shard(elm, processes=accelerator.num_processes)
    optimizer = _optimizer(elm, stage, names)
    if checkpoint is not None:
        checkpoint.load_moments(optimizer)
    first = 0 if checkpoint is None else checkpoint.step
    idf_V = _idf(elm, sampler) if stage.bag_loss else None
    model = elm if is_sharded() else accelerator.prepare(elm)
    elm.train()
    began = time.monotonic()
    for step in range(first, stage.steps):
        # dropout of the base: the same after a resume, another in each process
        torch.manual_seed(sampler.seed + step + 1_000_003 * accelerator.process_index)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate(step, stage)
        batch = elm.training_batch(sampler.batch(step)[accelerator.process_index :: accelerator.num_processes])
        with accelerator.autocast():  # a sharded Elm does not come prepared with it
            losses_L = model(batch)
        loss = share_of_mean(losses_L, accelerator)
        total = loss
        if idf_V is not None:
            total = loss + stage.bag_loss * share_of_mean(bag_losses(elm, batch, idf_V), accelerator)
        accelerator.backward(total)
        nn.utils.clip_grad_norm_([p for p in elm.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        mean = cast(Tensor, accelerator.reduce(loss.detach(), "mean")).item()
        progress = _progress(stage, step + 1, mean, began, step + 1 - first)
        if not np.isfinite(progress.loss):
            raise ConfigError(f"The loss became {progress.loss} at step {step + 1} of {stage.name}. Lower the rates.")
        last = step + 1 == stage.steps
        if accelerator.is_main_process and ((step + 1) % 10 == 0 or last):
            log_row(run, {"stage": stage.name, "step": step + 1, "loss": round(progress.loss, 5)})
        if (step + 1) % stage.checkpoint_every == 0 or last:
            writes = accelerator.is_main_process
            save_checkpoint(run, stage=number, step=step + 1, model=elm, optimizer=optimizer, writes=writes)
        on_step(progress)
    accelerator.wait_for_everyone()  # the next stage of every process looks for the last checkpoint
    elm.eval()
    elm.forget_words()


def processes() -> Accelerator:
    """Those that train together: what `accelerate launch` or `torchrun` started, else this one; bfloat16 on GPUs.

    Raises:
        ConfigError: they were launched to divide the model in a way that checkpoints do not know.
    """
    # without an accelerator they would not find each other unless told so
    on_cpu = not torch.accelerator.is_available()
    found = Accelerator(cpu=on_cpu, mixed_precision="bf16" if torch.cuda.is_available() else "no")
    if found.distributed_type in REFUSED:
        raise ConfigError(
            f"Expected processes that hold the whole model each or divide it by FSDP, got "
            f"{found.distributed_type.value}. Launch with --multi_gpu; for a base too large for that, with --use_fsdp."
        )
    return found


def set_trainable(elm: Elm, stage: Stage) -> list[str]:
    """Freeze all but what the stage trains; returns the names, which are asserted.

    A library that wraps the base can freeze the adapter without a word; that must not pass. What is trained becomes
    float32, since steps at such rates would be rounded away in 16 bits, and so does a base in float16, through which
    gradients would vanish; a frozen base in bfloat16 stays so.
    """
    if elm.base.dtype == torch.float16:
        nn.Module.to(elm.base, torch.float32)
    if stage.train == "lora" and not any("lora_" in name for name, _ in elm.named_parameters()):
        add_lora(elm.base, rank=stage.lora_rank)
    for name, parameter in elm.named_parameters():
        own = name.startswith("adapter.")
        parameter.requires_grad_(own or stage.train == "all" or (stage.train == "lora" and "lora_" in name))
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    names = [name for name, parameter in elm.named_parameters() if parameter.requires_grad]
    base = [name for name in names if not name.startswith("adapter.")]
    assert len(names) - len(base) == 2 * elm.adapter.depth, names  # a weight and a bias each
    assert bool(base) == (stage.train != "adapter"), base[:3]
    return names


def rate(step: int, stage: Stage) -> float:
    """Factor 0..1 on the peak rates: linear rise, constant, linear fall to zero."""
    rise = (step + 1) / max(1.0, stage.warmup * stage.steps)
    fall = (stage.steps - step) / max(1.0, stage.decay * stage.steps)
    return min(1.0, rise, fall)


def check_processes(stages: Sequence[Stage], processes: int) -> None:
    """Raise ConfigError where a batch has fewer examples than there are processes, or Muon would get parts."""
    for stage in stages:
        if stage.optimizer == "muon" and is_sharded():
            raise ConfigError(f"Muon works on whole matrices, --use_fsdp divides them. Use adamw in {stage.name}.")
        if stage.batch_size < processes:
            raise ConfigError(
                f"A batch of {stage.name} has {stage.batch_size} examples for {processes} processes; each needs one. "
                "Raise batch_size or start fewer."
            )


def share_of_mean(values_L: Tensor, accelerator: Accelerator) -> Tensor:
    """A loss whose gradient, averaged over the processes as they do it, is that of the mean over all their values.

    The mean of a process's own values would give short targets more weight beside long ones. Zero without any values.
    """
    count = cast(Tensor, accelerator.reduce(torch.tensor(len(values_L), device=values_L.device), "sum"))
    return values_L.sum() * accelerator.num_processes / count.clamp(min=1)


def bag_losses(elm: Elm, batch: Batch, idf_V: Tensor) -> Tensor:
    """Cross-entropy between the target's idf-weighted words and the adapter's output read as a word.

    (n,) for the rows with one slot alone: of two points neither answers for the text.
    """
    slots_B = torch.bincount(batch.rows_S, minlength=len(batch.ids_BT))
    single_S = slots_B[batch.rows_S] == 1
    rows = batch.rows_S[single_S]
    weight_BV = idf_V.new_zeros(len(batch.ids_BT), len(idf_V))
    weight_BV.scatter_add_(1, batch.ids_BT, idf_V[batch.ids_BT] * batch.target_BT)
    weight_SV = weight_BV[rows]
    table_VD = elm.word_table()
    soft_SD = elm.adapter(batch.points_SE[single_S]).mean(1)
    unit_VD = nn.functional.normalize(table_VD - table_VD.mean(0), dim=-1)
    logits_SV = 16.0 * nn.functional.normalize(soft_SD - table_VD.mean(0), dim=-1) @ unit_VD.T
    return -(weight_SV * torch.log_softmax(logits_SV, -1)).sum(-1) / weight_SV.sum(-1).clamp(min=1e-6)


def gate(elm: Elm, examples: Sequence[Example], *, seed: int = 0) -> Gate:
    """Loss on held-out examples with their own vectors and with those of another example of the task.

    An example alone in its task keeps its own vectors and would hide a gap; `training.gate_examples` leaves it out.
    """
    right = elm.loss(examples)
    wrong = elm.loss(shuffled(examples, seed=seed))
    gaps = wrong - right
    rng = np.random.default_rng(seed)
    means = gaps[rng.integers(len(gaps), size=(1000, len(gaps)))].mean(1)
    return Gate(float(right.mean()), float(wrong.mean()), float(np.quantile(means, 0.025)))


def shuffled(examples: Sequence[Example], *, seed: int) -> list[Example]:
    """The examples with points of another entity of the same task each (a cyclic shift of a random order)."""
    rng = np.random.default_rng(seed)
    by_task: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        by_task.setdefault(example.task, []).append(i)
    result = list(examples)
    for rows in by_task.values():
        order = [rows[i] for i in rng.permutation(len(rows))]
        for here, there in zip(order, [*order[1:], order[0]], strict=True):
            own, other = examples[here], examples[there]
            result[here] = Example(own.task, own.prompt, other.points, own.target, own.ids)
    return result


def start_adapter(
    elm: Elm, examples: Sequence[Example], *, start: Literal["texts", "random"], seed: int
) -> float | None:
    """Initialise the adapter; from texts, by ridge regression from vectors to mean token embeddings.

    Examples of two points say nothing about either alone: without any of one point the start is random.

    Returns:
        R2 of the ridge regression on held-out entities, as `Adapter.start_from_texts`; None for a random start.
    """
    table_VD = elm.word_table().detach().cpu()
    rms = table_VD.pow(2).mean().sqrt().item()
    device = elm.device
    elm.adapter.cpu()
    r2 = None
    single = [example for example in examples if len(example.points) == 1]
    if start == "random" or not single:
        elm.adapter.start_random(rms=rms, seed=seed)
    else:
        points_NE, texts = _texts_by_entity(elm, single)
        embeddings_ND = mean_embeddings(texts, inverse_frequency(texts, len(table_VD)), table_VD)
        r2 = elm.adapter.start_from_texts(points_NE, embeddings_ND, rms=rms, seed=seed)
    elm.adapter.to(device)
    return r2


def _texts_by_entity(elm: Elm, examples: Sequence[Example]) -> tuple[Tensor, list[list[int]]]:
    """Points (N, E) and token ids of the entities of one-point examples, all texts of an entity together."""
    tokens: dict[tuple[str, ...], list[int]] = {}
    points: dict[tuple[str, ...], np.ndarray] = {}
    for example, ids in zip(examples, _encoded(elm, examples), strict=True):
        points.setdefault(example.ids, next(iter(example.points.values())))
        tokens.setdefault(example.ids, []).extend(ids)
    return torch.from_numpy(np.stack(list(points.values()))), list(tokens.values())


def _encoded(elm: Elm, examples: Sequence[Example]) -> list[list[int]]:
    # all in one call: the tokenizer works through a list several times faster than through its texts one by one
    texts = [example.target for example in examples]
    return cast(list[list[int]], elm.tokenizer(texts, add_special_tokens=False)["input_ids"])


def _idf(elm: Elm, sampler: Sampler) -> Tensor:
    texts = _encoded(elm, [example for group in sampler.groups for example in group])
    return inverse_frequency(texts, embedding_of(elm.base).num_embeddings).to(elm.device)


def _optimizer(elm: Elm, stage: Stage, names: list[str]) -> torch.optim.Optimizer:
    parameters = dict(elm.named_parameters())
    adapter = [parameters[name] for name in names if name.startswith("adapter.")]
    base = [parameters[name] for name in names if not name.startswith("adapter.")]
    tables = {id(p) for module in elm.base.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    output = elm.base.get_output_embeddings()
    tables |= set() if output is None else {id(p) for p in output.parameters()}
    matrices = [p for p in base if stage.optimizer == "muon" and p.ndim == 2 and id(p) not in tables]
    chosen = set(map(id, matrices))
    groups = [
        {"params": adapter, "peak": stage.adapter_lr},
        {"params": [p for p in base if id(p) not in chosen], "peak": stage.lr},
        {"params": matrices, "peak": stage.lr, "muon": True},
    ]
    return Muon([g for g in groups if g["params"]], lr=0.0, betas=(0.9, 0.98), weight_decay=0.01, fused=True)


def _progress(stage: Stage, step: int, loss: float, began: float, done: int) -> Progress:
    elapsed = max(time.monotonic() - began, 1e-9)
    left = (stage.steps - step) * elapsed / done
    return Progress(stage.name, step, stage.steps, loss, done * stage.batch_size / elapsed, left)
