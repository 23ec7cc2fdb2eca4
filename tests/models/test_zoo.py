"""The models to measure on, and the command that compares them with their stock INT8 files. No test looks at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from delegation_jobs import delegation
from jobs import run_nested, run_stock
from nq_tflite_models.measure.comparison import MEMORY_DEFINITION, compare_models, model_files
from nq_tflite_models.nets.zoo import MODELS, PAPER, SETS, WITH_WEIGHTS, build_model

import nq_tflite as nq
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.device.runtimes import installed_runtimes
from nq_tflite.errors import FormatError, ModelSourceError, NativeLibraryError, NestingError, UnsupportedModelError
from nq_tflite.format.constants import OutputType
from nq_tflite.graph.nested import read_nested

#: Its folder of files is made in one of pytest's workers.
pytestmark = pytest.mark.xdist_group("zoo")
RUNTIME = "ai-edge-litert"
#: With those that test_compatibility.py's `REAL_SIZES` runs alike, every operator that a model of the zoo has.
OPERATORS_OF_ALL = ("ds_cnn_s", "mlp_mixer_s16")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has DS-CNN-S's stock INT8 file already."""
    folder = tmp_path_factory.mktemp("zoo")
    model_files("ds_cnn_s", folder)
    return folder


def weights_of(model: Any) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in model.get_weights()]


def check_seeds(build: Any) -> Any:
    """The same seed gives the same weights, another seed other ones; returns the first model."""
    first, again, other = build(3), build(3), build(4)
    assert all(np.array_equal(a, b) for a, b in zip(weights_of(first), weights_of(again), strict=True))
    trainable = zip(first.trainable_weights, other.trainable_weights, strict=True)
    assert not any(np.array_equal(a.numpy(), b.numpy()) for a, b in trainable)
    return first


def check_alive(model: Any) -> None:
    """Logits are finite, differ from class to class and from input to input."""
    from nq_tflite_models.nets.seeded import seeded_inputs

    logits = np.asarray(model(seeded_inputs(model.input_shape, 3, seed=9)))
    assert np.isfinite(logits).all()
    assert logits.std(axis=1).min() > 0.05
    assert logits.std(axis=1).max() < 50
    assert logits.std(axis=0).mean() > 0.02 * logits.std()


# ---- builders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "parameters"), [("small", 24_332), ("medium", 139_676), ("large", 419_808)])
def test_ds_cnn(size: Any, parameters: int) -> None:
    from nq_tflite_models.nets.ds_cnn import ds_cnn

    model = check_seeds(lambda seed: ds_cnn(size, seed))
    assert (model.input_shape, model.output_shape) == ((None, 49, 10, 1), (None, 12))
    assert model.count_params() == parameters
    check_alive(model)


def test_mlp_mixer_stays_int8_from_input_to_output() -> None:
    from nq_tflite_models.nets.mlp_mixer import mlp_mixer
    from nq_tflite_models.nets.seeded import seeded_inputs

    from nq_tflite.conversion.sources.calibration import sample_source
    from nq_tflite.conversion.sources.keras_export import export
    from nq_tflite.graph import flatbuffer as fb

    model = check_seeds(lambda seed: mlp_mixer(seed, image_size=32, blocks=1))
    assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 1000))
    check_alive(model)
    graph = fb.read_model(export(model, sample_source(seeded_inputs(model.input_shape, 2)))).model
    names = [fb.operator_name(graph, operator) for operator in graph.subgraphs[0].operators]
    assert (names.count("QUANTIZE"), names.count("DEQUANTIZE"), names.count("FULLY_CONNECTED")) == (1, 1, 5)


def test_layer_norm_is_keras() -> None:
    import keras
    from nq_tflite_models.nets.layer_norm import LayerNorm

    tokens = np.random.default_rng(1).normal(2.0, 3.0, (2, 5, 16)).astype(np.float32)
    ours, theirs = LayerNorm(epsilon=1e-6), keras.layers.LayerNormalization(epsilon=1e-6)
    for layer in (ours, theirs):
        layer.build(tokens.shape)
        layer.set_weights([np.linspace(0.5, 1.5, 16), np.linspace(-1.0, 1.0, 16)])
    np.testing.assert_allclose(np.asarray(ours(tokens)), np.asarray(theirs(tokens)), atol=1e-5)


