"""Encodings of proofs: `rotortree.encoding` and `rotortree.proofs` against the text and the model.

The model has no encoding of its own: what stands where is said here as `specs/proofs.md` has it.
"""

from __future__ import annotations

import struct

from rotortree.encoding import CONSISTENCY, INCLUSION, Codec, Fields
from rotortree.errors import InvalidProofError
from rotortree.proofs import ConsistencyProof, InclusionProof, TreeHead
from rotortree_model import proofs
from tests.campaigns.symbolic.conditions.shape import known

__all__ = [
    "a_consistency_proof_is_one_exactly_if_its_shape_is_right",
    "a_head_is_one_exactly_if_its_values_fit",
    "a_proof_has_the_encoding_that_it_was_decoded_from",
    "an_inclusion_proof_is_one_exactly_if_its_shape_is_right",
    "decoding_gives_what_was_encoded",
    "decoding_refuses_another_magic_version_or_reserved_field",
    "every_field_is_where_the_text_has_it",
    "only_what_fits_is_encoded",
    "what_is_shorter_than_a_header_is_refused",
]


def codec(consistency: bool) -> Codec:
    """One of the two."""
    return CONSISTENCY if consistency else INCLUSION


def every_field_is_where_the_text_has_it(
    consistency: bool, n: int, size: bytes, number: bytes, hashes: bytes
) -> bool:
    """Magic, version, n, two zeros, size, number and hashes stand in this order, little-endian.

    Requirements: PROOF-24.

    pre: 0 <= n < 256
    pre: len(size) == len(number) == 8
    pre: len(hashes) == 3
    post: _
    """
    values = Fields(n, int.from_bytes(size, "little"), int.from_bytes(number, "little"), hashes)
    magic = b"RTCP" if consistency else b"RTIP"
    expected = magic + bytes([1, n, 0, 0]) + size + number + hashes
    return codec(consistency).encode(values) == expected


def decoding_gives_what_was_encoded(
    consistency: bool, n: int, size: int, number: int, hashes: bytes
) -> bool:
    """All fields come back, whatever they are.

    Requirements: PROOF-25, PROOF-31.

    pre: 0 <= n < 256
    pre: 0 <= size < 2**64
    pre: 0 <= number < 2**64
    pre: len(hashes) == 3
    post: _
    """
    fields = Fields(n, size, number, hashes)
    return codec(consistency).decode(codec(consistency).encode(fields)) == fields


def only_what_fits_is_encoded(n: int, size: int, number: int) -> bool:
    """A number that its field has no room for is an error, and never cut.

    Requirements: PROOF-24.

    post: _
    """
    fits = 0 <= n < 2**8 and 0 <= size < 2**64 and 0 <= number < 2**64
    try:
        INCLUSION.encode(Fields(n, size, number, b""))
    except struct.error:
        return not fits
    return fits


def a_proof_has_the_encoding_that_it_was_decoded_from(consistency: bool, data: bytes) -> bool:
    """No two encodings are decoded to the same fields.

    Requirements: PROOF-25.

    pre: len(data) == 26
    post: _
    """
    try:
        fields = codec(consistency).decode(data)
    except InvalidProofError:
        return True
    return codec(consistency).encode(fields) == data


def decoding_refuses_another_magic_version_or_reserved_field(
    consistency: bool, data: bytes
) -> bool:
    """A header is refused exactly if magic, version or zeros are others; so is the other kind's.

    Requirements: PROOF-25, PROOF-27.

    pre: len(data) == 24
    post: _
    """
    magic = b"RTCP" if consistency else b"RTIP"
    right = data[:4] == magic and data[4] == 1 and data[6] == 0 and data[7] == 0
    try:
        codec(consistency).decode(data)
    except InvalidProofError:
        return not right
    return right


def what_is_shorter_than_a_header_is_refused(consistency: bool, data: bytes) -> bool:
    """Fewer than 24 bytes are no proof, and not another error either.

    Requirements: PROOF-5, PROOF-25.

    pre: len(data) < 24
    post: _
    """
    try:
        codec(consistency).decode(data)
    except InvalidProofError:
        return True
    return False


def an_inclusion_proof_is_one_exactly_if_its_shape_is_right(
    n: int, size: int, index: int, hashes: bytes
) -> bool:
    """It is refused unless there is such a leaf, and as many hashes as the model names.

    Requirements: PROOF-1, PROOF-3, PROOF-9, PROOF-11.

    pre: n in (1, 2, 3, 256)
    pre: size <= 6
    pre: len(hashes) <= 200
    post: _
    """
    n = known(n, (1, 2, 3, 256))
    there = 2 <= n <= 255 and 0 <= index < size
    right = there and 32 * len(proofs.inclusion_coordinates(size, n, index)) == len(hashes)
    try:
        InclusionProof(n, size, index, hashes)
    except InvalidProofError:
        return not right
    return right


def a_consistency_proof_is_one_exactly_if_its_shape_is_right(
    n: int, size: int, old_size: int, hashes: bytes
) -> bool:
    """It is refused unless the old tree is no larger, and has as many hashes as the model names.

    Requirements: PROOF-1, PROOF-3, PROOF-15, PROOF-18.

    pre: n in (1, 2, 3, 256)
    pre: size <= 6
    pre: len(hashes) <= 200
    post: _
    """
    n = known(n, (1, 2, 3, 256))
    there = 2 <= n <= 255 and 0 <= old_size <= size
    right = there and 32 * len(proofs.consistency_coordinates(old_size, size, n)) == len(hashes)
    try:
        ConsistencyProof(n, size, old_size, hashes)
    except InvalidProofError:
        return not right
    return right


def a_head_is_one_exactly_if_its_values_fit(size: int, n: int, length: int) -> bool:
    """A head is refused unless size and n are in range and it has a root of 32 bytes or is empty.

    Requirements: TREE-34, TREE-12.

    pre: length in (-1, 0, 31, 32, 33)
    post: _
    """
    length = known(length, (-1, 0, 31, 32, 33))
    root = None if length < 0 else bytes(length)
    right = 0 <= size < 2**63 and 2 <= n <= 255 and proofs.is_head(size, root)
    try:
        TreeHead(size, root, n, "blake3")
    except InvalidProofError:
        return not right
    return right
