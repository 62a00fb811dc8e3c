"""Actors that take turns: every schedule once, the same each time, and nobody waits for ever."""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Callable, Sequence

import pytest

from rotortree.scheduler import Mutex
from rotortree_faultinject.disk.schedule import (
    Deadlock,
    Decision,
    Interleaver,
    StepScheduler,
    schedules,
)


def counting(
    steps: int, trace: list[str]
) -> Callable[[tuple[int, ...]], tuple[Sequence[Decision], str]]:
    """Runs two actors of so many steps each under a schedule; returns it and who went when."""

    def run(choices: tuple[int, ...]) -> tuple[Sequence[Decision], str]:
        interleaver = Interleaver(choices)
        trace.clear()

        def act(name: str) -> None:
            for _ in range(steps):
                interleaver.switch()
                trace.append(name)

        for name in "ab":
            interleaver.add(name, lambda name=name: act(name))  # type: ignore[misc]
        interleaver.run()
        return interleaver.decisions, "".join(trace)

    return run


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_without_a_bound_every_interleaving_comes_up(steps: int) -> None:
    """Two actors of k steps: all C(2k, k) orders of their steps, each schedule run once."""
    run = counting(steps, [])
    orders: list[str] = []

    def collect(choices: tuple[int, ...]) -> Sequence[Decision]:
        decisions, order = run(choices)
        orders.append(order)
        return decisions

    done = list(schedules(collect, preemptions=4 * steps))
    assert len(set(done)) == len(done) == len(orders)
    assert set(orders) == {
        order for order in set(orders) if order.count("a") == order.count("b") == steps
    }
    assert len(set(orders)) == math.comb(2 * steps, steps)


@pytest.mark.parametrize(("preemptions", "switches"), [(0, 1), (1, 3), (2, 5)])
def test_a_bound_on_preemptions_bounds_the_turns_that_are_taken_away(
    preemptions: int, switches: int
) -> None:
    """With p preemptions the actor changes at most 2p + 1 times, and some schedule does so."""
    run = counting(5, [])
    most = 0

    def collect(choices: tuple[int, ...]) -> Sequence[Decision]:
        nonlocal most
        decisions, order = run(choices)
        most = max(most, sum(a != b for a, b in itertools.pairwise(order)))
        return decisions

    for _ in schedules(collect, preemptions):
        pass
    assert preemptions <= most <= switches


def test_the_same_schedule_is_the_same_run() -> None:
    """Ten runs under one list of choices: the same decisions and the same order."""
    run = counting(6, [])
    choices = (0, 1, 0, 0, 1, 1, 0, 1)
    assert len({(tuple(decisions), order) for decisions, order in map(run, [choices] * 10)}) == 1


def test_a_lock_keeps_others_out_under_every_schedule() -> None:
    """Two actors read, switch and write a counter under a lock: both counts are there, always."""

    def run(choices: tuple[int, ...]) -> Sequence[Decision]:
        interleaver = Interleaver(choices)
        lock = interleaver.lock()
        counter = [0]

        def act() -> None:
            interleaver.switch()
            with lock:
                seen = counter[0]
                interleaver.switch()
                counter[0] = seen + 1

        interleaver.add("a", act)
        interleaver.add("b", act)
        interleaver.run()
        assert counter == [2]
        return interleaver.decisions

    assert len(list(schedules(run, 6))) > 5


def test_without_the_lock_a_count_is_lost_under_some_schedule() -> None:
    """The check above can fail: the same without the lock."""
    lost = []

    def run(choices: tuple[int, ...]) -> Sequence[Decision]:
        interleaver = Interleaver(choices)
        counter = [0]

        def act() -> None:
            interleaver.switch()
            seen = counter[0]
            interleaver.switch()
            counter[0] = seen + 1

        interleaver.add("a", act)
        interleaver.add("b", act)
        interleaver.run()
        lost.append(counter != [2])
        return interleaver.decisions

    list(schedules(run, 1))
    assert any(lost)
    assert not all(lost)


def test_a_deadlock_is_an_error_that_names_who_waits() -> None:
    """Two locks taken in both orders: the schedule in which each has one raises Deadlock."""
    interleaver = Interleaver([0, 1])
    first, second = interleaver.lock(), interleaver.lock()

    def act(mine: Mutex, other: Mutex) -> None:
        with mine:
            interleaver.switch()
            _take(other)

    interleaver.add("one", lambda: act(first, second))
    interleaver.add("two", lambda: act(second, first))
    with pytest.raises(Deadlock, match="one, two"):
        interleaver.run()


def test_an_error_of_an_actor_is_raised_and_the_others_end() -> None:
    """What an actor raises comes out of run; the others have run to their ends."""
    interleaver = Interleaver()
    done = []

    def fail() -> None:
        raise ValueError("mine")

    interleaver.add("bad", fail)
    interleaver.add("good", lambda: done.append(True))
    with pytest.raises(ValueError, match="mine"):
        interleaver.run()
    assert done == [True]


def test_a_lock_that_is_held_and_that_nobody_gives_back_is_a_deadlock() -> None:
    """Outside of a run there is nobody who could; who holds it, it knows."""
    lock = Interleaver().lock()
    with lock:
        assert lock._is_owned()
        with pytest.raises(Deadlock):
            _take(lock)
    assert not lock._is_owned()
    _take(lock)


