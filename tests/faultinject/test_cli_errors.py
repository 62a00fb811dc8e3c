"""Wrong requests of ``rotortree-crash``, signals, pipes and terminals."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rotortree_faultinject.cli.pools import pool
from tests.faultinject.commands import COMMAND, TOY, process, run
from tests.faultinject.notes import FINDING

WRONG = (
    "",
    "nonsense",
    "--nonsense",
    "explore --nonsense",
    "explore no-such-workload",
    "explore create --profile ntfs",
    "explore create --profile",
    "explore create --depth 0",
    "explore create --depth -1",
    "explore create --depth two",
    "explore create --states 0",
    "explore create --states -5",
    "explore create --seconds -1",
    "explore create --seconds soon",
    "explore create --per-point 0",
    "explore create --jobs 0",
    "explore create --jobs -2",
    "explore create --seed -1",
    "explore create --seed x",
    "explore --parameter forgets=1",
    "explore create --subject rotortree_faultinject.subjects.toy:ToyLog",
    "explore --subject no_such_module:Class",
    "explore --subject rotortree_faultinject.subjects.toy:NoSuchClass",
    "explore --subject rotortree_faultinject.subjects.toy:append",
    "explore --subject builtins:dict",
    "explore --subject nonsense:",
    "explore --subject rotortree_faultinject.subjects.toy:ToyLog --parameter forgets",
    "explore --subject rotortree_faultinject.subjects.toy:ToyLog --parameter =1",
    "explore --subject rotortree_faultinject.subjects.toy:ToyLog --parameter forgets=sync",
    'explore --subject rotortree_faultinject.subjects.toy:ToyLog --parameter forgets="nothing"',
    "explore --subject rotortree_faultinject.subjects.toy:ToyLog --parameter unknown=1",
    "replay",
    "replay a b",
    "replay /no/such/file",
    "fuzz --seconds -1",
    "fuzz --seed -1",
    "fuzz --jobs 0",
    "fuzz --profile ntfs",
    "fuzz more",
    "litmus more",
    "profiles more",
)
"""Every wrong command line that there is a name for."""


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_request_is_one_line_and_exit_status_2(words: str) -> None:
    """No traceback, no usage, nothing on stdout, nothing done."""
    run(*words.split(), status=2)


def test_a_wrong_request_names_what_there_is() -> None:
    """Workloads and profiles are listed, and options point to the help."""
    assert "there are create, first-flush, " in run("explore", "x", status=2).stderr
    words = ("explore", "create", "--profile", "x")
    assert "there are prefix, ext4-ordered, " in run(*words, status=2).stderr
    assert run("explore", "--x", status=2).stderr.endswith("(see rotortree-crash explore --help)\n")


def test_nothing_is_written_before_the_request_is_right(tmp_path: Path) -> None:
    """A typing error does not cost yesterday's results."""
    (tmp_path / "out").write_text("yesterday's", encoding="utf-8")
    run("explore", "create", "--profile", "x", "--jsonl", tmp_path / "out", status=2)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "yesterday's"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "\ufeff{}", '{"format": "rotortree-crash finding"}'], ids=repr
)
def test_a_file_that_is_no_finding_is_a_wrong_request(text: str, tmp_path: Path) -> None:
    """The line on stderr names the file."""
    (tmp_path / "file").write_text(text, encoding="utf-8")
    assert f"{tmp_path / 'file'}: " in run("replay", tmp_path / "file", status=2).stderr


def test_a_finding_that_does_not_fit_is_a_wrong_request(tmp_path: Path) -> None:
    """Its class is gone, or the program has no such crash point any more."""
    FINDING.save(tmp_path / "file")
    text = (tmp_path / "file").read_text(encoding="utf-8")
    for old, new in (("notes:Notes", "notes:Gone"), ('"point": 8', '"point": 80')):
        assert old in text
        (tmp_path / "file").write_text(text.replace(old, new), encoding="utf-8")
        run("replay", tmp_path / "file", status=2)


def test_a_name_that_cannot_be_printed_is_still_one_line() -> None:
    """Line ends and terminal commands are shown as what they are."""
    assert "no\\n\\x1b[31m" in run("replay", "/no\n\x1b[31m", status=2).stderr


# The command as a process.


def test_a_subject_is_found_in_the_current_directory(tmp_path: Path) -> None:
    """As a user has it; also by the processes of --jobs, and by replay."""
    (tmp_path / "mine.py").write_text(
        "from rotortree_faultinject.subjects.toy import ToyLog\n"
        "class Mine(ToyLog):\n"
        "    def __init__(self):\n"
        "        super().__init__('sync')\n"
        "    def parameters(self):\n"
        "        return {}\n"
        "    def smaller(self):\n"
        "        return ()\n",
        encoding="utf-8",
    )
    words = ("explore", "--subject", "mine:Mine", "--jobs", "2", "--findings", "found")
    with process(*words, cwd=tmp_path) as running:
        stdout, stderr = running.communicate(timeout=60)
        assert (running.returncode, stderr) == (1, ""), stdout
        (path,) = (tmp_path / "found").iterdir()
    with process("replay", path, cwd=tmp_path) as running:
        stdout, stderr = running.communicate(timeout=60)
        assert (running.returncode, stderr) == (1, "")
        assert "mine:Mine ()" in stdout


def children(process_id: int) -> list[int]:
    """The processes that a process has started."""
    listing = Path(f"/proc/{process_id}/task/{process_id}/children")
    return [int(word) for word in listing.read_text(encoding="utf-8").split()]


def is_running(process_id: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="processes are seen in /proc only"
)


