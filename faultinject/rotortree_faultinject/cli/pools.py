"""Pools of processes for commands with --jobs."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor

__all__ = ["pool"]


@contextlib.contextmanager
def pool(jobs: int) -> Iterator[Executor | None]:
    """A pool of processes; None for one job.  It ends with an interrupt, and with this process."""
    if jobs == 1:
        yield None
        return
    # Imported late: few commands need it, and all would wait for it.
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(jobs, context, _begin)
    try:
        yield executor
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _begin() -> None:
    """What a process of a pool does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends it
    threading.Thread(target=_end_with_command, daemon=True).start()


def _end_with_command() -> None:
    """End this process when the command is gone, which may have been killed."""
    import multiprocessing

    command = multiprocessing.parent_process()
    if command is not None:
        command.join()
        os._exit(1)