def _take(lock: Mutex) -> None:
    lock.__enter__()


def test_actors_end_with_their_threads() -> None:
    """After a run no thread of it is left, not even of those that waited for ever."""
    before = threading.active_count()
    counting(3, [])(())
    interleaver = Interleaver()
    lock = interleaver.lock()
    lock.__enter__()
    interleaver.add("late", functools.partial(_take, lock))
    with pytest.raises(Deadlock, match="late"):
        interleaver.run()
    assert threading.active_count() == before


def test_tasks_run_when_told_and_only_if_due() -> None:
    """A step scheduler's tasks: due once scheduled, run once each, never after a stop."""
    scheduler = StepScheduler()
    ran: list[str] = []
    flusher = scheduler.task("a-flusher", lambda: ran.append("flusher"))
    other = scheduler.task("a-checkpointer", lambda: ran.append("checkpointer"))
    assert scheduler.run_due() == 0
    flusher.schedule(1.0)
    other.schedule(0)
    assert (flusher.is_due, scheduler.run_due("flusher"), flusher.is_due) == (True, 1, False)
    assert scheduler.run_due() == 1
    assert ran == ["flusher", "checkpointer"]
    flusher.stop()
    flusher.schedule(0)
    assert scheduler.run_due() == 0
    assert (flusher.runs_here(), scheduler.now()) == (False, 0.0)


def test_a_request_runs_the_step_at_once() -> None:
    """Whether it was due or not; it is not due afterwards, and a task that was stopped is left."""
    scheduler = StepScheduler()
    ran: list[str] = []
    task = scheduler.task("flusher", lambda: ran.append("step"))
    task.request()
    task.schedule(1.0)
    task.request()
    assert (ran, task.is_due) == (["step", "step"], False)
    task.stop()
    task.request()
    assert (ran, task.is_due) == (["step", "step"], False)


def test_a_step_that_requests_itself_is_due_again() -> None:
    """It does not run within itself: it would wait for its own end."""
    scheduler = StepScheduler()
    here: list[bool] = []

    def step() -> None:
        here.append(task.runs_here())
        if len(here) < 3:
            task.request()
            assert scheduler.run_due() == 0

    task = scheduler.task("flusher", step)
    assert not task.runs_here()
    task.request()
    assert (here, task.is_due) == ([True], True)
    assert [scheduler.run_due() for _ in range(3)] == [1, 1, 0]
    assert here == [True] * 3


def test_a_step_that_raises_can_be_requested_again() -> None:
    """A process that died in it does not leave it locked for the next one."""
    scheduler = StepScheduler()
    broken: list[None] = []
    task = scheduler.task("flusher", broken.pop)
    for _ in range(2):
        with pytest.raises(IndexError):
            task.request()
    assert not task.runs_here()


def requested(choices: tuple[int, ...], actors: str) -> tuple[Sequence[Decision], list[str]]:
    """Actors request a step of two halves; returns the decisions, and what happened when."""
    interleaver = Interleaver(choices)
    happened: list[str] = []
    names: dict[threading.Thread, str] = {}

    def step() -> None:
        for half in "12":
            happened.append(f"{names[threading.current_thread()]}{half}")
            interleaver.switch()
            assert task.runs_here()

    def act(name: str) -> None:
        names[threading.current_thread()] = name
        interleaver.switch()
        happened.append(f"{name} requests")
        task.request()
        happened.append(f"{name} returns")
        assert not task.runs_here()

    task = interleaver.task("flusher", step)
    for name in actors:
        interleaver.add(name, functools.partial(act, name))
    interleaver.run()
    return interleaver.decisions, happened


@pytest.mark.parametrize("actors", ["ab", "abc"])
def test_actors_that_request_a_step_run_it_one_after_the_other(actors: str) -> None:
    """Under every schedule: no two at once, and after each request comes a whole run."""
    orders: set[tuple[str, ...]] = set()

    def run(choices: tuple[int, ...]) -> Sequence[Decision]:
        decisions, happened = requested(choices, actors)
        orders.add(tuple(happened))
        return decisions

    assert sum(1 for _ in schedules(run, preemptions=3)) > 10
    for order in orders:
        halves = [event[-1] for event in order if event[-1] in "12"]
        assert halves == ["1", "2"] * (len(halves) // 2), order
        for actor in actors:
            asked, returned = order.index(f"{actor} requests"), order.index(f"{actor} returns")
            between = [event[-1] for event in order[asked:returned] if event[-1] in "12"]
            assert "".join(between).endswith("12"), order
    waiting = ["a1", "b requests", "a2", "a returns", "b1", "b2", "b returns"]
    kept = ([event for event in order if event in waiting] for order in orders)
    assert waiting in kept, "no schedule let one actor wait for the run of another one"


def test_a_step_that_is_due_is_run_once_by_two_actors() -> None:
    """Who waited for another one that ran it finds nothing to do."""
    for choices in itertools.product((0, 1), repeat=5):
        interleaver = Interleaver(choices)
        ran: list[bool] = []
        task = interleaver.task("flusher", interleaver.switch)
        task.schedule(0)
        for name in "ab":
            interleaver.add(name, lambda: ran.append(task.run()))  # noqa: B023  # run in this loop
        interleaver.run()
        assert sorted(ran) == [False, True]
