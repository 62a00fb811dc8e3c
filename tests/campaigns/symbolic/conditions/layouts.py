"""Layouts of files: `rotortree.storage.format` against `rotortree_model.layouts`.

What one writes, the other reads; and both make the same of bytes that nobody wrote.  BLAKE3 is
replaced by a function that shows what was hashed, see `tests.campaigns.symbolic.stand_ins`.
"""

from __future__ import annotations

from blake3 import blake3

from rotortree.errors import StorageError
from rotortree.storage import format as production
from rotortree_model import layouts as model
from tests.campaigns.symbolic.conditions.shape import known

__all__ = [
    "a_commit_record_is_what_the_model_reads",
    "a_damaged_base_of_a_segment_is_refused_by_both",
    "a_damaged_body_of_a_commit_record_is_refused_by_both",
    "a_damaged_number_of_a_segment_is_refused_by_both",
    "a_damaged_promise_of_a_segment_is_refused_by_both",
    "a_frame_header_comes_back_as_it_was_written",
    "a_frame_is_what_the_model_reads",
    "a_level_header_is_that_of_the_model",
    "a_scheme_name_is_read_alike",
    "a_segment_header_is_what_the_model_reads",
    "an_identity_is_judged_alike",
    "only_a_sealed_frame_is_read",
    "the_first_thing_that_is_wrong_is_the_same",
    "the_key_of_a_segment_is_of_its_whole_header",
    "the_name_of_a_segment_is_read_alike",
    "the_number_of_shard_nodes_is_read_alike",
]

IDENTITY = production.Identity(3, 20, 6, b"the tree is this", "blake3")
"""The identity where a condition is not about it."""

SALT = b"salt of a headre"
"""And the salt."""

NO_PROMISE = production.SEGMENT_BYTES.to_bytes(8, "little")
"""The promise of a segment that was begun without leaves."""

WAL = production.SEGMENT_MAGIC
FIRST = 64
NUMBERS = (0, 1, 2, 3, 254, 255)
"""What segments begin with, and where their own fields begin; ends of a byte."""


def number(data: bytes) -> int:
    """Little-endian."""
    return int.from_bytes(data, "little")


def flat(data: bytes) -> bytes:
    """The same bytes in one piece: unknowns put together of many take long to be taken apart."""
    return bytes(list(data))


def sealed(data: bytes) -> bytes:
    """The data with its seal behind it."""
    return flat(data + production.seal(data))


def production_says(data: bytes) -> object:
    """The identity of a segment's header, or the name of the error."""
    try:
        return production.Identity.unsealed(WAL, data, production.SEGMENT_BYTES, "f")[0]
    except StorageError as error:
        return type(error).__name__


def model_says(data: bytes) -> object:
    """The same of the model."""
    try:
        return model.identity("f", data, WAL, model.SEGMENT_HEADER_BYTES)
    except model.DamagedError as error:
        return error.kind


def segment_of_production(data: bytes) -> object:
    """Number, base and promise of a segment's header, None if it is damaged."""
    try:
        header = production.SegmentHeader.decode(data, "f")
    except StorageError:
        return None
    return header.number, header.base, header.promise


def segment_of_model(data: bytes) -> object:
    """The same of the model, which wants to know the number from the file's name, too.

    No file has a name with a number that is not one of segments.
    """
    named = number(data[FIRST : FIRST + 8])
    try:
        found = model.segment("f", data, named if 0 < named < 2**63 else 1)
    except model.DamagedError:
        return None
    return found.number, found.base, found.promise


def commit_of_production(data: bytes) -> object:
    """The commit record, None if it is damaged."""
    try:
        return production.Commit.decode(data, "f")
    except StorageError:
        return None


def an_identity_is_judged_alike(version: bytes, n: int, max_depth: int, shard_nodes: int) -> bool:
    """Both read the same identity, or find the same error, whatever the numbers are.

    Requirements: FORMAT-12, FORMAT-13, FORMAT-14.

    pre: len(version) == 2 and 0 <= max_depth < 256
    pre: n in NUMBERS and shard_nodes in (*NUMBERS, 256, 2**32 - 1)
    post: _
    """
    n, shard_nodes = known(n, NUMBERS), known(shard_nodes, (*NUMBERS, 256, 2**32 - 1))
    head = WAL + version + bytes([n, max_depth]) + shard_nodes.to_bytes(4, "little")
    data = sealed(head + IDENTITY.tree_id + b"blake3".ljust(32, b"\0") + bytes(80))
    return production_says(data) == model_says(data)


