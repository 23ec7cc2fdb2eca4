"""Float models fused: activations quantized at run time, the same bytes everywhere, nothing left over from before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest

import nq_tflite as nq
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.device.runtimes import installed_runtimes

#: What quantizing the activations may cost, as the SNR in dB against the same weights with float activations: of the
#: seven layers of the mixed net together, and of one or two layers alone.
WHOLE_NET_SNR_DB = 40.0
BRANCH_SNR_DB = 36.0
#: How far below the stock dynamic-range model's SNR, for full-bit, whose weights are rounded under more constraints.
STOCK_MARGIN_DB = 1.0
#: Channels of the dilated branch, which the converter makes of four smaller images, of the dense one, and of those that
#: read another.
DILATED, DENSE, SECOND = 48, 90, (90, 150)


def snr_db(wanted: np.ndarray, got: np.ndarray) -> float:
    """Of all values together."""
    error = np.asarray(got, np.float64) - wanted
    return float(10 * np.log10(np.sum(np.square(wanted, dtype=np.float64)) / np.sum(error**2)))


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """float32 [3, 19, 17, 61]: nothing is a multiple of anything, and every image has its own range."""
    images = np.random.default_rng(9).normal(0.2, 0.6, (3, 19, 17, 61))
    return (images * np.array([1, 0.01, 5])[:, None, None, None]).astype(np.float32)


@pytest.fixture(scope="session")
def branches(images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nested float model, 8|5: every kind of layer and window, all of them fused and all of them outputs."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)
    image = keras.Input(images.shape[1:], name="image")
    wide = layers.Conv2D(150, 1, bias_initializer="normal")(image)
    outputs = [
        wide,
        layers.Conv2D(70, 3, padding="same", activation="relu6", bias_initializer="normal")(image),
        layers.Conv2D(64, 5, strides=(2, 3), padding="same", activation="relu")(image),
        layers.Conv2D(70, 1, strides=2)(image),
        layers.Conv2D(DILATED, 3, dilation_rate=2, padding="same", use_bias=False)(image),
        layers.Conv2D(33, (19, 17), padding="valid")(image),
        layers.DepthwiseConv2D(3, padding="same", activation="relu6", bias_initializer="normal")(wide),
        layers.DepthwiseConv2D(3, strides=2, padding="valid")(wide),
        layers.DepthwiseConv2D(5, strides=2, padding="same", activation="relu")(wide),
        layers.Dense(DENSE, bias_initializer="normal")(wide),
    ]
    path = tmp_path_factory.mktemp("branches") / "float_8_5.tflite"
    report = nq.convert(export(keras.Model(image, outputs), None), path, "8|5", rounding="nearest")
    assert (len(report.weights), len(report.unnested)) == (10, 0)
    return path


@pytest.fixture(scope="session")
def small_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nested float model, 8|4, most layers of which are too small to nest: they keep their floats."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(6)
    image = keras.Input((21, 19, 3), name="image")
    padded = layers.ZeroPadding2D(((0, 1), (0, 1)))(image)
    x = layers.Conv2D(17, 3, strides=2, activation="swish", bias_initializer="normal")(padded)
    x = layers.DepthwiseConv2D(3, padding="same", activation="swish", bias_initializer="normal")(x)
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
    squeezed = layers.Conv2D(5, 1, activation="swish", bias_initializer="normal")(squeezed)
    x = layers.Multiply()([x, layers.Conv2D(17, 1, activation="sigmoid", bias_initializer="normal")(squeezed)])
    x = layers.Conv2D(96, 3, padding="same", activation="relu6")(x)
    outputs = layers.Dense(3, use_bias=False)(layers.GlobalAveragePooling2D()(x))
    path = tmp_path_factory.mktemp("small") / "float_8_4.tflite"
    report = nq.convert(export(keras.Model(image, outputs), None), path, "8|4", rounding="nearest")
    assert (len(report.weights), len(report.unnested)) == (1, 5)
    return path


@pytest.fixture(scope="session")
def stock_dynamic(mixed_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tensorflow's converter makes of the mixed net without representative data."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(mixed_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path = tmp_path_factory.mktemp("stock") / "dynamic.tflite"
    path.write_bytes(converter.convert())
    return path


def test_accuracy_is_that_of_the_runtimes_own_dynamic_range(
    worker_of: Any,
    nested_dir: Path,
    float_tflite: bytes,
    stock_dynamic: Path,
    samples: np.ndarray,
    tmp_path: Path,
) -> None:
    if "ai-edge-litert" not in installed_runtimes():
        pytest.skip("the others do not load a dynamic-range model of this converter")
    litert = worker_of("ai-edge-litert")
    path = nested_dir / "float_8_5.tflite"
    (tmp_path / "float.tflite").write_bytes(float_tflite)
    wanted = litert(jobs.run_stock, tmp_path / "float.tflite", samples)
    stock = litert(jobs.run_stock, stock_dynamic, samples, builtin=False)
    fused = litert(jobs.run_nested, path, samples, ["full", "part"], builtin=False)
    unpacked = litert(jobs.run_nested, path, samples, ["full", "part"])
    assert snr_db(wanted, fused[0]) >= snr_db(wanted, stock) - STOCK_MARGIN_DB
    for quantized, exact in zip(fused, unpacked, strict=True):
        assert WHOLE_NET_SNR_DB <= snr_db(exact, quantized) < np.inf


@pytest.mark.parametrize("precision", ["full", "part"])
def test_every_branch_is_near_the_exact_one(worker_of: Any, branches: Path, images: np.ndarray, precision: str) -> None:
    run = worker_of(installed_runtimes()[0])
    exact = run(jobs.all_outputs, branches, images, precision=precision, fuse=False)
    fused = run(jobs.all_outputs, branches, images, precision=precision)
    for a, b in zip(exact, fused, strict=True):
        for wanted, got in zip(a, b, strict=True):  # image by image: the ranges are 5 to 0.01
            assert BRANCH_SNR_DB <= snr_db(wanted, got) < np.inf


def test_runtimes_isas_and_thread_counts_agree(
    runtimes: tuple[str, ...], worker_of: Any, branches: Path, images: np.ndarray
) -> None:
    for precision in ("full", "part"):
        wanted = worker_of(runtimes[0])(jobs.all_outputs, branches, images, precision=precision, isa="scalar")
        for runtime in runtimes:
            for isa, threads in [("", 1), ("", 2), ("", 3), ("sse2", 2), ("avx2", 1), ("avx2", 2)]:
                got = worker_of(runtime)(
                    jobs.all_outputs, branches, images, precision=precision, isa=isa, threads=threads
                )
                for a, b in zip(got or wanted, wanted, strict=True):  # empty: not an ISA of this machine
                    np.testing.assert_array_equal(a, b)


def test_a_batch_gives_what_its_images_give_alone(worker_of: Any, branches: Path, images: np.ndarray) -> None:
    run = worker_of(installed_runtimes()[0])
    for threads in (1, 2):
        batch = run(jobs.all_outputs, branches, images, precision="full", threads=threads)
        alone = [run(jobs.all_outputs, branches, images[i : i + 1], precision="full") for i in range(len(images))]
        for together, *singles in zip(batch, *alone, strict=True):
            np.testing.assert_array_equal(together, np.concatenate(singles))


@pytest.mark.parametrize("threads", [1, 2])
def test_neither_inputs_nor_precisions_leave_anything_behind(
    threads: int, worker: Any, nested_dir: Path, samples: np.ndarray
) -> None:
    """Where the builtin hybrid kernels keep row sums of the weights they saw first."""
    path = nested_dir / "float_8_6_4.tflite"
    inputs = samples[:3] * np.array([1, 100, 0.1], np.float32)[:, None, None, None]
    order = ["full", "part", 6, "full", 6, "part"]
    got = worker(jobs.run_nested, path, inputs, order, threads=threads, builtin=False)
    fresh = {}
    for precision in ("full", 6, "part"):
        runs = [worker(jobs.run_nested, path, x[None], [precision], threads=threads, builtin=False) for x in inputs]
        fresh[precision] = np.concatenate([outputs[0] for outputs in runs])
    for precision, outputs in zip(order, got, strict=True):
        np.testing.assert_array_equal(outputs, fresh[precision], err_msg=f"precision {precision}")
    assert len({outputs.tobytes() for outputs in fresh.values()}) == 3


def test_what_is_not_finite_gives_nan_in_its_own_image(
    request: pytest.FixtureRequest, cpu: str | None, worker: Any, branches: Path, images: np.ndarray
) -> None:
    # On Arm this runtime's own ADD, which adds the dense layer's bias, makes a number of NaN in the last channel; so it
    # does in the stock file.
    shown = slice(-1) if cpu is not None and "tflite-runtime" in request.node.name else slice(None)
    broken = images.copy()
    broken[1, 3, 4, 5] = np.nan
    broken[2, 18, 16, 34] = -np.inf
    for threads in (1, 2):
        wanted = worker(jobs.all_outputs, branches, images, precision="full", threads=threads)
        got = worker(jobs.all_outputs, branches, broken, precision="full", threads=threads)
        for a, b in zip(wanted, got, strict=True):
            np.testing.assert_array_equal(a[0], b[0])
            values = np.isnan(b[1:, ..., shown] if b.shape[-1] == DENSE else b[1:]).reshape(2, -1)
            assert (values.any(axis=1) if b.shape[-1] == DILATED else values).all()


def test_zeros_are_exact(worker_of: Any, branches: Path, images: np.ndarray) -> None:
    run = worker_of(installed_runtimes()[0])
    outputs = run(jobs.all_outputs, branches, np.zeros_like(images), precision="full")
    exact = run(jobs.all_outputs, branches, np.zeros_like(images), precision="full", fuse=False)
    pairs = [(a, b) for a, b in zip(outputs, exact, strict=True) if a.shape[-1] not in SECOND]
    assert len(pairs) == 5
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)
    assert any(a.any() for a, _ in pairs)  # the bias


def test_no_unpacked_weight_is_allocated(worker: Any, nested_dir: Path) -> None:
    path = nested_dir / "float_8_5.tflite"
    assert worker(delegation_jobs.allocated_weights, path, fuse=True) == 0
    assert worker(delegation_jobs.allocated_weights, path, fuse=False) == len(nq.inspect_file(path).weights)


def test_layers_too_small_to_nest_part_no_graph(runtimes: tuple[str, ...], worker_of: Any, small_layers: Path) -> None:
    rng = np.random.default_rng(12)
    images = rng.normal(0.1, 0.8, (2, 21, 19, 3)).astype(np.float32)
    run = worker_of(runtimes[0])
    wanted = run(jobs.all_outputs, small_layers, images, precision="full", isa="scalar")
    exact = run(jobs.all_outputs, small_layers, images, precision="full", fuse=False)
    assert BRANCH_SNR_DB <= snr_db(exact[0], wanted[0]) < np.inf
    for runtime in runtimes:
        [delegation] = worker_of(runtime)(delegation_jobs.delegation, small_layers)
        assert delegation.summary() == "1 of 1 nested weight fused, 1 partition"
        for isa, threads in [("", 1), ("", 3), ("avx2", 1), ("sse2", 2)]:
            got = worker_of(runtime)(jobs.all_outputs, small_layers, images, precision="full", isa=isa, threads=threads)
            np.testing.assert_array_equal((got or wanted)[0], wanted[0])  # empty: not an ISA of this machine
