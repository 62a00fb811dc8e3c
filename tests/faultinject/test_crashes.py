"""Choices, and that the enumeration of them leaves nothing out."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rotortree_faultinject.disk import FsyncFailure, SimulatedDisk
from rotortree_faultinject.disk.crashes import Unsynced
from rotortree_faultinject.disk.image import Image, Link, fingerprint, parents
from rotortree_faultinject.disk.operations import Operation
from rotortree_faultinject.disk.profiles import PROFILES, Profile, covers, failed
from tests.faultinject.logs import (
    FILE_STEPS,
    FILTERED,
    NAMES,
    SECTOR,
    START,
    TREE_STEPS,
    Steps,
    all_choices,
    all_images,
    disk_after,
    enumerated_images,
    log_steps,
)

POSIX = PROFILES["posix"]
ORDERED = PROFILES["ext4-ordered"]

profiles = st.sampled_from([*PROFILES.values()])
letters = st.text("-kzgs", max_size=30)
failures = st.sampled_from(["clean", "dirty", "reverted", "late"])

# Choices.


@pytest.mark.evidence("property", "CRASH-15")
@settings(max_examples=300)
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


@pytest.mark.evidence("property", "CRASH-14")
@settings(max_examples=300)
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


def left(disk: SimulatedDisk, profile: str) -> dict[str, bytes]:
    """The files after a crash that keeps nothing that may be lost."""
    return disk.crash("", PROFILES[profile]).files()


@pytest.mark.evidence("example", "CRASH-23")
def test_a_sync_makes_durable_what_is_required_by_what_it_covers() -> None:
    """A directory's sync covers a rename that replaces a file.  Under btrfs that waits for the new
    file's data, which are durable with it; under the others they are not.
    """
    for name in PROFILES:
        steps = [("create", 1, 0, 0), ("write", 1, 0, 4), ("rename", 1, 0, 0)]
        disk = disk_after([*steps, ("sync_directory", 0, 0, 0)])
        assert (left(disk, name)["old"] == b"BBBB") == (name in ("btrfs", "prefix")), name


@pytest.mark.evidence("example", "CRASH-23")
def test_a_sync_makes_durable_both_names_of_an_atomic_rename() -> None:
    """From one directory to another, and only the first is synced: under posix, where a rename is
    two names, the file is gone, and under the others it has its new name.
    """
    for name, profile in PROFILES.items():
        disk = disk_after([("rename", 2, 1, 0), ("sync_directory", 0, 1, 0)])
        files = left(disk, name)
        assert "d/old" not in files, name
        assert (files.get("new") == b"abcd") == profile.atomic_rename, name


@pytest.mark.evidence("example", "CRASH-23")
def test_a_sync_does_not_cover_what_counts_as_clean() -> None:
    """Of a file of two written sectors a sync fails, then one of them is written again: a sync
    makes that one durable, with what had been there, and not the other.
    """
    written = [("write", 0, 0, 8), ("fail", 0, 0, 0)]
    again = [("write", 0, 0, 2), ("sync", 0, 0, 0)]
    for name in PROFILES:
        assert left(disk_after([*written, ("sync", 0, 0, 0)]), name)["old"] == b"0123456789", name
        assert left(disk_after([*written, *again]), name)["old"] == b"CCAA456789", name


@pytest.mark.evidence("property", "CRASH-23")
@settings(max_examples=200)
@given(
    log_steps(5, [*"write truncate create rename unlink mkdir sync sync_directory".split()]),
    st.sampled_from(NAMES),
    log_steps(5, FILE_STEPS),
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


@pytest.mark.evidence("property", "CRASH-23")
@settings(max_examples=300, suppress_health_check=FILTERED)
@given(log_steps(6), st.sampled_from(["sync", "sync_directory"]), st.integers(0, 4), profiles)
def test_a_sync_makes_durable_what_it_covers_and_what_that_requires(
    before: Steps, kind: str, which: int, profile: Profile
) -> None:
    """Nothing else, and nothing that counts as clean unless what is covered requires it.

    What survives wherever all that is covered survives is required by that. So the states after the
    sync are those before it in which all of that survived whole.
    """
    disk = disk_after(before)
    state = disk.unsynced(profile)
    assume(len(state.micro) <= 6)
    length = len(disk.log)
    synced = disk_after([*before, (kind, which, which, 0)])
    assume(len(synced.log) == length + 1)
    sync = synced.log[-1]
    clean = counts_as_clean(disk.log)
    wanted = [covers(profile, sync, micro) and micro.sequence not in clean for micro in state.micro]
    everything = list(all_choices(state, "-k" + profile.torn))
    with_it = [choice for choice in everything if survives(choice, wanted)]
    required = [all(choice[at] != "-" for choice in with_it) for at in range(len(wanted))]
    whole = [choice for choice in with_it if set(itertools.compress(choice, required)) <= {"k"}]
    expected = {fingerprint(state.image(choice)) for choice in whole}
    assert enumerated_images(synced.unsynced(profile)) == expected


def counts_as_clean(log: Sequence[Operation]) -> set[int]:
    """The micro-operations that a failed sync was about."""
    return {
        micro.sequence
        for at, sync in enumerate(log)
        if sync.kind in ("failed_sync", "failed_sync_directory")
        for earlier in log[:at]
        for micro in earlier.micro
        if failed(sync, micro)
    }


def survives(choice: str, wanted: Sequence[bool]) -> bool:
    """Whether everything that is wanted survives."""
    return "-" not in set(itertools.compress(choice, wanted))


@pytest.mark.evidence("property", "CRASH-5", "CRASH-6")
@settings(max_examples=300, suppress_health_check=FILTERED)
@given(log_steps(8, ["create", "rename", "unlink", "mkdir", "sync_directory", *TREE_STEPS]))
def test_names_that_survive_in_order_are_those_of_some_moment(steps: Steps) -> None:
    """Under prefix, a crash leaves the files, directories and links of one moment of the log.

    That moment is between two operations, and not before the last sync.
    """
    disk = disk_after(steps)
    state = disk.unsynced(PROFILES["prefix"])
    listing = state.enumerate(1 << 12)
    assert listing.exhaustive
    synced = max((at for at, one in enumerate(disk.log, 1) if "sync" in one.kind), default=0)
    moments = {fingerprint(disk.restarted(at).image) for at in range(synced, len(disk.log) + 1)}
    assert {fingerprint(state.image(choice)) for choice in listing.choices} == moments


@pytest.mark.evidence("property", "CRASH-6")
@settings(max_examples=300)
@given(log_steps(10, [*FILE_STEPS, *TREE_STEPS, *TREE_STEPS]), profiles, letters)
def test_whatever_survives_is_a_file_system(steps: Steps, profile: Profile, asked: str) -> None:
    """Every path has its directories, and a disk can be made of it, which shows the same paths."""
    image = disk_after(steps).crash(asked, profile).image
    for path in image:
        assert all(image[above] is None for above in parents(path))
    assert SimulatedDisk(image).image == image


@pytest.mark.evidence("example", "CRASH-5", "CRASH-11")
@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_a_directory_is_renamed_with_all_that_is_below_it(profile: Profile) -> None:
    """Where renames are atomic, the files are below the old name or the new one.

    Under posix they may be below both, or none.  What was written below the new name is lost or
    kept by itself.
    """
    disk = SimulatedDisk({"d": None, "d/file": b"old"}, sector_bytes=SECTOR)
    disk.move("d", "e")
    disk.directory("e").open_writable("new", create=True)
    found = {tuple(sorted(image_left(disk, profile, choice))) for choice in ("", "kk", "kkk", "k")}
    everywhere = {(), ("d", "d/file"), ("e", "e/file"), ("e", "e/file", "e/new")}
    assert found <= everywhere | {("d", "d/file", "e", "e/file")}
    assert (("d", "d/file", "e", "e/file") in found) == (not profile.atomic_rename)
    assert ("e", "e/file", "e/new") in found
    assert image_left(disk, profile, "")["d/file"] == b"old"


def image_left(disk: SimulatedDisk, profile: Profile, choice: str) -> Image:
    """All that a crash leaves."""
    return disk.crash(choice, profile).image


@pytest.mark.evidence("example", "CRASH-11")
def test_a_link_is_flipped_as_a_whole_where_renames_are_atomic() -> None:
    """It leads to the old target or to the new one, and to nothing else in between."""
    for profile in PROFILES.values():
        disk = SimulatedDisk({"one": None, "two": None, "current": Link("one")})
        disk.symlink("two", "next")
        disk.move("next", "current")
        state = disk.unsynced(profile)
        images = [state.image(choice) for choice in state.enumerate(64).choices]
        assert {image["current"] for image in images} == {Link("one"), Link("two")}
        both = any("next" in image and image["current"] == Link("two") for image in images)
        assert both == (not profile.atomic_rename)


@pytest.mark.evidence("example", "CRASH-22")
def test_a_sync_through_a_handle_covers_the_names_of_that_directory() -> None:
    """Whatever it is called by then; another directory that got its path is another one."""
    disk = SimulatedDisk({"d": None})
    directory = disk.directory("d")
    directory.open_writable("file", create=True)
    disk.move("d", "e")
    disk.mkdir("d")
    disk.directory("d").open_writable("other", create=True)
    directory.sync()
    left = disk.crash("", ORDERED).image
    assert left == {"d": None, "d/file": b""}


def test_directories_that_hold_each_other_are_not_there_for_ever() -> None:
    """Under posix, halves of renames may leave a directory below itself: it is there once."""
    disk = SimulatedDisk({"a": None, "b": None})
    disk.move("b", "a/b")
    disk.move("a/b", "c")
    disk.move("a", "c/a")
    state = disk.unsynced(POSIX)
    images = [state.image(choice) for choice in state.enumerate(1 << 12).choices]
    assert all(path.count("/") <= 2 for image in images for path in image)
    assert any("a/b/a" not in image and "a/b" in image for image in images)


@settings(max_examples=200)
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


@pytest.mark.evidence("property", "CRASH-10", "CRASH-14", "CRASH-30")
@settings(max_examples=300, suppress_health_check=FILTERED)
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


@pytest.mark.evidence("property", "CRASH-34")
@settings(max_examples=200, suppress_health_check=FILTERED)
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


@pytest.mark.evidence("property", "CRASH-34")
@settings(max_examples=200, suppress_health_check=FILTERED)
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


@pytest.mark.evidence("property", "CRASH-30", "CRASH-31", "CRASH-33")
@settings(max_examples=200, suppress_health_check=FILTERED)
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


@pytest.mark.evidence("example", "CRASH-32")
@pytest.mark.parametrize("sectors", [6, 30])
def test_small_sets_come_first(sectors: int) -> None:
    """None, all, every single survivor and omission, pairs; exhaustive or not."""
    choices = wide(sectors).enumerate(200).choices
    assert {*choices[:2]} == {"-" * sectors, "k" * sectors}
    assert [smallness(choice) for choice in choices[2 : 2 + 2 * sectors]] == [1] * 2 * sectors
    assert [smallness(choice) for choice in choices] == sorted(map(smallness, choices))


@pytest.mark.evidence("example", "CRASH-32")
def test_larger_sets_are_sampled() -> None:
    """When there is room for more than pairs."""
    listing = wide(12).enumerate(400)
    assert not listing.subsets
    assert len([choice for choice in listing.choices if smallness(choice) > 2]) > 100


@pytest.mark.evidence("example", "CRASH-31", "CRASH-32")
def test_torn_sectors_have_their_share() -> None:
    """However many sets there are: each alone, all together, and at random."""
    listing = wide(30, "zg").enumerate(200)
    torn = [choice for choice in listing.choices if "z" in choice or "g" in choice]
    assert len(torn) > 80
    assert "z" * 30 in torn
    assert {"k" * at + "z" + "k" * (29 - at) for at in range(15)} <= {*torn}
    assert listing.existing == 4**30
    assert not listing.exact


@pytest.mark.evidence("example", "CRASH-33")
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
