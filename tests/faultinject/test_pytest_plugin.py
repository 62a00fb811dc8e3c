"""The pytest plugin: fixtures, options, and the report of a failure."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rotortree_faultinject.disk.profiles import PROFILES
from rotortree_faultinject.exploring.explorer import Bounds
from rotortree_faultinject.exploring.finding import Finding, replay
from rotortree_faultinject.pytest_plugin import CrashExplorer
from rotortree_faultinject.subjects.toy import ToyLog
from tests.architecture.sources import SOURCE_ROOTS

pytest_plugins = ["pytester"]

LOCAL_SUBJECT = """
from rotortree_faultinject.subjects.toy import ToyLog

def test_local(crash_explorer):
    class Mine(ToyLog):
        def parameters(self):
            return {"secret": object()} if SECRET else super().parameters()
    crash_explorer(Mine("cut"), "ext4-ordered")
"""


def test_the_disk_is_empty_and_a_new_one(pytester: pytest.Pytester) -> None:
    """Each test gets its own."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_it(simulated_disk, number):
            assert simulated_disk.image == {}
            simulated_disk.open("file", "create")
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_subject_that_survives_passes(crash_explorer: CrashExplorer) -> None:
    """And the test gets an exploration for each profile: those named, or all."""
    found = crash_explorer(ToyLog(), "xfs", "posix", bounds=Bounds(depth=2))
    assert [(one.profile.name, one.bounds.depth) for one in found] == [("xfs", 2), ("posix", 2)]
    assert [one.profile.name for one in crash_explorer(ToyLog())] == list(PROFILES)
    with pytest.raises(ValueError, match="no profile 'fat'"):
        crash_explorer(ToyLog(), "fat")


def test_a_subject_that_does_not_survive_fails_with_a_report(pytester: pytest.Pytester) -> None:
    """Operations up to the crash, what was lost, the files before and after, what is wrong."""
    pytester.makepyfile(
        """
        from rotortree_faultinject.subjects.toy import ToyLog

        def test_toy(crash_explorer):
            crash_explorer(ToyLog("sync"), "prefix")
        """
    )
    result = pytester.runpytest_inprocess("--basetemp", "base")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "Finding: toy log that forgets sync, profile prefix, check “judge”",
            "*found*1 records, and 2 were acknowledged",
            "*replay*rotortree-crash replay *finding.json",
            "*1  create log",
            "*----  power failure after operation *",
            "Not synced, and what became of it",
            "*sector * of log*lost",
            "Files, as the process saw them → after the crash",
            "*log: * bytes → * bytes",
            "*crash points, *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    finding = Finding.load(pytester.path / "base" / "crash0" / "finding.json")
    failure = replay(finding)
    assert failure is not None
    assert failure.message == "1 records, and 2 were acknowledged"


@pytest.mark.parametrize("secret", [False, True])
def test_a_subject_of_a_test_can_be_reported(pytester: pytest.Pytester, secret: bool) -> None:
    """A class that nobody can import is reported as well; shortly, if it cannot be described."""
    pytester.makepyfile(LOCAL_SUBJECT.replace("SECRET", str(secret)))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    lines = ["go on: *is not found*", "Crash(point=*", "no more is known: *"]
    result.stdout.fnmatch_lines(lines if secret else ["*check “go on”", "*It still fails*"])


def test_options_change_what_is_explored(pytester: pytest.Pytester) -> None:
    """Profiles, seed and number of states of the command line win over those of the tests."""
    pytester.makepyfile(
        """
        from rotortree_faultinject.exploring.explorer import Bounds
        from rotortree_faultinject.subjects.toy import ToyLog

        def test_toy(crash_explorer):
            found = crash_explorer(ToyLog(), "btrfs", bounds=Bounds(depth=2, seed=3))
            assert [one.profile.name for one in found] == ["xfs", "posix"]
            for one in found:
                assert (one.bounds.seed, one.bounds.states, one.bounds.depth) == (7, 11, 2)
        """
    )
    options = "--crash-profile xfs --crash-profile posix --crash-seed 7 --crash-states 11".split()
    pytester.runpytest_inprocess(*options).assert_outcomes(passed=1)
    pytester.runpytest_inprocess().assert_outcomes(failed=1)


def test_an_unknown_profile_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """Before any test runs; the message names the profiles."""
    result = pytester.runpytest_inprocess("--crash-profile", "fat")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--crash-profile: no profile 'fat': there are prefix, *"])


def test_loading_the_plugin_loads_little() -> None:
    """Every test run where the package is installed pays for it: no tree lab, nothing heavy."""
    code = (
        f"import sys; sys.path[:0] = {[str(root) for root in SOURCE_ROOTS]!r}; import pytest;"
        " before = set(sys.modules); import rotortree_faultinject.pytest_plugin;"
        " print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "rotortree_faultinject.pytest_plugin" in loaded
    others = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names
    assert others <= {"rotortree", "rotortree_faultinject", "blake3"}
    parts = {name.split(".")[1] for name in loaded if name.startswith("rotortree_faultinject.")}
    assert not parts & {"cli", "describe", "report", "sqlite", "tree"}
