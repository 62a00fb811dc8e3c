"""Inputs of ``append``: lines, records or whole files, turned into rows of 32-byte leaves."""

from __future__ import annotations

import binascii
import itertools
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import BinaryIO, TypeAlias

from blake3 import blake3

from rotortree.cli.errors import CommandError
from rotortree.cli.files import display_name, opened
from rotortree.geometry import NODE_BYTES

__all__ = ["Form", "LeafReader", "Row", "file_leaf", "in_batches", "parse_leaf"]

_HEX_DIGITS = 2 * NODE_BYTES
_READ_BYTES = 1 << 20

Row: TypeAlias = tuple[bytes, int]
"""Leaves, 32 bytes each, and the number of bytes of input that they come from."""


class Form(Enum):
    """How leaves are read from an input."""

    HEX = "64 hexadecimal digits on each line"
    RAW = "records of 32 bytes"
    LINES = "the BLAKE3 hash of each line, without its newline"
    FILES = "the BLAKE3 hash of each whole file"


def parse_leaf(text: bytes) -> bytes | None:
    """The leaf written as 64 hexadecimal digits of either case; None for any other text."""
    if len(text) != _HEX_DIGITS:
        return None
    try:
        return binascii.unhexlify(text)
    except binascii.Error:
        return None


def file_leaf(name: str) -> Row:
    """The leaf of a whole file, its BLAKE3 hash, and the file's length."""
    state, length = blake3(), 0
    with opened(name) as file:
        while part := file.read(_READ_BYTES):
            state.update(part)
            length += len(part)
    return state.digest(), length


class LeafReader:
    """Reads the leaves of some inputs, in order, without the first ``skip``.

    All leaves before an error are yielded before the error is raised.  A row has at most
    ``row_leaves`` leaves, so that a slow input is not waited for longer than that.
    """

    def __init__(self, form: Form, names: Iterable[str], skip: int, row_leaves: int) -> None:
        self._form = form
        self._names = names
        self._skip = skip
        self._row_leaves = row_leaves

    def rows(self) -> Iterator[Row]:
        """Yield rows of leaves.

        Raises CommandError, which names the input and the line or offset, and OSError.
        """
        if self._form is Form.FILES:
            yield from self._whole_files()
        else:
            yield from self._behind_skipped(self._all_rows())

    def _whole_files(self) -> Iterator[Row]:
        names = iter(self._names)
        skipped = sum(1 for _ in itertools.islice(names, self._skip))
        self._check_skipped(skipped)
        return map(file_leaf, names)

    def _all_rows(self) -> Iterator[Row]:
        read = {Form.HEX: _hex_leaves, Form.RAW: self._raw_rows, Form.LINES: _line_leaves}
        for name in self._names:
            with opened(name) as stream:
                yield from read[self._form](stream, display_name(name))

    def _raw_rows(self, stream: BinaryIO, name: str) -> Iterator[Row]:
        offset = 0
        while row := stream.read(self._row_leaves * NODE_BYTES):
            offset += len(row)
            rest = len(row) % NODE_BYTES
            yield row[: len(row) - rest], len(row) - rest
            if rest:
                raise CommandError(
                    f"{name}, offset {offset - rest}: {rest} bytes are left over,"
                    f" and a leaf has {NODE_BYTES}"
                )

    def _behind_skipped(self, rows: Iterator[Row]) -> Iterator[Row]:
        left = self._skip
        for row, consumed in rows:
            skipped = min(left, len(row) // NODE_BYTES)
            left -= skipped
            yield row[skipped * NODE_BYTES :], consumed
        self._check_skipped(self._skip - left)

    def _check_skipped(self, skipped: int) -> None:
        if skipped < self._skip:
            raise CommandError(
                f"the input has {skipped} leaves, fewer than the {self._skip} to skip"
            )


def _hex_leaves(stream: BinaryIO, name: str) -> Iterator[Row]:
    longest = _HEX_DIGITS + len(b"\r\n")
    lines = iter(lambda: stream.readline(longest), b"")
    for number, line in enumerate(lines, 1):
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        leaf = parse_leaf(text)
        if leaf is None:
            shown = text[:20].decode("ascii", "backslashreplace")
            what = f"it begins with {shown!r}" if text else "the line is empty"
            raise CommandError(
                f"{name}, line {number}: not {_HEX_DIGITS} hexadecimal digits: {what}"
            )
        yield leaf, len(line)


def _line_leaves(stream: BinaryIO, name: str) -> Iterator[Row]:
    state, length = blake3(), 0
    while part := stream.readline(_READ_BYTES):  # a line may be longer than memory
        state.update(part.removesuffix(b"\n"))
        length += len(part)
        if part.endswith(b"\n"):
            yield state.digest(), length
            state, length = blake3(), 0
    if length:
        yield state.digest(), length


def in_batches(rows: Iterator[Row], leaves: int) -> Iterator[Row]:
    """Join rows into rows of exactly ``leaves`` leaves; the last one may be shorter, or empty.

    If reading fails, the leaves before the error are yielded first.
    """
    batch, consumed = bytearray(), 0
    try:
        for row, length in rows:
            batch += row
            consumed += length
            while len(batch) >= leaves * NODE_BYTES:
                yield bytes(batch[: leaves * NODE_BYTES]), consumed
                del batch[: leaves * NODE_BYTES]
                consumed = 0
    except (CommandError, OSError):
        yield bytes(batch), consumed
        raise
    yield bytes(batch), consumed
