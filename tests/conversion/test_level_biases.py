"""Levels that own their biases, from the plan to the file, the extracted model and every runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest
from repacked import repacked

import nq_tflite as nq
from nq_tflite.conversion.nested_writer import write_nested
from nq_tflite.conversion.plan import Plan, WeightPlan, make_plan
from nq_tflite.conversion.rounding import METHODS
from nq_tflite.device.runtimes import installed_runtimes
from nq_tflite.errors import FormatError
from nq_tflite.format.biases import LevelBiases, fit_biases
from nq_tflite.format.constants import OutputType
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.inspection import inspect_file
from nq_tflite.graph.nested import read_nested

NESTING = Nesting.parse("8|6|4")


def reader_of(model: Any, weight: WeightPlan) -> Any:
    site = weight.sites[0]
    return model.subgraphs[site.subgraph].operators[site.operators[0]]


def bias_of(model: Any, weight: WeightPlan) -> np.ndarray:
    """What the weight's reader adds in a stock model: float64 [channels], zeros without a bias."""
    inputs = fb.indices(reader_of(model, weight).inputs)
    if len(inputs) < 3 or inputs[2] < 0:
        return np.zeros(len(weight.codes))
    values = fb.constant(model, model.subgraphs[weight.sites[0].subgraph].tensors[inputs[2]])
    assert values is not None
    return values.astype(np.float64)


def drop_biases(model: Any, names: tuple[str, ...]) -> None:
    """Takes the biases of the layers of these names away: left out of a convolution, -1 of a dense layer."""
    for layer in model.subgraphs[0].operators:
        if fb.operator_name(model, layer) in names:
            dense = fb.operator_name(model, layer) == "FULLY_CONNECTED"
            layer.inputs = [*fb.indices(layer.inputs)[:2], *([-1] if dense else [])]


def share_biases(model: Any) -> None:
    """Makes layers of equally many channels read one bias tensor."""
    subgraph, by_shape = model.subgraphs[0], {}
    for operator in subgraph.operators:
        inputs = fb.indices(operator.inputs)
        if fb.operator_name(model, operator) == "CONV_2D" and len(inputs) == 3:
            inputs[2] = by_shape.setdefault(fb.shape(subgraph.tensors[inputs[2]]), inputs[2])
            operator.inputs = inputs


def random_biases(model: Any, weight: WeightPlan, rng: np.random.Generator, levels: list[int]) -> LevelBiases:
    """Biases that move at these levels and at the last, by what an output shows."""
    base = bias_of(model, weight) if not weight.biases else next(iter(weight.biases.values())).astype(np.float64)
    size = 0.3 if weight.output_type is OutputType.FLOAT32 else 3000
    wanted = np.tile(base + rng.normal(0, size, base.shape), (len(NESTING.precisions), 1))
    for level in levels:
        wanted[level] += rng.normal(0, size * (3 - level), base.shape)
    dtype = np.float32 if weight.output_type is OutputType.FLOAT32 else np.int32
    return fit_biases(wanted, weight.scales, dtype)


