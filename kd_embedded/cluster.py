"""Large work as tasks: in worker processes on this machine, or on a Dask cluster; killed anywhere, it carries on.

A task is a module-level function with keyword arguments, JSON values or arrays, and gives a JSON value or a mapping of
names to arrays. Its result is one file, named by a hash of function and arguments, so what stands in the folder is not
computed again. Functions do not see what another task left behind, and where randomness is a function of their
arguments the files have the same bytes however many workers there were and whichever of them died.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from kd_embedded import __version__
from kd_embedded.artifacts import read_json, sha256_bytes, write_json, write_npz
from kd_embedded.errors import KdError, ToolError, first_line
from kd_embedded.progress import Progress

TRIES = 3
_CONNECT_SECONDS = 20
_DISTRIBUTION = "kd-embedded"
_ONE_AT_A_TIME = threading.Lock()

Task = tuple[Callable[..., Any], Mapping[str, Any]]


def run_tasks(
    function: Callable[..., Any],
    arguments: Sequence[Mapping[str, Any]],
    *,
    folder: Path,
    places: Mapping[str, Any] | None = None,
    cluster: str | None = None,
    workers: int = 0,
    progress: Progress = Progress(),  # noqa: B008  # it has no state
    title: str = "tasks",
) -> Iterator[Any]:
    """``function(**each, **places)`` for each of ``arguments``, in their order, once all are done.

    Each is read from its file in ``folder`` as it is asked for: together they may be larger than memory.

    ``places`` are arguments that all share and that results do not follow from, folders above all: they are no part of
    the files' names.

    ``function`` can be imported where it runs. Without ``cluster``, ``workers`` fresh processes do the tasks (0: this
    process does them itself); with it, the Dask scheduler at that address (``tcp://HOST:PORT``) hands them to its
    workers, which have kd-embedded and see files that the arguments name under the same paths. A task whose worker dies
    is done again; one whose workers die ``TRIES`` times is a KdError. What a task raises is raised here.
    """
    named = [f"{function.__name__}-{_digest(function, each)}" for each in arguments]
    whole = ((function, {**each, **(places or {})}) for each in arguments)
    missing = {name: task for name, task in zip(named, whole, strict=True) if not _stored(folder, name)}
    total = len(set(named))
    with progress.task(title, total, total - len(missing)) as bar:
        for name, value in _outcomes(missing, cluster, workers, progress):
            _store(folder, name, value)
            bar.advance()
    return (_load(folder, name) for name in named)


def _outcomes(
    tasks: Mapping[str, Task], cluster: str | None, workers: int, progress: Progress
) -> Iterator[tuple[str, Any]]:
    """Names and values of ``tasks`` as they are done."""
    if not tasks:
        return iter(())
    if cluster:
        return _on_dask(tasks, cluster, progress)
    if workers:
        return _in_processes(tasks, min(workers, len(tasks)))
    return ((name, function(**arguments)) for name, (function, arguments) in tasks.items())


def _digest(function: Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    return sha256_bytes(
        json.dumps([function.__module__, function.__qualname__, arguments], sort_keys=True, default=_array).encode()
    )[:24]


def _array(value: Any) -> Any:
    """An array, for JSON: by its contents."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"an argument of a task is a {type(value).__name__}; JSON values and arrays can be")
    return [str(value.dtype), value.shape, sha256_bytes(np.ascontiguousarray(value).tobytes())]


def _stored(folder: Path, name: str) -> Path | None:
    return next((path for kind in (".json", ".npz") if (path := folder / f"{name}{kind}").is_file()), None)


def _store(folder: Path, name: str, value: Any) -> None:
    if isinstance(value, Mapping) and value and all(isinstance(each, np.ndarray) for each in value.values()):
        write_npz(folder / f"{name}.npz", **value)
    else:
        write_json(folder / f"{name}.json", value)


def _load(folder: Path, name: str) -> Any:
    path = _stored(folder, name)
    assert path is not None
    if path.suffix == ".json":
        return read_json(path)
    try:
        with np.load(path) as stored:
            return dict(stored)
    except Exception as error:  # NumPy raises whatever zipfile, zlib and its own parser raise
        raise KdError(f"cannot be read: {error}", where=str(path), todo="delete it and run again") from None


# Plain processes ------------------------------------------------------------------------------------------------------


class _DiedError(Exception):
    """A worker ended within a task."""


class _Worker:
    """One fresh Python process that does one task after another, and is started anew where it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def do(self, task: Task) -> Any:
        """What ``task`` gives; what it raises. Raises _DiedError with the exit code where the process ends within."""
        if self._process is None:
            self._process = _start()
        if self._closed:  # meanwhile, by another thread
            self._process.kill()
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            pickle.dump(task, stdin)
            stdin.flush()
            value, error = pickle.load(stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            code = self._process.wait()
            self._process = None
            raise _DiedError(f"signal {-code}" if code < 0 else f"exit code {code}") from None
        if error is not None:
            raise error
        return value

    def do_again(self, name: str, task: Task) -> Any:
        """As ``do``, up to TRIES times where the process dies."""
        reason = ""
        for _ in range(TRIES):
            if self._closed:
                break
            try:
                return self.do(task)
            except _DiedError as died:
                reason = str(died)
        raise KdError(
            f"its worker process died {TRIES} times ({reason})",
            where=f"task {name}",
            todo="use fewer workers if memory is short; the others' results are kept",
        )

    def close(self) -> None:
        """Ends the process, within a task too."""
        self._closed = True
        if self._process is not None:
            self._process.kill()


def _start() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-c", "from kd_embedded.cluster import serve; serve()"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def serve() -> None:
    """A worker process: tasks pickled on stdin, (value, error) on stdout; what tasks print goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            function, arguments = pickle.load(sys.stdin.buffer)
            try:
                answer = pickle.dumps((function(**arguments), None))
            except Exception as error:
                answer = _pickled(error)
            answers.write(answer)
            answers.flush()


def _end_with(parent: int) -> None:
    """Ends this process once ``parent`` is gone, killed perhaps: nobody would read what it computes."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _pickled(error: Exception) -> bytes:
    """``error`` as an answer; errors that cannot travel, TensorFlow's among them, as their words."""
    try:
        answer = pickle.dumps((None, error))
        pickle.loads(answer)
    except Exception:
        answer = pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))
    return answer


