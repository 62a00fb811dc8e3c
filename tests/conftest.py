"""What holds for all tests.

Hypothesis has no deadlines, so that a busy machine fails no test. And an independent reader of the
storage format reads directories that any test opens; at the end, how many is said.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.specs.reading import Reading

READING = pytest.StashKey[Reading]()
"""Where the session has what it compared."""

COUNTS = "rotortree directories"
"""Where the workers of a parallel run put their counts."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many of the opens are compared."""
    parser.addoption(
        "--read-every",
        type=int,
        default=32,
        metavar="N",
        help="let the independent reader read one of N directories that are opened (32)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """For each process, before it imports the tests.

    A shell lets what runs in the background ignore Ctrl-C, and so would all that tests start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile(
        "rotortree", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("rotortree")
    config.stash[READING] = Reading(config.getoption("--read-every"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands its counts on."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[COUNTS] = dict(session.config.stash[READING].counts)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take a worker's counts."""
    counts = getattr(node, "workeroutput", {}).get(COUNTS, {})
    node.config.stash[READING].counts.update(counts)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how many directories were compared."""
    if config.stash[READING].counts:
        terminalreporter.write_line(config.stash[READING].summary())


@pytest.fixture(scope="session", autouse=True)
def reading(pytestconfig: pytest.Config) -> Iterator[Reading]:
    """Calls of `RotorTree.open` are compared with the independent reader of the storage format."""
    found = pytestconfig.stash[READING]
    with found.watching():
        yield found


@pytest.fixture
def unread(reading: Reading) -> Iterator[None]:
    """For tests in which the implementation is broken on purpose."""
    reading.paused = True
    yield
    reading.paused = False
