"""Token by token from prompt embeddings: greedy or sampled, guided, rows that join and leave a running batch.

A row's tokens depend on its own prompt, points, decoding and seed alone: neither on the rows beside it nor on
the padding before it. Shapes: R rows, L lanes of a forward (the rows, then a companion with the mean vector for each
guided row), G guided rows, W columns cached.
"""

import inspect
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from vecspeak.errors import ConfigError
from vecspeak.keyvalues import KeyValues, keeps_only_attention, shared_columns

PLAUSIBLE = 0.1
"""Guidance chooses among tokens at least this fraction as likely as the likeliest (Li et al. 2023)."""

PAYS = 64
"""Positions of a shared prefix that must be saved to pay for a forward of its own."""

SLACK = 8
"""Lanes are packed, and new rows fetched, when one in so many is free: each time copies all keys and values."""


@dataclass(frozen=True)
class Decoding:
    """How answers are generated. Raises ConfigError for values out of range."""

    max_tokens: int = 120
    """Longest answer in tokens."""
    temperature: float = 0.0
    """0 is greedy; above, sampling."""
    top_p: float = 1.0
    """Sample among the likeliest tokens that together have this probability."""
    seed: int = 0
    guidance: float = 0.0
    """g: logits c + g (c - u), c with the point and u with the mean vector in its place; 0 is off."""
    frequency_penalty: float = 0.0
    """Taken from a token's logit for each time that the answer holds it already, as in OpenAI's API; stops loops."""
    best_of: int = 1
    """Sample so many answers (at temperature 0.7 if it is 0) and return the best."""
    chosen_by: Literal["consistency", "support"] | None = None
    """What is best: the nearest to the point by the space's encoder, or the one that the model itself holds likelier
    for this point than for the mean vector; None is consistency where the space names an encoder."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("max_tokens", 1, 4096),
            ("temperature", 0, 10),
            ("guidance", 0, 20),
            ("frequency_penalty", -2, 2),
            ("best_of", 1, 64),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected {low} to {high}.")
        if self.chosen_by not in (None, "consistency", "support"):
            raise ConfigError(f"chosen_by is {self.chosen_by!r}; expected consistency or support.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; expected above 0, at most 1.")

    def but(self, **changes: float | str | None) -> "Decoding":
        """A copy with these values; None leaves a value as it is. Raises as the constructor."""
        given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        return replace(self, **given)

    @property
    def sampling_temperature(self) -> float:
        """Candidates of best-of must differ, so it never samples greedily."""
        return 0.7 if self.best_of > 1 and self.temperature == 0 else self.temperature


@dataclass(frozen=True, eq=False)
class Row:
    """One answer to generate."""

    embeds_TD: Tensor
    """Prompt embeddings, not padded. Rows that hold the same tensor are prefilled once."""
    decoding: Decoding
    seed: int
    """Equal seeds draw equal numbers."""
    unguided_TD: Tensor | None = None
    """The same prompt with the mean vector in every slot; needed when guidance > 0."""


@dataclass(frozen=True)
class Token:
    """What a row wrote in a step."""

    id: int | None
    """None where the row ended instead of writing."""
    end: Literal["stop", "length"] | None
    """Why the row has ended, with this token or before it; None while it goes on."""


class Decoder:
    """Rows that are decoded together, one forward of the base a step; rows join and leave while others run.

    Belongs to one thread. The base must be in eval mode.
    """

    def __init__(self, base: PreTrainedModel, *, end_token: int | None):
        """`end_token`: as in `end_tokens`."""
        self._base = base
        self._ends = end_tokens(base, end_token)
        # recurrent states cannot be padded: rows of such a base run one by one
        self._joins = keeps_only_attention(base.config)
        self._waiting: list[_Running] = []
        self._batches: list[_Batch] = []

    def __len__(self) -> int:
        """Rows running or about to."""
        return len(self._waiting) + sum(len(batch.alive) for batch in self._batches)

    def add(self, rows: Mapping[Hashable, Row]) -> None:
        """Rows that run from the next step on, each under a key that no running row has."""
        for key, row in rows.items():
            assert row.decoding.guidance == 0 or row.unguided_TD is not None
            self._waiting.append(_Running(key, row, torch.Generator().manual_seed(row.seed)))

    def drop(self, keys: Collection[Hashable]) -> None:
        """Rows that nobody waits for any more; keys that do not run are no error."""
        self._waiting = [row for row in self._waiting if row.key not in keys]
        for batch in self._batches:
            batch.leave(keys)
        self._batches = [batch for batch in self._batches if batch.alive]

    @torch.inference_mode()
    def step(self) -> dict[Hashable, Token]:
        """The next token of every running row; a row that ends with it is gone afterwards."""
        told: dict[Hashable, Token] = {}
        for batch in self._batches if self._joins and not self._waiting else ():
            batch.pack()  # nobody waits for the lanes that are free
        for batch in self._batches:
            told |= batch.choose(batch.forward(self._base), self._ends)
        newcomers, self._waiting = self._waiting, []
        for rows in [newcomers] if self._joins and newcomers else [[row] for row in newcomers]:
            batch, logits_LV = _prefilled(self._base, rows, joins=self._joins)
            told |= batch.choose(logits_LV, self._ends)
            self._batches.append(batch)
        self.drop({key for key, token in told.items() if token.end})
        if self._joins and self._batches:
            first, *others = self._batches
            for other in others:
                if not first.replace(other):
                    first.pack()
                    other.pack()
                    first.join(other)
            first.trim()
            self._batches = [first]
        return told


def run(
    decoder: Decoder, rows: Iterable[tuple[Hashable, Row]], *, at_once: int
) -> Iterator[tuple[Hashable, list[int]]]:
    """Decode rows to their ends, `at_once` at a time; yields key and tokens of each as it ends.

    Rows are fetched when there is room, so their embeddings need not all exist at once.
    """
    source, written = iter(rows), dict[Hashable, list[int]]()
    while True:
        free = at_once - len(decoder)
        if free * SLACK >= at_once:
            newcomers = dict(islice(source, free))
            written |= {key: [] for key in newcomers}
            decoder.add(newcomers)
        if not len(decoder):
            return
        for key, token in decoder.step().items():
            if token.id is not None:
                written[key].append(token.id)
            if token.end:
                yield key, written.pop(key)


# ---- inside


@dataclass(eq=False)
class _Running:
    key: Hashable
    row: Row
    generator: torch.Generator
    written: list[int] = field(default_factory=list)
    gone: bool = False

    @property
    def decoding(self) -> Decoding:
        return self.row.decoding


@dataclass(eq=False)
class _Batch:
    """Rows whose keys and values stand in one cache, aligned on the right."""

    rows: list[_Running]
    mask_LW: Tensor
    """1 for the columns of a lane's prompt and answer."""
    cache: Any

    @property
    def alive(self) -> list[_Running]:
        return [row for row in self.rows if not row.gone]

    @property
    def guided(self) -> list[int]:
        """Rows with a companion lane, in the order of these lanes."""
        return [i for i, row in enumerate(self.rows) if row.decoding.guidance > 0]

    def forward(self, base: PreTrainedModel) -> Tensor:
        """Logits (L, V) after each row's last token."""
        last = [row.written[-1] for row in self.rows]
        ids_L1 = torch.tensor([*last, *(last[i] for i in self.guided)], device=self.mask_LW.device)[:, None]
        self.mask_LW = torch.cat([self.mask_LW, self.mask_LW.new_ones(len(self.mask_LW), 1)], dim=1)
        return _logits(base, self.mask_LW, self.cache, input_ids=ids_L1)[0]

    def choose(self, logits_LV: Tensor, ends: set[int]) -> dict[Hashable, Token]:
        """Choose and note every row's next token."""
        decodings = [row.decoding for row in self.rows]
        logits_LV = logits_LV.float()
        _penalise(logits_LV, self.rows, self.guided)
        logits_RV, mean_GV = logits_LV[: len(self.rows)], logits_LV[len(self.rows) :]
        if self.guided:
            strength_G1 = _column([decodings[i].guidance for i in self.guided], logits_LV)
            logits_RV = logits_RV.index_put(
                (torch.tensor(self.guided, device=logits_LV.device),),
                _guide(logits_RV[self.guided], mean_GV, strength_G1),
            )
        told: dict[Hashable, Token] = {}
        chosen: list[int] = _choose(logits_RV, decodings, [row.generator for row in self.rows]).tolist()
        for row, id in zip(self.rows, chosen, strict=True):
            row.written.append(id)
            if row.gone:
                continue
            if id in ends:
                told[row.key] = Token(None, "stop")
            else:
                told[row.key] = Token(id, "length" if len(row.written) == row.decoding.max_tokens else None)
        return told

    def leave(self, keys: Collection[Hashable]) -> None:
        for row in self.rows:
            row.gone = row.gone or row.key in keys

    def pack(self) -> None:
        """Free the lanes of rows that are gone, once they are enough to be worth the copy."""
        kept = [i for i, row in enumerate(self.rows) if not row.gone]
        if (len(self.rows) - len(kept)) * SLACK < len(self.rows):
            return
        companions = [len(self.rows) + g for g, i in enumerate(self.guided) if not self.rows[i].gone]
        lanes_L = torch.tensor([*kept, *companions], device=self.mask_LW.device)
        mask_LW = self.mask_LW[lanes_L]
        lead = _leading_blanks(mask_LW)
        self.cache.keep(lanes_L, lead=lead)
        self.rows, self.mask_LW = [self.rows[i] for i in kept], mask_LW[:, lead:]

    def replace(self, other: "_Batch") -> bool:
        """Take in the rows of another batch where rows are gone, and copy no others; False where they do not fit.

        They fit where each finds one that has a companion lane as it has, and no prompt is longer than the columns.
        """
        free: dict[bool, list[int]] = {False: [], True: []}
        for i, row in enumerate(self.rows):
            if row.gone:
                free[row.decoding.guidance > 0].append(i)
        width, new_width = self.mask_LW.shape[1], other.mask_LW.shape[1]
        of_kind = {kind: sum((row.decoding.guidance > 0) == kind for row in other.rows) for kind in free}
        if new_width > width or any(count > len(free[kind]) for kind, count in of_kind.items()):
            return False
        places = [free[row.decoding.guidance > 0].pop(0) for row in other.rows]
        lane_of = {i: len(self.rows) + g for g, i in enumerate(self.guided)}
        lanes_L = torch.tensor([*places, *(lane_of[places[i]] for i in other.guided)], device=self.mask_LW.device)
        self.cache.replace(other.cache, lanes=lanes_L)
        self.mask_LW[lanes_L] = 0
        self.mask_LW[lanes_L, width - new_width :] = other.mask_LW
        for place, row in zip(places, other.rows, strict=True):
            self.rows[place] = row
        return True

    def trim(self) -> None:
        """Leave out the columns that only rows that are gone have used."""
        gone = [i for i, row in enumerate(self.rows) if row.gone]
        if not gone:
            return
        companions = [len(self.rows) + g for g, i in enumerate(self.guided) if self.rows[i].gone]
        self.mask_LW[[*gone, *companions], :-1] = 0  # but for one: attention to nothing is not a number
        if lead := _leading_blanks(self.mask_LW):
            self.cache.trim(lead)
            self.mask_LW = self.mask_LW[:, lead:]

    def join(self, other: "_Batch") -> None:
        """Take in the rows of another batch, behind the own."""
        rows, device = len(self.rows), self.mask_LW.device
        ours, theirs = len(self.mask_LW) - rows, len(other.mask_LW) - len(other.rows)
        both = rows + len(other.rows)
        mine = torch.tensor([*range(rows), *range(both, both + ours)], device=device)
        others = torch.tensor([*range(rows, both), *range(both + ours, both + ours + theirs)], device=device)
        self.cache.join(other.cache, mine=mine, others=others)
        width = max(self.mask_LW.shape[1], other.mask_LW.shape[1])
        mask_LW = self.mask_LW.new_zeros(both + ours + theirs, width)
        mask_LW[mine, width - self.mask_LW.shape[1] :] = self.mask_LW
        mask_LW[others, width - other.mask_LW.shape[1] :] = other.mask_LW
        self.rows, self.mask_LW = [*self.rows, *other.rows], mask_LW


