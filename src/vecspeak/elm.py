"""Elm: a base language model and an adapter. Injects points at slots, scores targets, answers.

Paper, section 2: M_ELM = ((E_0 x E_A)^H, M_0). Shapes: B batch, T tokens, S slots, E domain dimension,
D base width, K tokens per vector, V vocabulary.
"""

from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from vecspeak.adapter import Adapter
from vecspeak.answers import Answer, AnswerText, Asked, Candidate, Question, Stream, consistencies_of
from vecspeak.batching import Batch, answered_batch, asking_batch, training_batch
from vecspeak.decoding import Decoder, Decoding, Row, run
from vecspeak.encode import Encoder, load_encoder
from vecspeak.errors import ConfigError, EncoderError, PointError, PromptError
from vecspeak.examples import Example
from vecspeak.prompts import Prompt, end_token, render, slot_names, token_ids
from vecspeak.space import Point, Space
from vecspeak.wordspace import WholeWords, embedding_of, whole_words

MAX_TARGET_TOKENS = 256
"""Longer targets are cut there in training and scoring."""

FRAGMENT = 0.9
"""A token that the base goes on with, as a part of a longer word, in more than this share of cases is no word."""

EMBEDDED = 32
"""Questions whose prompts are embedded together."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What a model remembers of its space, to refuse vectors of another one."""

    dimension: int
    metric: str
    encoder: str | None
    mean: np.ndarray
    """(E,) float32"""
    scale: np.ndarray
    """(E,) float32 standard deviations"""

    @staticmethod
    def of(space: Space) -> "Fingerprint":
        return Fingerprint(space.dimension, space.metric, space.encoder, space.mean_vector, space.scale)