def a_scheme_name_is_read_alike(letter: int, rest: int) -> bool:
    """Both read the same name of a scheme, or refuse it.

    Requirements: FORMAT-13, TREE-18.

    pre: 0 <= letter < 256
    pre: rest in (0, 31)
    post: _
    """
    name = bytes([known(letter, range(256))]) + b"a" * known(rest, (0, 31))
    head = WAL + bytes([1, 0, 3, 20, 6, 0, 0, 0]) + IDENTITY.tree_id
    data = sealed(head + name.ljust(32, b"\0") + bytes(80))
    return production_says(data) == model_says(data)


def the_first_thing_that_is_wrong_is_the_same(
    magic: bytes, version: int, n: int, seal: bytes, cut: bool
) -> bool:
    """Of several that are wrong, length, magic, version, seal and values, both name the same one.

    Requirements: FORMAT-13.

    pre: len(magic) == 8 and len(seal) == 16
    pre: 0 <= version < 256 and n in (1, 3)
    post: _
    """
    n = known(n, (1, 3))
    rest = bytes([version, 0, n, 20]) + bytes([6, 0, 0, 0]) + IDENTITY.tree_id
    data = magic + rest + b"blake3".ljust(32, b"\0") + bytes(80) + seal
    data = flat(data[:-1] if cut else data)
    return production_says(data) == model_says(data)


def the_number_of_shard_nodes_is_read_alike(shard_nodes: bytes) -> bool:
    """Both read the same number of nodes of a level file, of n = 2, or refuse it.

    Requirements: FORMAT-12, FORMAT-13.

    pre: len(shard_nodes) == 4
    post: _
    """
    head = WAL + bytes([1, 0, 2, 20]) + shard_nodes + IDENTITY.tree_id
    data = sealed(head + b"blake3".ljust(32, b"\0") + bytes(80))
    return production_says(data) == model_says(data)


def a_segment_header_is_what_the_model_reads(
    segment: int, size: int, root: bytes, promise: int
) -> bool:
    """The model reads number, base and promise of a segment as production wrote them.

    Requirements: FORMAT-12, FORMAT-16, FORMAT-18.

    pre: 0 < segment < 2**63 and 0 < size < 2**63 and 160 <= promise < 2**64
    pre: len(root) == 32
    post: _
    """
    base = production.Head(size, root)
    data = production.SegmentHeader(IDENTITY, segment, base, SALT, promise).encode()
    found = model.segment("f", data, segment)
    again = production.SegmentHeader.decode(data, "f")
    return (
        (*found.identity, found.number, *found.base) == (*IDENTITY, segment, *base)
        and found.promise == promise
        and again == (IDENTITY, segment, base, SALT, promise)
        and data[112:128] == SALT
    )


def a_damaged_number_of_a_segment_is_refused_by_both(segment: bytes, reserved: int) -> bool:
    """Production and model refuse the same numbers and reserved bytes of a segment.

    Requirements: FORMAT-13, FORMAT-18.

    pre: len(segment) == 8
    pre: 0 <= reserved < 256
    post: _
    """
    body = segment + bytes(40) + SALT + NO_PROMISE + bytes([reserved]) + bytes(7)
    data = flat(IDENTITY.sealed(WAL, body))
    return segment_of_production(data) == segment_of_model(data)


def a_damaged_promise_of_a_segment_is_refused_by_both(promise: bytes) -> bool:
    """Production and model refuse the same promises of a segment, and read the others alike.

    Requirements: FORMAT-13, FORMAT-18.

    pre: len(promise) == 8
    post: _
    """
    body = bytes([1]) + bytes(47) + SALT + promise + bytes(8)
    data = flat(IDENTITY.sealed(WAL, body))
    return segment_of_production(data) == segment_of_model(data)


def a_damaged_base_of_a_segment_is_refused_by_both(size: bytes, root: int) -> bool:
    """Production and model refuse the same bases of a segment.

    Requirements: FORMAT-13, FORMAT-16.

    pre: len(size) == 8
    pre: 0 <= root < 256
    post: _
    """
    body = bytes([1]) + bytes(7) + size + bytes(31) + bytes([root]) + SALT
    data = flat(IDENTITY.sealed(WAL, body + NO_PROMISE + bytes(8)))
    return segment_of_production(data) == segment_of_model(data)


def the_key_of_a_segment_is_of_its_whole_header(segment: int, size: int, root: bytes) -> bool:
    """The key is the hash of all 160 bytes.

    Requirements: FORMAT-20.

    pre: 0 < segment < 2**63 and 0 < size < 2**63
    pre: len(root) == 32
    post: _
    """
    header = production.SegmentHeader(IDENTITY, segment, production.Head(size, root), SALT)
    data = header.encode()
    return len(data) == 160 and header.key() == blake3(data).digest()


