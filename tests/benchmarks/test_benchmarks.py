"""The benchmarks run, at sizes that measure nothing, and report every row.  No time is tested."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.command import ARITIES, main
from benchmarks.limits import LIMIT
from benchmarks.machine import file_system
from benchmarks.measure import Case, Result, Sample, Stopwatch, Unit, interleave, ratios
from benchmarks.operations import OPERATIONS
from benchmarks.ours import our_column
from benchmarks.theirs import COMPARED, PYMERKLE, Unavailable, pymerkle_version
from rotortree import kernel

ROOT = Path(__file__).resolve().parents[2]
"""The folder of pyproject.toml."""


HOST = ("processor", "cores", "memory", "system", "Python", "file system")
"""What a figure is worthless without."""


def has_pymerkle() -> bool:
    """Whether there is something to compare with: it is in another extra than pytest."""
    try:
        pymerkle_version()
    except Unavailable:
        return False
    return True


def cells(report: Mapping[str, list[Mapping[str, object]]]) -> dict[tuple[object, object], object]:
    """Every cell of a JSON report, (operation, column), and how many samples it has."""
    found: dict[tuple[object, object], object] = {}
    for result in report["results"]:
        samples = result["samples"]
        assert isinstance(samples, list)
        assert all(sample["operations"] > 0 and sample["seconds"] > 0 for sample in samples)
        low, median, high = (result[name] for name in ("min", "median", "max"))
        assert isinstance(low, float)
        assert isinstance(median, float)
        assert isinstance(high, float)
        assert 0 < low <= median <= high
        found[result["operation"], result["column"]] = len(samples)
    assert len(found) == len(report["results"]), "a cell twice"
    return found


def expected(*, pymerkle: bool) -> set[tuple[str, str]]:
    """The cells that there must be, those of the bare work left out."""
    ours = {(operation, our_column(n)) for operation in OPERATIONS for n in ARITIES}
    return ours | ({(operation, PYMERKLE) for operation in COMPARED} if pymerkle else set())


def test_the_command_reports_every_row(tmp_path: Path) -> None:
    """Table and JSON have every operation, with positive figures, and describe the machine."""
    path = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "run.py", "--tiny", "--json", path],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        env={"PYTHONUTF8": "1", "PATH": ""},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(path.read_text(encoding="utf-8"))
    found = cells(report)
    assert {cell for cell in found if cell[1] != LIMIT} == expected(pymerkle=has_pymerkle())
    assert {column for _, column in found} >= {LIMIT}
    assert set(found.values()) == {report["scale"]["rounds"]}
    assert report["machine"]["rotortree kernel"] == kernel.NAME
    assert all(report["machine"][name] for name in HOST)
    for text in [*OPERATIONS, *map(our_column, ARITIES), PYMERKLE, "This was no measurement"]:
        assert text in done.stdout
    assert str(tmp_path) not in done.stdout + json.dumps(report)


def test_without_pymerkle_its_rows_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything else is measured; the note says how to install it."""
    monkeypatch.setitem(sys.modules, PYMERKLE, None)
    path = tmp_path / "report.json"
    assert main(["--tiny", "--rounds", "1", "--sizes", "20", "30", "--json", str(path)]) == 0
    report = json.loads(path.read_text(encoding="utf-8"))
    printed = capsys.readouterr().out
    assert report["unavailable"] == {PYMERKLE: "not installed"}
    assert printed.count("not installed") >= len(COMPARED) * 2
    assert "pip install 'rotortree[bench]'" in printed
    assert PYMERKLE not in {result["column"] for result in report["results"]}
    for size in (20, 30):
        of_size = [result for result in report["results"] if result["size"] == size]
        found = {cell for cell in cells({"results": of_size}) if cell[1] != LIMIT}
        assert found == expected(pymerkle=False)


@pytest.mark.parametrize(
    "arguments", ["--sizes 1", "--rounds 0", "--quick --tiny", "--sizes x"], ids=str
)
def test_refuses_arguments_that_make_no_sense(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2 and a usage line, before anything is measured."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_rounds_are_interleaved() -> None:
    """Case after case, round after round; each case has one sample per round."""
    order: list[str] = []

    def case(name: str) -> Case:
        def run(stopwatch: Stopwatch) -> int:
            with stopwatch:
                order.append(name)
            return 7

        return Case(name, "column", 1, run)

    finished: list[int] = []
    results = interleave([case("a"), case("b")], 3, finished.append)
    assert order == ["a", "b"] * 3
    assert finished == [1, 2, 3]
    assert [[sample.operations for sample in result.samples] for result in results] == [[7] * 3] * 2


@pytest.mark.parametrize(("unit", "factor"), [("per second", 1 / 4), ("seconds", 1 / 4)])
def test_a_ratio_above_one_is_faster(unit: Unit, factor: float) -> None:
    """Ratios are taken within each round, for rates and for times alike."""

    def result(*seconds: float) -> Result:
        samples = [Sample(1, value, value, 0, 0) for value in seconds]
        return Result(Case("a", "b", 1, lambda stopwatch: 1, unit), samples)

    spread = ratios(result(4, 40, 400), result(1, 10, 1000))
    assert spread == (factor, factor, 2.5)


def test_a_stopwatch_times_one_stretch() -> None:
    """A case that times nothing, or twice, is a mistake that is reported."""
    stopwatch = Stopwatch()
    with pytest.raises(AssertionError):
        stopwatch.sample(1)
    with stopwatch:
        pass
    assert stopwatch.sample(1).seconds > 0
    with pytest.raises(AssertionError), stopwatch:
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="mount points are read from /proc")
def test_the_file_system_is_that_of_the_nearest_mount_point() -> None:
    """Not the one of the root directory, if something is mounted below."""
    assert file_system(Path("/proc/self")) == "proc"
