"""A conversion beside others and beside the rest of a program: it leaves the process as it is."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nq_tflite_models.nets.seeded import set_seeded_weights
from threadpoolctl import threadpool_info

import nq_tflite as nq
from nq_tflite.conversion.trial import one_blas_thread
from nq_tflite.files import write_whole


@pytest.fixture(scope="module")
def model() -> Any:
    import keras

    row = keras.Input((64,), name="row")
    x = keras.layers.Dense(96)(keras.layers.Dense(128, activation="relu")(row))
    return set_seeded_weights(keras.Model(row, x), 1)


@pytest.fixture(scope="module")
def data(model: Any) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(4, *model.input_shape[1:])).astype(np.float32)


def test_a_conversion_says_nothing_in_tensorflows_log(model: Any, tmp_path: Path) -> None:
    """In a notebook that log goes to stdout, with the name of a temporary folder."""
    import tensorflow as tf

    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = tf.get_logger()
    level, filters = logger.level, list(logger.filters)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        nq.convert(model, tmp_path / "quiet.tflite", rounding="nearest")
        assert lines == []
        assert logger.filters == filters
        tf.saved_model.save(tf.Module(), str(tmp_path / "loud"))
        assert any("Assets written to" in line for line in lines)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_threads_convert_at_once(model: Any, data: np.ndarray, tmp_path: Path) -> None:
    """The same bytes as alone, and streams, descriptors, umask and BLAS threads as before."""
    nq.convert(model, tmp_path / "alone.tflite", representative_data=data)

    def process() -> Any:
        descriptors = [os.fstat(number)[:3] for number in (1, 2)]
        return sys.stdout, sys.stderr, descriptors, [each["num_threads"] for each in threadpool_info()]

    before = process()
    with ThreadPoolExecutor(3) as pool:
        paths = [tmp_path / f"{number}.tflite" for number in range(3)]
        list(pool.map(lambda path: nq.convert(model, path, representative_data=data), paths))
    assert process() == before
    alone = (tmp_path / "alone.tflite").read_bytes()
    assert [path.read_bytes() == alone for path in paths] == [True] * 3


def test_others_print_during_a_conversion(
    model: Any, data: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """From the descriptors and through sys.stdout: every line arrives."""
    done, lines = threading.Event(), []

    def print_lines() -> None:
        while not done.wait(0.01):
            lines.append(f"line {len(lines)} of the program")
            print(lines[-1], flush=True)
            os.write(1, f"{lines[-1]}, direct\n".encode())

    printer = threading.Thread(target=print_lines)
    printer.start()
    try:
        nq.convert(model, tmp_path / "model.tflite", representative_data=data, activation_ranges="auto")
    finally:
        done.set()
        printer.join()
    out = capfd.readouterr().out.splitlines()
    assert len(lines) > 10
    assert [line for line in out if line.endswith("of the program")] == lines
    assert [line for line in out if line.endswith("direct")] == [f"{line}, direct" for line in lines]


@pytest.mark.parametrize("ranges", ["minmax", "auto"])
def test_warnings_as_errors(ranges: Any, model: Any, data: np.ndarray, tmp_path: Path) -> None:
    """What tensorflow warns of is not the user's to mend; what the user's own code warns of still counts."""
    nq.convert(model, tmp_path / "plain.tflite", representative_data=data, activation_ranges=ranges)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nq.convert(model, tmp_path / "strict.tflite", representative_data=data, activation_ranges=ranges)
        with pytest.raises(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)
    assert (tmp_path / "strict.tflite").read_bytes() == (tmp_path / "plain.tflite").read_bytes()


@pytest.mark.slow
def test_a_daemon_without_streams_converts(model: Any, tmp_path: Path) -> None:
    """Descriptors 1 and 2 closed, as daemons have them, and every warning an error."""
    model.save(tmp_path / "model.keras")
    code = "import os; os.closerange(1, 3); import nq_tflite as nq; nq.convert('model.keras', 'out.tflite')"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == 0
    nq.convert(model, tmp_path / "here.tflite")
    assert (tmp_path / "out.tflite").read_bytes() == (tmp_path / "here.tflite").read_bytes()


def test_blas_threads_come_back_after_the_last_of_several() -> None:
    """Contexts that overlap, as those of threads do: neither lifts the other's limit, and nothing is left behind."""

    def threads() -> list[int]:
        return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

    before = threads()
    first, second = one_blas_thread(), one_blas_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(threads()) == {1}
    second.__exit__(None, None, None)
    assert threads() == before


def test_files_have_the_permissions_of_any_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system applies the umask; reading it would mean to set it, for every thread of the process."""
    (tmp_path / "plain").write_bytes(b"bytes")
    monkeypatch.delattr(os, "umask")
    write_whole(tmp_path / "whole", [(0, b"bytes")])
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(each.name for each in tmp_path.iterdir()) == ["plain", "whole"]