def a_commit_record_is_what_the_model_reads(
    size: int, root: bytes, more: int, acknowledged_root: bytes, first: int, more_segments: int
) -> bool:
    """The model reads heads and segments of a commit record as production wrote them.

    Requirements: FORMAT-12, FORMAT-16, FORMAT-43.

    pre: 0 < size and 0 <= more and size + more < 2**63
    pre: 0 < first and 0 <= more_segments and first + more_segments < 2**63
    pre: len(root) == len(acknowledged_root) == 32
    post: _
    """
    checkpoint = production.Head(size, root)
    acknowledged = production.Head(size + more, acknowledged_root)
    commit = production.Commit(IDENTITY, checkpoint, acknowledged, first, first + more_segments)
    data = commit.encode()
    read: object = model.commit_record({"COMMIT": data})  # of other classes, and equal
    return read == commit and production.Commit.decode(data, "f") == commit


def a_damaged_body_of_a_commit_record_is_refused_by_both(
    numbers: bytes, root: int, acknowledged_root: int, longer: bool
) -> bool:
    """Production and model refuse the same sizes, roots and segments, and a byte too many.

    Requirements: FORMAT-13, FORMAT-16, FORMAT-43.

    pre: len(numbers) == 32
    pre: 0 <= root < 256 and 0 <= acknowledged_root < 256
    post: _
    """
    checkpoint = numbers[:8] + bytes(31) + bytes([root])
    acknowledged = numbers[8:16] + bytes([acknowledged_root]) + bytes(31)
    data = IDENTITY.sealed(production.COMMIT_MAGIC, checkpoint + acknowledged + numbers[16:])
    data = flat(data + b"!" if longer else data)
    return commit_of_production(data) == model.commit_record({"COMMIT": data})


def a_level_header_is_that_of_the_model(level: int, shard: int, n: int, max_depth: int) -> bool:
    """Both write the same header of a level file.

    Requirements: FORMAT-47.

    pre: 0 <= level < 2**64 and 0 <= shard < 2**64
    pre: 0 <= n < 256 and 0 <= max_depth < 256
    post: _
    """
    identity = IDENTITY._replace(n=n, max_depth=max_depth)
    expected = model.level_header(model.Identity(*identity), level, shard)
    return production.shard_header(identity, level, shard) == expected


def a_frame_header_comes_back_as_it_was_written(
    more: bool, numbers: tuple[int, int, int, int], root: bytes, chain: bytes, key: bytes
) -> bool:
    """All fields of a frame's header come back.

    Requirements: FORMAT-22, FORMAT-28.

    pre: all(0 <= number < 2**64 for number in numbers)
    pre: len(root) == len(key) == 32 and len(chain) == 16
    post: _
    """
    frame = production.Frame(more, *numbers, root, chain, b"seal of payloads")
    return production.Frame.decode(frame.encode(key), key) == frame


def a_frame_is_what_the_model_reads(
    more: bool, number: int, first: int, root: bytes, chain: bytes, key: bytes
) -> bool:
    """The model reads a frame of one leaf as production wrote it.

    Requirements: FORMAT-22, FORMAT-23, FORMAT-24, FORMAT-28.

    pre: 0 <= number < 2**64 and 0 <= first < 2**63
    pre: len(root) == len(key) == 32 and len(chain) == 16
    post: _
    """
    leaf = bytes(range(32))
    frame = production.Frame(
        more=more,
        number=number,
        first=first,
        leaves=1,
        promise=0,
        root=root,
        chain=chain,
        payload_seal=production.seal(leaf, key),
    )
    data = frame.encode(key) + leaf
    head = (first + 1, root)
    expected = model.Frame(160, more, 0, model.Head(*head), data[112:128], (leaf,))
    in_order = (model.number_at(data, 8, 8), model.number_at(data, 16, 8)) == (number, first)
    return model.frame_at(key, data, 0) == expected and in_order and data[80:96] == chain


def only_a_sealed_frame_is_read(
    magic: bytes, flags: bytes, reserved: int, last: bytes, seal: bytes
) -> bool:
    """Production reads a frame exactly where the model sees one that is sealed; MORE is flag 1.

    Requirements: FORMAT-23, FORMAT-24, FORMAT-28.

    pre: len(magic) == len(flags) == 4 and len(last) == 2 and 0 <= reserved < 256
    pre: len(seal) == 16 or len(seal) == 15
    post: _
    """
    key = bytes(32)
    data = flat(magic + flags + bytes(32) + bytes([reserved]) + bytes(69) + last + seal)
    frame = production.Frame.decode(data, key)
    if not model.is_sealed(key, data, 0):
        return frame is None
    return frame is not None and frame.more == (number(flags) == 1)


def the_name_of_a_segment_is_read_alike(digits: bytes) -> bool:
    """Both take the same names for those of segments, and read the same numbers.

    Requirements: FORMAT-2, FORMAT-4.

    pre: len(digits) <= 9
    post: _
    """
    name = digits.decode("latin-1") + ".wal"
    numbers = list(model.segments({f"wal/{name}": b""}))
    return production.segment_number(name) == (numbers[0] if numbers else None)
