"""Pools of processes for commands with --jobs."""

import contextlib
import signal
from collections.abc import Iterator
from concurrent.futures import Executor

__all__ = ["pool"]


@contextlib.contextmanager
def pool(jobs: int) -> Iterator[Executor | None]:
    """A pool of processes, which does not outlive an interrupt; None for one job."""
    if jobs == 1:
        yield None
        return
    # Imported late: few commands need it, and all would wait for it.
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    ignoring = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends them
    executor = ProcessPoolExecutor(jobs, context, signal.signal, ignoring)
    try:
        yield executor
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)
