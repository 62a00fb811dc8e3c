"""The discrimination matrix: every kind of damage to every file of a tree, and what came of it.

========================  =======================================================================
outcome                   the tree, opened, read, worked on, closed and opened again
========================  =======================================================================
``same``                  is what it was: leaves, root, every proof
``repaired``              is what it was, also on disk, and ``recovery.repaired`` says that it was
                          not
``refused``               did not open: a typed error names a file (or directory) of the tree and an
                          offset within it, and nothing was changed
``shorter``               lacks the last flushes, which nothing says were durable: the one case that
                          section 8 of durability.md leaves open
``SILENT LOSS``           is another one, and nobody was told
``FALSE REFUSAL``         did not open, though all that it needs is there (`Specimen.expected`)
``UNTYPED``               ended in another error, or in a refusal that is not as above
========================  =======================================================================

The last three are violations.  Every damage is of one file, or of two where they are swapped; a
whole directory that is replaced by an older one cannot be told from a tree that is older.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from rotortree import (
    DataCorruptionError,
    FlushPolicy,
    InvalidProofError,
    RotorTree,
    StorageError,
    TreeNotFoundError,
    UnsupportedFormatError,
)
from rotortree.storage.environment import Environment
from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.image import PlainImage, fingerprint, plain
from rotortree_faultinject.disk.schedule import StepScheduler
from rotortree_faultinject.subjects.tree.damage_kinds import KINDS, Damage
from rotortree_faultinject.subjects.tree.life import PATH, abandon
from rotortree_faultinject.subjects.tree.oracle import OracleError, check_proofs, check_root, row
from rotortree_faultinject.subjects.tree.specimens import SPECIMENS, Specimen, file_class, prepare

__all__ = [
    "OUTCOMES",
    "VIOLATIONS",
    "Judge",
    "Matrix",
    "Outcome",
    "Verdict",
    "Violation",
    "examine",
]

Outcome: TypeAlias = Literal[
    "same", "repaired", "refused", "shorter", "SILENT LOSS", "FALSE REFUSAL", "UNTYPED"
]
"""What may come of a damage."""

OUTCOMES: tuple[Outcome, ...] = (
    "same",
    "repaired",
    "refused",
    "shorter",
    "SILENT LOSS",
    "FALSE REFUSAL",
    "UNTYPED",
)
"""Every outcome, in the order in which tables have them."""

VIOLATIONS = frozenset({"SILENT LOSS", "FALSE REFUSAL", "UNTYPED"})
"""The outcomes that must not be."""

_TYPED = (DataCorruptionError, UnsupportedFormatError)

# What comes of it.


class Verdict(NamedTuple):
    """An outcome, and what was seen in words."""

    outcome: Outcome
    message: str


class _Wrong(Exception):
    """What came out is a violation."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.verdict = Verdict(outcome, message)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _is_of_another_version(error: Exception, disk: SimulatedDisk) -> bool:
    """Whether a file says that it is: then it is left alone, whatever else could be made of it."""
    if not isinstance(error, UnsupportedFormatError):
        return False
    return disk.files()[error.path][8:10] == error.version.to_bytes(2, "little") != b"\1\0"


