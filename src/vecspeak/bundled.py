"""The film space, the pocket base and the film model that come with the package."""

from importlib import resources
from pathlib import Path

from vecspeak.elm import Elm
from vecspeak.space import Space
from vecspeak.store import load

FILMS = "films"
"""What the bundled model is called where a model folder is expected."""


def bundled_space_path() -> Path:
    """Folder of the bundled film space."""
    return Path(str(resources.files("vecspeak"))) / "data/films.lance"


def bundled_model_path() -> Path:
    """Folder of the bundled film model."""
    return Path(str(resources.files("vecspeak"))) / "data/films-elm"


def load_bundled() -> Elm:
    """The shipped film model with its space; its encoder loads on first use.

    Raises:
        ModelError, SpaceError: the installation is damaged.
    """
    return load(bundled_model_path(), space=Space.open(bundled_space_path()))
