"""Every call of the seam goes wrong as the script says, and the file system stays a sound one."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotortree_faultinject.disk import SimulatedDisk
from rotortree_faultinject.disk.faults import KINDS, Died, FaultScript, Rule
from rotortree_faultinject.disk.image import Content

CALLS: dict[str, Callable[[SimulatedDisk], object]] = {
    "lock": lambda fs: fs.lock("lock", shared=False),
    "listdir": lambda fs: fs.listdir("."),
    "open_directory": lambda fs: fs.directory("."),
    "identify": lambda fs: fs.directory(".").identify("file"),
    "mkdir": lambda fs: fs.mkdir("new"),
    "open": lambda fs: fs.open("new", "create"),
    "size": lambda fs: fs.open("file", "read").size(),
    "pread": lambda fs: fs.open("file", "read").pread(4, 0),
    "pwritev": lambda fs: fs.open("file", "write").pwritev([b"new", b" bytes"], 0),
    "truncate": lambda fs: fs.open("file", "write").truncate(2),
    "sync": lambda fs: fs.open("file", "read").sync(),
    "rename": lambda fs: fs.rename("file", "new"),
    "unlink": lambda fs: fs.unlink("file"),
    "sync_directory": lambda fs: fs.sync_directory("."),
    "map": lambda fs: bytes(fs.open("file", "read").map(4)),
}
"""One call of each kind that works."""

START = {"file": b"old content"}


def disk_with(*rules: Rule) -> SimulatedDisk:
    """A disk with one file and these rules."""
    return SimulatedDisk(START, sector_bytes=4, rules=rules)


def after(kind: str) -> dict[str, Content]:
    """All that is there after a call that worked."""
    disk = disk_with()
    CALLS[kind](disk)
    return dict(disk.image)


def result(kind: str) -> object:
    """What a call that worked returns, if that can be compared."""
    found = CALLS[kind](disk_with())
    return found if isinstance(found, bytes | int | list) else None


def test_every_kind_of_call_has_an_example() -> None:
    """So that nothing below leaves one out."""
    assert tuple(CALLS) == KINDS


# Scripts.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("script", "failing"),
    [
        ("", "wwwwww"),
        ("w", "wwwwww"),
        ("x", "xwwwww"),
        ("X", "xxxxxx"),
        ("xxwxW", "xxwxww"),
        ("wX", "wxxxxx"),
        ("wxwX", "wxwxxx"),
    ],
)
def test_scripts_have_a_letter_for_each_call(kind: str, script: str, failing: str) -> None:
    """A capital one for all that follow; after the last one everything works."""
    for number, letter in enumerate(failing):
        disk = disk_with(Rule(kind, "*", script))
        for _ in range(number):
            disk.faults.next(kind, "earlier")
        hits = disk.faults.hits
        if letter == "x":
            with pytest.raises(OSError, match="injected"):
                CALLS[kind](disk)
        else:
            CALLS[kind](disk)
        assert disk.faults.hits - hits == (letter == "x")


@pytest.mark.evidence("example", "CRASH-29")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_x_fails_before_it_did_anything(kind: str, code: int) -> None:
    """With the error of the rule, and the path; the next call works."""
    disk = disk_with(Rule(kind, "*", "x", code))
    with pytest.raises(OSError, match="injected") as caught:
        CALLS[kind](disk)
    assert caught.value.errno == code
    assert caught.value.filename is not None
    assert disk.image == START
    assert [entry.kind for entry in disk.log if not entry.kind.startswith("failed")] == []
    CALLS[kind](disk)
    assert disk.image == after(kind)


@pytest.mark.evidence("example", "CRASH-28", "CRASH-29")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("letter", "error"), [("a", OSError), ("q", KeyboardInterrupt)])
def test_errors_and_interrupts_come_after_the_work_too(
    kind: str, letter: str, error: type[BaseException]
) -> None:
    """The caller is told of an error, and the work is done."""
    disk = disk_with(Rule(kind, "*", letter))
    with pytest.raises(error):
        CALLS[kind](disk)
    assert disk.image == after(kind)
    works = disk_with()
    CALLS[kind](works)
    assert disk.log == works.log


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("letter", "error"), [("i", InterruptedError), ("k", KeyboardInterrupt), ("d", Died)]
)
def test_interrupts_and_deaths_do_nothing(
    kind: str, letter: str, error: type[BaseException]
) -> None:
    """And whoever is dead does nothing more: every later call dies, too."""
    disk = disk_with(Rule(kind, "*", letter))
    with pytest.raises(error):
        CALLS[kind](disk)
    assert disk.image == START
    assert disk.log == []
    if letter != "d":
        CALLS[kind](disk)
        return
    for call in CALLS.values():
        with pytest.raises(Died):
            call(disk)
    disk.restart()
    CALLS[kind](disk)
    assert disk.image == after(kind)


HALF_WAY = {"h": OSError, "e": Died, "j": KeyboardInterrupt}
"""How a call ends that goes half-way."""


@pytest.mark.evidence("example", "CRASH-29")
@pytest.mark.parametrize("letter", HALF_WAY)
def test_a_write_may_fail_or_die_half_way(letter: str) -> None:
    """Half of its bytes were written, of all buffers together."""
    disk = disk_with(Rule("pwritev", "*", letter))
    with pytest.raises(HALF_WAY[letter]):
        CALLS["pwritev"](disk)
    assert disk.files() == {"file": b"new content"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "pwritev"])
@pytest.mark.parametrize("letter", HALF_WAY)
def test_other_calls_have_no_half_way(kind: str, letter: str) -> None:
    """They fail, die or are interrupted before they did anything; a sync may fail unheard."""
    disk = disk_with(Rule(kind, "*", letter))
    with pytest.raises(HALF_WAY[letter]):
        CALLS[kind](disk)
    assert disk.image == START
    unheard = letter == "h" or (letter == "j" and kind == "sync")
    failed = [f"failed_{kind}"] if unheard and kind.startswith("sync") else []
    assert [entry.kind for entry in disk.log] == failed


def test_dying_half_way_in_a_sync_is_no_failed_sync() -> None:
    """What is not durable may become so by the next sync."""
    disk = disk_with(Rule("sync", "*", "e"))
    with pytest.raises(Died):
        CALLS["sync"](disk)
    assert disk.log == []


def test_dying_half_way_on_a_full_disk_is_dying() -> None:
    """Nobody hears that there was no room."""
    disk = disk_with(Rule("pwritev", "*", "e"))
    disk.room = 0
    file = disk.open("file", "write")
    with pytest.raises(Died):
        file.pwritev([b"x" * 100], 0)


@pytest.mark.evidence("example", "CRASH-29")
@pytest.mark.parametrize(
    ("letter", "kind", "returned", "left"),
    [
        ("s", "pread", b"ol", b"old content"),
        ("m", "pread", b"cont", b"old content"),
        ("r", "pread", b"olt ", b"old content"),
        ("s", "pwritev", 4, b"new content"),
        ("l", "pwritev", 9, b"old content"),
        ("m", "pwritev", 9, b"old new bytes"),
        ("r", "pwritev", 9, b"new rytesnt"),
    ],
)
def test_reads_and_writes_are_short_lost_misdirected_or_rotten(
    letter: str, kind: str, returned: object, left: bytes
) -> None:
    """Without an error: half of the bytes, none, those one sector further, one bit flipped."""
    disk = disk_with(Rule(kind, "*", letter))
    assert CALLS[kind](disk) == returned
    assert disk.files() == {"file": left}
    assert disk.faults.hits == 1


@pytest.mark.evidence("example", "CRASH-28", "CRASH-29")
@pytest.mark.parametrize("kind", ["sync", "sync_directory"])
def test_a_sync_may_lie(kind: str) -> None:
    """It returns, and nothing is in the log: whatever was not durable is not."""
    disk = disk_with(Rule(kind, "*", "l"))
    CALLS[kind](disk)
    assert disk.log == []
    assert disk.faults.hits == 1


MEANINGS = {"s": ["pread", "pwritev"], "m": ["pread", "pwritev"], "r": ["pread", "pwritev"]} | {
    "l": ["pwritev", "sync", "sync_directory"]
}


@pytest.mark.evidence("example", "CRASH-29")
@pytest.mark.parametrize(
    ("letter", "kind"),
    [(a, kind) for a in MEANINGS for kind in KINDS if kind not in MEANINGS[a]],
)
def test_a_letter_without_a_meaning_for_a_call_lets_it_work(letter: str, kind: str) -> None:
    """And does not count as a call that went wrong."""
    disk = disk_with(Rule(kind, "*", letter))
    found = CALLS[kind](disk)
    assert result(kind) in (found, None)
    assert disk.image == after(kind)
    assert disk.faults.hits == 0


# Which calls.


def test_a_rule_picks_calls_by_kind_and_path() -> None:
    """The path is a shell pattern, the kind may be any."""
    disk = SimulatedDisk({"a.log": b"", "b.log": b"", "c": b""}, rules=[Rule("*", "?.log", "wxW")])
    disk.open("c", "read").size()
    disk.open("a.log", "read")
    with pytest.raises(OSError, match="injected"):
        disk.open("b.log", "read")
    disk.open("b.log", "read").size()


def test_a_rename_is_picked_by_the_new_path() -> None:
    """The one that is in danger."""
    disk = disk_with(Rule("rename", "file", "X"))
    disk.rename("file", "new")
    with pytest.raises(OSError, match="injected"):
        disk.rename("new", "file")


def test_the_first_rule_that_picks_a_call_decides() -> None:
    """Others do not count it."""
    script = FaultScript([Rule("sync", "a", "w"), Rule("*", "a", "xw"), Rule("*", "*", "s")])
    assert [script.next(kind, "a")[0] for kind in ("sync", "size", "size")] == ["w", "x", "w"]
    assert script.next("size", "b")[0] == "s"
    assert script.next("size", "b")[0] == "w"
    assert script.hits == 2


def test_rules_are_used_again_from_the_start() -> None:
    """One that was given to a disk is as good for the next one."""
    rule = Rule("unlink", "*", "x")
    for _ in range(2):
        with pytest.raises(OSError, match="injected"):
            CALLS["unlink"](disk_with(rule))
    assert rule.calls == 0


def test_a_call_on_a_file_is_picked_by_its_present_name() -> None:
    """A renamed file has the new one, however long it was open."""
    disk = disk_with(Rule("sync", "new", "X"))
    file = disk.open("file", "write")
    file.sync()
    disk.rename("file", "new")
    with pytest.raises(OSError, match="injected"):
        file.sync()


# A full disk.


@pytest.mark.parametrize("room", range(24))
def test_a_disk_is_full_at_any_byte(room: int) -> None:
    """A write is as long as there is room for, ENOSPC if for nothing, and what fits is right."""
    disk = SimulatedDisk({"other": b"12345"})
    disk.room = room
    file = disk.open("file", "create")
    written = reason = 0
    try:
        while written < 16:
            written += file.pwritev([b"0123456789abcdef"[written : written + 7]], written)
    except OSError as error:
        reason = error.errno or 0
    assert reason == (0 if room >= 21 else errno.ENOSPC)
    assert written == max(0, min(16, room - 5))
    assert disk.files()["file"] == b"0123456789abcdef"[:written]
    assert disk.used() == 5 + written
    if written:
        assert file.pwritev([b"X"], 0) == 1  # what is overwritten needs no room


def test_a_full_disk_has_room_again_after_a_removal() -> None:
    """What a file took is free when it has no name, or is shorter."""
    disk = SimulatedDisk({"a": b"1234", "b": b"1234"})
    disk.room = 8
    file = disk.open("c", "create")
    with pytest.raises(OSError, match="no space"):
        file.pwritev([b"xy"], 0)
    disk.open("a", "write").truncate(3)
    assert file.pwritev([b"xy"], 0) == 1
    disk.unlink("b")
    assert file.pwritev([b"xyz"], 1) == 3


def test_a_gap_needs_room_as_well() -> None:
    """Zeros up to where a write begins are bytes of the file."""
    disk = SimulatedDisk()
    disk.room = 10
    file = disk.open("file", "create")
    with pytest.raises(OSError, match="no space"):
        file.pwritev([b"x"], 10)
    assert file.pwritev([b"xyz"], 8) == 2
    assert file.size() == 10


# Rules as text.

rules = st.builds(
    Rule,
    st.sampled_from([*KINDS, "*"]),
    st.text("ab*?[] /'\"\\#\n", max_size=6),
    st.from_regex(r"\A[wxhaislmrkjqde]{0,4}[WXHAISLMRKJQDE]?\Z"),
    st.sampled_from(sorted(errno.errorcode)),
)


@given(rules)
def test_a_rule_is_read_from_what_it_prints(rule: Rule) -> None:
    """Whatever is in its path."""
    assert Rule.parse(str(rule)) == rule


def test_the_error_may_be_left_out() -> None:
    """It is EIO then."""
    assert Rule.parse("pwritev wal/* wxX") == Rule("pwritev", "wal/*", "wxX", errno.EIO)
    assert str(Rule("pwritev", "wal/*", "wxX", errno.ENOSPC)) == "pwritev wal/* wxX ENOSPC"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no rule: a call, a path, a script, maybe an error"),
        ("sync *", "'sync \\*' is no rule: a call, a path, a script"),
        ("sync * x EIO more", "is no rule: a call, a path, a script"),
        ("sync 'a x", "is no rule: No closing quotation"),
        ("fsync * x", "no call 'fsync': there are lock, listdir, .*, map, and \\*"),
        ("sync * xb", "'xb' is no script: letters of wxhaislmrkjqde, a capital one last"),
        ("sync * Xx", "'Xx' is no script"),
        ("sync * x EWRONG", "no error 'EWRONG': there are .*EIO"),
        ("sync * x strerror", "no error 'strerror'"),
    ],
)
def test_bad_rules_say_what_is_wrong(text: str, message: str) -> None:
    """By ValueError."""
    with pytest.raises(ValueError, match=message):
        Rule.parse(text)


def test_an_unknown_error_number_is_refused() -> None:
    """A failing call could not tell what it is."""
    with pytest.raises(ValueError, match="no error has the number 9999"):
        Rule("sync", "*", "x", 9999)


@given(st.text("syncx* 'XEIO\\", max_size=20))
def test_any_text_is_a_rule_or_a_value_error(text: str) -> None:
    """And nothing else is ever raised."""
    try:
        rule = Rule.parse(text)
    except ValueError:
        return
    assert Rule.parse(str(rule)) == rule


def test_scripts_know_every_letter_in_both_cases() -> None:
    """The capital one is for ever."""
    for letter in "wxhaislmrkjqde":
        rule = Rule("sync", "*", letter + "w")
        assert [rule.next("sync", "x") for _ in range(3)] == [letter, "w", "w"]
        rule = Rule("sync", "*", "w" + letter.upper())
        assert [rule.next("sync", "x") for _ in range(3)] == ["w", letter, letter]
        assert rule.next("size", "x") is None
