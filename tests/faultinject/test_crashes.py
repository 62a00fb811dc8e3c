"""What crashes leave, and that the enumeration of it leaves nothing out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rotortree_faultinject.crashes import Unsynced
from rotortree_faultinject.disk import FsyncFailure, SimulatedDisk
from rotortree_faultinject.faults import Rule
from rotortree_faultinject.image import fingerprint
from rotortree_faultinject.operations import Name, Sector, Size
from rotortree_faultinject.profiles import PROFILES, Profile, profile_named
from tests.faultinject.logs import (
    NAMES,
    SECTOR,
    START,
    Steps,
    all_choices,
    all_images,
    disk_after,
    log_steps,
)

POSIX = PROFILES["posix"]
ORDERED = PROFILES["ext4-ordered"]

profiles = st.sampled_from([*PROFILES.values()])
letters = st.text("-kzgs", max_size=30)
failures = st.sampled_from(["clean", "dirty", "reverted", "late"])


def enumerated_images(state: Unsynced, new: int = 0) -> set[bytes]:
    """The fingerprints of everything that may be left, as `Unsynced.enumerate` has it."""
    listing = state.enumerate(1 << 16, new=new)
    assert listing.exhaustive
    return {fingerprint(state.image(choice)) for choice in listing.choices}


# Choices.


@settings(max_examples=300, deadline=None)
@given(log_steps(8), profiles, st.text("-kzgsx", max_size=40), failures)
def test_any_string_stands_for_one_legal_choice(
    steps: Steps, profile: Profile, asked: str, failure: FsyncFailure
) -> None:
    """As long as what was not synced, only with what was asked for, and legal itself."""
    state = disk_after(steps, fsync_failure=failure).unsynced(profile)
    choice = state.legal(asked)
    assert len(choice) == len(state.micro)
    assert state.legal(choice) == choice
    for wanted, got in zip(asked.ljust(len(choice), "-"), choice, strict=False):
        assert got in ("-", "k", wanted)
        assert got == "-" or wanted != "-"
    assert state.legal("-" * len(choice)) == "-" * len(choice)


@settings(max_examples=300, deadline=None)
@given(log_steps(10), profiles, failures)
def test_if_everything_survives_the_disk_is_as_the_process_saw_it(
    steps: Steps, profile: Profile, failure: FsyncFailure
) -> None:
    """Under every profile that is possible, whatever syncs failed and how."""
    disk = disk_after(steps, fsync_failure=failure)
    state = disk.unsynced(profile)
    everything = "k" * len(state.micro)
    assert state.legal(everything) == everything
    assert state.image(everything) == disk.image


@settings(max_examples=200, deadline=None)
@given(
    log_steps(5, [*"write truncate create rename unlink mkdir sync sync_directory".split()]),
    st.sampled_from(NAMES),
    log_steps(5),
    profiles,
    letters,
)
def test_what_was_synced_survives(
    before: Steps, path: str, after: Steps, profile: Profile, asked: str
) -> None:
    """A file that was synced, with its name, is left as it was, whatever else is done later."""
    others = [step for step in after if path not in (NAMES[step[1]], NAMES[step[2]])]
    content = disk_after(before).files().get(path)
    syncs = [("sync", NAMES.index(path), 0, 0), *(("sync_directory", 0, at, 0) for at in range(3))]
    disk = disk_after([*before, *syncs, *others])
    assert disk.crash(asked, profile).files().get(path) == content


@settings(max_examples=200, deadline=None)
@given(log_steps(6, ["write", "sync"]), profiles, letters)
def test_nothing_changes_where_nothing_was_written(
    steps: Steps, profile: Profile, asked: str
) -> None:
    """Not even the rest of a sector that was torn; files only become longer."""
    disk = disk_after(steps)
    left = disk.crash(asked, profile).image
    assert left.keys() == START.keys()
    written: dict[str, set[int]] = {path: set() for path in START}
    for operation in disk.log:
        if operation.kind == "write":
            assert isinstance(operation.value, tuple)
            written[operation.path].update(range(*operation.value))
    for path, data in START.items():
        found = left[path]
        assert (found is None) == (data is None)
        for at, byte in enumerate(data or b""):
            assert at in written[path] or (found or b"")[at] == byte


# Enumeration.


@settings(max_examples=300, deadline=None)
@given(log_steps(4), profiles, failures)
def test_an_exhaustive_enumeration_leaves_nothing_out(
    steps: Steps, profile: Profile, failure: FsyncFailure
) -> None:
    """Brute force over all strings of letters finds the same images; no choice comes twice."""
    state = disk_after(steps, fsync_failure=failure).unsynced(profile)
    assume(len(state.micro) <= 6)
    listing = state.enumerate(1 << 16)
    assert listing.exhaustive
    assert listing.exact
    assert listing.subsets
    assert listing.existing == len(listing.choices) == len(set(listing.choices))
    assert all(state.legal(choice) == choice for choice in listing.choices)
    assert enumerated_images(state) == all_images(state, "-k" + profile.torn)


@settings(max_examples=200, deadline=None)
@given(log_steps(6), profiles, failures)
def test_what_is_new_at_each_point_is_together_everything(
    steps: Steps, profile: Profile, failure: FsyncFailure
) -> None:
    """Enumerating with the newest micro-operations only leaves out what earlier points had."""
    disk = disk_after(steps, fsync_failure=failure)
    state = Unsynced(START, profile, SECTOR)
    newest, full = enumerated_images(state), enumerated_images(state)
    for operation in disk.log:
        state.apply(operation)
        assume(state.enumerate(1 << 12).exhaustive)
        newest |= enumerated_images(state, len(operation.micro))
        full |= enumerated_images(state)
    assert newest == full


@settings(max_examples=200, deadline=None)
@given(log_steps(6), profiles, st.integers(1, 4))
def test_new_choices_are_those_in_which_something_new_survives(
    steps: Steps, profile: Profile, new: int
) -> None:
    """Exactly: of all choices, these and no others."""
    state = disk_after(steps).unsynced(profile)
    assume(len(state.micro) >= new)
    whole = state.enumerate(1 << 12)
    assume(whole.exhaustive)
    wanted = [choice for choice in whole.choices if set(choice[-new:]) != {"-"}]
    assert sorted(state.enumerate(1 << 12, new=new).choices) == sorted(wanted)


@settings(max_examples=200, deadline=None)
@given(log_steps(8), profiles, st.integers(1, 60), st.integers(0, 3), st.booleans())
def test_a_limited_enumeration_is_honest(
    steps: Steps, profile: Profile, limit: int, seed: int, new: bool
) -> None:
    """At most ``limit`` legal choices, none twice, the same for a seed; and what it says of them.

    ``existing`` is their number if ``exact`` and a bound else; ``exhaustive`` is all of them,
    ``subsets`` every set that may survive.
    """
    state = disk_after(steps).unsynced(profile)
    last = len(state.micro) if new else 0
    whole = state.enumerate(1 << 14, new=last)
    assume(whole.exhaustive)
    listing = state.enumerate(limit, seed, last)
    assert listing == state.enumerate(limit, seed, last)
    assert len(set(listing.choices)) == len(listing.choices) <= limit
    assert set(listing.choices) <= set(whole.choices)
    assert all(state.legal(choice) == choice for choice in listing.choices)
    if listing.exact:
        assert listing.existing == whole.existing
    assert listing.existing >= whole.existing
    assert listing.exhaustive == (whole.existing <= limit)
    plain = {choice for choice in whole.choices if set(choice) <= {"-", "k"}}
    assert not listing.subsets or plain <= set(listing.choices)
    assert len(listing.choices) == min(limit, whole.existing) or not listing.exhaustive


def wide(sectors: int, torn: str = "") -> Unsynced:
    """Overwritten sectors that know nothing of each other."""
    disk = SimulatedDisk({"file": bytes(sectors * SECTOR)}, sector_bytes=SECTOR)
    disk.open("file", "write").pwritev([b"x" * (sectors * SECTOR)], 0)
    return disk.unsynced(dataclasses.replace(POSIX, torn=torn))


def smallness(choice: str) -> int:
    """How far a choice is from none or all."""
    return min(choice.count("k"), choice.count("-"))


@pytest.mark.parametrize("sectors", [6, 30])
def test_small_sets_come_first(sectors: int) -> None:
    """None, all, every single survivor and omission, pairs; exhaustive or not."""
    choices = wide(sectors).enumerate(200).choices
    assert {*choices[:2]} == {"-" * sectors, "k" * sectors}
    assert [smallness(choice) for choice in choices[2 : 2 + 2 * sectors]] == [1] * 2 * sectors
    assert [smallness(choice) for choice in choices] == sorted(map(smallness, choices))


def test_larger_sets_are_sampled() -> None:
    """When there is room for more than pairs."""
    listing = wide(12).enumerate(400)
    assert not listing.subsets
    assert len([choice for choice in listing.choices if smallness(choice) > 2]) > 100


def test_torn_sectors_have_their_share() -> None:
    """However many sets there are: each alone, all together, and at random."""
    listing = wide(30, "zg").enumerate(200)
    torn = [choice for choice in listing.choices if "z" in choice or "g" in choice]
    assert len(torn) > 80
    assert "z" * 30 in torn
    assert {"k" * at + "z" + "k" * (29 - at) for at in range(15)} <= {*torn}
    assert listing.existing == 4**30
    assert not listing.exact


def test_different_seeds_sample_differently() -> None:
    """So that running longer finds more."""
    state = wide(12)
    assert state.enumerate(400, 1).choices != state.enumerate(400, 2).choices


def test_a_long_log_is_enumerated_in_reasonable_time() -> None:
    """Hundreds of sectors and their pairs are not all listed before a limit is applied."""
    disk = SimulatedDisk()
    file = disk.open("file", "create")
    for number in range(100):
        file.pwritev([bytes(2048)], 2048 * number)
    for profile in PROFILES.values():
        assert len(disk.unsynced(profile).enumerate(100).choices) == 100


# Profiles.

INCLUDED = [
    *[("prefix", name) for name in PROFILES if name != "prefix"],
    ("ext4-ordered", "ext4-writeback"),
    *[(name, "posix") for name in ("ext4-ordered", "xfs", "btrfs")],
]


@pytest.mark.parametrize(("strict", "loose"), INCLUDED)
@settings(max_examples=150, deadline=None)
@given(steps=log_steps(6))
def test_what_a_strict_profile_allows_a_loose_one_allows(
    strict: str, loose: str, steps: Steps
) -> None:
    """prefix ⊆ everything, ext4-ordered ⊆ ext4-writeback, and everything without tears ⊆ posix."""
    disk = disk_after(steps)
    one, other = disk.unsynced(PROFILES[strict]), disk.unsynced(PROFILES[loose])
    assume(other.enumerate(1 << 12).exhaustive)
    assert enumerated_images(one) <= enumerated_images(other)


@settings(max_examples=150, deadline=None)
@given(log_steps(6))
def test_writeback_is_posix_for_whole_sectors(steps: Steps) -> None:
    """In a sector across the old end of a file, posix tears all that was written."""
    disk = disk_after(steps, aligned=True)
    one, other = disk.unsynced(PROFILES["ext4-writeback"]), disk.unsynced(POSIX)
    assume(other.enumerate(1 << 12).exhaustive)
    assert enumerated_images(one) <= enumerated_images(other)


def test_xfs_btrfs_and_ext4_are_not_ordered() -> None:
    """Each allows something that the others do not: the lists above are complete."""
    append = SimulatedDisk({"file": b""}, sector_bytes=SECTOR)
    append.open("file", "write").pwritev([b"x" * 8], 0)
    create = SimulatedDisk(sector_bytes=SECTOR)
    create.open("new", "create").pwritev([b"x"], 0)
    create.rename("new", "file")
    found = {
        name: (
            enumerated_images(append.unsynced(PROFILES[name])),
            enumerated_images(create.unsynced(PROFILES[name])),
        )
        for name in ("ext4-ordered", "xfs", "btrfs")
    }
    assert not found["ext4-ordered"][0] <= found["xfs"][0] | found["btrfs"][0]
    assert not found["xfs"][1] <= found["ext4-ordered"][1]
    assert not found["btrfs"][1] <= found["ext4-ordered"][1]


def test_an_unknown_profile_is_told_what_there_is() -> None:
    """By ValueError."""
    assert profile_named("posix") is POSIX
    with pytest.raises(ValueError, match="no profile 'ntfs': there are prefix, ext4-ordered"):
        profile_named("ntfs")


# Single operations.


def contents(
    disk: SimulatedDisk, profile: Profile = POSIX, path: str = "file"
) -> set[bytes | None]:
    """What a file may hold after a crash now; None: there is none."""
    state = disk.unsynced(profile)
    return {state.image(choice).get(path) for choice in all_choices(state, "-k" + profile.torn)}


def names(disk: SimulatedDisk, profile: Profile) -> set[tuple[str, ...]]:
    """The sets of paths that may be left by a crash now."""
    state = disk.unsynced(profile)
    return {tuple(sorted(state.image(choice))) for choice in all_choices(state, "-k")}


PLAIN = dataclasses.replace(POSIX, torn="")


def disk_with(content: bytes, sector_bytes: int = SECTOR) -> SimulatedDisk:
    """A disk with one file."""
    return SimulatedDisk({"file": content}, sector_bytes=sector_bytes)


def test_an_overwritten_sector_is_old_or_new_or_torn() -> None:
    """Torn within what was written: zeros, garbage; stale bytes only after a removal."""
    disk = disk_with(b"abcdefgh")
    disk.open("file", "write").pwritev([b"XY"], 1)
    found = contents(disk)
    assert {b"abcdefgh", b"aXYdefgh", b"a\0\0defgh"} < found
    assert len(found) == 4
    assert contents(disk, ORDERED) == {b"abcdefgh", b"aXYdefgh"}


def test_bytes_before_the_old_end_are_torn_in_place_only() -> None:
    """Where a write goes on behind the end, another profile than posix tears what is behind."""
    disk = disk_with(b"ab")
    disk.open("file", "write").pwritev([b"XY"], 1)
    found = contents(disk, PROFILES["ext4-writeback"])
    assert {content[:2] for content in found if content} == {b"ab", b"aX"}
    assert len({content[2:] for content in found if content}) == 4
    assert b"a\0\0" in contents(disk)


def test_stale_bytes_are_those_of_a_removed_file() -> None:
    """A new block may have been one of its."""
    disk = SimulatedDisk({"secret": b"secret", "file": b""}, sector_bytes=SECTOR)
    disk.unlink("secret")
    disk.open("file", "write").pwritev([b"public"], 0)
    found = contents(disk, PROFILES["ext4-writeback"])
    assert {b"secret", b"publet", b"secric", b"public"} < found


def test_a_grown_file_has_any_of_its_sectors_and_either_size() -> None:
    """What did not survive reads as zeros; xfs and btrfs write a size after its data only."""
    disk = disk_with(b"ab")
    disk.open("file", "write").pwritev([b"CDEFGH"], 2)
    assert contents(disk, ORDERED) == {
        b"ab",
        b"abCDEFGH",
        b"ab\0\0EFGH",
        b"abCD\0\0\0\0",
        b"ab\0\0\0\0\0\0",
    }
    for name in ("xfs", "btrfs", "prefix"):
        assert contents(disk, PROFILES[name]) == {b"ab", b"abCDEFGH"}


def test_truncation_is_lost_or_kept_in_both_directions() -> None:
    """Down: the old length with the old bytes, or the new one.  Up: zeros, or the old length."""
    for profile in PROFILES.values():
        down = disk_with(b"abcdefgh")
        down.open("file", "write").truncate(3)
        assert contents(down, profile) == {b"abcdefgh", b"abc"}
        up = disk_with(b"abc")
        up.open("file", "write").truncate(6)
        assert contents(up, profile) == {b"abc", b"abc\0\0\0"}


def test_bytes_that_were_cut_off_may_come_back_when_a_file_grows_again() -> None:
    """Sector by sector, if the profile writes a size before the zeros; xfs never does."""
    disk = disk_with(b"abcdefgh")
    file = disk.open("file", "write")
    file.truncate(2)
    file.truncate(8)
    assert contents(disk, PLAIN) == {
        b"abcdefgh",
        b"ab",
        b"ab\0\0\0\0\0\0",
        b"abcd\0\0\0\0",
        b"ab\0\0efgh",
    }
    assert contents(disk, PROFILES["xfs"]) == {b"abcdefgh", b"ab", b"ab\0\0\0\0\0\0"}


def test_names_are_lost_or_kept_in_both_directions() -> None:
    """A new file may be missing, a removed one may be back."""
    for profile in PROFILES.values():
        made = SimulatedDisk()
        made.open("file", "create")
        assert names(made, profile) == {(), ("file",)}
        gone = disk_with(b"")
        gone.unlink("file")
        assert names(gone, profile) == {(), ("file",)}


def test_nothing_is_in_a_directory_that_is_not_there() -> None:
    """A file is found by its whole path only."""
    disk = SimulatedDisk()
    disk.mkdir("d")
    disk.open("d/file", "create")
    disk.sync_directory("d")
    assert names(disk, POSIX) == {(), ("d", "d/file")}


def test_a_rename_is_atomic_but_under_posix() -> None:
    """Where it is two names: the file may have both, or none."""
    disk = SimulatedDisk({"a": b""})
    disk.rename("a", "b")
    for profile in PROFILES.values():
        both = {(), ("a", "b")} if profile is POSIX else set()
        assert names(disk, profile) == {("a",), ("b",)} | both


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_what_a_sync_covers(profile: Profile) -> None:
    """A file's: its content, its names but under posix, and all other names on xfs.

    A directory's: the names in it, all names on xfs; under prefix each covers everything.
    """
    disk = SimulatedDisk({"d": None}, sector_bytes=SECTOR)
    disk.mkdir("e")
    disk.open("other", "create")
    file = disk.open("d/file", "create")
    file.pwritev([b"data"], 0)
    by_file, by_directory = disk.restarted(), disk.restarted()
    by_file.open("d/file", "read").sync()
    by_directory.sync_directory("d")
    everything, all_names = profile.sync_covers_everything, profile.sync_covers_all_names
    left = {"other", "e"} if not (everything or all_names) else set()
    left |= {"d/file"} if profile is POSIX else set()
    assert {str(getattr(micro, "path", "")) for micro in by_file.unsynced(profile).micro} == left
    micro = by_directory.unsynced(profile).micro
    assert {one.path for one in micro if isinstance(one, Name)} == left - {"d/file"}
    assert any(isinstance(one, Sector) for one in micro) == (not everything)


@pytest.mark.parametrize(
    ("sector_bytes", "offset", "length", "sectors", "sizes"),
    [
        (512, 0, 512, [(0, 512)], [512]),
        (512, 100, 512, [(100, 512), (0, 100)], [612]),
        (4096, 100, 512, [(100, 612)], [612]),
        (4096, 4000, 5000, [(4000, 4096), (0, 4096), (0, 808)], [4096, 8192, 9000]),
        (2048, 4000, 5000, [(1952, 2048), (0, 2048), (0, 2048), (0, 808)], [4096, 8192, 9000]),
        (8192, 4000, 5000, [(4000, 8192), (0, 808)], [8192, 9000]),
    ],
)
def test_a_write_is_its_sectors_and_a_size_for_each_page(
    sector_bytes: int,
    offset: int,
    length: int,
    sectors: Sequence[tuple[int, int]],
    sizes: Sequence[int],
) -> None:
    """Sizes only where the file grows; pages are 4096 bytes, or a sector if that is more."""
    disk = disk_with(b"", sector_bytes)
    file = disk.open("file", "write")
    file.pwritev([b"x" * length], offset)
    file.pwritev([b"y" * length], offset)
    first, second = disk.log
    found = [(one.start, one.stop) for one in first.micro if isinstance(one, Sector)]
    assert found == sectors
    assert [one.length for one in first.micro if isinstance(one, Size)] == sizes
    assert len(second.micro) == len(sectors)


def test_a_long_write_may_end_at_any_page() -> None:
    """A program that relies on all or nothing of a write is told so."""
    disk = disk_with(b"", 4096)
    disk.open("file", "write").pwritev([b"x" * 9000], 0)
    for profile in PROFILES.values():
        lengths = {len(content or b"") for content in contents(disk, profile)}
        assert lengths == {0, 4096, 8192, 9000}


# Failed syncs.


def failing(failure: FsyncFailure, script: str = "x") -> SimulatedDisk:
    """A disk whose next sync fails, with a file that has new content."""
    disk = SimulatedDisk({"file": b"old "}, sector_bytes=SECTOR, fsync_failure=failure)
    disk.faults.rules.append(Rule("sync", "*", script))
    disk.open("file", "write").pwritev([b"new ", b"more"], 0)
    return disk


def sync_fails(disk: SimulatedDisk) -> bool:
    """Whether a sync of the file does."""
    try:
        disk.open("file", "read").sync()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_pages_marked_clean_are_not_written_by_later_syncs(profile: Profile) -> None:
    """The process sees the new content, the next sync succeeds, and it is lost nevertheless."""
    disk = failing("clean")
    assert sync_fails(disk)
    assert disk.files() == {"file": b"new more"}
    assert not sync_fails(disk)
    assert {b"old ", b"new more", b"new \0\0\0\0", b"old more"} <= contents(disk, profile)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_what_is_written_again_after_a_failed_sync_is_durable(profile: Profile) -> None:
    """Of the sector that was, and of no other."""
    disk = failing("clean")
    assert sync_fails(disk)
    file = disk.open("file", "write")
    file.pwritev([b"more"], 4)
    file.sync()
    assert contents(disk, profile) >= {b"old more", b"new more"}
    assert all((content or b"").endswith(b" more") for content in contents(disk, PLAIN))
    file.pwritev([b"new "], 0)
    file.sync()
    assert contents(disk, profile) == {b"new more"}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_pages_that_stay_dirty_are_written_by_the_next_sync(profile: Profile) -> None:
    """A failed sync that may be repeated."""
    disk = failing("dirty")
    assert sync_fails(disk)
    assert not sync_fails(disk)
    assert contents(disk, profile) == {b"new more"}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_reverted_content_is_gone_for_the_process_and_the_disk(profile: Profile) -> None:
    """It is what the last sync wrote; names are not reverted."""
    disk = failing("reverted", "wx")
    assert not sync_fails(disk)
    disk.rename("file", "moved")
    disk.rename("moved", "file")
    disk.open("file", "write").pwritev([b"even more"], 8)
    assert sync_fails(disk)
    assert disk.files() == {"file": b"new more"}
    assert contents(disk, profile) - {None} == {b"new more"}
    again = failing("reverted")
    assert sync_fails(again)
    assert again.files() == again.restarted().files() == {"file": b"old "}


def test_a_reverted_file_can_still_get_its_name() -> None:
    """The sync of its directory is another one."""
    disk = SimulatedDisk(fsync_failure="reverted", rules=[Rule("sync", "*", "x")])
    disk.open("file", "create").pwritev([b"x"], 0)
    assert sync_fails(disk)
    disk.sync_directory(".")
    for profile in PROFILES.values():
        assert contents(disk, profile) == {b""}


def test_a_strict_disk_reverts_what_another_sync_made_durable() -> None:
    """Under prefix a directory's sync covers the file; the process must not see less than that."""
    disk = failing("reverted")
    disk.sync_directory(".")
    assert sync_fails(disk)
    assert disk.files() == {"file": b"old "}
    assert contents(disk, PROFILES["prefix"]) == {b"old "}


def test_an_error_may_come_one_sync_late() -> None:
    """The sync that lost the content succeeds, the next one of that file fails."""
    disk = failing("late")
    assert not sync_fails(disk)
    assert {b"old ", b"new more"} <= contents(disk, ORDERED)
    assert sync_fails(disk)
    assert not sync_fails(disk)
    assert {b"old ", b"new more"} <= contents(disk, ORDERED)


def test_a_failed_sync_of_a_directory_loses_its_names() -> None:
    """They may be missing, whatever sync of it succeeds later; unless they may stay dirty."""
    for failure, left in (("clean", {(), ("file",)}), ("dirty", {("file",)})):
        disk = SimulatedDisk(rules=[Rule("sync_directory", "*", "x")])
        disk.fsync_failure = "clean" if failure == "clean" else "dirty"
        disk.open("file", "create")
        with pytest.raises(OSError, match="injected"):
            disk.sync_directory(".")
        disk.sync_directory(".")
        assert names(disk, POSIX) == left


def test_a_lying_sync_makes_nothing_durable() -> None:
    """And says nothing."""
    disk = failing("clean", "L")
    assert not sync_fails(disk)
    assert {b"old ", b"new more"} <= contents(disk, ORDERED)