def test_settled_batch_norms_give_their_own_mean_and_deviation() -> None:
    import keras
    from nq_tflite_models.nets.ds_cnn import ds_cnn
    from nq_tflite_models.nets.seeded import seeded_inputs, settle_batch_norms

    model = ds_cnn("small", seed=1)
    inputs = 5.0 + seeded_inputs(model.input_shape, 6, seed=2)
    last = model.get_layer("pointwise_3_bn")
    until = keras.Model(model.input, last.output)
    gamma, beta = (np.asarray(weight) for weight in last.get_weights()[:2])
    assert np.abs(np.asarray(until(inputs)).mean((0, 1, 2)) - beta).max() > 0.1
    settle_batch_norms(model, inputs)
    seen = np.asarray(until(inputs))
    np.testing.assert_allclose(seen.mean((0, 1, 2)), beta, atol=0.01)
    np.testing.assert_allclose(seen.std((0, 1, 2)), gamma, rtol=0.02)
    assert last.momentum == keras.layers.BatchNormalization().momentum


def test_dropout_does_not_reach_the_moments() -> None:
    import keras
    from nq_tflite_models.nets.seeded import settle_batch_norms

    inputs = np.random.default_rng(2).normal(size=(16, 4)).astype(np.float32)
    norm, dropout = keras.layers.BatchNormalization(), keras.layers.Dropout(0.5, seed=1)
    settle_batch_norms(keras.Sequential([keras.Input((4,)), dropout, norm]), inputs)
    np.testing.assert_allclose(np.asarray(norm.moving_mean), inputs.mean(0), atol=1e-6)
    assert dropout.rate == 0.5


def test_seeded_inputs() -> None:
    from nq_tflite_models.nets.seeded import seeded_inputs

    images = seeded_inputs((None, 30, 20, 3), 4, seed=1)
    assert (images.shape, images.dtype) == ((4, 30, 20, 3), np.float32)
    assert -1.0 <= images.min() < -0.5 < 0.5 < images.max() <= 1.0
    np.testing.assert_array_equal(images, seeded_inputs((None, 30, 20, 3), 4, seed=1))
    assert not np.array_equal(images, seeded_inputs((None, 30, 20, 3), 4, seed=2))
    assert len(np.unique(images.mean((1, 2, 3)))) == 4


def test_the_papers_set_is_of_models() -> None:
    assert set(PAPER) <= set(MODELS)
    assert len(set(PAPER)) == len(PAPER) == 14


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2", "vit_b16", "deit_s", "swin_t", "poolformer_s12"])
@pytest.mark.slow
def test_the_papers_architectures_have_their_numbers_of_weights(name: str) -> None:
    """As torchvision and timm count them, moments of batch norms left out."""
    from nq_tflite_models.nets import poolformer, resnet18, shufflenet_v2, vision_transformers

    modules = {"resnet18": resnet18, "shufflenet_v2": shufflenet_v2, "poolformer_s12": poolformer}
    model = getattr(modules.get(name, vision_transformers), f"untrained_{name}")()
    expected = {
        "resnet18": 11_689_512,
        "shufflenet_v2": 2_278_604,
        "vit_b16": 86_567_656,
        "deit_s": 22_050_664,
        "swin_t": 28_288_354,
        "poolformer_s12": 11_915_176,
    }
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == expected[name]
    assert (model.input_shape, model.output_shape) == ((None, 224, 224, 3), (None, 1000))


