"""What `_native.c` has for `rotortree.kernel`, which alone uses it.

Errors: TypeError for wrong types, BufferError for a buffer that is not contiguous or, of ``out``,
not writable, ValueError for wrong lengths, a ``k`` out of range, lanes that the machine has not,
and an ``out`` that overlaps the children.  Nothing was written then.
"""

from typing import overload

from typing_extensions import Buffer

VERSION: int
"""Of the interface below: `rotortree.kernel` refuses another than its own."""

def machine_has(lanes: int, /) -> bool:
    """Whether this machine can hash in so many lanes: 4, 8 or 16."""

def hash_group(children: Buffer, tagged: bool, /) -> bytes:
    """The parent of one group of 2 to 31 children, or to 32 if they are hashed without a tag."""

@overload
def hash_groups(children: Buffer, k: int, tagged: bool, lanes: int, out: None, /) -> bytes:
    """The parents of consecutive groups of k children, 2 <= k <= 31, or 32 without a tag.

    Other threads run during long calls.  An exception raised by a signal handler ends the call.
    """

@overload
def hash_groups(children: Buffer, k: int, tagged: bool, lanes: int, out: Buffer, /) -> None:
    """The same, written into ``out``, whose content is undefined if a signal handler raises."""
