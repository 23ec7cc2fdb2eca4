"""The command that times loading: its graphs nest, fuse and grow as they should. Times are never asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from nq_tflite_models.load_time import load_time
from nq_tflite_models.measure.loading import write_chain
from nq_tflite_models.measure.start_child import PHASES
from nq_tflite_models.measure.thread_rates import thread_rates

import nq_tflite as nq
from nq_tflite.graph import flatbuffer as fb


def test_a_chain_is_as_long_as_asked_and_fused_whole(tmp_path: Path) -> None:
    write_chain(tmp_path / "stock.tflite", 10)
    model = fb.read_model(tmp_path / "stock.tflite").model
    names = [fb.operator_name(model, operator) for operator in model.subgraphs[0].operators]
    assert names == ["CONV_2D", "LOGISTIC", "MUL", "ADD"] * 2 + ["CONV_2D", "LOGISTIC"]
    nq.convert(tmp_path / "stock.tflite", tmp_path / "nested.tflite", nesting="8|4", rounding="nearest")
    interpreter = nq.Interpreter(tmp_path / "nested.tflite", fuse=True)
    interpreter.allocate_tensors()
    found = interpreter.delegation
    assert (found.num_partitions, {each.place for each in found.operators}) == (1, {"fused"})
    assert sum(each.weight is not None for each in found.operators) == 3


def test_the_command_measures_each_runtime() -> None:
    arguments = ["--nodes", "8,12", "--runs", "1", "--json"]
    done = CliRunner().invoke(load_time, arguments)
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert [(row["runtime"].split()[0], row["nodes"]) for row in rows] == [
        (runtime, nodes) for nodes in (8, 12) for runtime in ("ai-edge-litert", "tflite-runtime")
    ]
    assert all(min(row[kind], row["inference"][kind]) > 0 for row in rows for kind in ("stock", "fused", "unpacked"))


def test_sizes_are_numbers() -> None:
    done = CliRunner().invoke(load_time, ["--nodes", "many"])
    assert (done.exit_code, "expected numbers from 4 to 100000" in done.output) == (2, True)


@pytest.mark.slow
def test_starts_of_a_model(tmp_path: Path) -> None:
    arguments = ["--start", "ds_cnn_s", "--runs", "1", "--cache", str(tmp_path), "--json"]
    done = CliRunner().invoke(load_time, arguments)
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["starts"]
    assert [row["way"] for row in rows] == ["stock", "weight cache", "full-bit", "part-bit"]
    assert rows[0]["ratio"] == 1
    assert all(row["to_first"] > row["seconds"]["first"] > 0 for row in rows)
    assert all(set(row["seconds"]) == set(PHASES) for row in rows)


def test_a_start_of_no_model() -> None:
    done = CliRunner().invoke(load_time, ["--start", "alexnet"])
    assert (done.exit_code, "'alexnet'" in done.output) == (2, True)


@pytest.mark.slow
def test_threads_of_a_model(tmp_path: Path) -> None:
    settings = [(1, 2), (2, 1)]
    rows = thread_rates(["ds_cnn_s"], tmp_path, settings=settings, rounds=1, seconds=0.02)
    assert [(row.num_models, row.num_threads) for row in rows] == settings
    assert all(row.ratio_min <= row.ratio <= row.ratio_max for row in rows)
    assert all(min(row.stock_seconds, row.nested_seconds) > 0 for row in rows)
