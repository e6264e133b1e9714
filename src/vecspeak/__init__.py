"""vecspeak: ask any embedding in plain language.

    import vecspeak as vs

    elm = vs.load_bundled()
    film = elm.space["296"]
    print(elm.ask("What kind of viewer would enjoy {film}?", film=film).text)

A name is loaded when it is first used (PEP 562), so that `import vecspeak` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vecspeak.answers import Answer, Question
    from vecspeak.bundled import load_bundled
    from vecspeak.concepts import Concept
    from vecspeak.elm import Elm
    from vecspeak.encode import Encoder, load_encoder
    from vecspeak.errors import VecspeakError
    from vecspeak.examples import Example
    from vecspeak.space import Point, Space
    from vecspeak.store import load
    from vecspeak.tasks import Task, load_tasks
    from vecspeak.training import train

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Concept",
    "Elm",
    "Encoder",
    "Example",
    "Point",
    "Question",
    "Space",
    "Task",
    "VecspeakError",
    "load",
    "load_bundled",
    "load_encoder",
    "load_tasks",
    "train",
]

_MODULE_OF = {
    "Answer": "answers",
    "Concept": "concepts",
    "Elm": "elm",
    "Encoder": "encode",
    "Example": "examples",
    "Point": "space",
    "Question": "answers",
    "Space": "space",
    "Task": "tasks",
    "VecspeakError": "errors",
    "load": "store",
    "load_bundled": "bundled",
    "load_encoder": "encode",
    "load_tasks": "tasks",
    "train": "training",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'vecspeak' has no attribute {name!r}. It has: {', '.join(__all__)}")
    value = getattr(import_module(f"vecspeak.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