def _prefilled(base: PreTrainedModel, rows: list[_Running], *, joins: bool) -> tuple[_Batch, Tensor]:
    """A batch of rows whose prompts have been read, and the logits (L, V) of their first tokens."""
    guided = [row.row.unguided_TD for row in rows if row.decoding.guidance > 0]
    lanes = [row.row.embeds_TD for row in rows] + [embeds for embeds in guided if embeds is not None]
    different = {id(embeds): embeds for embeds in lanes}  # the samples of best-of share a prompt
    place_of = {key: place for place, key in enumerate(different)}
    embeds_LTD, mask_LT = _padded_left(list(different.values()))
    cache = KeyValues() if joins else None
    shared = shared_columns(embeds_LTD) if joins and mask_LT.all() else 0
    if shared * (len(embeds_LTD) - 1) >= PAYS:
        _logits(base, mask_LT[:1, :shared], cache, inputs_embeds=embeds_LTD[:1, :shared])
        assert cache is not None
        cache.keep(torch.zeros(len(embeds_LTD), dtype=torch.long, device=mask_LT.device))
        embeds_LTD = embeds_LTD[:, shared:]
    logits_LV, found = _logits(base, mask_LT, cache, inputs_embeds=embeds_LTD)
    if len(different) < len(lanes):
        lanes_L = torch.tensor([place_of[id(embeds)] for embeds in lanes], device=mask_LT.device)
        found.keep(lanes_L) if joins else found.batch_select_indices(lanes_L)
        logits_LV, mask_LT = logits_LV[lanes_L], mask_LT[lanes_L]
    return _Batch(rows, mask_LT, found), logits_LV


