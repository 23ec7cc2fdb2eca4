"""convert and extract undo each other, over generated graphs; and what is not ours stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from flatbuffers import flexbuffers
from graphs import Graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from same_model import assert_same_model, facts

import nq_tflite as nq
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.nested import read_nested

ROUND_TRIPS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
_SIDE, _SCALE = 3, 0.05


def weight_scales(channels: int) -> np.ndarray:
    """float32 [channels], the same for every layer, so that layers can share a bias."""
    return (np.linspace(0.5, 2, channels) / 2**11).astype(np.float32)


def layer(graph: Graph, x: int, width: int, channels: int, bias: int | None, *, is_int8: bool, seed: int) -> int:
    """A 1x1 convolution, or a dense layer where there is no bias, none of whose channels is all zeros."""
    rng = np.random.default_rng(seed)
    shape = (channels, width) if bias is None else (channels, 1, 1, width)
    if is_int8:
        weight = graph.constant(rng.integers(-127, 128, shape, np.int8), scale=weight_scales(channels))
    else:
        weight = graph.constant(rng.normal(0, width**-0.5, shape).astype(np.float32))
    quantization: dict[str, Any] = {"scale": _SCALE, "zero_point": 2} if is_int8 else {"dtype": np.float32}
    outputs = (1, _SIDE, _SIDE, channels)
    if bias is None:
        options = schema.FullyConnectedOptionsT(keepNumDims=True)
        return graph.add("FULLY_CONNECTED", [x, weight, -1], outputs, version=5, options=options, **quantization)
    options = schema.Conv2DOptionsT(padding=schema.Padding.VALID, strideW=1, strideH=1)
    return graph.add("CONV_2D", [x, weight, bias], outputs, version=3, options=options, **quantization)


@st.composite
def stock_models(draw: st.DrawFn) -> bytes:
    """Convolutions, one behind the other, with biases of their own, shared or none, a custom operator, and names."""
    is_int8, num_layers = draw(st.booleans()), draw(st.integers(1, 3))
    graph, width = Graph(), draw(st.sampled_from([32, 48, 70]))
    x = graph.input((1, _SIDE, _SIDE, width), **({"scale": _SCALE, "zero_point": -1} if is_int8 else {}))
    bias_type, shared = np.int32 if is_int8 else np.float32, None
    for number in range(num_layers):
        biases = draw(st.sampled_from(["own", "shared", "none"]))
        values = np.arange(width, dtype=bias_type) - 7
        own = graph.constant(values, scale=weight_scales(width) * np.float32(_SCALE) if is_int8 else None)
        shared = own if shared is None else shared
        bias = {"own": own, "shared": shared, "none": None}[biases]
        x = layer(graph, x, width, width, bias, is_int8=is_int8, seed=draw(st.integers(0, 99)) + 100 * number)
    if draw(st.booleans()) and not is_int8:
        [x] = graph.custom("Vendor", [x], [(1, width)], draw(st.binary(min_size=1, max_size=9)))
    return named(graph.build([x]), draw(st.text(max_size=8)), draw(st.integers(0, 2)))


def named(content: bytes, text: str, num_signatures: int) -> bytes:
    """A description, a name of the subgraph, metadata and signatures on top."""
    model = fb.read_model(content).model
    subgraph = model.subgraphs[0]
    model.description, subgraph.name = f"model {text}", f"net {text}"
    entry = schema.MetadataT(name=f"note {text}", buffer=fb.add_buffer(model, text.encode() + b"!"))
    model.metadata = [entry]
    model.signatureDefs = [
        schema.SignatureDefT(
            inputs=[schema.TensorMapT(name=f"in {text}", tensorIndex=int(subgraph.inputs[0]))],
            outputs=[schema.TensorMapT(name=f"out {text}", tensorIndex=int(subgraph.outputs[0]))],
            signatureKey=f"signature {number}",
            subgraphIndex=0,
        )
        for number in range(num_signatures)
    ]
    return fb.pack_model(model)


def without_unused(content: bytes) -> Any:
    """A model as `extract` leaves it: without tensors that nothing reads."""
    from nq_tflite.graph.prune import prune

    model = fb.read_model(content).model
    prune(model)
    return model


@pytest.mark.parametrize("options", [{"rounding": "nearest"}, {"exact": True}], ids=["nearest", "exact"])
@given(content=stock_models(), nesting=st.sampled_from(["8|5", "8|6|4"]))
@ROUND_TRIPS
def test_extract_undoes_convert(options: dict[str, Any], tmp_path: Path, content: bytes, nesting: str) -> None:
    """INT8 in full; of a float model all but the weights, which are on the codes' grid then."""
    report = nq.convert(content, tmp_path / "nested.tflite", nesting, **options)
    nq.extract(tmp_path / "nested.tflite", tmp_path / "stock.tflite")
    back = fb.read_model(tmp_path / "stock.tflite").model
    is_float = report.weights[0].output_type == "float32"
    assert_same_model(without_unused(content), back, {row.name for row in report.weights} if is_float else ())