class Judge:
    """Says what came of damages to one specimen.

    A disk that was judged before is not worked on twice: what the tree does next is a function of
    what is on the disk and in memory, and the latter was compared already.
    """

    def __init__(self, specimen: Specimen) -> None:
        self._specimen = specimen
        self._gone_on: set[bytes] = set()
        self._proven: set[tuple[bytes, ...]] = set()

    def judge(self, image: PlainImage, *, reading: bool = False) -> Verdict:
        """Open the tree, check it, work on, and open it again; ``reading``: read it before."""
        expected = self._specimen.expected(image)
        try:
            before = self._read(image, expected) if reading else None
            verdict = self._open(SimulatedDisk(image), image, expected, read_only=False)
        except _Wrong as wrong:
            return wrong.verdict
        if before is not None and before.outcome != verdict.outcome:
            return Verdict("UNTYPED", f"for reading it is {before}, for writing {verdict}")
        return verdict

    def _read(self, image: PlainImage, expected: int | None) -> Verdict:
        """Open it for reading, which must not change anything."""
        disk = SimulatedDisk(image)
        verdict = self._open(disk, image, expected, read_only=True)
        if disk.log:
            raise _Wrong("UNTYPED", f"reading did {disk.log[0]}")
        return verdict

    def _open(
        self, disk: SimulatedDisk, image: PlainImage, expected: int | None, *, read_only: bool
    ) -> Verdict:
        try:
            tree = self._opened(disk, read_only=read_only)
        except _TYPED as error:
            self._check_refusal(error, disk, image)
            if expected is not None and not _is_of_another_version(error, disk):
                raise _Wrong("FALSE REFUSAL", _describe(error)) from None
            return Verdict("refused", _describe(error))
        except TreeNotFoundError as error:  # nothing is left, and a reader makes no tree
            if expected == 0 and read_only:
                return Verdict("shorter", _describe(error))
            raise _Wrong("UNTYPED", f"opening: {_describe(error)}") from error
        except Exception as error:
            raise _Wrong("UNTYPED", f"opening: {_describe(error)}") from error
        try:
            verdict = self._check(tree, disk, expected, read_only=read_only)
        finally:
            abandon(tree)
        damaged = self._specimen.damaged(image)
        if damaged and verdict.outcome == "same":
            raise _Wrong("SILENT LOSS", f"nobody is told that it is damaged: {damaged[0]}")
        return verdict

    def _opened(self, disk: SimulatedDisk, *, read_only: bool = False) -> RotorTree:
        """The tree at `PATH`, which has no threads."""
        options = self._specimen.options
        shape = Environment(
            files=disk,
            scheduler=StepScheduler(),
            random_bytes=random.Random(1).randbytes,
            frame_leaves=options.frame_leaves,
            zeros_ahead=options.zeros_ahead,
            segment_bytes=options.segment_bytes,
            fold_leaves=options.fold_leaves,
            shard_nodes=options.groups * options.n,
        )
        return RotorTree.open(
            PATH,
            n=options.n,
            flush_policy=FlushPolicy.Manual(),
            record_acknowledgements=options.record,
            read_only=read_only,
            environment=shape,
        )

    def _check_refusal(self, error: StorageError, disk: SimulatedDisk, image: PlainImage) -> None:
        """It names a place of this tree, and nothing was changed but that there is a lock file."""
        path = str(getattr(error, "path", ""))
        offset = getattr(error, "offset", 0)
        left = {name: data for name, data in disk.image.items() if name in image}
        if left != image or set(disk.image) - set(image) - {f"{PATH}/LOCK"}:
            raise _Wrong("UNTYPED", f"refused, and the disk was changed: {_describe(error)}")
        if not path.startswith(f"{PATH}/") or not 0 <= offset <= len(image.get(path) or b""):
            raise _Wrong("UNTYPED", f"no place in this tree: {_describe(error)}")

    def _check(
        self, tree: RotorTree, disk: SimulatedDisk, expected: int | None, *, read_only: bool
    ) -> Verdict:
        size, repaired = tree.size, tree.recovery.repaired
        try:
            self._check_content(tree, size)
            if size != (self._specimen.size if expected is None else expected):
                raise _Wrong("SILENT LOSS", f"{size} leaves of {self._specimen.size}")
            if not read_only:
                self._check_repair(disk)
                self._work_further(tree, disk, size)
        except (OracleError, InvalidProofError) as error:
            raise _Wrong("SILENT LOSS", _describe(error)) from error
        except _Wrong:
            raise
        except Exception as error:
            raise _Wrong("UNTYPED", f"{size} leaves, and then {_describe(error)}") from error
        if size < self._specimen.size:
            return Verdict("shorter", f"{size} leaves of {self._specimen.size}")
        return Verdict("repaired" if repaired else "same", "; ".join(repaired))

    def _check_content(self, tree: RotorTree, size: int) -> None:
        """Leaves, root, proofs; these once for the same nodes, which they are made of."""
        found = check_root(tree).leaves
        if found != row(0, size):
            raise OracleError("other leaves than were inserted")
        nodes = tuple(
            b"".join(tree._engine.tree.views(level, 0, size // tree.n**level))
            for level in range(tree.depth + 1)
        )
        if nodes not in self._proven:
            check_proofs(tree, found)
            self._proven.add(nodes)

    def _check_repair(self, disk: SimulatedDisk) -> None:
        """Check that the repair fixed everything that could be fixed."""
        damaged = self._specimen.damaged(plain(disk.image))
        if damaged:
            raise OracleError(f"opened, and still damaged: {damaged[0]}")

    def _work_further(self, tree: RotorTree, disk: SimulatedDisk, size: int) -> None:
        """More leaves than a level file holds, a checkpoint, a flush; close; all is there."""
        state = fingerprint(disk.image)
        if state in self._gone_on:
            return
        options = self._specimen.options
        stop = size + options.groups * options.n + 1
        tree.insert_many(row(size, stop))
        tree.checkpoint()
        tree.insert(row(stop, stop + 1))
        tree.close()
        with self._opened(disk, read_only=True) as again:
            if not again.recovery.clean or again.recovery.repaired:
                raise OracleError(f"after it was closed: {again.recovery}")
            if again.size != stop + 1:
                raise OracleError(f"{again.size} leaves after it went on, not {stop + 1}")
            self._check_content(again, stop + 1)
        self._gone_on.add(state)


# The matrix.


class Violation(NamedTuple):
    """A damage that came out as it must not; `reproduce` makes it again."""

    specimen: str
    damage: Damage
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.verdict.outcome}: {self.specimen}: {self.damage}: {self.verdict.message}"


@dataclass
class Matrix:
    """How many damages came out how.

    ``counts``: by specimen, kind of damage and class of the file; ``violations``: all that must
    not be.
    """

    counts: dict[tuple[str, str, str], Counter[Outcome]] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    def add(self, specimen: str, damage: Damage, verdict: Verdict) -> None:
        """Count a damage."""
        key = specimen, damage.kind, file_class(damage.path)
        self.counts.setdefault(key, Counter())[verdict.outcome] += 1
        if verdict.outcome in VIOLATIONS:
            self.violations.append(Violation(specimen, damage, verdict))

    def total(self, specimen: str = "", kind: str = "", files: str = "") -> Counter[Outcome]:
        """The sum over all specimens, kinds and classes, or those that are given."""
        asked = specimen, kind, files
        counts = Counter[Outcome]()
        for key, row_counts in self.counts.items():
            if all(word in ("", part) for word, part in zip(asked, key, strict=True)):
                counts += row_counts
        return counts

    def as_json(self) -> str:
        """Everything as JSON."""
        rows: list[dict[str, object]] = [
            {"specimen": specimen, "kind": kind, "files": files, "outcomes": counts}
            for (specimen, kind, files), counts in self.counts.items()
        ]
        violations = [
            {"specimen": one.specimen, **one.damage._asdict(), **one.verdict._asdict()}
            for one in self.violations
        ]
        return json.dumps({"rows": rows, "violations": violations}, indent=1)

    def as_text(self) -> str:
        """A table for each specimen, its columns the outcomes, and the violations."""
        lines = []
        for specimen in dict.fromkeys(key[0] for key in self.counts):
            lines += [specimen, _line(("damage", "files"), OUTCOMES)]
            lines += [
                _line(key[1:], [str(counts[outcome] or "·") for outcome in OUTCOMES])
                for key, counts in self.counts.items()
                if key[0] == specimen
            ]
            total = self.total(specimen)
            lines += [_line(("all", ""), [str(total[outcome]) for outcome in OUTCOMES]), ""]
        return "\n".join([*lines, *map(str, self.violations)])


def _line(words: tuple[str, ...], cells: Sequence[str]) -> str:
    return f"  {words[0]:22}{words[1]:10}" + "".join(f"{cell:>15}" for cell in cells)


def examine(
    specimens: Iterable[str] = tuple(SPECIMENS),
    kinds: Iterable[str] = tuple(KINDS),
    *,
    reading: bool = True,
) -> Matrix:
    """Damage specimens in every way, or in some, and say what came of it.

    ``reading``: open them for reading, too.  All of it takes two minutes.  Raises ValueError for
    names that there are not.
    """
    kinds = tuple(kinds)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"no kind of damage {unknown[0]!r}: there are {', '.join(KINDS)}")
    matrix = Matrix()
    for name in specimens:
        specimen = prepare(name)
        judge = Judge(specimen)
        for kind in kinds:
            for path, words, image in KINDS[kind](specimen):
                verdict = judge.judge(image, reading=reading)
                matrix.add(name, Damage(kind, path, words), verdict)
    return matrix