def _leading_blanks(mask_LW: Tensor) -> int:
    """Columns before the first that any lane uses."""
    return int((mask_LW.amax(0).cumsum(0) == 0).sum())


def _padded_left(lanes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Embeddings (L, T, D) that end in one column, and their mask (L, T)."""
    width = max(len(embeds) for embeds in lanes)
    embeds_LTD = lanes[0].new_zeros(len(lanes), width, lanes[0].shape[-1])
    mask_LT = torch.zeros(len(lanes), width, dtype=torch.long, device=lanes[0].device)
    for lane, embeds in enumerate(lanes):
        embeds_LTD[lane, width - len(embeds) :] = embeds
        mask_LT[lane, width - len(embeds) :] = 1
    return embeds_LTD, mask_LT


def _logits(base: PreTrainedModel, mask_LW: Tensor, cache: Any, **step_input: Tensor) -> tuple[Tensor, Any]:
    """Logits (L, V) at the last column, and the cache."""
    output = base(
        **step_input,
        **_positions(base, mask_LW, step_input),
        attention_mask=mask_LW,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1], output.past_key_values


def _penalise(logits_LV: Tensor, rows: Sequence[_Running], guided: Sequence[int]) -> None:
    """Subtract frequency penalties in place, on both lanes of a guided row: guidance must see one penalty, not more."""
    lane_of = dict(zip(guided, range(len(rows), len(logits_LV)), strict=True))
    penalised = [(i, row) for i, row in enumerate(rows) if row.decoding.frequency_penalty and row.written]
    penalised += [(lane_of[i], row) for i, row in penalised if i in lane_of]
    if not penalised:
        return
    counts = [len(row.written) for _, row in penalised]
    lanes = np.repeat([lane for lane, _ in penalised], counts)
    tokens = np.fromiter(chain.from_iterable(row.written for _, row in penalised), np.int64, len(lanes))
    penalties = np.repeat([-row.decoding.frequency_penalty for _, row in penalised], counts)
    place = torch.from_numpy(np.stack([lanes, tokens])).to(logits_LV.device)
    logits_LV.index_put_((place[0], place[1]), torch.from_numpy(penalties).to(logits_LV), accumulate=True)


def _guide(right_GV: Tensor, mean_GV: Tensor, strength_G1: Tensor) -> Tensor:
    guided_GV = right_GV + strength_G1 * (right_GV - mean_GV)
    floor_G1 = right_GV.amax(-1, keepdim=True) + torch.log(torch.tensor(PLAUSIBLE))
    return guided_GV.masked_fill(right_GV < floor_G1, float("-inf"))


def _choose(logits_RV: Tensor, decodings: Sequence[Decoding], generators: Sequence[torch.Generator]) -> Tensor:
    """(R,) token ids."""
    chosen_R = _likeliest(logits_RV)
    drawn = [i for i, decoding in enumerate(decodings) if decoding.sampling_temperature > 0]
    if drawn:
        temperature_S1 = _column([decodings[i].sampling_temperature for i in drawn], logits_RV)
        probabilities_SV = torch.softmax(logits_RV[drawn] / temperature_S1, -1)
        probabilities_SV = _nucleus(probabilities_SV, [decodings[i].top_p for i in drawn])
        # one draw a row, from the row's own generator: the neighbours cannot change it
        draws_S1 = torch.cat([torch.rand(1, generator=generators[i]) for i in drawn])[:, None].to(logits_RV.device)
        cumulative_SV = probabilities_SV.cumsum(-1)
        below_SV = cumulative_SV <= draws_S1 * cumulative_SV[:, -1:]
        chosen_R[drawn] = below_SV.sum(-1).clamp(max=logits_RV.shape[-1] - 1)
    return chosen_R


def _likeliest(logits_RV: Tensor) -> Tensor:
    if logits_RV.device.type == "cpu":  # where torch takes 25 times as long as numpy, 3 % of a step
        return torch.from_numpy(logits_RV.numpy().argmax(-1))
    return logits_RV.argmax(-1)


def _nucleus(probabilities_SV: Tensor, top_ps: Sequence[float]) -> Tensor:
    cut = [i for i, top_p in enumerate(top_ps) if top_p < 1]
    if not cut:
        return probabilities_SV
    sorted_SV, order_SV = probabilities_SV[cut].sort(-1, descending=True)
    beyond_SV = sorted_SV.cumsum(-1) - sorted_SV >= _column([top_ps[i] for i in cut], sorted_SV)
    kept_SV = torch.zeros_like(sorted_SV).scatter(-1, order_SV, sorted_SV.masked_fill(beyond_SV, 0))
    return probabilities_SV.index_put((torch.tensor(cut, device=kept_SV.device),), kept_SV)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(values)[:, None]


def _positions(base: PreTrainedModel, mask_LW: Tensor, step_input: dict[str, Tensor]) -> dict[str, Tensor]:
    """Positions that skip the padding, for the bases that take them; the others read the mask."""
    if not _takes_positions(type(base)):
        return {}
    width = next(iter(step_input.values())).shape[1]
    return {"position_ids": (mask_LW.cumsum(-1) - 1).clamp(min=0)[:, -width:]}


@lru_cache
def _takes_positions(kind: type[PreTrainedModel]) -> bool:
    return "position_ids" in inspect.signature(kind.forward).parameters


def end_tokens(base: PreTrainedModel, end_token: int | None) -> set[int]:
    """What ends an answer: the tokens that the base names, and `end_token`, the tokenizer's, which training teaches."""
    configured = base.generation_config.eos_token_id if base.generation_config is not None else None
    configured = base.config.eos_token_id if configured is None else configured
    named = configured if isinstance(configured, list) else [configured]
    return {token for token in [*named, end_token] if token is not None}
