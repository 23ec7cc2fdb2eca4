"""Where the tasks of a measurement run: one after the other in this process, or on the workers of a Dask cluster.

Dask alone decides which worker runs what, and runs again what was lost with a worker. Workers read models and inputs by
their paths, so those on other machines need the same folders at the same places.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from nq_tflite.device.runtimes import installed_runtimes
from nq_tflite.errors import ClusterError, needing_extra, reason_of
from nq_tflite.progress import Progress, silent
from nq_tflite.version import __version__

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")


class Sliceable(Protocol):
    """What can be cut into batches."""

    def __len__(self) -> int: ...
    def __getitem__(self, which: slice, /) -> Any: ...


Items = TypeVar("Items", bound=Sliceable)
#: Inputs that a worker runs at once.
BATCH = 128
#: Seconds to wait for a scheduler and for its first worker, and between two looks at what is done.
_FIRST, _AGAIN = 30, 0.2
_one_at_a_time = threading.Lock()


class Outcome(ABC, Generic[T]):
    """What a task will give."""

    @abstractmethod
    def result(self) -> T:
        """Waits for it.

        Raises:
            ClusterError: workers died over it, or the cluster went away.
        """


class Tasks(ABC):
    """Takes tasks. A task is a function of a module that takes a `Progress`, `notify`, beside its arguments.

    Its arguments and its result can be pickled.
    """

    @abstractmethod
    def submit(self, stage: str, task: Callable[..., T], *arguments: Any) -> Outcome[T]:
        """What a task will give; `stage` is how its progress is called. Arguments may be outcomes of other tasks."""

    @abstractmethod
    def batches(self, items: Items) -> list[Items]:
        """Items in the portions that tasks should have."""


@contextmanager
def open_client(scheduler: str | None, num_workers: int | None) -> Iterator[Client | None]:
    """A client of a cluster that runs already, or of one on this machine; None if neither is given.

    Args:
        scheduler: its address, such as "tcp://10.0.0.1:8786".
        num_workers: processes to start on this machine.

    Raises:
        ClusterError: the scheduler does not answer.
        MissingPackageError: Dask is not installed.
    """
    if scheduler is None and num_workers is None:
        yield None
        return
    with needing_extra("cluster", "workers"):
        from distributed import Client, LocalCluster
    if scheduler is None:
        # A limit of memory would make Dask kill workers that load tensorflow.
        http = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
        options = {"threads_per_worker": 1, "memory_limit": 0, "silence_logs": "CRITICAL", **http}
        with (
            tempfile.TemporaryDirectory(prefix="nq-workers-", ignore_cleanup_errors=True) as folder,
            LocalCluster(n_workers=num_workers, local_directory=folder, **options) as local,
            Client(local) as client,
        ):
            yield client
        return
    try:
        opened = Client(scheduler, timeout=_FIRST)
    except (OSError, ValueError) as error:
        got = reason_of(error) or type(error).__name__
        raise ClusterError(f"scheduler {scheduler}", expected="one that answers", got=got) from error
    with opened as client:
        yield client


def tasks_on(client: Client | None, notify: Progress) -> Tasks:
    """What runs tasks on a cluster, or in this process if there is no client.

    Raises:
        ClusterError: no worker comes, or one has other versions than this process.
    """
    return _InProcess(notify) if client is None else _OnCluster(client, notify)


def keep(value: T, *, notify: Progress) -> T:
    """The value itself, which the cluster then has, and makes again when a worker that had it is gone."""
    return value


# ---- in this process -------------------------------------------------------------------------------------------------


class _InProcess(Tasks):
    """Runs a task when its outcome is asked for."""

    def __init__(self, notify: Progress) -> None:
        self._notify = notify

    def submit(self, stage: str, task: Callable[..., T], *arguments: Any) -> Outcome[T]:
        def show(inner: str, done: int, total: int) -> None:
            self._notify(": ".join(filter(None, (stage, inner))), done, total)

        return _Later(partial(task, notify=show), arguments)

    def batches(self, items: Items) -> list[Items]:
        return [items]


class _Later(Outcome[T]):
    def __init__(self, task: Callable[..., T], arguments: Sequence[Any]) -> None:
        self._task: Callable[..., T] | None = task
        self._arguments = arguments

    def result(self) -> T:
        if self._task is not None:
            given = [each.result() if isinstance(each, _Later) else each for each in self._arguments]
            self._result = self._task(*given)
            self._task, self._arguments = None, ()  # what they hold may be large
        return self._result


# ---- on a cluster ----------------------------------------------------------------------------------------------------


class _OnCluster(Tasks):
    def __init__(self, client: Client, notify: Progress) -> None:
        self._client, self._notify, self._done, self._total = client, notify, 0, 0
        notify("waiting for workers", 0, 0)
        try:
            client.wait_for_workers(1, timeout=_FIRST)
        except TimeoutError as error:
            raise ClusterError(_name(client), expected="a worker", got=f"none in {_FIRST} seconds") from error
        _check_versions(client)

    def submit(self, stage: str, task: Callable[..., T], *arguments: Any) -> Outcome[T]:
        given = [each.future if isinstance(each, _Remote) else each for each in arguments]
        future = self._client.submit(_run, task, *given, pure=False)
        future.add_done_callback(self._count)
        self._total += 1
        return _Remote(future, partial(self._result, stage))

    def batches(self, items: Items) -> list[Items]:
        return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]

    def _count(self, _: Future) -> None:
        self._done += 1

    def _result(self, stage: str, future: Future) -> Any:
        from distributed import CancelledError, KilledWorker, wait

        while not future.done():
            self._show()
            with suppress(TimeoutError):
                wait(future, timeout=_AGAIN)
        self._show()
        try:
            return future.result()
        except KilledWorker as error:
            died = "a worker that lives until its task is done"
            raise ClusterError(stage, expected=died, got="workers that died; they may be short of memory") from error
        except CancelledError as error:
            raise ClusterError(
                _name(self._client), expected="a cluster that stays connected", got="a lost connection"
            ) from error

    def _show(self) -> None:
        self._notify(f"tasks on {len(self._client.nthreads())} workers", self._done, self._total)


class _Remote(Outcome[T]):
    def __init__(self, future: Future, result: Callable[[Future], T]) -> None:
        self.future, self._result = future, result

    def result(self) -> T:
        return self._result(self.future)


def _run(task: Callable[..., T], *arguments: Any) -> T:
    """On a worker. What a process has of runtimes and BLAS threads is for one task at a time."""
    with _one_at_a_time:
        return task(*arguments, notify=silent)


def _check_versions(client: Client) -> None:
    own = _versions()
    for address, theirs in client.run(_versions).items():
        if theirs != own:
            differing = {name: theirs.get(name, "none") for name in own | theirs if theirs.get(name) != own.get(name)}
            expected = ", ".join(f"{name} {own.get(name, 'none')}" for name in differing)
            got = ", ".join(f"{name} {version}" for name, version in differing.items())
            raise ClusterError(
                f"worker {address}", expected=expected, got=got, fix="Install the same versions everywhere."
            )


def _versions() -> dict[str, str]:
    """Of all that numbers depend on."""
    names = ("numpy", *installed_runtimes())
    return {"nq-tflite": __version__} | {name: importlib.metadata.version(name) for name in names}


def _name(client: Client) -> str:
    return f"scheduler {client.scheduler.address if client.scheduler else ''}".rstrip()
