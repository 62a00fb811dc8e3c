"""Reports: every exploration and every failure is in them, and machines can read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from rotortree_faultinject.disk.profiles import PROFILES
from rotortree_faultinject.exploring.explorer import (
    Bounds,
    Exploration,
    Failure,
    Statistics,
    explore,
)
from rotortree_faultinject.exploring.finding import Finding, replay
from rotortree_faultinject.exploring.report import (
    Result,
    json_lines,
    junit_xml,
    states_per_second,
    summary,
)
from rotortree_faultinject.subjects.toy import ToyLog
from tests.faultinject.notes import Notes


def result(forgets: str, profile: str, failures: int = 1) -> Result:
    """What an exploration of the toy log came to, with its findings saved in made-up files."""
    exploration = explore(ToyLog(forgets), PROFILES[profile], Bounds(failures=failures))
    findings = [Finding.of(exploration, failure) for failure in exploration.failures]
    return Result(exploration, findings, [f"{number}.json" for number in range(len(findings))])


def made_up(name: str, message: str, statistics: Statistics) -> Result:
    """A result of a subject with a strange name."""
    subject = Notes(["put a"])
    subject.name = name
    exploration = Exploration(subject, PROFILES["posix"], Bounds(), statistics)
    exploration.failures.append(Failure((), "judge", message))
    return Result(exploration)


NASTY = 'a "name" & <more>\x00\x1b[31m\ud800 \u2028\n]]>'
"""What XML cannot hold, and what it must escape."""


def test_json_lines_are_one_object_per_exploration_and_failure() -> None:
    """With the numbers of the exploration, and the whole finding, which replays."""
    found = result("sync", "posix", failures=3)
    lines = [json.loads(line) for line in json_lines(found)]
    assert [line["type"] for line in lines] == ["exploration", *["failure"] * 3]
    first = lines[0]
    statistics = found.exploration.statistics
    assert (first["workload"], first["profile"]) == ("toy log that forgets sync", "posix")
    assert (first["failures"], first["bounds"]["failures"]) == (3, 3)
    for name in ("existing", "checked", "distinct", "recoveries", "exhaustive", "seconds"):
        assert first[name] == getattr(statistics, name)
    assert [line["file"] for line in lines[1:]] == ["0.json", "1.json", "2.json"]
    for line, finding in zip(lines[1:], found.findings, strict=True):
        assert Finding.from_json(line["finding"]) == finding
        assert replay(finding) is not None


def test_a_number_of_states_that_is_only_bounded_is_not_given() -> None:
    """A bound may have thousands of digits; its logarithm does not."""
    statistics = Statistics(existing=1 << 20_000, exact=False)
    (line,) = json_lines(made_up("notes", "wrong", statistics))
    values = json.loads(line)
    assert (values["existing"], values["existing_bits"]) == (None, 20_001)


ALLOWED: Mapping[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"name"}, {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped", "time"}, {"testcase"}),
    "testcase": ({"classname", "name", "time"}, {"failure", "system-out"}),
    "failure": ({"type", "message"}, set()),
    "system-out": (set(), set()),
}
"""The part of the JUnit schema that is used: attributes, all required there, and children."""


def check_schema(element: ElementTree.Element) -> None:
    """An element has the attributes and the children that JUnit gives it."""
    attributes, children = ALLOWED[element.tag]
    assert set(element.attrib) == attributes
    for child in element:
        assert child.tag in children
        check_schema(child)


def test_junit_has_one_test_case_per_workload_and_profile() -> None:
    """In a suite for each profile, which counts them; those that failed say how."""
    results = [
        result(forgets, profile)
        for forgets in ("", "sync", "checksum")
        for profile in ("posix", "xfs")
    ]
    root = ElementTree.fromstring(junit_xml(results))
    check_schema(root)
    assert [suite.get("name") for suite in root] == ["posix", "xfs"]
    assert [(suite.get("tests"), suite.get("failures")) for suite in root] == [
        ("3", "2"),
        ("3", "1"),
    ]
    for suite in root:
        assert [case.get("name") for case in suite] == [one.workload for one in results[::2]]
        failed = [case for case in suite if case.find("failure") is not None]
        assert len(failed) == int(suite.get("failures", "?"))
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("type") == "judge"
    assert "acknowledged" in failure.get("message", "")
    assert "rotortree-crash replay 0.json" in (failure.text or "")


def test_junit_is_xml_whatever_subjects_say() -> None:
    """Control characters, lone surrogates, quotes, tags."""
    found = made_up(NASTY, NASTY, Statistics())
    text = junit_xml([found])
    root = ElementTree.fromstring(text.encode())
    check_schema(root)
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message", "").startswith('a "name" & <more>\ufffd\ufffd[31m\ufffd')
    assert "]]>" in (failure.text or "")


def test_no_results_are_a_valid_report_too() -> None:
    """Interrupted at once, a report is empty and not missing."""
    check_schema(ElementTree.fromstring(junit_xml([])))
    assert summary([]).startswith("0 explorations, 0 with violations")


def test_the_summary_says_what_was_checked() -> None:
    """States, recoveries and rates of each exploration and of all, failures, how to replay."""
    fine, wrong = result("", "posix"), result("sync", "posix")
    text = summary([fine, wrong])
    lines = text.splitlines()
    assert lines[0] == "ok      toy log × posix: exhaustive"
    assert str(fine.exploration.statistics) in lines[1]
    assert lines[1].endswith("states/s")
    assert lines[2] == "FAILED  toy log that forgets sync × posix: cut off"
    assert lines[4].strip() == f"judge: {wrong.findings[0].message}"
    assert lines[5].strip() == "rotortree-crash replay 0.json"
    both = (fine.exploration.statistics, wrong.exploration.statistics)
    assert lines[-1].startswith(
        f"2 explorations, 1 with violations: {sum(one.checked for one in both):,} states checked,"
        f" {sum(one.recoveries for one in both):,} recoveries in "
    )


def test_failures_without_findings_are_told() -> None:
    """A subject whose parameters cannot be written down still failed."""
    assert "judge: it is wrong" in summary([made_up("notes", "it is wrong", Statistics())])


@pytest.mark.evidence("example", "CRASH-35")
@pytest.mark.parametrize(
    ("complete", "exhaustive", "extent"),
    [
        (True, True, "exhaustive"),
        (True, False, "bounded"),
        (False, True, "cut off"),
        (False, False, "cut off"),
    ],
)
def test_nothing_is_called_exhaustive_that_was_not(
    complete: bool, exhaustive: bool, extent: str
) -> None:
    """All crash points, and all states of each."""
    found = result("", "posix").exploration
    statistics = replace(found.statistics, exhaustive=exhaustive)
    made = Exploration(found.subject, found.profile, found.bounds, statistics, complete=complete)
    assert Result(made).extent == extent
    assert f"× posix: {extent}" in summary([Result(made)])
    assert json.loads(next(json_lines(Result(made))))["extent"] == extent


def test_rates() -> None:
    """Of no time at all there is none."""
    assert states_per_second(12_345, 10.0) == "1,234 states/s"
    assert states_per_second(5, 0.0) == "no time"
