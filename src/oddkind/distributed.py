"""Tasks in other processes or on other computers, by whatever engine joblib runs: loky, Ray or Dask.

`joblib.parallel_config` chooses the engine and the number of processes, as for scikit-learn. Without it everything runs
in this process.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
import signal
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from cloudpickle import CloudPickler
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import SequentialBackend, get_active_backend
from threadpoolctl import threadpool_limits

from oddkind.arrays import Array, batches, is_mapped
from oddkind.errors import InputError

Task = TypeVar("Task")
Found = TypeVar("Found")

BACKENDS = "loky", "ray", "dask"
WORKER_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
# Arrays from this size on are sent to a process once, however many of its tasks need them.
SHARED_BYTES = 1 << 20
# So often in a row an engine may fail without having finished a task: a process that runs out of memory always will.
ATTEMPTS = 3


@contextmanager
def workers(jobs: int | None = None, backend: str = "loky", address: str | None = None) -> Iterator[None]:
    """Let tasks in this block run in `jobs` processes of an engine.

    An engine is started on this computer, with a process for each job, unless `address` names one that runs: that of a
    Dask scheduler or a Ray cluster, all of whose processors are then used if `jobs` is None. Without `jobs`, loky uses
    this process alone.

    Raises
    ------
    InputError
        If an option cannot be used.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r}; known are {', '.join(BACKENDS)}")
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs={jobs}; it must be at least 1")
    if address is not None and backend == "loky":
        raise InputError(f"the address {address!r} needs the backend ray or dask; loky runs on this computer alone")
    if backend == "loky":
        with parallel_config("loky", n_jobs=jobs or 1):
            yield
    elif backend == "dask":
        import dask
        from distributed import Client, LocalCluster

        # Dask lets its workers return freed memory at once, which doubles the time that training takes.
        environment = dict(dask.config.get(WORKER_ENVIRONMENT))
        environment.pop("MALLOC_TRIM_THRESHOLD_", None)
        try:
            with dask.config.set({WORKER_ENVIRONMENT: environment}):
                where = address or LocalCluster(n_workers=jobs or os.cpu_count(), threads_per_worker=1)
            client = Client(where, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(f"the Dask scheduler {address!r} cannot be reached ({error})") from error
        try:
            with parallel_config("dask", n_jobs=jobs or -1, client=client):
                yield
        finally:
            client.close()
            if not isinstance(where, str):
                where.close()
    else:
        import ray
        from ray.util.joblib import register_ray

        register_ray()
        try:
            started = {"num_cpus": jobs or os.cpu_count(), "include_dashboard": False} if address is None else {}
            ray.init(address=address or "local", log_to_driver=False, logging_level="error", **started)
        except (ConnectionError, ValueError) as error:
            raise InputError(f"the Ray cluster {address!r} cannot be reached ({error})") from error
        try:
            with parallel_config("ray", n_jobs=jobs or -1):
                yield
        finally:
            ray.shutdown()


def run(
    function: Callable[[Task, Callable[[float], None]], Found],
    tasks: Sequence[Task],
    on_progress: Callable[[float], None] = lambda done: None,
) -> list[Found]:
    """Return function(task, on_progress) for each task, in the order of the tasks.

    With `joblib.parallel_config` the tasks run in its processes; their results must not depend on where. Large arrays
    anywhere inside of tasks are sent to a process once: as a mapped file (loky) or through the engine's store of
    objects. Each process computes with one thread, or with `inner_max_num_threads` of the configuration. Tasks of a
    process that died are run again. Warnings are given here. An exception of a task ends the run.

    `on_progress` is called with the finished fraction, 0 … 1; that of a task counts only in this process.
    """
    if _in_this_process(tasks):
        found = []
        for number, task in enumerate(tasks):
            found.append(function(task, lambda done, number=number: on_progress((number + done) / len(tasks))))  # type: ignore[misc]
        return found
    results: dict[int, Found] = {}
    with closing(finished(function, tasks)) as ended:
        for number, result in ended:
            results[number] = result
            on_progress(len(results) / len(tasks))
    return [results[number] for number in range(len(tasks))]


def finished(
    function: Callable[[Task, Callable[[float], None]], Found], tasks: Sequence[Task]
) -> Generator[tuple[int, Found]]:
    """Yield the number and the result of each task when it has finished, as `run` does with all at the end.

    The results need not fit in memory. Close the generator if not all are taken: the tasks that are left then end.
    """
    if _in_this_process(tasks):
        for number, task in enumerate(tasks):
            yield number, function(task, lambda done: None)
        return
    with tempfile.TemporaryDirectory(prefix="oddkind-") as folder:
        calls = _Calls(function, get_active_backend()[0], Path(folder))
        with closing(_outcomes(calls, tasks)) as outcomes:
            for number, outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
                for message, category in outcome.warnings:
                    warnings.warn(message, category, stacklevel=4)
                yield number, outcome.found


def _in_this_process(tasks: Sequence[Any]) -> bool:
    backend, n_jobs = get_active_backend()
    n_jobs = backend.default_n_jobs if n_jobs is None else n_jobs
    return len(tasks) < 2 or n_jobs == 1 or isinstance(backend, SequentialBackend)


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What became of a task: what it found or the exception that ended it, and its warnings."""

    found: Any
    error: Exception | None
    warnings: list[tuple[str, type[Warning]]]


class _Pickler(CloudPickler):  # type: ignore[misc]
    """Leaves large arrays out, wherever in a task they are, and notes them by their identity."""

    def __init__(self, file: io.BytesIO, arrays: dict[int, Array]) -> None:
        super().__init__(file)
        self.arrays = arrays

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, np.ndarray) or value.nbytes < SHARED_BYTES or value.dtype.hasobject:
            return None
        self.arrays[id(value)] = value
        return id(value)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, arrays: dict[int, Array]) -> None:
        super().__init__(file)
        self.arrays = arrays

    def persistent_load(self, key: int) -> Array:
        return self.arrays[key]


class _Calls:
    """What is sent to processes: the bytes of a function and a task, and the large arrays that these refer to."""

    def __init__(self, function: Any, backend: Any, folder: Path) -> None:
        self.function, self.folder = function, folder
        self.engine = type(backend).__name__
        # The last bits of a convolution depend on the number of threads, so it must not depend on that of processes.
        self.threads = getattr(backend, "inner_max_num_threads", None) or 1
        self.shared: dict[int, Any] = {}
        if self.engine == "RayBackend":  # it inherits False from that of multiprocessing, but results do arrive singly
            backend.supports_return_generator = True

    def of(self, number: int, task: Any) -> Any:
        """Return the call of a task for joblib."""
        arrays: dict[int, Array] = {}
        content = io.BytesIO()
        _Pickler(content, arrays).dump((self.function, task))
        self.shared |= {key: self._share(array) for key, array in arrays.items() if key not in self.shared}
        sent = [self.shared[key] for key in arrays]
        parent = os.getpid() if self.engine == "LokyBackend" else None
        return delayed(_work)(number, content.getvalue(), list(arrays), self.threads, parent, *sent)

    def _share(self, array: Array) -> Any:
        """Return an array such that the engine sends it to each process once.

        joblib does so by itself for the arguments of a function: it maps them from a file, or scatters them with Dask.
        """
        if self.engine == "RayBackend":
            import ray

            return ray.put(np.asarray(array))
        if self.engine != "LokyBackend" or not is_mapped(array):
            return np.asarray(array)
        # joblib maps it in other processes by the name of its file, and this one has none.
        file = self.folder / f"{len(self.shared)}.npy"
        named = np.lib.format.open_memmap(file, "w+", array.dtype, array.shape)
        for batch in batches(len(array)):
            named[batch] = array[batch]
        named.flush()
        return np.load(file, mmap_mode="c")


def _outcomes(calls: _Calls, tasks: Sequence[Any]) -> Generator[tuple[int, _Outcome]]:
    """Run tasks by the engine; yield their numbers and outcomes as they finish, those of lost processes once more."""
    left = set(range(len(tasks)))
    failed = 0
    while left:
        before = len(left)
        try:
            with closing(_stream(calls, {number: tasks[number] for number in sorted(left)})) as stream:
                for number, outcome in stream:
                    left.discard(number)
                    yield number, outcome
        except Exception as error:  # that of a task is a value, so here the engine failed or a process died
            failed = 1 if len(left) < before else failed + 1
            if failed == ATTEMPTS:
                raise
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            warnings.warn(f"{calls.engine} lost processes; their tasks are run again ({why})", stacklevel=5)


def _stream(calls: _Calls, tasks: dict[int, Any]) -> Generator[tuple[int, _Outcome]]:
    parallel = Parallel(return_as="generator_unordered", batch_size=1, mmap_mode="c")
    outcomes = parallel(calls.of(number, task) for number, task in tasks.items())
    try:
        for outcome in outcomes:  # noqa: UP028 - it is closed below
            yield outcome
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that tasks are cancelled, if an exception ends the run
            outcomes.close()


@functools.cache
def _end_with(parent: int) -> None:
    """Let this process end when its parent does: those of loky would go on with the tasks that are queued."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    if os.getppid() == parent:
        threading.Thread(target=watch, daemon=True).start()


def _work(
    number: int, content: bytes, keys: list[int], threads: int, parent: int | None, *sent: Any
) -> tuple[int, _Outcome]:
    """Run one task, in the process of a worker."""
    if parent is not None:
        _end_with(parent)
    arrays = sent
    if sent and type(sent[0]).__name__ == "ObjectRef":
        import ray

        arrays = tuple(ray.get(list(sent)))
    # Learning takes arrays that may be written to, and would otherwise copy them for each model.
    given = {key: np.require(array, requirements="W") for key, array in zip(keys, arrays, strict=True)}
    with parallel_config("sequential"), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("ignore")
        function, task = _Unpickler(io.BytesIO(content), given).load()
        warnings.simplefilter("always", UserWarning)
        found, failure = None, None
        with threadpool_limits(threads):  # of the libraries that loading the task has imported
            try:
                found = function(task, lambda done: None)
            except Exception as error:
                error.add_note("".join(traceback.format_exception(error)))
                failure = error
    return number, _Outcome(found, failure, [(str(one.message), one.category) for one in told])
