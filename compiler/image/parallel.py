"""Two things at once: a long program, and what else there is to do meanwhile."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from compiler.errors import Interrupted
from compiler.process import Running


@contextmanager
def beside(task: Callable[[Running], None]) -> Iterator[None]:
    """Run a task in a second thread while the body runs, and wait for both.

    An error of either stops the other: the task is given the owner of its programs for that.
    """
    running = Running()
    with ThreadPoolExecutor(1, thread_name_prefix="image") as pool:
        future = pool.submit(task, running)
        try:
            yield
            future.result()
        except BaseException as error:
            running.stop()
            failure = future.exception()
            if failure is None or failure is error or isinstance(failure, Interrupted):
                raise
            raise failure from error
