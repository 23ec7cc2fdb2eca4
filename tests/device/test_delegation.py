"""What is fused, what is unpacked and what stays with the runtime, and why, under every stock runtime."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import delegation_jobs
import numpy as np
import pytest

import nq_tflite as nq
from nq_tflite.conversion.sources.calibration import sample_source
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.nested import read_nested

SOURCE = Path(__file__).resolve().parents[2] / "custom_ops" / "src" / "nodes" / "operator_names.cc"


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nested full-int8 model: a convolution of two groups, one of one group, and REDUCE_MIN, which has no kernel."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    image = keras.Input((8, 8, 32))
    x = layers.Conv2D(64, 3, padding="same", groups=2, activation="relu")(image)
    x = layers.Conv2D(48, 3)(x)
    model = keras.Model(image, keras.ops.min(x, axis=-1))
    inputs = np.random.default_rng(3).normal(size=(4, 8, 8, 32)).astype(np.float32)
    path = tmp_path_factory.mktemp("grouped") / "grouped.tflite"
    nq.convert(export(model, sample_source(inputs)), path, "8|5", rounding="nearest")
    return path


def weights(delegation: nq.Delegation) -> set[tuple[str, str]]:
    """Operator and name of every nested weight."""
    return {(each.name, each.weight) for each in delegation.nested if each.weight is not None}


def test_every_weight_of_a_full_int8_net_is_fused(worker: Any, nested_dir: Path) -> None:
    path = nested_dir / "int8_8_5.tflite"
    for found in worker(delegation_jobs.delegation, path, fuse=True, batches=(1, 3, 1)):
        assert weights(found) == {(weight.consumer, weight.name) for weight in read_nested(path).weights}
        assert {(each.place, each.reason) for each in found.nested} == {("fused", None)}
        assert found.num_partitions >= 1
        additions = [each for each in found.operators if each.name == "ADD"]
        assert [(each.place, each.weight, each.reason) for each in additions] == [("fused", None, None)]
        assert found.summary().startswith(f"{len(found.nested)} of {len(found.nested)} nested weights fused, ")
        assert "unpacked" not in found.summary()


def test_every_operator_is_told_of_once_in_order(worker: Any, nested_dir: Path) -> None:
    path = nested_dir / "int8_8_5.tflite"
    model = fb.read_model(path).model
    graph = model.subgraphs[0]
    readable = [each for each in graph.operators if fb.custom_name(model, each) != "NQ_UNPACK_DEQUANT"]
    [found] = worker(delegation_jobs.delegation, path, fuse=True)
    assert [each.output for each in found.operators] == [
        fb.text(graph.tensors[each.outputs[0]].name) for each in readable
    ]


def test_a_grouped_convolution_is_unpacked_and_says_so(worker: Any, grouped: Path) -> None:
    [found] = worker(delegation_jobs.delegation, grouped, fuse=True)
    assert [(each.place, each.reason) for each in found.nested] == [
        ("unpacked", "several groups; one is supported"),
        ("fused", None),
    ]
    assert found.num_partitions == 1
    assert found.summary() == "1 of 2 nested weights fused, 1 partition; unpacked: 1 (several groups; one is supported)"
    assert "unpacked for the runtime's kernels: 1 weight (several groups; one is supported)" in found.lines()
    assert "left with the runtime: 1 REDUCE_MIN (no kernel for the operator)" in found.lines()


def test_all_of_a_float_model_is_fused(worker: Any, nested_dir: Path) -> None:
    for found in worker(delegation_jobs.delegation, nested_dir / "float_8_5.tflite", fuse=True, batches=(1, 3, 1)):
        assert {(each.place, each.reason) for each in found.nested} == {("fused", None)}
        assert {each.name for each in found.operators} >= {"ADD", "MEAN"}
        assert {each.place for each in found.operators} == {"fused"}
        assert found.num_partitions == 1


def test_without_fusing_that_is_the_reason(worker: Any, nested_dir: Path) -> None:
    [found] = worker(delegation_jobs.delegation, nested_dir / "int8_8_5.tflite", fuse=False)
    assert {each.place for each in found.nested} == {"unpacked"}
    assert {each.reason for each in found.operators} == {"fusing is off"}
    assert found.num_partitions == 0


def test_scalar_kernels_are_not_chosen_by_themselves(worker: Any, nested_dir: Path) -> None:
    path = nested_dir / "int8_8_5.tflite"
    [found] = worker(delegation_jobs.delegation, path, isa="scalar")
    assert {each.reason for each in found.nested} == {
        "the fused kernels of this CPU are scalar, slower than the runtime's"
    }
    [asked_for] = worker(delegation_jobs.delegation, path, isa="scalar", fuse=True)
    assert asked_for.num_fused_weights == len(found.nested)


def test_a_stock_model_has_no_nested_weights(worker: Any, int8_tflite: bytes) -> None:
    [found] = worker(delegation_jobs.delegation, int8_tflite, fuse=True)
    assert found.nested == ()
    assert {each.place for each in found.operators} == {"runtime"}
    assert "no fused layer beside it" in {each.reason for each in found.operators}


def test_the_record_survives_json() -> None:
    conv = nq.DelegatedOperator("CONV_2D", "y", "w", "unpacked", "fusing is off")
    delegation = nq.Delegation((conv, nq.DelegatedOperator("ADD", "z", None, "fused", None)), 2)
    assert nq.Delegation.from_dict(delegation.as_dict()) == delegation
    assert (delegation.reader_of("w"), delegation.reader_of("y")) == (conv, None)


def test_the_librarys_operator_names_are_the_schemas() -> None:
    table = re.search(r"kBuiltinNames\[\] = \{(.*?)\};", SOURCE.read_text(), re.DOTALL)
    assert table
    names = re.findall(r'"(\w+)"', table[1])
    codes = {name: code for name, code in vars(fb.schema.BuiltinOperator).items() if not name.startswith("_")}
    assert {name: code for code, name in enumerate(names) if name in codes} == codes
    assert len(set(names)) == len(names)