def _in_processes(tasks: Mapping[str, Task], workers: int) -> Iterator[tuple[str, Any]]:
    """A thread leads each worker; they draw tasks from one queue."""
    with _led(workers) as threads:
        futures = {threads.submit(_lead, name, task): name for name, task in tasks.items()}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()


_LED = threading.local()


def _lead(name: str, task: Task) -> Any:
    worker: _Worker = _LED.worker
    return worker.do_again(name, task)


@contextmanager
def _led(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that each lead one worker process; left early, the tasks that run are killed and the others dropped."""
    free = [_Worker() for _ in range(count)]
    all_workers = list(free)

    def begin() -> None:
        _LED.worker = free.pop()

    threads = ThreadPoolExecutor(count, initializer=begin)
    try:
        yield threads
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in all_workers:
            worker.close()
        threads.shutdown()


# Dask -----------------------------------------------------------------------------------------------------------------


def _on_dask(tasks: Mapping[str, Task], address: str, progress: Progress) -> Iterator[tuple[str, Any]]:
    client = _connect(address)
    import distributed

    with client:
        if not client.scheduler_info()["workers"]:
            progress.say(f"  {address} has no workers yet; waiting for them")
        _check_workers(client, address)
        unique = os.urandom(4).hex()  # a scheduler that knows a key would give its old result
        futures = {client.submit(_alone, task, key=f"{name}-{unique}"): name for name, task in tasks.items()}
        for future in distributed.as_completed(list(futures)):
            name = futures.pop(future)
            try:
                value = future.result()
            except distributed.KilledWorker as error:
                todo = "look at the workers' memory; the others' results are kept"
                raise KdError(f"its workers died: {error}", where=f"task {name}", todo=todo) from None
            except distributed.CancelledError:
                raise ToolError("the Dask scheduler went away", where=address, todo="run again to carry on") from None
            future.release()
            yield name, value


def _connect(address: str) -> Any:
    """A Dask client of the scheduler at ``address``. Raises ToolError where Dask is not installed or none answers."""
    try:
        import distributed
    except ImportError:
        todo = "pip install 'kd-embedded[cluster]'"
        raise ToolError("Dask distributed is not installed", where="--cluster", todo=todo) from None
    try:
        return distributed.Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:  # a timeout is an OSError
        todo = "start one, see docs/CLUSTER.md"
        raise ToolError(f"no Dask scheduler answers: {first_line(error)}", where=address, todo=todo) from None


def _check_workers(client: Any, address: str) -> None:
    """Raises ToolError where a worker of ``client`` has no kd-embedded, or another one than this."""
    for worker, version in client.run(metadata.version, _DISTRIBUTION, on_error="return").items():
        if version != __version__:
            has = version if isinstance(version, str) else "none"
            what = f"its worker {worker} has kd-embedded {has}, and this is {__version__}"
            raise ToolError(what, where=address, todo="install the same on all workers")


def _alone(task: Task) -> Any:
    """``task``, one at a time in a process: Keras has global state, and a Dask worker perhaps several threads."""
    function, arguments = task
    with _ONE_AT_A_TIME:
        return function(**arguments)
