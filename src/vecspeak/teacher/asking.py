"""Asking a teacher all that is wanted: over HTTP many prompts at a time, or a local model in batches."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

from vecspeak.endpoint import Endpoint, Unanswered, in_parallel
from vecspeak.errors import ModelError, TeacherError
from vecspeak.teacher.answers import Answers, Budget, BudgetSpent
from vecspeak.teacher.wants import Want

MOST_UNANSWERED = 20
"""Prompts one after the other without an answer, after which the server is taken to be down."""

LOCAL_BATCH = 16


@dataclass
class Asked:
    """What became of the prompts of a run."""

    answered: int = 0
    unanswered: dict[str, str] = field(default_factory=dict)
    """Key -> why there is no answer; they are asked again in the next run."""
    budget_spent: bool = False
    """Whether prompts were left because of it."""
    in_a_row: int = 0


def unasked(wants: Iterable[Want], answers: Answers) -> Iterator[Want]:
    """Those without an answer, each prompt once."""
    seen: set[str] = set()
    for want in wants:
        if want.key not in seen and want.key not in answers:
            seen.add(want.key)
            yield want


def ask_endpoint(
    wants: Iterable[Want],
    answers: Answers,
    *,
    endpoint: Endpoint,
    budget: Budget,
    concurrency: int,
    on_answer: Callable[[Asked], None],
) -> Asked:
    """Ask until all is answered or the budget is spent; every answer is kept before the next prompt is taken.

    Raises:
        ModelError: a wrong key, an unknown model, or MOST_UNANSWERED prompts in a row without an answer.
    """
    asked = Asked()

    def while_paid() -> Iterator[Want]:
        for want in unasked(wants, answers):
            if asked.budget_spent:
                return
            yield want

    async def run() -> None:
        async with endpoint.client() as client:

            async def ask(want: Want) -> None:
                try:
                    reply = await endpoint.ask(client, want.prompt, purse=budget)
                except BudgetSpent:
                    asked.budget_spent = True
                    return
                except Unanswered as error:
                    _note(asked, want, error)
                else:
                    answers.put(want.key, model=endpoint.model, text="" if reply.filtered else reply.text,
                                cut=reply.cut, tokens_in=reply.tokens_in, tokens_out=reply.tokens_out)  # fmt: skip
                    asked.answered += 1
                    asked.in_a_row = 0
                on_answer(asked)

            await in_parallel(while_paid(), ask, concurrency=concurrency)

    asyncio.run(run())
    return asked


def _note(asked: Asked, want: Want, error: Unanswered) -> None:
    asked.unanswered[want.key] = str(error)
    asked.in_a_row += 1
    if asked.in_a_row >= MOST_UNANSWERED:
        raise ModelError(f"{MOST_UNANSWERED} prompts in a row without an answer. What was answered is kept. {error}")


def ask_local(
    wants: Iterable[Want], answers: Answers, *, model: str, max_tokens: int, on_answer: Callable[[Asked], None]
) -> Asked:
    """Ask a causal model of the Hugging Face hub, a folder or `pocket`, greedily, in batches.

    Raises:
        ModelError: it does not load.
        TeacherError: `max_tokens` leaves no room for a prompt.
    """
    from vecspeak.decoding import end_tokens
    from vecspeak.prompts import end_token
    from vecspeak.store import load_base

    base, tokenizer = load_base(model)
    base.eval()
    ends = end_tokens(base, end_token(tokenizer))
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:  # which one does not matter: it is masked
        tokenizer.pad_token_id = min(ends, default=0)
    longest = int(getattr(base.config, "max_position_embeddings", 1 << 20)) - max_tokens
    if longest < 1:
        raise TeacherError(f"--max-tokens {max_tokens} leaves no room for a prompt in {model!r}. Take fewer.")
    asked = Asked()
    rest = unasked(wants, answers)
    while batch := list(islice(rest, LOCAL_BATCH)):
        rows = [(want, ids) for want in batch for ids in [_ids(tokenizer, want.prompt)]]
        for want, ids in rows:
            if len(ids) > longest:
                asked.unanswered[want.key] = f"the prompt has {len(ids)} tokens, {model} reads {longest}"
        fitting = [(want, ids) for want, ids in rows if len(ids) <= longest]
        for (want, ids), (text, cut, tokens) in zip(
            fitting, _generated(base, tokenizer, [ids for _, ids in fitting], ends, max_tokens), strict=True
        ):
            answers.put(want.key, model=model, text=text, cut=cut, tokens_in=len(ids), tokens_out=tokens)
            asked.answered += 1
        on_answer(asked)
    return asked


def _ids(tokenizer: Any, prompt: str) -> list[int]:
    """A prompt as a chat where the tokenizer has a template, else a line of its own, as when training."""
    if not tokenizer.chat_template:
        return cast(list[int], tokenizer(f"{prompt}\n")["input_ids"])
    message = [{"role": "user", "content": prompt}]
    whole = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    return cast(list[int], tokenizer(whole, add_special_tokens=False)["input_ids"])


def _generated(
    base: Any, tokenizer: Any, prompts: Sequence[list[int]], ends: set[int], max_tokens: int
) -> list[tuple[str, bool, int]]:
    """(text, whether it was cut, tokens) of each prompt."""
    if not prompts:
        return []
    batch = tokenizer.pad({"input_ids": list(prompts)}, return_tensors="pt").to(base.device)
    made = base.generate(
        **batch, max_new_tokens=max_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=sorted(ends) or None,
    )[:, batch["input_ids"].shape[1] :]  # fmt: skip
    found = []
    for row in made.tolist():
        tokens = next((number for number, token in enumerate(row) if token in ends), len(row))
        text = tokenizer.decode(row[:tokens], skip_special_tokens=True).strip()
        found.append((text, tokens == len(row), tokens))
    return found


@dataclass(frozen=True)
class Estimate:
    """Of what is still to be asked, each once."""

    prompts: int
    tokens_in: int
    """Likely: a token for four characters."""
    tokens_out: int
    """At most."""


def estimate(wants: Iterable[Want], answers: Answers, *, max_tokens: int) -> Estimate:
    """Count what is still to be asked."""
    prompts = characters = 0
    for want in unasked(wants, answers):
        prompts += 1
        characters += len(want.prompt)
    return Estimate(prompts, characters // 4 + 10 * prompts, max_tokens * prompts)