class Elm(nn.Module):
    """An Embedding Language Model. Made by `vecspeak.load` or `vecspeak.train`."""

    def __init__(
        self,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        adapter: Adapter,
        fingerprint: Fingerprint,
        *,
        space: Space | None = None,
        decoding: Decoding | None = None,
    ):
        """`decoding`: how the model answers where a question does not say, `Decoding()` by default."""
        super().__init__()
        self.base = base
        self.tokenizer = tokenizer
        self.adapter = adapter
        self.fingerprint = fingerprint
        self.space = space
        self.decoding = decoding or Decoding()

    # ---- injection and loss

    def embed(self, batch: Batch) -> Tensor:
        """Token embeddings (B, T, D) of a batch, with soft tokens in the slots."""
        embeds_BTD = embedding_of(self.base)(batch.ids_BT)
        if not len(batch.rows_S):
            return embeds_BTD
        soft_SKD = self.adapter(batch.points_SE).to(embeds_BTD.dtype)
        steps_K = torch.arange(self.adapter.tokens_per_vector, device=batch.rows_S.device)
        columns_SK = batch.starts_S[:, None] + steps_K
        return embeds_BTD.index_put((batch.rows_S[:, None].expand_as(columns_SK), columns_SK), soft_SKD)

    def forward(self, batch: Batch) -> Tensor:
        """Cross-entropy (L,) in nats of each target token, logits computed only there."""
        # right padding needs no mask in a causal model: no target sees it
        keep_BT = batch.target_BT.roll(-1, 1)
        logits_LV = self.base(inputs_embeds=self.embed(batch), logits_to_keep=keep_BT, use_cache=False).logits
        return nn.functional.cross_entropy(logits_LV.float(), batch.ids_BT[batch.target_BT], reduction="none")

    @torch.inference_mode()
    def loss(self, examples: Sequence[Example], *, batch_size: int = 32) -> np.ndarray:
        """(n,) mean nats per target token of each example."""
        self.eval()
        losses = np.zeros(len(examples))
        order = sorted(range(len(examples)), key=lambda i: len(examples[i].prompt) + len(examples[i].target))
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            batch = self.training_batch([examples[i] for i in rows])
            token_losses = self(batch)
            counts = batch.target_BT.sum(1)
            losses[rows] = [part.mean().item() for part in token_losses.split(counts.tolist())]
        return losses

    def training_batch(self, examples: Sequence[Example]) -> Batch:
        """Examples as a batch on this model's device."""
        return training_batch(
            examples,
            self.tokenizer,
            tokens_per_vector=self.adapter.tokens_per_vector,
            max_target_tokens=MAX_TARGET_TOKENS,
        ).to(self.device)

    def word_table(self) -> Tensor:
        """(V, D) embeddings of all tokens as the base's first layer gets them: some bases scale their weights.

        In float32, as the adapter's outputs they are compared with, whatever the base computes in.
        """
        embedding = embedding_of(self.base)
        return embedding(torch.arange(embedding.num_embeddings, device=self.device)).float()

    # ---- asking

    def ask(
        self,
        prompt: str,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        guidance: float | None = None,
        frequency_penalty: float | None = None,
        best_of: int | None = None,
        chosen_by: Literal["consistency", "support"] | None = None,
        **points: Point | np.ndarray,
    ) -> Answer:
        """Ask about points: `elm.ask("Describe {film}.", film=point, best_of=8)`.

        Args:
            prompt: any sentence with slots in braces.
            max_tokens, temperature, top_p, seed, guidance, frequency_penalty, best_of, chosen_by: see `Decoding`;
                None is the model's own value, in `elm.decoding`.
            points: one Point, or vector (E,), for each slot.

        Raises:
            PromptError: a slot without a point, or a point without a slot.
            PointError: a vector of the wrong dimension, or not finite.
            ConfigError: a decoding value out of range, or more tokens than the base has positions.
            EncoderError: chosen_by "consistency" in a space without an encoder, or one that is not installed.
        """
        decoding = self.decoding.but(
            max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed, guidance=guidance,
            frequency_penalty=frequency_penalty, best_of=best_of, chosen_by=chosen_by,
        )  # fmt: skip
        return self.ask_many([Question(prompt, points)], decoding=decoding)[0]

    def ask_many(self, questions: Sequence[Question], *, decoding: Decoding, batch_size: int = 64) -> list[Answer]:
        """Answers in the order of the questions; rows of one batch do not influence each other.

        Args:
            batch_size: rows decoded together; a question takes `best_of` of them.

        Raises: as `ask`, before any generation.
        """
        self.check_encoder(decoding)
        asked = [self.check(question, decoding) for question in questions]
        order = sorted(range(len(asked)), key=lambda i: len(asked[i].prompt.ids))
        written = dict(run(self.decoder(), self._keyed_rows(asked, order, decoding), at_once=batch_size))
        return self.answers(
            asked,
            [[written[i, n] for n in range(decoding.best_of)] for i in range(len(asked))],
            chosen_by=decoding.chosen_by,
        )

    def stream(
        self,
        prompt: str,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        guidance: float | None = None,
        frequency_penalty: float | None = None,
        **points: Point | np.ndarray,
    ) -> "Stream":
        """The answer's text piece by piece, as `ask` gives it with these arguments and `best_of=1`; raises as `ask`."""
        decoding = self.decoding.but(
            max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed, guidance=guidance,
            frequency_penalty=frequency_penalty, best_of=1,
        )  # fmt: skip
        return Stream(self._pieces(self.check(Question(prompt, points), decoding), decoding))

    def words(self, point: Point | np.ndarray, k: int = 10) -> list[str]:
        """The k whole words of the base nearest to the adapter's output: an instant reading, no generation.

        Tokens that the base would go on with as a part of a longer word are left out.
        """
        vector_E = self._vector(point, slot="point")
        with torch.inference_mode():
            near = self._words.nearest(self.adapter(torch.tensor(vector_E, device=self.device)), 2 * k + 8)
            broken = self._go_on(list(near.values()))
        return [word for word, goes_on in zip(near, broken, strict=True) if not goes_on][:k]

    def forget_words(self) -> None:
        """To be called when the base's embeddings have changed: `words` reads them again."""
        self.__dict__.pop("_words", None)

    @property
    def device(self) -> torch.device:
        return self.adapter.rise.weight.device

    @cached_property
    def encoder(self) -> Encoder | None:
        """The space's text encoder, loaded on first use; None where the space names none."""
        return load_encoder(self.fingerprint.encoder) if self.fingerprint.encoder else None

    # ---- the steps of asking, for those who decode many questions in a way of their own

    def check(self, question: Question, decoding: Decoding) -> Asked:
        """What can be asked of this model. Raises as `ask`."""
        names = set(slot_names(question.prompt))
        if not names:
            raise PromptError(f"The prompt {question.prompt!r} has no slot. Name one: 'Describe {{film}}'.")
        if missing := sorted(names - set(question.points)):
            raise PromptError(f"No point for slot {{{missing[0]}}}. Points were given for: {_listed(question.points)}.")
        if unknown := sorted(set(question.points) - names):
            raise PromptError(f"The prompt has no slot {{{unknown[0]}}}. Its slots: {_listed(names)}.")
        points = {slot: self.point(point, slot=slot) for slot, point in question.points.items()}
        prompt = render(self.tokenizer, question.prompt, self.adapter.tokens_per_vector)
        self.check_length(prompt, decoding)
        return Asked(question.prompt, prompt, points)

    def point(self, point: Point | np.ndarray, *, slot: str) -> Point:
        """What stands in a slot, as a point of this model. Raises PointError naming the slot."""
        vector = self._vector(point, slot=slot)
        return point if isinstance(point, Point) else Point(vector, "raw", self.space)

    def check_length(self, prompt: Prompt, decoding: Decoding) -> None:
        """Raises ConfigError where prompt and answer together have more tokens than the base has positions."""
        limit = getattr(self.base.config, "max_position_embeddings", None)
        if limit is not None and len(prompt.ids) + decoding.max_tokens > limit:
            raise ConfigError(
                f"A prompt of {len(prompt.ids)} tokens and {decoding.max_tokens} more do not fit the base, which has "
                f"{limit} positions. Lower max_tokens or shorten the prompt."
            )

    def check_encoder(self, decoding: Decoding) -> None:
        """Raises EncoderError where the space's encoder is not installed, or consistency is to choose without one."""
        if self.encoder is None and decoding.chosen_by == "consistency":
            raise EncoderError("Consistency re-encodes answers, but this space names no encoder. Choose by support.")

    def decoder(self) -> Decoder:
        """A decoder of this model's base, for rows of `rows`."""
        self.eval()
        return Decoder(self.base, end_token=end_token(self.tokenizer))

    @torch.inference_mode()
    def rows(self, asked: Sequence[Asked], decoding: Decoding) -> list[list[Row]]:
        """`best_of` rows for each question, embedded together; those of one prompt share its unguided embeddings."""
        embeds = self._embedded([(a.prompt, {slot: p.vector for slot, p in a.points.items()}) for a in asked])
        prompts = {a.prompt.ids: a.prompt for a in asked} if decoding.guidance > 0 else {}
        at_mean = [(prompt, dict.fromkeys(prompt.slots, self.fingerprint.mean)) for prompt in prompts.values()]
        unguided = dict(zip(prompts, self._embedded(at_mean), strict=True))
        return [
            [
                Row(embeds_TD, decoding, decoding.seed * 1009 + sample, unguided.get(a.prompt.ids))
                for sample in range(decoding.best_of)
            ]
            for a, embeds_TD in zip(asked, embeds, strict=True)
        ]

    def read(self, ids: list[int]) -> str:
        """The text of an answer's tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def answers(
        self,
        asked: Sequence[Asked],
        ids: Sequence[list[list[int]]],
        *,
        texts: Sequence[list[str]] | None = None,
        chosen_by: Literal["consistency", "support"] | None = None,
    ) -> list[Answer]:
        """Each question's answer from the tokens of its samples: the best one, and how far to trust it.

        Args:
            texts: of the samples, where something has cut them, such as a stop string; else what the tokens say.
            chosen_by: see `Decoding`.
        """
        texts = texts or [[self.read(sample) for sample in samples] for samples in ids]
        consistencies = consistencies_of(texts, [a.points for a in asked], encoder=self.encoder)
        supports = self._supports(asked, ids)
        by_support = chosen_by == "support" or self.encoder is None
        answers = []
        for number, (a, samples) in enumerate(zip(asked, ids, strict=True)):
            found = list(map(Candidate, texts[number], consistencies[number], supports[number]))
            keys = supports[number] if by_support else consistencies[number]
            order = sorted(range(len(found)), key=lambda i: -(keys[i] or 0.0))
            answers.append(self._answer(a, [found[i] for i in order], tokens=len(samples[order[0]])))
        return answers

    @torch.inference_mode()
    def support(self, asked: Sequence[Asked], ids: Sequence[list[int]], *, batch_size: int = 32) -> list[float]:
        """Nats by which its points make each answer likelier than the mean vector in their place does.

        The model's own measure of how much an answer is about these points (pointwise mutual information, with the
        mean vector standing for "any entity"): no encoder is needed, and what fits everybody scores 0.
        """
        self.eval()
        found = [0.0] * len(asked)
        order = sorted(range(len(asked)), key=lambda i: len(asked[i].prompt.ids) + len(ids[i]))
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            points = [{slot: p.vector for slot, p in asked[i].points.items()} for i in rows]
            batch = answered_batch([asked[i].prompt for i in rows], points, [ids[i] for i in rows]).to(self.device)
            middle_E = torch.tensor(self.fingerprint.mean, device=self.device)
            gains_L = self(replace(batch, points_SE=middle_E.expand_as(batch.points_SE))) - self(batch)
            for i, gain in zip(rows, gains_L.split([len(ids[i]) for i in rows]), strict=True):
                found[i] = gain.sum().item()
        return found

    # ---- inside

    def _embedded(self, asked: Sequence[tuple[Prompt, Mapping[str, np.ndarray]]]) -> list[Tensor]:
        """(T, D) prompt embeddings of each, with its vectors in the slots."""
        if not asked:
            return []
        prompts = [prompt for prompt, _ in asked]
        embeds_BTD = self.embed(asking_batch(prompts, [vectors for _, vectors in asked]).to(self.device))
        width = embeds_BTD.shape[1]
        return [embeds_BTD[row, width - len(prompt.ids) :] for row, prompt in enumerate(prompts)]

    def _pieces(self, asked: Asked, decoding: Decoding) -> Generator[str, None, Answer]:
        decoder, reading = self.decoder(), AnswerText(self.read)
        decoder.add(dict(enumerate(self.rows([asked], decoding)[0])))
        while len(decoder):
            token = decoder.step()[0]
            if token.id is not None and (piece := reading.add(token.id)):
                yield piece
        if piece := reading.rest():
            yield piece
        return self.answers([asked], [[reading.ids]])[0]

    def _keyed_rows(
        self, asked: Sequence[Asked], order: Sequence[int], decoding: Decoding
    ) -> Iterator[tuple[Hashable, Row]]:
        """Rows of the questions in that order, each under (question, sample); embedded a few questions at a time."""
        for first in range(0, len(order), EMBEDDED):
            part = order[first : first + EMBEDDED]
            for i, rows in zip(part, self.rows([asked[i] for i in part], decoding), strict=True):
                yield from (((i, sample), row) for sample, row in enumerate(rows))

    @cached_property
    def _words(self) -> WholeWords:
        return whole_words(self.tokenizer, self.word_table())

    def _go_on(self, ids: list[int]) -> list[bool]:
        """Whether the base would go on with each token as a part of a word: "smugg" is none, though a token."""
        lead = token_ids(self.tokenizer, "It is about a")
        found: list[bool] = []
        for first in range(0, len(ids), 64):
            rows = torch.tensor([[*lead, token] for token in ids[first : first + 64]], device=self.device)
            logits = self.base(input_ids=rows, logits_to_keep=1, use_cache=False).logits[:, -1].float()
            share = torch.softmax(logits, -1)[:, : len(self._words.continues_V)][:, self._words.continues_V].sum(-1)
            found += (share > FRAGMENT).tolist()
        return found

    def _vector(self, point: Point | np.ndarray, *, slot: str) -> np.ndarray:
        if isinstance(point, str):
            raise PointError(f"{{{slot}}} is the text {point!r}, expected a point. An entity's is space[{point!r}].")
        try:
            vector = (point if isinstance(point, Point) else Point(point, slot)).vector
        except PointError as error:
            raise PointError(f"{{{slot}}}: {error}") from None
        if vector.shape != (self.fingerprint.dimension,):
            raise PointError(
                f"{{{slot}}} has a vector of shape {vector.shape}; this model reads ({self.fingerprint.dimension},). "
                "Ask with a point of the space it was trained on."
            )
        return vector

    def _supports(self, asked: Sequence[Asked], ids: Sequence[list[list[int]]]) -> list[list[float]]:
        """Support of each sample; of a question's only one, which nothing competes with, 0."""
        several = [(a, sample) for a, samples in zip(asked, ids, strict=True) if len(samples) > 1 for sample in samples]
        found = iter(self.support([a for a, _ in several], [sample for _, sample in several]))
        return [[next(found) for _ in samples] if len(samples) > 1 else [0.0] for samples in ids]

    def _answer(self, asked: Asked, found: Sequence[Candidate], *, tokens: int) -> Answer:
        """The first of the candidates, with what is known about its points."""
        located = [(p, p.space) for p in asked.points.values() if p.space is not None]
        return Answer(
            prompt=asked.text,
            text=found[0].text,
            points=asked.points,
            tokens=tokens,
            consistency=found[0].consistency,
            distance=max(p.distance for p, _ in located) if located else None,
            neighbours=tuple(located[0][1].neighbours(located[0][0], 3)) if located else (),
            candidates=tuple(found) if len(found) > 1 else (),
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
