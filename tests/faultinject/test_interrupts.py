"""Ctrl-C at a call of the simulated disk: before it, half-way, and after it."""

from __future__ import annotations

import pytest

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.faults import Rule


@pytest.mark.parametrize(("letter", "written"), [("k", b""), ("j", b"ab"), ("q", b"abcd")])
def test_an_interrupted_write_is_done_so_far(letter: str, written: bytes) -> None:
    """Nothing, half of it or all; KeyboardInterrupt each time, and the next call works."""
    disk = SimulatedDisk(rules=[Rule("pwritev", "*", letter)])
    file = disk.open("f", "create")
    with pytest.raises(KeyboardInterrupt):
        file.pwritev([b"abcd"], 0)
    assert disk.files() == {"f": written}
    assert disk.faults.hits == 1
    assert file.pwritev([b"abcd"], 0) == 4


@pytest.mark.parametrize(("letter", "durable"), [("k", b"new"), ("j", b"old"), ("q", b"new")])
def test_a_sync_interrupted_half_way_loses_its_pages(letter: str, durable: bytes) -> None:
    """The next one says nothing of them, as after an error; otherwise it makes them durable."""
    disk = SimulatedDisk({"f": b"old"}, rules=[Rule("sync", "*", letter)])
    file = disk.open("f", "write")
    file.pwritev([b"new"], 0)
    with pytest.raises(KeyboardInterrupt):
        file.sync()
    if letter != "q":
        file.sync()
    assert disk.files() == {"f": b"new"}
    assert disk.crash().files() == {"f": durable}


@pytest.mark.parametrize(("letter", "names"), [("k", {"f"}), ("j", {"f"}), ("q", set())])
def test_other_calls_are_interrupted_before_or_after(letter: str, names: set[str]) -> None:
    """Half-way is before where there is no half."""
    disk = SimulatedDisk({"f": b""}, rules=[Rule("unlink", "*", letter)])
    with pytest.raises(KeyboardInterrupt):
        disk.unlink("f")
    assert set(disk.files()) == names
