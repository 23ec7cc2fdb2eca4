"""Recurrent nets: weights in the body of a WHILE, and one precision for all of its rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest
import switching_jobs

import nq_tflite as nq
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.nested import read_nested

STEPS, WIDTH = 60, 32
#: What quantizing the activations of every round may cost, as a fraction of the largest output.
DYNAMIC_RANGE_ERROR = 0.05


@pytest.fixture(scope="module", params=["LSTM", "GRU"])
def recurrent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nested float model: a recurrent layer, whose loop has its weights, and a dense one too small to nest."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(6)
    sequence = keras.Input(batch_shape=(1, STEPS, WIDTH))
    x = getattr(layers, request.param)(64)(sequence)
    model = keras.Model(sequence, layers.Dense(10)(x))
    path = tmp_path_factory.mktemp("recurrent") / f"{request.param}.tflite"
    report = nq.convert(export(model, None), path, "8|5", rounding="squant")
    assert {row.operator for row in report.weights} == {"FULLY_CONNECTED"}
    assert [row.reason[:9] for row in report.unnested] == ["too small"]
    return path


@pytest.fixture(scope="module")
def sequences() -> np.ndarray:
    """float32 [2, steps, width]."""
    return np.random.default_rng(8).normal(size=(2, STEPS, WIDTH)).astype(np.float32)


def test_the_loop_holds_the_weights_and_the_main_graph_a_mark(recurrent: Path) -> None:
    nested = read_nested(recurrent)
    assert {weight.subgraph for weight in nested.weights} == {2}
    assert [(start.subgraph, start.operator, start.consumer) for start in nested.starts] == [(0, 0, "none")]
    assert {row.name for row in nq.inspect_file(recurrent).weights} == {weight.name for weight in nested.weights}


def test_weights_whose_inputs_nobody_sees_are_told_of(recurrent: Path, tmp_path: Path) -> None:
    nq.extract(recurrent, tmp_path / "stock.tflite")
    report = nq.convert(tmp_path / "stock.tflite", tmp_path / "again.tflite", "8|5")
    assert {row.rounding for row in report.weights} <= {"squant", "nearest"}
    count = len(report.weights)
    assert f"{count} of {count} weights not rounded by descent" in " ".join(report.notes)


def test_unpacked_is_the_extracted_model(recurrent: Path, sequences: np.ndarray, worker: Any, tmp_path: Path) -> None:
    outputs = worker(jobs.run_nested, recurrent, sequences, ("part", "full"))
    for precision, got in zip(("part", "full"), outputs, strict=True):
        stock = tmp_path / f"{precision}.tflite"
        nq.extract(recurrent, stock, precision)
        model = fb.read_model(stock).model
        assert not any(fb.custom_name(model, op) for subgraph in model.subgraphs for op in subgraph.operators)
        np.testing.assert_array_equal(got, worker(jobs.run_stock, stock, sequences))
    assert not np.array_equal(*outputs)


def test_fused_is_near_the_extracted_model(recurrent: Path, sequences: np.ndarray, worker: Any, tmp_path: Path) -> None:
    outputs = worker(jobs.run_nested, recurrent, sequences, ("part", "full"), builtin=False)
    for precision, got in zip(("part", "full"), outputs, strict=True):
        stock = tmp_path / f"{precision}.tflite"
        nq.extract(recurrent, stock, precision)
        wanted = worker(jobs.run_stock, stock, sequences)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=DYNAMIC_RANGE_ERROR * np.abs(wanted).max())
    [delegation] = worker(delegation_jobs.delegation, recurrent, fuse=True)
    assert {(each.name, each.place) for each in delegation.nested} == {("FULLY_CONNECTED", "fused")}
    assert len(delegation.nested) == len(read_nested(recurrent).weights)


@pytest.mark.parametrize("fuse", [True, False])
def test_all_rounds_of_an_invocation_have_one_precision(
    fuse: bool, recurrent: Path, sequences: np.ndarray, worker: Any
) -> None:
    seen = worker(switching_jobs.switch_while_running, recurrent, sequences, 25, fuse=fuse)
    assert min(seen["switches"], seen["runs"]) >= 25
    assert set(seen["outputs"]) <= set(seen["legal"].values())
    assert len(set(seen["legal"].values())) == 2


def test_a_page_out_is_done_once_the_loop_has_ended(
    cpu: str | None, recurrent: Path, sequences: np.ndarray, worker: Any
) -> None:
    seen = worker(switching_jobs.toggle, recurrent, sequences, 3)
    if cpu is None:  # emulation passes on no MADV_RANDOM: a fault beside the level maps its pages again
        assert seen["resident part"] == {0}
    assert seen["resident full"] == seen["moved"] == {seen["size"]}
    assert len(seen["full"]) == len(seen["part"]) == 1


def test_signatures_run_loops_at_one_precision_each(
    cpu: str | None, recurrent: Path, sequences: np.ndarray, worker: Any
) -> None:
    by_signature = worker(jobs.run_first_signature, recurrent, sequences[:1])
    [part], [full] = worker(jobs.run_nested, recurrent, sequences[:1], ("part", "full"), builtin=False)
    for precision, wanted in (("part", part), ("full", full)):  # a runtime may leave XNNPACK out of a signature's run
        np.testing.assert_allclose(by_signature[precision][0], wanted, rtol=0, atol=1e-5)
    assert np.abs(part - full).max() > 1e-3
    if cpu is None:  # as above
        assert by_signature["resident after part"] == 0