def test_digits_cnn() -> None:
    model = check_seeds(lambda seed: build_model("digits_cnn", seed))
    assert (model.input_shape, model.output_shape) == ((None, 28, 28, 1), (None, 10))
    assert sum(int(np.prod(weight.shape)) for weight in model.weights if len(weight.shape) > 1) == 224_800
    check_alive(model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in SETS["zoo"] if not name.startswith(("ds_cnn", "digits")) and name not in WITH_WEIGHTS]
)
def test_every_model_of_the_zoo(name: str) -> None:
    model = check_seeds(lambda seed: build_model(name, seed))
    assert (model.input_shape, model.output_shape) == ((None, 224, 224, 3), (None, 1000))
    check_alive(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v2", "mobilenet_v3_large"])
def test_cnns_at_dynamic_range_are_one_partition(name: str, tmp_path: Path, worker_of: Any) -> None:
    """Of float activations, with layers that are too small to nest: all of the graph is fused."""
    nested = tmp_path / "nested.tflite"
    report = nq.convert(export(build_model(name, 0), None), nested, "8|4", rounding="nearest")
    assert report.unnested
    [found] = worker_of(RUNTIME)(delegation, nested)
    assert found.num_partitions == 1
    assert {operator.place for operator in found.operators} == {"fused"}


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_files_of_a_model(cache: Path) -> None:
    stock = cache / "ds_cnn_s_seed0_int8.tflite"
    before = (stock.stat().st_mtime_ns, stock.stat().st_ino)
    stages: list[str] = []
    files = model_files("ds_cnn_s", cache, "8|6|4", progress=lambda stage, done, total: stages.append(stage))
    assert stages == ["nesting"]  # the stock file is there
    assert (stock.stat().st_mtime_ns, stock.stat().st_ino) == before
    assert Path(files.stock) == stock
    assert Path(files.nested) == cache / "ds_cnn_s_seed0_8_6_4.tflite"
    assert (files.stock_bytes, files.nested_bytes) == (stock.stat().st_size, Path(files.nested).stat().st_size)
    assert read_nested(files.nested).precisions == (4, 6, 8)
    positions = 25 * 5
    pointwise, depthwise = positions * 64 * 64, positions * 64 * 9
    assert files.multiply_accumulates == positions * 64 * 40 + 4 * (pointwise + depthwise) + 64 * 12
    assert files.num_weights == 64 * 40 + 4 * (64 * 64 + 64 * 9) + 64 * 12
    assert (files.operators["CONV_2D"], files.operators["DEPTHWISE_CONV_2D"], files.unnested) == (5, 4, 0)
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_float_files_of_a_model(cache: Path) -> None:
    files = model_files("ds_cnn_s", cache, "8|4", "float")
    assert Path(files.stock) == cache / "ds_cnn_s_seed0_dynamic.tflite"
    assert Path(files.nested) == cache / "ds_cnn_s_seed0_float_8_4.tflite"
    assert files.operators["CONV_2D"] == 5
    assert "QUANTIZE" not in files.operators
    weights = read_nested(files.nested).weights
    assert {weight.block.output_type for weight in weights} == {OutputType.FLOAT32}
    assert files.num_weights == 64 * 40 + 4 * (64 * 64 + 64 * 9) + 64 * 12


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    for names in (["ds_cnn_s", "alexnet"], []):
        with pytest.raises(UnsupportedModelError, match="expected names of resnet50"):
            compare_models(names, tmp_path / "nothing")
    with pytest.raises(UnsupportedModelError, match="'alexnet'"):
        build_model("alexnet")
    with pytest.raises(NestingError, match="'8'"):
        compare_models(["ds_cnn_s"], tmp_path / "nothing", nesting="8")
    with pytest.raises(NativeLibraryError, match="NQ_ISA=mmx is not"):
        compare_models(["ds_cnn_s"], tmp_path / "nothing", isa="mmx")
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ModelSourceError, match="expected a folder that can be created"):
        model_files("ds_cnn_s", tmp_path / "file" / "zoo")
    (tmp_path / "ds_cnn_s_seed0_int8.tflite").write_bytes(b"damaged")
    with pytest.raises(FormatError, match=r"ds_cnn_s_seed0_int8\.tflite"):
        model_files("ds_cnn_s", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATORS_OF_ALL)
