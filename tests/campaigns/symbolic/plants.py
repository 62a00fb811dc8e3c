"""Faults, each planted in a copy of one function, and the condition that must refute it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from tests.campaigns.planting import Edit

__all__ = ["PLANTS", "Plant", "plant"]


@dataclass(frozen=True, slots=True)
class Plant(Edit):
    """An edit of a module's source, and the condition that it breaks."""

    where: str
    """The module's name."""
    condition: str

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.where}: {' '.join(self.new.split()) or f'without {self.old.strip()}'}"


_GEOMETRY = "rotortree.geometry"
_FORMAT = "rotortree.storage.format"
_RECOVERY = "rotortree.storage.recovery"

PLANTS = (
    Plant(
        _GEOMETRY, "while width < size:", "while width <= size:", "shape.depth_is_that_of_the_model"
    ),
    Plant(
        _GEOMETRY,
        "    return size // int(n**level)",
        "    return -(-size // int(n**level))",
        "shape.complete_count_counts_the_complete_nodes",
    ),
    Plant(
        _GEOMETRY,
        "if level > depth(size, n):",
        "if level >= depth(size, n):",
        "shape.level_length_is_that_of_the_model",
    ),
    Plant(
        _GEOMETRY,
        "if parent < last // n else last + 1",
        "if parent < last // n else last",
        "shape.inclusion_groups_are_those_of_the_model",
    ),
    Plant(
        _GEOMETRY,
        "if parent < last // n else last + 1",
        "if parent <= last // n else last + 1",
        "shape.inclusion_groups_are_those_of_the_model",
    ),
    Plant(
        _GEOMETRY,
        "if stop - start > 1:",
        "if stop - start > 0:",
        "shape.a_group_is_the_children_of_one_node",
    ),
    Plant(
        _GEOMETRY,
        "if not 0 <= index < size:",
        "if not 0 <= index <= size:",
        "shape.an_inclusion_group_outside_the_tree_is_refused",
    ),
    Plant(
        _GEOMETRY,
        "stop = min(start + n, last + 1)",
        "stop = min(start + n, last)",
        "shape.consistency_groups_are_those_of_the_model",
    ),
    Plant(
        _GEOMETRY,
        "if straddles or own > start:",
        "if straddles or own >= start:",
        "shape.consistency_groups_are_those_of_the_model",
    ),
    Plant(
        _GEOMETRY,
        "int(min(n**max_depth, MAX_SIZE))",
        "int(n**max_depth)",
        "shape.capacity_is_that_of_the_model",
    ),
    Plant(
        _GEOMETRY,
        '("n", n, 2, MAX_ARITY)',
        '("n", n, 1, MAX_ARITY)',
        "shape.parameters_are_checked_as_the_text_says",
    ),
    Plant(
        "rotortree_model.shape",
        "while span(n, level) < size:",
        "while span(n, level) <= size:",
        "shape.depth_is_that_of_the_model",
    ),
    Plant(
        "rotortree.encoding",
        "VERSION, n, 0, size, number) + hashes",
        "VERSION, n, 0, number, size) + hashes",
        "encodings.every_field_is_where_the_text_has_it",
    ),
    Plant(
        "rotortree.encoding",
        "(magic, version, zero) != (self.magic, VERSION, 0)",
        "(magic, version) != (self.magic, VERSION)",
        "encodings.a_proof_has_the_encoding_that_it_was_decoded_from",
    ),
    Plant(
        "rotortree.encoding",
        "if len(data) < HEADER_BYTES:",
        "if len(data) < HEADER_BYTES - 1:",
        "encodings.what_is_shorter_than_a_header_is_refused",
    ),
    Plant(
        "rotortree.proofs.inclusion",
        'check_count("index", index, size)',
        'check_count("index", index, size + 1)',
        "encodings.an_inclusion_proof_is_one_exactly_if_its_shape_is_right",
    ),
    Plant(
        "rotortree.proofs.encoded",
        "if len(hashes) != NODE_BYTES * count:",
        "if len(hashes) < NODE_BYTES * count:",
        "encodings.a_consistency_proof_is_one_exactly_if_its_shape_is_right",
    ),
    Plant(
        "rotortree.proofs.heads",
        "(self.root is None) != (self.size == 0)",
        "self.root is None and self.size != 0",
        "encodings.a_head_is_one_exactly_if_its_values_fit",
    ),
    Plant(
        _FORMAT,
        "    leaves: int\n    promise: int\n",
        "    promise: int\n    leaves: int\n",
        "layouts.a_frame_is_what_the_model_reads",
    ),
    Plant(
        _FORMAT,
        "cls(flags == _MORE, number",
        "cls(flags != 0, number",
        "layouts.only_a_sealed_frame_is_read",
    ),
    Plant(
        _FORMAT,
        "None if reserved else cls",
        "cls",
        "layouts.only_a_sealed_frame_is_read",
    ),
    Plant(
        _FORMAT,
        " or promise < SEGMENT_BYTES",
        "",
        "layouts.a_damaged_promise_of_a_segment_is_refused_by_both",
    ),
    Plant(
        _FORMAT,
        "promise < SEGMENT_BYTES or",
        "promise <= SEGMENT_BYTES or",
        "layouts.a_damaged_promise_of_a_segment_is_refused_by_both",
    ),
    Plant(
        _FORMAT,
        "if size > MAX_SIZE or (size == 0",
        "if (size == 0",
        "layouts.a_damaged_base_of_a_segment_is_refused_by_both",
    ),
    Plant(
        _FORMAT,
        " <= MAX_SEGMENT or acknowledged < size:",
        " <= MAX_SEGMENT:",
        "layouts.a_damaged_body_of_a_commit_record_is_refused_by_both",
    ),
    Plant(
        _FORMAT,
        "if not 0 < first <= last",
        "if not 0 <= first <= last",
        "layouts.a_damaged_body_of_a_commit_record_is_refused_by_both",
    ),
    Plant(
        _FORMAT,
        "if version != FORMAT_VERSION:",
        "if version > FORMAT_VERSION:",
        "layouts.the_first_thing_that_is_wrong_is_the_same",
    ),
    Plant(
        _FORMAT,
        "if not shard_nodes or shard_nodes % n:",
        "if shard_nodes % n:",
        "layouts.an_identity_is_judged_alike",
    ),
    Plant(
        _FORMAT,
        "        if seal(sealed) != mark:",
        "        if seal(sealed[1:]) != mark:",
        "layouts.the_first_thing_that_is_wrong_is_the_same",
    ),
    Plant(
        _FORMAT,
        "blake3(self.encode()).digest()",
        "blake3(self.encode()[:-SEAL_BYTES]).digest()",
        "layouts.the_key_of_a_segment_is_of_its_whole_header",
    ),
    Plant(
        _FORMAT,
        "    state = blake3(data) if",
        "    data = bytes(len(data) - 8) + data[-8:]\n    state = blake3(data) if",
        "layouts.a_segment_header_is_what_the_model_reads",
    ),
    Plant(
        _FORMAT,
        "    state = blake3(data) if",
        "    data = data[:-8] + data[-4:] + data[-8:-4]\n    state = blake3(data) if",
        "layouts.only_a_sealed_frame_is_read",
    ),
    Plant(
        _FORMAT,
        "blake3(data, key=key)",
        "blake3(data, key=key[:8] + bytes(24))",
        "layouts.a_frame_is_what_the_model_reads",
    ),
    Plant(
        _FORMAT,
        "blake3(self.encode()).digest()",
        "blake3(self.encode()[:8] + bytes(144) + self.encode()[-8:]).digest()",
        "layouts.the_key_of_a_segment_is_of_its_whole_header",
    ),
    Plant(
        _FORMAT,
        "_SHARD.pack(level, shard)",
        "_SHARD.pack(shard, level)",
        "layouts.a_level_header_is_that_of_the_model",
    ),
    Plant(
        "rotortree_model.layouts",
        "number_at(data, 144, 8), number_at(data, 152, 8)",
        "number_at(data, 152, 8), number_at(data, 144, 8)",
        "layouts.a_commit_record_is_what_the_model_reads",
    ),
    Plant(
        _RECOVERY,
        "commit.acknowledged.size > head.size:",
        "commit.acknowledged.size > head.size + 1:",
        "decision.nothing_acknowledged_is_dropped",
    ),
    Plant(
        _RECOVERY,
        "commit.acknowledged.size > head.size:",
        "commit.acknowledged.size >= head.size:",
        "decision.what_a_crash_leaves_is_a_legal_outcome",
    ),
    Plant(
        _RECOVERY,
        "if last.promise > last.stop:",
        "if last.promise >= last.stop:",
        "decision.the_end_of_a_log_means_the_same",
    ),
    Plant(
        _RECOVERY,
        "unit.stop <= stop)",
        "unit.stop < stop)",
        "decision.a_log_of_two_segments_means_the_same",
    ),
    Plant(
        _RECOVERY,
        "if following.base != head:",
        "if following.base.size != head.size:",
        "decision.a_log_of_two_segments_means_the_same",
    ),
    Plant(
        _RECOVERY,
        "_check_is_there(found, scan.number + 1)",
        "_check_is_there(found, scan.number)",
        "decision.a_log_of_two_segments_means_the_same",
    ),
    Plant(
        _RECOVERY,
        "scan.number >= found.commit.first_segment",
        "scan.number > found.commit.first_segment",
        "decision.a_commit_record_means_the_same",
    ),
    Plant(
        _RECOVERY,
        "commit.checkpoint != header.base:",
        "commit.checkpoint.size != header.base.size:",
        "decision.a_commit_record_means_the_same",
    ),
    Plant(
        _RECOVERY,
        "and commit.last_segment == last.scan.number\n",
        "",
        "decision.a_commit_record_means_the_same",
    ),
    Plant(
        _RECOVERY,
        "if header.identity != headers[-1].identity:",
        "if header.identity.n != headers[-1].identity.n:",
        "decision.damaged_and_foreign_headers_mean_the_same",
    ),
    Plant(
        _RECOVERY,
        "if found.commit or found.commit_error or found.level_files:",
        "if found.commit or found.level_files:",
        "decision.without_a_log_both_find_the_same",
    ),
    Plant(
        _RECOVERY,
        "kept[-1][1].base.size >= header.base.size:",
        "kept[-1][1].base.size > header.base.size:",
        "decision.replaced_segments_mean_the_same",
    ),
    Plant(
        _RECOVERY,
        "        while kept and kept[-1]",
        "        if kept and kept[-1]",
        "decision.replaced_segments_mean_the_same",
    ),
    Plant(
        _RECOVERY,
        "return ends[-1] if ends else last.base.size",
        "return known if ends else last.base.size",
        "decision.the_end_of_a_log_means_the_same",
    ),
    Plant(
        "rotortree.storage.log_reader",
        "if unit.end <= self.promise)",
        "if unit.end < self.promise)",
        "decision.the_end_of_a_log_means_the_same",
    ),
)
"""Off by one, fields in another order, checks left out, rows of the decision changed."""


class _Finder(MetaPathFinder):
    """Finds the one module, and loads it with its fault."""

    def __init__(self, fault: Plant) -> None:
        self._fault = fault

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._fault.where:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        spec.loader = _Loader(self._fault, fullname, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    """Compiles the edited source; what is cached of the other is not used."""

    def __init__(self, fault: Plant, name: str, path: str) -> None:
        super().__init__(name, path)
        self._fault = fault

    def get_code(self, fullname: str) -> CodeType:
        text = self._fault.edited(Path(self.path).read_text(encoding="utf-8"))
        code: CodeType = compile(text, self.path, "exec")
        return code


def plant(fault: Plant) -> None:
    """Plant it in this process, which must not have imported the module."""
    if fault.where in sys.modules:
        raise RuntimeError(f"{fault.where} is imported already")
    sys.meta_path.insert(0, _Finder(fault))
    importlib.invalidate_caches()