@needs_proc
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_with_what_was_done_so_far(jobs: str, tmp_path: Path) -> None:
    """The summary, whole output files, one line on stderr, exit status 130, no process left."""
    outputs = ("--junit", tmp_path / "junit.xml", "--jsonl", tmp_path / "out")
    words = ("explore", "create", "long", "--depth", "3", "--kills", "--jobs", jobs, *outputs)
    with process(*words) as running:
        deadline = time.monotonic() + 60
        while "create" not in _content(tmp_path / "out") and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)  # in the middle of the second workload
        started = children(running.pid)
        assert len(started) >= int(jobs) - 1
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
        assert (running.returncode, stderr) == (130, "rotortree-crash: interrupted\n")
        assert re.match("ok +create, n = 2 × posix: ", stdout)
        assert "long, n = 2 × posix: cut off" in stdout
        assert "2 explorations, 0 with violations" in stdout.splitlines()[-1]
        cases = ElementTree.parse(tmp_path / "junit.xml").findall("testsuite/testcase")
        assert [case.get("name") for case in cases] == ["create, n = 2", "long, n = 2"]
        assert len(_content(tmp_path / "out").splitlines()) == 2
        while any(map(is_running, started)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(map(is_running, started))


def _content(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def cpu_seconds(process_id: int) -> float:
    """How long a process and those that it started have worked."""
    found = 0
    for one in (process_id, *children(process_id)):
        text = Path(f"/proc/{one}/stat").read_text(encoding="utf-8")
        user, system = text.rpartition(")")[2].split()[11:13]
        found += int(user) + int(system)
    return found / os.sysconf("SC_CLK_TCK")


@needs_proc
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_fuzzing_with_a_summary(jobs: str) -> None:
    """It would go on for ever.  A terminal interrupts all processes of the command."""
    with process("fuzz", "--jobs", jobs, start_new_session=True) as running:
        deadline = time.monotonic() + 60
        while cpu_seconds(running.pid) < 2.5 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert running.poll() is None
        os.killpg(running.pid, signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
        assert (running.returncode, stderr) == (130, "rotortree-crash: interrupted\n")
        assert re.fullmatch(
            r"\d+ random lives, 0 with violations: [\d,]+ recoveries in .* s\n", stdout
        )


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_does_not_wait_for_a_recovery(jobs: str, tmp_path: Path) -> None:
    """A subject may hang."""
    (tmp_path / "mine.py").write_text(
        "import pathlib, time\n"
        "from rotortree_faultinject.subjects.toy import ToyLog\n"
        "class Mine(ToyLog):\n"
        "    def recover(self, disk):\n"
        "        pathlib.Path('started').touch()\n"
        "        time.sleep(600)\n",
        encoding="utf-8",
    )
    with process("explore", "--subject", "mine:Mine", "--jobs", jobs, cwd=tmp_path) as running:
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
        assert (running.returncode, stderr) == (130, "rotortree-crash: interrupted\n")
        assert "toy log × posix: cut off" in stdout


@needs_proc
def test_processes_of_a_pool_end_when_the_command_is_killed() -> None:
    """They would take all cores, and nobody would know of them."""
    with process("explore", "long", "--depth", "3", "--jobs", "2") as running:
        deadline = time.monotonic() + 60
        while len(children(running.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        started = children(running.pid)
        running.kill()
        running.communicate(timeout=60)
    assert len(started) >= 2
    while any(map(is_running, started)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, started))


def test_processes_of_a_pool_leave_ctrl_c_to_the_command() -> None:
    """An idle one would print a traceback."""
    with pool(2) as executor:
        assert executor is not None
        handler = executor.submit(signal.getsignal, signal.SIGINT).result()
    assert handler == signal.SIG_IGN


def test_a_terminal_sees_progress_and_a_pipe_sees_none() -> None:
    """What is going on and how fast, on stderr; gone in the end."""
    ours, theirs = pty.openpty()
    with process("explore", "long", "--seconds", "1", stderr=theirs) as running:
        os.close(theirs)
        stdout, _ = running.communicate(timeout=60)
        shown = b""
        while part := _read(ours):
            shown += part
        os.close(ours)
        assert running.returncode == 0
        assert "long, n = 2 × posix" in shown.decode()
        assert re.search(rb"\d states/s", shown)
        assert "\x1b" not in stdout


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # what the end of a terminal looks like on Linux
        return b""


def test_a_closed_pipe_ends_the_command_quietly() -> None:
    """Whoever reads has enough; exit status 141."""
    read, write = os.pipe()
    os.close(read)
    with process("explore", *TOY, stdout=write) as running:
        os.close(write)
        _, stderr = running.communicate(timeout=60)
        assert (running.returncode, stderr) == (141, "")


def test_a_full_disk_is_told() -> None:
    """Of the output, and of a file that an option names."""
    with open("/dev/full", "wb") as full, process("explore", *TOY, stdout=full) as running:
        _, stderr = running.communicate(timeout=60)
    assert (running.returncode, stderr) == (2, "rotortree-crash: output: No space left on device\n")
    with process("explore", *TOY, "--jsonl", "/dev/full") as running:
        _, stderr = running.communicate(timeout=60)
        assert running.returncode == 2
        assert stderr.endswith(": No space left on device\n")


def test_help_loads_nothing_that_it_does_not_need() -> None:
    """No tree, no pool of processes: it is there at once."""
    code = (
        "import sys\n"
        "from rotortree_faultinject.cli import app\n"
        "try:\n"
        "    app(['--help'])\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "slow = ('multiprocessing', 'rotortree_faultinject.subjects.tree', 'rich')\n"
        "print(*[name for name in slow if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stderr.split() == []


def test_the_installed_command_is_the_same() -> None:
    """The entry point of the package."""
    script = Path(sys.executable).with_name("rotortree-crash")
    if not script.exists():
        pytest.skip("the package is not installed beside this interpreter")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    other = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == other.stdout
