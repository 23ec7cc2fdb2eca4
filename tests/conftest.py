"""Models converted once a session; everything is written below pytest's temporary folders.

With `--cpu NAME` only the tests that run jobs are run, and their jobs on that emulated Arm CPU (arm64.py); with
`--library PATH` the same tests with that build of the native library, such as a sanitized one (sanitized.py).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import arm64
import numpy as np
import pytest
import sanitized
from hypothesis import settings

from nq_tflite.device.runtimes import installed_runtimes

settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")

#: Pixels of images that are kept for a whole session.
_SMALL = 32 * 32


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cpu", choices=tuple(arm64.CPUS), help="run jobs on this emulated CPU; see tests/tools/arm64.py")
    parser.addoption("--library", type=Path, help="run jobs with this native library; see tests/tools/sanitized.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("cpu") is None and config.getoption("library") is None:
        return
    chosen, others = [], []
    for item in items:
        runs_jobs = isinstance(item, pytest.Function) and "worker_of" in item.fixturenames
        (chosen if runs_jobs and _imports_jobs(item.module) else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = chosen


def _imports_jobs(module: ModuleType) -> bool:
    values = vars(module).values()
    return any(isinstance(value, ModuleType) and value.__name__.endswith("jobs") for value in values)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`made_once(name, make)` is a folder that `make(folder)` has filled, once for all of pytest-xdist's workers.

    For what several tests read and none changes; a name stands for one content in the whole session.
    """
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_once"
    root.mkdir(exist_ok=True)

    def once(name: str, make: Callable[[Path], object]) -> Path:
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            folder, draft = root / name, root / f"{name}.draft"
            if not folder.exists():
                shutil.rmtree(draft, ignore_errors=True)  # of a test that failed
                draft.mkdir()
                make(draft)
                draft.rename(folder)
        return folder

    return once


@pytest.fixture(scope="session", autouse=True)
def images_painted_once() -> Iterator[None]:
    """Every conversion without data paints the same images: small ones once a process, read-only as all share them."""
    from nq_tflite.conversion.sources import procedural_inputs

    @cache
    def painted(count: int, height: int, width: int, channels: int, seed: int) -> list[np.ndarray]:
        images = list(procedural_images(count, height, width, channels, seed))
        for image in images:
            image.setflags(write=False)
        return images

    def images_of(count: int, height: int, width: int, channels: int, seed: int) -> Iterator[np.ndarray]:
        make = painted if height * width <= _SMALL else procedural_images
        return iter(make(count, height, width, channels, seed))

    procedural_images = procedural_inputs.procedural_images
    with mock.patch.object(procedural_inputs, "procedural_images", images_of):
        yield


@pytest.fixture(scope="session")
def samples() -> np.ndarray:
    """Typical inputs of the mixed net: float32 [24, 16, 16, 3]."""
    return np.random.default_rng(5).normal(0.3, 0.5, (24, 16, 16, 3)).astype(np.float32)


@pytest.fixture(scope="session")
def mixed_model() -> Any:
    """A Keras model with ordinary, strided and depthwise convolutions and a dense layer, wide enough to nest."""
    from nq_tflite_models.nets.small import mixed_net

    return mixed_net(seed=3, width=9)


@pytest.fixture(scope="session")
def stock_dir(request: pytest.FixtureRequest, made_once: Any) -> Path:
    """The mixed net as int8.tflite (the stock full-int8 model) and float.tflite, by tensorflow's converter."""

    def make(folder: Path) -> None:
        from nq_tflite.conversion.sources.calibration import sample_source
        from nq_tflite.conversion.sources.keras_export import export

        model, samples = request.getfixturevalue("mixed_model"), request.getfixturevalue("samples")
        (folder / "int8.tflite").write_bytes(export(model, sample_source(samples)))
        (folder / "float.tflite").write_bytes(export(model, None))

    return made_once("mixed_net", make)


@pytest.fixture(scope="session")
def int8_tflite(stock_dir: Path) -> bytes:
    """The stock full-int8 model."""
    return (stock_dir / "int8.tflite").read_bytes()


@pytest.fixture(scope="session")
def float_tflite(stock_dir: Path) -> bytes:
    """The stock float model."""
    return (stock_dir / "float.tflite").read_bytes()


@pytest.fixture(scope="session")
def nested_dir(made_once: Any, int8_tflite: bytes, float_tflite: bytes) -> Path:
    """Nested files of the mixed net, {int8,float}_{nesting with _ for |}.tflite, by adaptive rounding.

    Of two workers, one starts with the first of them, the other with the last.
    """
    from nq_tflite.conversion.convert import convert

    def made(source: bytes, nesting: str, name: str) -> Path:
        return made_once(name, lambda folder: convert(source, folder / name, nesting)) / name

    wanted = {
        f"{kind}_{nesting.replace('|', '_')}.tflite": (source, nesting)
        for kind, source in (("int8", int8_tflite), ("float", float_tflite))
        for nesting in ("8|5", "8|6|4", "6|3")
    }
    names = sorted(wanted, reverse=os.environ.get("PYTEST_XDIST_WORKER") == "gw1")
    paths = [made(*wanted[name], name) for name in names]
    return made_once("nested", lambda folder: [shutil.copy(path, folder) for path in paths])


@pytest.fixture(scope="session")
def cpu(request: pytest.FixtureRequest) -> str | None:
    """The emulated CPU that jobs run on; None for this machine's."""
    return request.config.getoption("cpu")


@pytest.fixture(scope="session")
def runtimes(cpu: str | None) -> tuple[str, ...]:
    """Names of the stock runtimes that jobs can be run under."""
    return arm64.RUNTIMES if cpu else installed_runtimes()


@pytest.fixture(scope="session")
def library(request: pytest.FixtureRequest) -> Path | None:
    """The native library that jobs use; None for the package's own."""
    path = request.config.getoption("library")
    return path and path.resolve(strict=True)


@pytest.fixture(scope="session")
def native_worker_of(library: Path | None) -> Any:
    """`native_worker_of(runtime)(job, *arguments)` runs a job in a process of that one stock runtime.

    Jobs are the functions of jobs.py and of every `*_jobs.py`, which their tests import as modules.
    tflite-runtime cannot share a process with the others (their extension types clash), so none of them does.
    """
    variables = sanitized.environment(library) if library else {}
    with ExitStack() as stack:

        @cache
        def start(name: str) -> Any:
            pool = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
            with mock.patch.dict(os.environ, variables):
                pool.submit(os.getpid).result()  # the process starts at its first call
            return lambda job, *arguments, **options: pool.submit(job, name, *arguments, **options).result(timeout=300)

        yield start


@pytest.fixture(scope="session")
def worker_of(cpu: str | None, native_worker_of: Any) -> Any:
    """As `native_worker_of`, on the emulated CPU if there is one."""
    if cpu is None:
        yield native_worker_of
        return
    with ExitStack() as stack:
        yield cache(lambda name: stack.enter_context(closing(arm64.EmulatedWorker(cpu, name))))


@pytest.fixture(scope="session", params=["ai-edge-litert", "tflite-runtime", "tensorflow"])
def worker(request: pytest.FixtureRequest, runtimes: tuple[str, ...], worker_of: Any) -> Any:
    """`worker(job, *arguments)` under each stock runtime in turn."""
    if request.param not in runtimes:
        pytest.skip(f"{request.param} is not installed")
    return worker_of(request.param)
