"""Lives that steps alone cannot tell: with somebody beside them, with damage, with odd leaves."""

from __future__ import annotations

from rotortree_faultinject.disk import Call, SimulatedDisk
from rotortree_faultinject.subjects.tree.life import PATH, Life, abandon, open_tree
from rotortree_faultinject.subjects.tree.oracle import LEAF_BYTES, row
from rotortree_faultinject.subjects.tree.workloads import TreeSubject

__all__ = ["Busy", "Damaged", "Lookalikes"]


class Busy(TreeSubject):
    """A life during which somebody inserts a leaf whenever the disk works for a flush."""

    def run(self, disk: SimulatedDisk) -> None:
        """Live it; what is inserted by the way is issued like everything else."""
        life = Life(self.options, disk)
        step = ""

        def before(call: Call) -> None:
            if step in ("flush", "checkpoint") and call.kind in ("sync", "rename"):
                disk.on_call = None
                life.do("append")
                disk.on_call = before

        disk.on_call = before
        for step in self.steps:
            self._do(life, step)
        disk.on_call = None
        if life.tree is not None:
            abandon(life.tree)

    @staticmethod
    def _do(life: Life, step: str) -> None:
        """A step after which not everything is durable, but what was there before it."""
        tree = life.tree
        if tree is None or step not in ("flush", "checkpoint"):
            life.do(step)
            return
        size = tree.size
        getattr(tree, step)()
        life.acknowledge()
        assert tree.durable_size >= size, f"{step} made {tree.durable_size} of {size} durable"


class Damaged(TreeSubject):
    """A life that goes on after a file was damaged, so that power can fail while it is repaired."""

    def __init__(self, path: str, offset: int) -> None:
        steps = ("open", "insert 5", "checkpoint", "insert 2", "flush", "close", "open", "durable")
        super().__init__(steps, name=f"{path} damaged at {offset}")
        self._path = f"{PATH}/{path}"
        self._offset = offset

    def run(self, disk: SimulatedDisk) -> None:
        """Live it, and flip a bit before it is opened again."""
        life = Life(self.options, disk)
        life.live(self.steps[:-2])
        file = disk.open(self._path, "write")
        byte = file.pread(1, self._offset)
        file.pwritev([bytes([byte[0] ^ 1])], self._offset)
        file.sync()
        life.live(self.steps[-2:])
        if life.tree is not None:
            abandon(life.tree)


class Lookalikes(TreeSubject):
    """Leaves that look like frames which promise everything, and a flush that may be torn."""

    def run(self, disk: SimulatedDisk) -> None:
        """Insert them."""
        magic = b"RtFr" + bytes(4) + b"\xff" * 40
        frame = (magic + bytes(4 * LEAF_BYTES))[: 4 * LEAF_BYTES]
        tree = open_tree(disk, self.options)
        for count in (1, 4):
            leaves = row(count, count + 8) + frame * count
            disk.mark(("issue", leaves))
            tree.insert_many(leaves)
            tree.flush()
            disk.mark(("durable", tree.size))
        abandon(tree)
