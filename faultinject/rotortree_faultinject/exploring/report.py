"""Reports: what explorations came to, for people, for programs and for CI servers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from xml.etree import ElementTree

from rotortree_faultinject.exploring.explorer import Exploration
from rotortree_faultinject.exploring.finding import Finding

__all__ = [
    "Result",
    "json_lines",
    "junit_xml",
    "paragraph",
    "states_per_second",
    "summary",
    "total",
]

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Result:
    """An exploration, its findings, and in which files they were saved, if they were."""

    exploration: Exploration
    findings: Sequence[Finding] = ()
    files: Sequence[str] = ()

    @property
    def workload(self) -> str:
        """What the subject is called."""
        return self.exploration.checker.name

    @property
    def profile(self) -> str:
        """What the profile is called."""
        return self.exploration.profile.name

    @property
    def extent(self) -> str:
        """How much was looked at: ``exhaustive``, ``bounded`` or ``cut off``.

        Bounded: not every state of a crash point; cut off: not every crash point.
        """
        if not self.exploration.complete:
            return "cut off"
        return "exhaustive" if self.exploration.statistics.exhaustive else "bounded"

    def file(self, number: int) -> str | None:
        """Where a finding was saved, if it was."""
        return self.files[number] if number < len(self.files) else None


def states_per_second(states: int, seconds: float) -> str:
    """A rate, as reports show it."""
    return f"{states / seconds:,.0f} states/s" if seconds > 0 else "no time"


def json_lines(result: Result) -> Iterator[str]:
    """One JSON object per line: the exploration, then each of its findings.

    ``existing`` is null where only a bound is known: there are fewer than 2 to the power of
    ``existing_bits`` states.
    """
    statistics = result.exploration.statistics
    yield _line(
        {
            "type": "exploration",
            "workload": result.workload,
            "profile": result.profile,
            "bounds": asdict(result.exploration.bounds),
            "extent": result.extent,
            "failures": len(result.exploration.failures),
            **asdict(statistics),
            "existing": statistics.existing if statistics.exact else None,
            "existing_bits": statistics.existing.bit_length(),
        }
    )
    for number, finding in enumerate(result.findings):
        yield _line(
            {
                "type": "failure",
                "workload": result.workload,
                "file": result.file(number),
                "finding": finding.to_json(),
            }
        )


def _line(values: Mapping[str, object]) -> str:
    return json.dumps(values, allow_nan=False)


def junit_xml(results: Iterable[Result]) -> str:
    """A JUnit report: a test case for every workload and profile, a suite for every profile."""
    profiles: dict[str, list[Result]] = {}
    for result in results:
        profiles.setdefault(result.profile, []).append(result)
    root = ElementTree.Element("testsuites", name="rotortree-crash")
    for profile, members in profiles.items():
        failed = sum(bool(result.exploration.failures) for result in members)
        seconds = sum(result.exploration.statistics.seconds for result in members)
        counts = {"tests": len(members), "failures": failed, "errors": 0, "skipped": 0}
        values = {name: str(count) for name, count in counts.items()}
        named = {"name": profile, **values, "time": f"{seconds:.3f}"}
        suite = ElementTree.SubElement(root, "testsuite", named)
        for result in members:
            _case(suite, result)
    ElementTree.indent(root)
    return ElementTree.tostring(root, "unicode", xml_declaration=True) + "\n"


def _case(suite: ElementTree.Element, result: Result) -> None:
    exploration = result.exploration
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"rotortree-crash.{result.profile}",
        name=_xml_text(result.workload),
        time=f"{exploration.statistics.seconds:.3f}",
    )
    if exploration.failures:
        first = exploration.failures[0]
        failure = ElementTree.SubElement(
            case, "failure", type=first.check, message=_xml_text(first.message)
        )
        failure.text = _xml_text("\n".join(_failures(result)))
    output = ElementTree.SubElement(case, "system-out")
    output.text = _xml_text(f"{exploration.statistics}; {result.extent}")


def _xml_text(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def summary(results: Sequence[Result]) -> str:
    """A few lines for every exploration, and one for all of them."""
    return "\n".join([*map(paragraph, results), total(results)])


def total(results: Sequence[Result]) -> str:
    """A line for all explorations."""
    failed = sum(bool(result.exploration.failures) for result in results)
    statistics = [result.exploration.statistics for result in results]
    states = sum(one.checked for one in statistics)
    seconds = sum(one.seconds for one in statistics)
    recoveries = sum(one.recoveries for one in statistics)
    explorations = f"{len(results)} exploration{'' if len(results) == 1 else 's'}"
    return (
        f"{explorations}, {failed} with violations: {states:,} states checked,"
        f" {recoveries:,} recoveries in {seconds:.1f} s, {states_per_second(states, seconds)}"
    )


def paragraph(result: Result) -> str:
    """A few lines for an exploration."""
    return "\n".join(_paragraph(result))


def _paragraph(result: Result) -> Iterator[str]:
    exploration = result.exploration
    done = exploration.complete or exploration.statistics.checked
    verdict = "FAILED" if exploration.failures else "ok" if done else "—"
    yield f"{verdict:6}  {result.workload} × {result.profile}: {result.extent}"
    rate = states_per_second(exploration.statistics.checked, exploration.statistics.seconds)
    yield f"        {exploration.statistics}, {rate}"
    for line in _failures(result):
        yield f"        {line}"


def _failures(result: Result) -> Iterator[str]:
    """What failed; once minimised, as small as it was made."""
    if not result.findings:
        for failure in result.exploration.failures:
            yield f"{failure.check}: {failure.message}"
    for number, finding in enumerate(result.findings):
        yield f"{finding.check}: {finding.message}"
        file = result.file(number)
        if file is not None:
            yield f"  rotortree-crash replay {file}"
