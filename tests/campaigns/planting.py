"""Planting: small edits that make a program, or a model of it, wrong on purpose.

An edit names a function of `rotortree` or of its model, or a text; a piece of that, and what stands
there instead.  So a fault reads like the patch that it is, nothing of it is in what is edited, and
it cannot rot unnoticed: a piece that is not there exactly once is an error.

This module imports nothing that anybody could want to edit.
"""

from __future__ import annotations

import contextlib
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType

__all__ = ["Edit", "PlantingError", "planted"]


_EDITABLE = ("rotortree.", "rotortree_model.")
"""How the names of modules begin whose functions may be edited."""


class PlantingError(Exception):
    """An edit does not fit what it is an edit of."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A piece and its replacement, in the source of a function or in a text.

    ``where`` is the function (or method, or property), or the name of the text.  Pieces of a
    function are written as they stand in it when it is not indented.
    """

    where: object
    old: str
    new: str

    def edited(self, text: str) -> str:
        """The text with the replacement.  Raises PlantingError unless the piece is there once."""
        if text.count(self.old) != 1:
            name = self.where if isinstance(self.where, str) else _function(self.where).__qualname__
            raise PlantingError(f"{name} has {self.old!r} {text.count(self.old)} times, not once")
        return text.replace(self.old, self.new)


@contextlib.contextmanager
def planted(*edits: Edit) -> Iterator[None]:
    """Functions are as the edits say for as long as the context lasts, in this process.

    Raises PlantingError, with nothing changed, if an edit does not fit.
    """
    sources: dict[FunctionType, str] = {}
    for edit in edits:
        function = _function(edit.where)
        source = sources.get(function) or textwrap.dedent(inspect.getsource(function))
        sources[function] = edit.edited(source)
    wrong = {function: _compiled(function, source) for function, source in sources.items()}
    right = {function: function.__code__ for function in wrong}
    try:
        for function, code in wrong.items():
            function.__code__ = code
        yield
    finally:
        for function, code in right.items():
            function.__code__ = code


def _function(where: object) -> FunctionType:
    """The function that a method, a property or a decorated function is made of."""
    inner = where.fget if isinstance(where, property) else getattr(where, "__func__", where)
    function = inspect.unwrap(inner) if callable(inner) else None
    if not isinstance(function, FunctionType) or not function.__module__.startswith(_EDITABLE):
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
