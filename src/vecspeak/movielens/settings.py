"""What the experiment is run with."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vecspeak.encode import DEFAULT_ENCODER
from vecspeak.errors import ConfigError
from vecspeak.files import write_whole
from vecspeak.stages import Progress

SETTINGS = "settings.json"


class Settings(BaseModel):
    """What the experiment is run with; kept with it, as a run goes on only with the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    """The release."""
    texts: tuple[Path, ...] = ()
    """Tables of texts, joined by movieId or imdbId."""
    profiles: Path | None = None
    """User profiles; those of the package where they fit the release."""
    base: str = "pocket"
    encoder: str = DEFAULT_ENCODER
    tune: Literal["all", "lora"] = "all"
    """What stage two trains besides the adapter."""
    align_steps: int = Field(default=120, gt=0)
    tune_steps: int = Field(default=100, gt=0)
    batch_size: int = Field(default=64, gt=0)
    factors: int = Field(default=48, gt=0)
    seeds: int = Field(default=1, gt=0, le=10)
    """Models trained with as many seeds; the report gives the spread."""
    films_of_behaviour: bool = False
    """Ask the 24 questions of films' behavioural vectors too."""
    rival_url: str | None = None
    """An OpenAI-compatible endpoint of a base without vectors to compare with; its key is in OPENAI_API_KEY."""
    rival_model: str | None = None
    """Its name there."""

    @model_validator(mode="after")
    def _rival_is_whole(self) -> "Settings":
        if (self.rival_url is None) != (self.rival_model is None):
            raise ValueError("rival_url and rival_model go together: where to ask, and which model is to answer")
        return self


@dataclass(frozen=True)
class Told:
    """Where the run tells what it does."""

    event: Callable[[str], None]
    step: Callable[[Progress], None]


def check_settings(settings: Settings, out: Path) -> None:
    path, told = out / SETTINGS, _as_kept(settings)
    if path.is_file():
        before: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if other := [key for key in told if told[key] != before.get(key)]:
            raise ConfigError(
                f"{out} holds an experiment with another {other[0]} ({before.get(other[0])}). "
                "Use that, or another folder with --out."
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} holds other things. Name an empty or new folder with --out.")


def keep_settings(settings: Settings, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / SETTINGS, json.dumps(_as_kept(settings), indent=2) + "\n")


def _as_kept(settings: Settings) -> dict[str, Any]:
    """With whole paths, so that the same command from another folder is another."""
    told = settings.model_dump(mode="json")
    for key in ("folder", "profiles"):
        told[key] = told[key] and str(Path(told[key]).resolve())
    return {**told, "texts": [str(text.resolve()) for text in settings.texts]}
