"""`vecspeak teach`: targets from a larger language model, or from the base itself.

vecspeak teach items/space.lance --tasks items/tasks.toml --out targets.parquet \\
    --teacher-url https://api.openai.com/v1 --teacher-model gpt-5-mini --budget 5 --price-in 0.25 --price-out 2
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecspeak.errors import TeacherError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vecspeak.teacher.answers import Answers, Budget, Price
    from vecspeak.teacher.asking import Asked, Estimate
    from vecspeak.teacher.targets import Written
    from vecspeak.teacher.wants import Wants

PER_MILLION = 1e6


def teach(
    space: Annotated[Path, typer.Argument(help="Folder of the space; gets the targets as columns.")],
    tasks: Annotated[str, typer.Option(help="Task file; `teacher` of a task says what to ask.")],
    out: Annotated[Path, typer.Option(help="Table of targets to write, .parquet; what was asked is kept beside it.")],
    teacher_model: Annotated[
        str | None,
        typer.Option(help="Model at the URL; without a URL a local one: hub name, folder, or pocket. None: only look."),
    ] = None,
    teacher_url: Annotated[
        str | None, typer.Option(help="OpenAI-compatible endpoint (.../v1); its key from OPENAI_API_KEY.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Column to read for tasks without `teacher`: asked with the task's own question.")
    ] = None,
    unnamed: Annotated[bool, typer.Option("--unnamed", help="Refuse texts that hold the entity's title.")] = False,
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Longest text, in tokens.")] = 200,
    budget: Annotated[
        float | None, typer.Option(min=0, help="Most to spend, of all runs with this --out: tokens, or money by price.")
    ] = None,
    price_in: Annotated[float | None, typer.Option(min=0, help="Money for a million tokens of prompts.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Money for a million tokens of answers.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Prompts under way at a time.")] = 8,
    per_minute: Annotated[float | None, typer.Option(min=0.1, help="Most requests a minute.")] = None,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds to wait for an answer.")] = 60.0,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it would take, and stop.")] = False,
) -> None:
    """Have a language model write the targets of tasks, and put those that pass the gates into the space.

    Stopped at any time, the same command goes on; what was answered is not asked again.
    """
    from vecspeak.endpoint import Endpoint
    from vecspeak.space import Space
    from vecspeak.tasks import load_tasks
    from vecspeak.teacher.answers import Answers, Budget
    from vecspeak.teacher.asking import ask_endpoint, ask_local
    from vecspeak.teacher.asking import estimate as estimated
    from vecspeak.teacher.wants import Wants

    price = _price(price_in, price_out)
    _check(out, teacher_url=teacher_url, teacher_model=teacher_model, budget=budget)
    wants = Wants(Space.open(space), load_tasks(tasks), out, teacher_model or "", max_tokens, source, unnamed)
    for line in _counted(wants):
        typer.echo(line)
    if teacher_model is None:
        return
    wants.check()
    endpoint = None
    if teacher_url is not None:
        endpoint = Endpoint(
            teacher_url,
            teacher_model,
            key=os.environ.get("OPENAI_API_KEY"),
            max_tokens=max_tokens,
            timeout_s=timeout,
            per_minute=per_minute,
        )
    with Answers(out.with_suffix(".answers")) as answers:
        purse = Budget(answers, limit=budget, price=price)
        left = estimated(wants, answers, max_tokens=max_tokens)
        typer.echo(_told(left, purse, price, budget=budget, paid=endpoint is not None))
        if estimate:
            return
        with _progress(left.prompts) as on_answer:
            if endpoint is not None:
                asked = ask_endpoint(
                    wants, answers, endpoint=endpoint, budget=purse, concurrency=concurrency, on_answer=on_answer
                )
            else:
                asked = ask_local(wants, answers, model=teacher_model, max_tokens=max_tokens, on_answer=on_answer)
        _finish(wants, answers, asked, spent=_amount(purse.spent, price) if endpoint else None)


def _price(price_in: float | None, price_out: float | None) -> "Price":
    from vecspeak.teacher.answers import Price

    if (price_in is None) != (price_out is None):
        raise TeacherError("--price-in and --price-out go together: money for a million tokens of each.")
    if price_in is None or price_out is None:
        return Price()
    return Price(price_in / PER_MILLION, price_out / PER_MILLION)


def _check(out: Path, *, teacher_url: str | None, teacher_model: str | None, budget: float | None) -> None:
    if out.suffix != ".parquet":
        raise TeacherError(f"--out {out}: expected a name ending in .parquet.")
    if not out.absolute().parent.is_dir():
        raise TeacherError(f"Folder {out.absolute().parent} does not exist; make it first.")
    if teacher_url is not None and teacher_model is None:
        raise TeacherError("--teacher-url needs --teacher-model, the name of a model there.")
    if budget is not None and teacher_url is None:
        raise TeacherError("--budget is for an endpoint; a local model costs nothing. Leave it out.")


def _counted(wants: "Wants") -> Iterator[str]:
    for count in wants.counts:
        parts = [f"{count.there:,} have a text in {count.column}"]
        parts += [f"{count.wanted:,} wanted"] if count.wanted else []
        parts += [f"{count.sourceless:,} without a text or anything to ask about"] if count.sourceless else []
        yield f"{count.task}: {', '.join(parts)}"


def _told(left: "Estimate", purse: "Budget", price: "Price", *, budget: float | None, paid: bool) -> str:
    told = f"{left.prompts:,} prompts to ask: about {left.tokens_in:,} tokens, answers of at most {left.tokens_out:,}"
    if not paid:
        return told
    likely = purse.spent + price.of(left.tokens_in, left.tokens_out)
    told += f"; about {_amount(likely, price)} in all" + (
        f", {_amount(purse.spent, price)} spent" if purse.spent else ""
    )
    if budget is None:
        return f"{told}; no --budget"
    return f"{told}; budget {_amount(budget, price)}" + (", which may not be enough" if likely > budget else "")


def _amount(value: float, price: "Price") -> str:
    return f"{value:,.0f} tokens" if price.token_in == price.token_out == 1 else f"{value:,.4f} (money)"


@contextmanager
def _progress(prompts: int) -> "Iterator[Callable[[Asked], None]]":
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("asking", total=prompts)

        def on_answer(asked: "Asked") -> None:
            bar.update(task, completed=asked.answered + len(asked.unanswered))

        yield on_answer


def _finish(wants: "Wants", answers: "Answers", asked: "Asked", *, spent: str | None) -> None:
    from vecspeak.teacher.targets import join, write_targets

    written: Written = write_targets(
        wants.out, wants, answers, model=wants.model, unanswered=asked.unanswered, unnamed=wants.unnamed
    )
    join(wants.space, written.columns)
    rejected = ", ".join(f"{count:,} {why}" for why, count in written.rejected.most_common()) or "none"
    typer.echo(f"{written.targets:,} targets in {wants.out} and in {wants.space.path}; rejected: {rejected}")
    if spent is not None:
        typer.echo(f"spent {spent} in all")
    if asked.budget_spent:
        typer.echo(f"THE BUDGET IS SPENT: {written.left:,} targets are left; raise --budget and run this again.")
    for why in list(dict.fromkeys(asked.unanswered.values()))[:3]:
        typer.echo(f"unanswered: {why}")