def biased_plan(model: Any) -> Plan:
    """Weights with deltas at some levels, with a new last bias alone, and one without; convolutions and dense ones."""
    rng, plan = np.random.default_rng(11), make_plan(model, NESTING, METHODS["nearest"])
    choices: list[list[int] | None] = [[0, 1], [1], [0], None, []]
    weights = []
    for index, weight in enumerate(plan.weights):
        levels = choices[index % len(choices)]
        biases = None if levels is None else random_biases(model, weight, rng, levels)
        assert biases is None or [level for level in range(3) if biases.steps[level]] == levels
        weights.append(replace(weight, level_biases=biases))
    owners = {weight.operator for weight in weights if weight.level_biases and weight.level_biases.steps.any()}
    assert owners == {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    return Plan(tuple(weights), plan.unnested)


@pytest.fixture(scope="module", params=["int8", "float"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def source(kind: str, request: pytest.FixtureRequest) -> bytes:
    """A stock model, some of whose layers have no bias and some share one."""
    model = fb.read_model(request.getfixturevalue(f"{kind}_tflite")).model
    drop_biases(model, ("DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))  # TFLite has no CONV_2D of int8 without one
    share_biases(model)
    return fb.pack_model(model)


@pytest.fixture(scope="module")
def biased(source: bytes, kind: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    """The nested file, and the plan that it was written by."""
    path = tmp_path_factory.mktemp(f"biased_{kind}") / "nested.tflite"
    model = fb.read_model(source).model
    plan = biased_plan(model)
    assert write_nested(model, plan, NESTING, path) == path.stat().st_size
    return path, plan


def written_at(source: bytes, plan: Plan, level: int, path: Path) -> Path:
    """The same codes with plain biases: for all precisions those that the levels own at `level`."""
    model = fb.read_model(source).model
    for weight in plan.weights:
        if weight.level_biases is None:
            continue
        subgraph, reader = model.subgraphs[weight.sites[0].subgraph], reader_of(model, weight)
        values = weight.level_biases.at(level, weight.scales)
        is_float = values.dtype == np.float32
        tensor_type = fb.schema.TensorType.FLOAT32 if is_float else fb.schema.TensorType.INT32
        bias = fb.add_tensor(subgraph, "plain_bias", values.shape, tensor_type, fb.add_buffer(model, values))
        reader.inputs = [*fb.indices(reader.inputs)[:2], bias]
    weights = tuple(replace(weight, level_biases=None) for weight in plan.weights)
    write_nested(model, Plan(weights, plan.unnested), NESTING, path)
    return path


def test_the_file_has_the_planned_biases(biased: tuple[Path, Plan], kind: str) -> None:
    path, plan = biased
    nested = {weight.name: weight for weight in read_nested(path).weights}
    for weight in plan.weights:
        written = nested[weight.name]
        assert written.block.has_bias == (weight.level_biases is not None)
        if weight.level_biases is None:
            continue
        assert written.bias_tensor is not None
        for level, step in enumerate(weight.level_biases.steps):
            wanted = weight.level_biases.at(level, weight.scales)
            assert wanted.dtype == (np.int32 if kind == "int8" else np.float32)
            np.testing.assert_array_equal(written.bias(level), wanted)
            assert written.block.levels[level].bias_step == step
            assert (written.block.delta_bytes(level) > 0) == (step > 0)


def test_readers_read_them(biased: tuple[Path, Plan], source: bytes, kind: str) -> None:
    """Every reader, whether it had a bias of its own, a shared one or none."""
    path = biased[0]
    model, stock = fb.read_model(path).model, fb.read_model(source).model
    assert {2, 3} <= {len(fb.indices(operator.inputs)) for operator in stock.subgraphs[0].operators}
    tensors = model.subgraphs[0].tensors
    for weight in read_nested(path).weights:
        if weight.bias_tensor is None:
            continue
        [(position, _)] = fb.readers(model.subgraphs[0])[weight.tensor]
        reader = fb.indices(model.subgraphs[0].operators[position].inputs)
        assert reader[2] == weight.bias_tensor
        quantization = tensors[weight.bias_tensor].quantization
        if kind == "int8":
            wanted = np.float32(weight.scales * np.float32(tensors[reader[0]].quantization.scale[0]))
            np.testing.assert_allclose(quantization.scale, wanted, rtol=1e-6)
            assert not np.any(quantization.zeroPoint)
    names = [fb.text(tensor.name) for tensor in tensors]
    assert len(names) == len(set(names))
    assert any(name.endswith("/level_bias") for name in names)  # of those that had none, or shared one


def test_reports_count_them(biased: tuple[Path, Plan]) -> None:
    path, plan = biased
    report = inspect_file(path)
    wanted = sum(
        -(-len(weight.codes) // 64) * 64 * int(np.count_nonzero(weight.level_biases.steps))
        for weight in plan.weights
        if weight.level_biases is not None
    )
    assert wanted == sum(sum(row.bias_bytes) for row in report.weights) > 0
    bits = report.bits_a_weight
    assert bits.biases == pytest.approx(8 * wanted / report.num_weights)
    assert bits.total == pytest.approx(8 * sum(report.section_bytes) / report.num_weights)
    assert f"{bits.biases:.3f} of biases" in str(bits)
    assert report.as_dict()["bias_bits_a_weight"] == bits.biases


def test_extracted_models_are_stock_models(biased: tuple[Path, Plan], tmp_path: Path) -> None:
    path, plan = biased
    for level, bits in enumerate(NESTING.precisions):
        nq.extract(path, tmp_path / "stock.tflite", bits)
        model = fb.read_model(tmp_path / "stock.tflite").model
        assert not any(fb.custom_name(model, operator) for operator in model.subgraphs[0].operators)
        by_weight = {
            fb.text(model.subgraphs[0].tensors[inputs[1]].name): inputs[2]
            for inputs in (fb.indices(operator.inputs) for operator in model.subgraphs[0].operators)
            if len(inputs) == 3
        }
        for weight in plan.weights:
            if weight.level_biases is not None:
                got = fb.constant(model, model.subgraphs[0].tensors[by_weight[weight.name]])
                np.testing.assert_array_equal(got, weight.level_biases.at(level, weight.scales))


def test_unpacked_every_precision_is_the_extracted_models(
    biased: tuple[Path, Plan], worker: Any, samples: np.ndarray, tmp_path: Path
) -> None:
    path, _ = biased
    order = ["full", "part", 6, "full"]
    got = worker(jobs.run_nested, path, samples[:3], order)
    for precision, outputs in zip(order, got, strict=True):
        nq.extract(path, tmp_path / "stock.tflite", precision)
        wanted = worker(jobs.run_stock, tmp_path / "stock.tflite", samples[:3])
        np.testing.assert_array_equal(outputs, wanted)
    assert len({outputs.tobytes() for outputs in got}) == 3


def test_fused_every_precision_is_that_of_plain_biases(
    biased: tuple[Path, Plan], source: bytes, worker: Any, samples: np.ndarray, tmp_path: Path
) -> None:
    """Integers and floats, the latter at dynamic range: the same kernels on the same constants."""
    path, plan = biased
    plain = [written_at(source, plan, level, tmp_path / f"{level}.tflite") for level in range(3)]
    order = [2, 0, 1, 2]
    bits = [NESTING.precisions[level] for level in order]
    got = worker(jobs.run_nested, path, samples[:3], bits, builtin=False, threads=2)
    for level, outputs in zip(order, got, strict=True):
        [wanted] = worker(jobs.run_nested, plain[level], samples[:3], [NESTING.precisions[level]], builtin=False)
        np.testing.assert_array_equal(outputs, wanted)
    other = worker(jobs.run_nested, plain[2], samples[:3], ["part"], builtin=False)
    assert (other[0] != got[1]).any()
    [delegation] = worker(delegation_jobs.delegation, path)
    assert {each.place for each in delegation.nested} == {"fused"}


@pytest.mark.parametrize("kind", ["int8"], indirect=True)
def test_fused_integers_are_xnnpacks(
    biased: tuple[Path, Plan], worker_of: Any, samples: np.ndarray, tmp_path: Path
) -> None:
    if "ai-edge-litert" not in installed_runtimes():
        pytest.skip("ai-edge-litert is not installed, and only its XNNPACK takes int8 on x86")
    run, path = worker_of("ai-edge-litert"), biased[0]
    for bits in NESTING.precisions:
        nq.extract(path, tmp_path / "stock.tflite", bits)
        [wanted] = run(jobs.all_outputs, tmp_path / "stock.tflite", samples[:3])
        for isa in ("", "scalar", "avx2"):
            for got in run(jobs.all_outputs, path, samples[:3], precision=bits, isa=isa):  # none: no such ISA here
                np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("silent_kind", ["int8", "float"])
def test_all_zero_channels_keep_their_bias(
    silent_kind: str, request: pytest.FixtureRequest, worker: Any, samples: np.ndarray, tmp_path: Path
) -> None:
    """Their scale is tiny, or 0: the levels' biases are in its units, and take the place of the rescaled one."""
    shape = (153, 3, 3, 63)
    model = fb.read_model(request.getfixturevalue(f"{silent_kind}_tflite")).model
    tensor = next(t for t in model.subgraphs[0].tensors if fb.shape(t) == shape and fb.constant(model, t) is not None)
    values = np.array(fb.constant(model, tensor))
    values[::2] = 0
    model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    plan = make_plan(model, NESTING, METHODS["nearest"])
    rng = np.random.default_rng(3)
    weights = [
        replace(w, level_biases=random_biases(model, w, rng, [0, 1])) if w.shape == shape else w for w in plan.weights
    ]
    [chosen] = [w for w in weights if w.level_biases is not None]
    write_nested(model, Plan(tuple(weights), plan.unnested), NESTING, tmp_path / "nested.tflite")
    names = [fb.text(tensor.name) for tensor in fb.read_model(tmp_path / "nested.tflite").model.subgraphs[0].tensors]
    assert not any(name.endswith("/rescaled") for name in names)
    [written] = [w for w in read_nested(tmp_path / "nested.tflite").weights if w.name == chosen.name]
    for level, bits in enumerate(NESTING.precisions):
        np.testing.assert_array_equal(written.bias(level), chosen.level_biases.at(level, chosen.scales))
        nq.extract(tmp_path / "nested.tflite", tmp_path / "stock.tflite", bits)
        wanted = worker(jobs.run_stock, tmp_path / "stock.tflite", samples[:2])
        [got] = worker(jobs.run_nested, tmp_path / "nested.tflite", samples[:2], [bits])
        np.testing.assert_array_equal(got, wanted)


def bias_operator(model: Any) -> Any:
    """The first nested operator that gives a bias, whose level 0 has deltas."""
    return next(o for o in model.subgraphs[0].operators if fb.custom_name(model, o) and len(o.outputs) == 2)


def no_flag(model: Any) -> None:
    options = bias_operator(model).customOptions
    options[12] = 0


def no_step(model: Any) -> None:
    """Level 0 has bytes that nothing speaks of."""
    options = bias_operator(model).customOptions
    options[44:48] = np.zeros(4, np.uint8)


def negative_step(model: Any) -> None:
    options = bias_operator(model).customOptions
    options[47] ^= 0x80


def no_output(model: Any) -> None:
    operator = bias_operator(model)
    operator.outputs = list(operator.outputs)[:1]


def output_of_another_shape(model: Any) -> None:
    model.subgraphs[0].tensors[bias_operator(model).outputs[1]].shape = [1]


def base_of_another_type(model: Any) -> None:
    model.subgraphs[0].tensors[bias_operator(model).inputs[-1]].type = fb.schema.TensorType.UINT32


def computed_base(model: Any) -> None:
    model.subgraphs[0].tensors[bias_operator(model).inputs[-1]].buffer = 0


@pytest.mark.parametrize(
    "change",
    [no_flag, no_step, negative_step, no_output, output_of_another_shape, base_of_another_type, computed_base],
)
def test_forbidden_biases(change: Callable[[Any], None], biased: tuple[Path, Plan]) -> None:
    content = biased[0].read_bytes()
    read_nested(repacked(content, lambda model: None))
    with pytest.raises(FormatError, match="expected"):
        read_nested(repacked(content, change))


def several_readers(model: Any, weight: WeightPlan) -> WeightPlan:
    site = weight.sites[0]
    return replace(weight, sites=(replace(site, operators=(*site.operators, 9)),))


def several_sites(model: Any, weight: WeightPlan) -> WeightPlan:
    return replace(weight, sites=weight.sites * 2)


def too_few_levels(model: Any, weight: WeightPlan) -> WeightPlan:
    assert weight.level_biases is not None
    return replace(weight, level_biases=replace(weight.level_biases, deltas=weight.level_biases.deltas[1:]))


def another_type(model: Any, weight: WeightPlan) -> WeightPlan:
    assert weight.level_biases is not None
    return replace(weight, level_biases=replace(weight.level_biases, base=weight.level_biases.base.astype(np.int64)))


@pytest.mark.parametrize("change", [several_readers, several_sites, too_few_levels, another_type])
def test_plans_that_cannot_be_are_refused(change: Callable[..., WeightPlan], int8_tflite: bytes) -> None:
    model = fb.read_model(int8_tflite).model
    with pytest.raises(ValueError, match=r"level biases of .* expected"):
        change(model, biased_plan(model).weights[0])


def test_a_computed_bias_is_not_replaced(int8_tflite: bytes, tmp_path: Path) -> None:
    model = fb.read_model(int8_tflite).model
    plan = biased_plan(model)
    bias = fb.indices(reader_of(model, plan.weights[0]).inputs)[2]
    model.subgraphs[0].tensors[bias].buffer = 0
    with pytest.raises(ValueError, match="expected a constant bias"):
        write_nested(model, plan, NESTING, tmp_path / "nested.tflite")
    assert not (tmp_path / "nested.tflite").exists()
