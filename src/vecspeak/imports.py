"""Faster imports of torch and transformers, for commands whose first words someone waits for."""

import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"


@contextmanager
def fast_imports() -> Iterator[None]:
    """No garbage collection while modules load: it is a quarter of the time of importing torch and transformers, and
    finds nothing, since modules stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def answering_only() -> Iterator[None]:
    """fast_imports, and transformers without what only training needs: torch's compiler, its distributed tensors, and
    SciPy's solvers (losses of object detection). Before the first word that is 600 of 2,850 modules and more than one
    of four seconds.

    Around all that one process does with a model it only asks: what is loaded here cannot train on several devices and
    would have graph breaks where compiled. Leaving restores everything, and what was left out can be imported. Does
    nothing but fast_imports where transformers' models are loaded already.
    """
    with ExitStack() as stack:
        stack.enter_context(fast_imports())
        if "transformers.modeling_utils" not in sys.modules:
            import torch
            import transformers.utils

            stack.enter_context(_replaced(torch.distributed, "is_available", _no))
            stack.enter_context(_replaced(transformers.utils, "is_scipy_available", _no))
            stack.enter_context(_compiler_left_out(torch))
        yield


def _no() -> bool:
    return False


def _unchanged(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    """A decorator, with or without arguments, that returns what it is given."""
    return function or _unchanged


@contextmanager
def _compiler_left_out(torch: Any) -> Iterator[None]:
    """transformers marks some functions for the compiler as it loads; each mark would import the whole of it."""
    if COMPILER in sys.modules:
        yield
        return
    marks = ModuleType(COMPILER)
    marks.__path__ = [f"{path}/_dynamo" for path in torch.__path__]  # so that its submodules are found
    for mark in ("disable", "allow_in_graph", "assume_constant_result"):
        setattr(marks, mark, _unchanged)
    marks.__dict__["__getattr__"] = _of_the_compiler
    sys.modules[COMPILER] = torch._dynamo = marks
    try:
        yield
    finally:
        if sys.modules.get(COMPILER) is marks:
            del sys.modules[COMPILER], torch._dynamo


def _of_the_compiler(name: str) -> Any:
    """What else another version of transformers asks for: then the compiler is imported after all."""
    if name.startswith("__"):  # asked of every module by inspect
        raise AttributeError(name)
    torch: Any = sys.modules["torch"]
    del sys.modules[COMPILER], torch._dynamo
    return getattr(importlib.import_module(COMPILER), name)


@contextmanager
def _replaced(owner: ModuleType, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
