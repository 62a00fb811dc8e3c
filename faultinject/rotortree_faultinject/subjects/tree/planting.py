"""Planting: faults put into the running program, one at a time, and taken out again.

A fault is a few edits.  Each names a function of `rotortree`, a piece of its source and what stands
there instead; the edited function is compiled, and its code put in the place of the right one.
So a fault reads like the patch that it is, nothing of it is in `rotortree`, and it cannot rot
unnoticed: a piece that is not in the source exactly once is an error.
"""

from __future__ import annotations

import contextlib
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import NamedTuple

__all__ = ["Edit", "PlantedFault", "PlantingError"]


class PlantingError(Exception):
    """A fault does not fit the program any more."""


class Edit(NamedTuple):
    """In the source of a function (or method, or property), a piece and its replacement.

    Both are written as they stand in the function when that is not indented.
    """

    where: object
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """A fault that somebody could have made.

    ``redundant``: why it does no harm under any profile; empty if it does.
    """

    name: str
    description: str
    edits: tuple[Edit, ...]
    redundant: str = ""

    @contextlib.contextmanager
    def apply(self) -> Iterator[None]:
        """The fault is there for as long as the context lasts, in this process.

        Raises PlantingError, with nothing changed, if an edit does not fit.
        """
        edited = _edited(self.edits)
        right = {function: function.__code__ for function in edited}
        for function, code in edited.items():
            function.__code__ = code
        try:
            yield
        finally:
            for function, code in right.items():
                function.__code__ = code


def _edited(edits: tuple[Edit, ...]) -> dict[FunctionType, CodeType]:
    """The functions that are edited, each with its new code."""
    sources: dict[FunctionType, str] = {}
    for edit in edits:
        function = _function(edit.where)
        source = sources.get(function) or textwrap.dedent(inspect.getsource(function))
        if source.count(edit.old) != 1:
            raise PlantingError(
                f"{function.__qualname__} has {edit.old!r} {source.count(edit.old)} times, not once"
            )
        sources[function] = source.replace(edit.old, edit.new)
    return {function: _compiled(function, source) for function, source in sources.items()}


def _function(where: object) -> FunctionType:
    """The function that a method, a property or a decorated function is made of."""
    inner = where.fget if isinstance(where, property) else getattr(where, "__func__", where)
    function = inspect.unwrap(inner) if callable(inner) else None
    if not isinstance(function, FunctionType) or not function.__module__.startswith("rotortree."):
        raise PlantingError(f"{where!r} is no function of rotortree")
    return function


def _compiled(function: FunctionType, source: str) -> CodeType:
    """The code of a function of that source."""
    name = f"<{function.__qualname__} with a planted fault>"
    try:
        module = compile(source, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise PlantingError(f"{function.__qualname__}: {error}") from error
    code = next(
        constant
        for constant in module.co_consts
        if isinstance(constant, CodeType) and constant.co_name == function.__name__
    )
    if code.co_freevars != function.__code__.co_freevars:
        raise PlantingError(f"{function.__qualname__} is a closure")
    return code
