"""The film space, the pocket base and the film model that come with the package."""

from importlib import resources
from pathlib import Path

from vecspeak.elm import Elm
from vecspeak.errors import SpaceError
from vecspeak.space import Space
from vecspeak.store import load, read_manifest

FILMS = "films"
"""What the bundled model is called where a model folder is expected."""


def bundled_space_path() -> Path:
    """Folder of the bundled film space."""
    return Path(str(resources.files("vecspeak"))) / "data/films.lance"


def bundled_model_path() -> Path:
    """Folder of the bundled film model."""
    return Path(str(resources.files("vecspeak"))) / "data/films-elm"


def model_folder(model: str) -> Path:
    """Where a model is, given its folder or `films` for the bundled one."""
    return bundled_model_path() if model == FILMS else Path(model)


def load_bundled() -> Elm:
    """The shipped film model with its space; its encoder loads on first use.

    Raises:
        ModelError, SpaceError: the installation is damaged.
    """
    return load(bundled_model_path(), space=Space.open(bundled_space_path()))


def open_space(space: str) -> Space:
    """A space by its folder, or `films` for the bundled one. Raises SpaceError where there is none."""
    return Space.open(bundled_space_path() if space == FILMS else Path(space))


def open_model(model: str, space: Path | None) -> Elm:
    """A model by its folder, or `films` for the bundled one, in `space` or the space it was trained on.

    Raises:
        ModelError: the folder holds no model that loads.
        SpaceError: the model does not say where its space is, or there is none.
    """
    if model == FILMS and space is None:
        return load_bundled()
    folder = model_folder(model)
    where = space or read_manifest(folder).space
    if where is None:
        raise SpaceError(f"{model} does not say where its space is. Name it with --space FOLDER.")
    return load(folder, space=Space.open(where))
