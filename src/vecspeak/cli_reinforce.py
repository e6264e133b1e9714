"""`vecspeak reinforce`: reward a tuned model for answers that encode to their points.

vecspeak reinforce films --run runs/reinforced --task summary --steps 50
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from vecspeak.reinforce import Reward, Step


def reinforce(
    model: Annotated[str, typer.Argument(help="Folder of a tuned model, or `films`, the bundled one.")],
    run: Annotated[Path, typer.Option(help="Run folder; run again with it to go on.")],
    space: Annotated[Path | None, typer.Option(help="Folder of the space (default: the model's own).")] = None,
    tasks: Annotated[str, typer.Option(help="Task set or task file.")] = "films",
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; may be given several times (default: all of one slot).")
    ] = None,
    steps: Annotated[int, typer.Option(help="Updates.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Entities a step.")] = 8,
    samples: Annotated[int, typer.Option(help="Answers sampled about each.")] = 8,
    kl: Annotated[float, typer.Option(help="Weight of the KL term that holds the model near what it was.")] = 0.05,
    lr: Annotated[float, typer.Option(help="Rate of base and adapter.")] = 1e-5,
    temperature: Annotated[float, typer.Option(help="Of the sampling.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="Longest answer sampled.")] = 60,
    seed: Annotated[int, typer.Option(help="Of draws, samples and intervals.")] = 0,
    reward: Annotated[str, typer.Option(help="consistency or identification.")] = "consistency",
    side: Annotated[str, typer.Option(help="Who judges before and after: validation or test.")] = "validation",
) -> None:
    """Train with semantic consistency as reward, and say whether the texts suffered.

    Interrupted, run the same command again: it goes on where it was.
    """
    from vecspeak.reinforce import ReinforceConfig
    from vecspeak.reinforce import reinforce as run_reinforcement

    config = ReinforceConfig(
        model=model,
        space=None if space is None else str(space),
        tasks=tasks,
        task=tuple(task or ()),
        steps=steps,
        batch_size=batch_size,
        samples=samples,
        kl=kl,
        lr=lr,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        reward=cast("Reward", reward),
        side=side,
    )
    found = run_reinforcement(config, run, on_step=_tell, on_event=lambda event: typer.echo(event, err=True))
    typer.echo(found.verdict)
    typer.echo(f"saved in {run / 'model'}; figures: {run / 'reinforce.md'}")


def _tell(step: "Step") -> None:
    typer.echo(
        f"step {step.step}/{step.steps}: reward {step.reward:.3f}, KL {step.kl:.4f}, {step.tokens:.0f} tokens, "
        f"repetition {step.repetition:.2f}",
        err=True,
    )