def test_nested_outputs_are_those_of_the_extracted_model(name: str, tmp_path: Path, worker_of: Any) -> None:
    from nq_tflite_models.nets.seeded import seeded_inputs

    from nq_tflite.graph.extraction import extract

    if RUNTIME not in installed_runtimes():
        pytest.skip(f"{RUNTIME} is not installed")
    files, worker = model_files(name, tmp_path), worker_of(RUNTIME)
    shape = (None, 49, 10, 1) if name.startswith("ds_cnn") else (None, 224, 224, 3)
    inputs = seeded_inputs(shape, 2, seed=5)
    nested = worker(run_nested, Path(files.nested), inputs, ("full", "part"), builtin=False)
    for precision, outputs in zip(("full", "part"), nested, strict=True):
        stock = tmp_path / f"{precision}.tflite"
        extract(files.nested, stock, precision)
        np.testing.assert_array_equal(outputs, worker(run_stock, stock, inputs, builtin=False))


@pytest.mark.slow
def test_comparison_of_two_models(cache: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    seen = compare_models(
        ["ds_cnn_s", "ds_cnn_l"], cache, nesting="8|4", runs=1, progress=lambda *step: steps.append(step)
    )
    assert [model.files.name for model in seen.models] == ["ds_cnn_s", "ds_cnn_l"]
    done = [step for _, step, _ in steps]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (1, 10)
    assert {total for _, _, total in steps} == {10}
    assert all(model.stock_memory > model.files.stock_bytes / 2 for model in seen.models)


# ---- the command -----------------------------------------------------------------------------------------------------


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nq_tflite_models.benchmark", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_command_prints_its_tables(cache: Path) -> None:
    done = run(
        "--models", "ds_cnn_s", "--threads", "1,2", "--runs", 2, "--isa", "scalar", "--storage", "--cache", cache
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("┏") == 4
    for text in (
        "(scalar kernels)",
        "nested 8|4",
        "ds_cnn_s",
        "full time",
        "part memory",
        "switching, beside loading the stock file anew",
        "storage: one nested file",
        MEMORY_DEFINITION,
        str(cache),
    ):
        assert text in done.stdout
    assert "ds_cnn_s: latency, 2 threads" in done.stderr


@pytest.mark.slow
def test_command_as_json(cache: Path) -> None:
    done = run("--models", "ds_cnn_s", "--nesting", "8|5", "--runs", 2, "--cache", cache, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["nesting"], found["runs"], found["memory_threads"]) == ("8|5", 2, 1)
    (model,) = found["models"]
    (row,) = model["latencies"]
    assert [row[key]["bits"] for key in ("stock", "full", "part")] == [None, 8, 5]
    assert (row["num_threads"], row["stock"]["ratio"]) == (1, 1.0)
    nested, stock, *peers = model["report"]["footprints"]
    added = {"stock": stock["states"][0], "full": nested["states"][0], "part": nested["states"][1]}
    for key, state in added.items():
        assert model["memory"][key] == state["added"]["anonymous"] + state["added"]["model_file"]
    cached = [each["states"][0]["added"] for each in peers if each["peer"] == "weight-cache"]
    held = [each["anonymous"] + each["model_file"] + each["cache_file"] for each in cached]
    assert model["memory"]["cached"] == (held[0] if held else None)
    assert (row["cached"] is not None) == bool(held)
    assert model["files"]["name"] == "ds_cnn_s"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--models", "alexnet"), 2, "'alexnet'"),
        (("--models", ""), 2, "expected names of"),
        (("--threads", "0"), 2, "1,2"),
        (("--runs", "0"), 2, "--runs"),
        (("--runtime", "onnx"), 2, "--runtime"),
        (("--activations", "int16"), 2, "--activations"),
        (("surplus",), 2, "surplus"),
        (("--models", "ds_cnn_s", "--nesting", "4|8"), 2, "--nesting"),
        (("--models", "ds_cnn_s", "--isa", "mmx"), 1, "error: NQ_ISA=mmx is not"),
        (("--models", "ds_cnn_s", "--cache", "/dev/null/zoo"), 1, "error: folder /dev/null/zoo"),
    ],
)
def test_command_refuses(arguments: tuple[str, ...], code: int, text: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_help_needs_no_tensorflow() -> None:
    code = "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; "
    code += "from nq_tflite_models.benchmark import benchmark; benchmark(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "ds_cnn_s" in done.stdout
