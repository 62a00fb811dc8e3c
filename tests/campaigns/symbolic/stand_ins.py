"""What symbolic execution cannot look into, replaced by Python that it can.

Three things are in C or beyond a solver, and are replaced while a condition is checked:

- compiled `struct.Struct` objects, by the same arithmetic in Python (a test compares both);
- BLAKE3, by an injective function of key and data.  Production and model only compare what it
  returns, so that any such function does;
- unknowns in messages, by an ellipsis: to print a number is to ask for each of its digits.  Where
  a format is given, as in names of files, they are printed.
"""

from __future__ import annotations

import re
import struct
from typing import Any

from blake3 import blake3

from rotortree.errors import shown

__all__ = ["HashStandIn", "install", "packed", "unpacked"]

_FIELD = re.compile("([0-9]*)([BHIQsx])")
_WIDTHS = {"B": 1, "H": 2, "I": 4, "Q": 8}


def install() -> None:
    """Let CrossHair use the stand-ins in this process; once, before anything is checked."""
    from crosshair import NoTracing, register_patch
    from crosshair.libimpl.builtinslib import SymbolicInt
    from crosshair.opcode_intercept import FormatStashingValue

    number: Any = SymbolicInt
    number.to_bytes = _to_bytes

    tracing_off: Any = NoTracing

    def formatted(stash: Any, form: str) -> str:
        with tracing_off():
            is_printed = form != "" or type(stash.value) in (int, str)
        stash.formatted = format(stash.value, form) if is_printed else "…"
        return ""

    stashing: Any = FormatStashingValue
    stashing.__format__ = formatted
    stashing.__str__ = stashing.__repr__ = lambda stash: formatted(stash, "")
    register_patch(shown, lambda value: "…")
    register_patch(blake3, lambda *data, key=None: HashStandIn(*data, key=key))
    register_patch(struct.Struct.pack, lambda layout, *values: packed(layout.format, *values))
    register_patch(struct.Struct.unpack, lambda layout, data: unpacked(layout.format, data))
    register_patch(
        struct.Struct.unpack_from,
        lambda layout, data, offset=0: unpacked(layout.format, data[offset : offset + layout.size]),
    )


class HashStandIn:
    """In the place of BLAKE3: a function of which nothing is known but that it is injective.

    What was hashed before on this path, under the same key, has its digest again.  All else gets
    a digest that nothing had before, and already the first 16 bytes of which are new.
    """

    def __init__(self, data: bytes = b"", /, *, key: bytes | None = None) -> None:
        self._data = data
        self._key = b"" if key is None else key

    def digest(self, length: int = 32) -> bytes:
        """So many bytes of the digest."""
        hashed = _hashed()
        for number, (key, data) in enumerate(hashed):
            if key == self._key and data == self._data:
                return _digest(number)[:length]
        hashed.append((self._key, self._data))
        return _digest(len(hashed) - 1)[:length]


def _digest(number: int) -> bytes:
    return b"digest %9d" % number + b"its other half.."


def _hashed() -> list[tuple[bytes, bytes]]:
    """The keys and data that were hashed on the path that CrossHair follows now."""
    from crosshair.statespace import context_statespace

    space: Any = context_statespace()
    if not hasattr(space, "hashed"):
        space.hashed = []
    found: list[tuple[bytes, bytes]] = space.hashed
    return found


def _to_bytes(value: Any, length: int = 1, byteorder: str = "big") -> bytes:
    """The bytes of a symbolic number: new unknowns of which it is the sum.

    Not quotients and remainders of it, for a solver is good at sums and bad at those.
    """
    from crosshair.core import proxy_for_type
    from crosshair.statespace import context_statespace

    space: Any = context_statespace()
    if not 0 <= value < 256**length:
        raise OverflowError("the number does not fit")
    total, digits = 0, []
    for place in range(length):
        digit = proxy_for_type(int, f"digit{space.uniq()}")
        space.add(digit >= 0)
        space.add(digit <= 255)
        total += digit * 256**place
        digits.append(digit)
    space.add(total == value)
    return bytes(digits if byteorder == "little" else reversed(digits))


def _fields(form: str) -> list[tuple[str, int]]:
    """The letters of a little-endian format, each with its width in bytes."""
    assert form[0] == "<"
    fields: list[tuple[str, int]] = []
    for count, letter in _FIELD.findall(form):
        if letter in _WIDTHS:
            fields += [(letter, _WIDTHS[letter])] * int(count or 1)
        else:
            fields.append((letter, int(count or 1)))
    return fields


def packed(form: str, *values: Any) -> bytes:
    """What `struct.pack` returns for little-endian unsigned numbers, bytes and padding."""
    data = b""
    rest = list(values)
    for letter, width in _fields(form):
        if letter == "x":
            data += bytes(width)
        elif letter == "s":
            data += (rest.pop(0) + bytes(width))[:width]
        else:
            data += _number(rest.pop(0), width)
    if rest:
        raise struct.error("more values than fields")
    return data


def _number(value: int, width: int) -> bytes:
    try:
        return value.to_bytes(width, "little")
    except OverflowError:
        raise struct.error("the number does not fit") from None


def unpacked(form: str, data: Any) -> tuple[Any, ...]:
    """What `struct.unpack` returns for such a format."""
    fields = _fields(form)
    if len(data) != sum(width for _, width in fields):
        raise struct.error("the data is of another length")
    values: list[Any] = []
    at = 0
    for letter, width in fields:
        part = data[at : at + width]
        at += width
        if letter == "s":
            values.append(bytes(part))
        elif letter != "x":
            values.append(int.from_bytes(part, "little"))
    return tuple(values)