@pytest.mark.parametrize("options", [{"rounding": "nearest"}, {"exact": True}], ids=["nearest", "exact"])
@given(content=stock_models(), nesting=st.sampled_from(["8|5", "8|6|4"]))
@ROUND_TRIPS
def test_convert_undoes_extract(options: dict[str, Any], tmp_path: Path, content: bytes, nesting: str) -> None:
    """The same codes, and of INT8 models the same file: their scales are in the extracted one."""
    paths = [tmp_path / name for name in ("nested.tflite", "stock.tflite", "again.tflite")]
    report = nq.convert(content, paths[0], nesting, **options)
    nq.extract(paths[0], paths[1])
    nq.convert(paths[1], paths[2], nesting, **options)
    before, after = read_nested(paths[0]), read_nested(paths[2])
    for one, other in zip(before.weights, after.weights, strict=True):
        np.testing.assert_array_equal(one.codes(), other.codes())
        np.testing.assert_allclose(one.scales, other.scales, rtol=1e-6)
    if report.weights[0].output_type == "int8":
        assert before.table == after.table


@given(content=stock_models())
@ROUND_TRIPS
def test_whoever_made_the_model_finds_it_in_the_nested_file(tmp_path: Path, content: bytes) -> None:
    """Names, signatures, metadata, description, inputs and outputs with their quantization, other operators."""
    nq.convert(content, tmp_path / "nested.tflite", "8|5", rounding="nearest")
    before, after = facts(fb.read_model(content).model), facts(fb.read_model(tmp_path / "nested.tflite").model)
    for key in ("description", "signatureDefs", "version"):
        assert before[key] == after[key]
    assert after["metadata"][:-1] == before["metadata"]
    old, new = before["subgraphs"][0], after["subgraphs"][0]
    names = [tensor["name"] for tensor in old["tensors"]]
    assert [tensor["name"] for tensor in new["tensors"][: len(names)]] == names
    for key in ("name", "inputs", "outputs"):
        assert old[key] == new[key]
    for index in [*old["inputs"], *old["outputs"]]:
        assert old["tensors"][index] == new["tensors"][index]
    others = [each for each in new["operators"] if each["opcodeIndex"]["customCode"] != "NQ_UNPACK_DEQUANT"]
    assert [each["opcodeIndex"] for each in others] == [each["opcodeIndex"] for each in old["operators"]]
    assert [each["customOptions"] for each in others] == [each["customOptions"] for each in old["operators"]]


# ---- custom operators that are not ours ------------------------------------------------------------------------------


def detector() -> bytes:
    """A float net whose boxes and scores go into the detection operator that stock runtimes have."""
    graph, rng = Graph(), np.random.default_rng(8)
    width, cells = 32, _SIDE * _SIDE
    x = graph.input((1, _SIDE, _SIDE, width))
    x = layer(graph, x, width, width, None, is_int8=False, seed=1)
    heads = []
    for channels, seed in ((4, 2), (3, 3)):
        head = layer(graph, x, width, channels, None, is_int8=False, seed=seed)
        shape = graph.constant(np.array([1, cells, channels], np.int32))
        heads.append(graph.add("RESHAPE", [head, shape], (1, cells, channels), dtype=np.float32, version=1))
    anchors = graph.constant(rng.uniform(0.2, 0.8, (cells, 4)).astype(np.float32))
    options: dict[str, Any] = {"max_detections": 3, "max_classes_per_detection": 1, "num_classes": 2}
    options |= {"nms_score_threshold": 0.0, "nms_iou_threshold": 0.99, "use_regular_nms": False}
    options |= {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0}
    shapes = [(1, 3, 4), (1, 3), (1, 3), (1,)]
    name = "TFLite_Detection_PostProcess"
    return graph.build(graph.custom(name, [*heads, anchors], shapes, bytes(flexbuffers.Dumps(options))))


def test_a_custom_operator_that_the_runtime_has(worker: Any, tmp_path: Path) -> None:
    nested, stock = tmp_path / "nested.tflite", tmp_path / "stock.tflite"
    nq.convert(detector(), nested, "8|5", rounding="nearest")
    for precision in ("full", "part"):
        nq.extract(nested, stock, precision)
        wanted = worker(jobs.run_sequence, stock, builtin=True)
        got = worker(jobs.run_sequence, nested, [precision], fuse=False, builtin=True)
        assert len(wanted[0]) == 4
        for some, others in zip(got, wanted, strict=True):
            for a, b in zip(some, others, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_custom_operator_that_the_runtime_lacks(worker: Any, tmp_path: Path) -> None:
    """The runtime says so itself, of the nested file as of the stock one."""
    graph = Graph()
    x = layer(graph, graph.input((1, _SIDE, _SIDE, 32)), 32, 32, None, is_int8=False, seed=1)
    content = graph.build(graph.custom("Vendor", [x], [(1, 4)], b"\x01"))
    report = nq.convert(content, tmp_path / "nested.tflite", "8|5")
    assert "operator Vendor: expected one that runs by itself" in report.notes[0]
    (tmp_path / "stock.tflite").write_bytes(content)
    for path, precisions in ((tmp_path / "stock.tflite", ()), (tmp_path / "nested.tflite", ["full"])):
        with pytest.raises((RuntimeError, ValueError), match="Vendor"):
            worker(jobs.run_sequence, path, precisions)


def test_uint8_weights_of_the_first_converters_are_refused(tmp_path: Path) -> None:
    graph = Graph()
    x = layer(graph, graph.input((1, _SIDE, _SIDE, 32), scale=0.1), 32, 32, None, is_int8=True, seed=1)
    model = fb.read_model(graph.build([x])).model
    for tensor in model.subgraphs[0].tensors:
        tensor.type = schema.TensorType.UINT8
    with pytest.raises(UnsupportedModelError, match="uint8 weights of the legacy quantization"):
        nq.convert(fb.pack_model(model), tmp_path / "nested.tflite", "8|5")
