"""`nq.convert` and `nq.extract` on files: what is nested, exactness against the source, and every kind of bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored_weights import weights_of

import nq_tflite as nq
from nq_tflite.errors import (
    FormatError,
    MissingPackageError,
    NestingError,
    OutputError,
    RepresentativeDataError,
    UnsupportedModelError,
    WeightsError,
)
from nq_tflite.format.constants import BUFFER_ALIGNMENT, SECTION_ALIGNMENT
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.nested import read_nested

NESTINGS = ["8|7", "8|6", "8|5", "8|4", "8|3", "8|2", "8|6|4", "8|7|6|5|4|3|2", "7|4", "6|3", "5|2", "4|3", "3|2"]


@pytest.mark.parametrize("nesting", NESTINGS)
def test_nearest_keeps_an_int8_source_bit_for_bit(nesting: str, int8_tflite: bytes, tmp_path: Path) -> None:
    """At n = 8 the full-bit codes are the source's own; otherwise they are the nearest multiples of 2^(8-n)."""
    nq.convert(int8_tflite, tmp_path / "nested.tflite", nesting, rounding="nearest")
    source = weights_of(fb.read_model(int8_tflite).model)
    parsed = Nesting.parse(nesting)
    nested = read_nested(tmp_path / "nested.tflite")
    assert nested.precisions == parsed.precisions
    for weight in nested.weights:
        step = 1 << (8 - parsed.full_bits)
        wanted = np.clip(np.rint(source[weight.name] / step) * step, -128 + step, 128 - step)
        got = weight.values(len(parsed.precisions) - 1)
        if 1 in (parsed.full_bits - bits for bits in parsed.precisions):  # the lowest code is not allowed at odd places
            np.testing.assert_allclose(got, wanted, atol=step)
        else:
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("nesting", ["8|5", "8|6|4"])
def test_sections_follow_the_format(nesting: str, nested_dir: Path) -> None:
    path = nested_dir / f"int8_{nesting.replace('|', '_')}.tflite"
    data, nested = path.read_bytes(), read_nested(path)
    end = 0
    for level, section in enumerate(nested.table.sections):
        assert section.offset % SECTION_ALIGNMENT == 0
        assert not any(data[end : section.offset]) or level == 0
        end = section.offset + section.size
        for weight in nested.weights:
            start = section.offset + weight.block.levels[level].offset
            assert start % BUFFER_ALIGNMENT == 0
            assert data[start : start + 64] == weight.levels[level][:64].tobytes()
    assert end == len(data)
    assert nq.inspect_file(path).file_bytes == len(data)


def test_report_tells_what_was_nested_and_why_not(nested_dir: Path, int8_tflite: bytes, tmp_path: Path) -> None:
    report = nq.convert(int8_tflite, tmp_path / "nested.tflite", "8|5", rounding="squant")
    names = {row.name for row in report.weights} | {row.name for row in report.unnested}
    assert names == set(weights_of(fb.read_model(int8_tflite).model))
    assert {row.operator for row in report.weights} == {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert all("too small" in row.reason for row in report.unnested)
    for row in report.weights:
        part, full = row.snr_db
        assert 15 < part < full
    json.dumps(report.as_dict(), default=str)


@pytest.mark.slow
@pytest.mark.parametrize("calibrated", [False, True])
def test_conversion_is_deterministic(
    calibrated: bool, nested_dir: Path, int8_tflite: bytes, samples: np.ndarray, tmp_path: Path
) -> None:
    first, data = nested_dir / "int8_8_6_4.tflite", samples if calibrated else None
    if calibrated:
        first = tmp_path / "first.tflite"
        nq.convert(int8_tflite, first, "8|6|4", data)
    nq.convert(int8_tflite, tmp_path / "second.tflite", "8|6|4", data)
    assert first.read_bytes() == (tmp_path / "second.tflite").read_bytes()


@pytest.mark.parametrize("nesting", ["8|6", "8|4", "8|6|4"])
def test_exact_keeps_an_int8_source_bit_for_bit(
    nesting: str, int8_tflite: bytes, samples: np.ndarray, tmp_path: Path
) -> None:
    """Codes and full-bit biases are the source's; the levels below get biases of their own."""
    model = fb.read_model(int8_tflite).model
    report = nq.convert(int8_tflite, tmp_path / "nested.tflite", nesting, samples, exact=True)
    assert report.rounding == "exact"
    source, biases = weights_of(model), biases_of(model)
    nested = read_nested(tmp_path / "nested.tflite")
    last = len(nested.precisions) - 1
    for weight in nested.weights:
        np.testing.assert_array_equal(weight.values(last), source[weight.name])
        np.testing.assert_array_equal(weight.bias(last), biases[weight.name])
    assert any((weight.bias(0) != weight.bias(last)).any() for weight in nested.weights)
    assert report.estimate is not None
    plain = nq.convert(int8_tflite, tmp_path / "plain.tflite", nesting, samples, rounding="squant")
    assert plain.estimate is not None
    assert report.estimate.snr_db[-1] == float("inf")  # the source itself
    assert plain.estimate.snr_db[-1] < float("inf")


def biases_of(model: Any) -> dict[str, np.ndarray]:
    """Biases of convolutions and dense layers, by their weight's name."""
    found = {}
    for operator in model.subgraphs[0].operators:
        inputs = fb.indices(operator.inputs)
        if fb.operator_name(model, operator) in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            tensors = model.subgraphs[0].tensors
            values = fb.constant(model, tensors[inputs[2]])
            assert values is not None
            found[fb.text(tensors[inputs[1]].name)] = values
    return found


@pytest.mark.slow
@pytest.mark.parametrize("form", ["model", ".keras", ".h5", "SavedModel"])
def test_keras_sources(form: str, mixed_model: Any, samples: np.ndarray, tmp_path: Path) -> None:
    source: Any = mixed_model
    if form == "SavedModel":
        source = tmp_path / "saved"
        mixed_model.export(source, verbose=False)
    elif form != "model":
        source = tmp_path / f"saved{form}"
        mixed_model.save(source)
    report = nq.convert(source, tmp_path / "nested.tflite", "8|5", samples)
    assert len(report.weights) >= 5
    assert {row.output_type for row in report.weights} == {"int8"}


@pytest.mark.parametrize(
    "form", [*(pytest.param(each, marks=pytest.mark.slow) for each in ("array", "list")), "generator function", "dicts"]
)
def test_representative_data_in_every_form(form: str, samples: np.ndarray, tmp_path: Path) -> None:
    from nq_tflite_models.nets.small import mixed_net

    data: Any = {
        "array": samples[:4],
        "list": [samples[:1], samples[1:2]],
        "generator function": lambda: ([samples[i : i + 1]] for i in range(3)),
        "dicts": [{"image": samples[:1]}],
    }[form]
    model = mixed_net(seed=3, width=4)
    rounding: Any = "descent" if form == "generator function" else "nearest"
    types: Any = {"input_type": "int8", "output_type": "int8"}
    report = nq.convert(model, tmp_path / "nested.tflite", "8|5", data, rounding=rounding, **types)
    assert report.weights[0].output_type == "int8"
    subgraph = fb.read_model(tmp_path / "nested.tflite").model.subgraphs[0]
    assert subgraph.tensors[subgraph.inputs[0]].type == schema.TensorType.INT8


# ---- bad input: one clear error, nothing written ---------------------------------------------------------------------


def refused(error: type[Exception], message: str, folder: Path, *arguments: Any, **options: Any) -> None:
    """Checks that convert raises and leaves nothing behind."""
    before = sorted(folder.iterdir())
    with pytest.raises(error, match=message) as caught:
        nq.convert(arguments[0], folder / "out.tflite", *arguments[1:], **options)
    assert isinstance(caught.value, nq.NqError)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("data", [b"", b"TFL3", b"not a flatbuffer at all", bytes(100), b"\x10\0\0\0TFL3" + bytes(64)])
def test_not_a_flatbuffer(data: bytes, tmp_path: Path) -> None:
    refused(FormatError, "expected", tmp_path, data)


def test_truncated_sources(int8_tflite: bytes, tmp_path: Path) -> None:
    for keep in (20, 400, len(int8_tflite) // 2, len(int8_tflite) - 1000):
        refused(FormatError, "expected", tmp_path, int8_tflite[:keep])


def test_another_schema_version(int8_tflite: bytes, tmp_path: Path) -> None:
    model = fb.read_model(int8_tflite).model
    model.version = 2
    refused(FormatError, "schema version 3", tmp_path, fb.pack_model(model))


def test_missing_file_and_unknown_source(tmp_path: Path) -> None:
    refused(FormatError, "readable", tmp_path, tmp_path / "missing.tflite")
    refused(UnsupportedModelError, "source: expected a Keras model", tmp_path, 42)
    refused(UnsupportedModelError, "nothing there", tmp_path, tmp_path / "missing.keras")
    (tmp_path / "bad.keras").write_bytes(b"no zip")
    refused(UnsupportedModelError, "that loads", tmp_path, tmp_path / "bad.keras")


def test_nesting_and_rounding_arguments(int8_tflite: bytes, tmp_path: Path) -> None:
    refused(NestingError, "descending", tmp_path, int8_tflite, "4|8")
    refused(NestingError, "rounding", tmp_path, int8_tflite, "8|5", rounding="bogus")


def test_representative_data_that_cannot_be_used(
    mixed_model: Any, int8_tflite: bytes, samples: Any, tmp_path: Path
) -> None:
    refused(RepresentativeDataError, "got none", tmp_path, mixed_model, "8|5", np.zeros((0, 16, 16, 3), np.float32))
    refused(RepresentativeDataError, "got none", tmp_path, mixed_model, "8|5", list)
    refused(RepresentativeDataError, "finite", tmp_path, mixed_model, "8|5", samples * np.nan)
    refused(RepresentativeDataError, r"16, 3\].*got", tmp_path, mixed_model, "8|5", np.zeros((2, 9, 9, 1), np.float32))
    refused(RepresentativeDataError, "fix|got", tmp_path, int8_tflite, "8|5", np.zeros((2, 9, 9, 1), np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value: float, float_tflite: bytes, tmp_path: Path) -> None:
    model = fb.read_model(float_tflite).model
    tensor = next(t for t in model.subgraphs[0].tensors if fb.shape(t) == (153, 3, 3, 63))
    values = fb.constant(model, tensor)
    assert values is not None
    values = values.copy()
    values.flat[17] = value
    model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    refused(WeightsError, "NaN or infinity in 1 of", tmp_path, fb.pack_model(model))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_that_cannot_be_used(scale: float, int8_tflite: bytes, tmp_path: Path) -> None:
    model = fb.read_model(int8_tflite).model
    tensor = next(t for t in model.subgraphs[0].tensors if fb.shape(t) == (153, 3, 3, 63))
    scales = list(tensor.quantization.scale)
    tensor.quantization.scale = [scale, *scales[1:]]
    refused(WeightsError, "finite and positive", tmp_path, fb.pack_model(model))


def test_models_without_anything_to_nest(tmp_path: Path) -> None:
    import keras
    from nq_tflite_models.nets.small import dense_net

    inputs = keras.Input((4,))
    bare = keras.Model(inputs, keras.layers.ReLU()(inputs))
    refused(UnsupportedModelError, "got none; no CONV_2D", tmp_path, bare)
    refused(UnsupportedModelError, r"too small to gain.*include='\*' nests such weights", tmp_path, dense_net())
    assert nq.convert(dense_net(), tmp_path / "forced.tflite", "8|5", include="*").weights


def test_nested_files_are_not_nested_again(nested_dir: Path, tmp_path: Path) -> None:
    refused(UnsupportedModelError, "already nested", tmp_path, nested_dir / "int8_8_5.tflite")


def test_unwritable_places_and_old_files(int8_tflite: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match="writable folder"):
        nq.convert(int8_tflite, tmp_path / "no" / "such" / "folder.tflite", rounding="nearest")
    (tmp_path / "out.tflite").write_bytes(b"what was there before")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        nq.convert(int8_tflite, tmp_path / "out.tflite", rounding="nearest")
    assert (tmp_path / "out.tflite").read_bytes() == b"what was there before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_device_install_says_what_conversion_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="flatbuffers")

    monkeypatch.setattr(nq.importlib, "import_module", missing)
    monkeypatch.delitem(vars(nq), "extract", raising=False)
    with pytest.raises(MissingPackageError, match="the package flatbuffers"):
        _ = nq.extract


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, mixed_model: Any, tmp_path: Path) -> None:
    from nq_tflite.conversion.sources import keras_export

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(keras_export.importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match=r"\.\[convert\]"):
        nq.convert(mixed_model, tmp_path / "out.tflite")
    monkeypatch.setattr(fb.importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match=r"\.\[litert\]"):
        fb.load_schema()


@pytest.mark.parametrize(
    ("name", "message"),
    [("a\ud800.tflite", "utf-8, this system's encoding of file names, can encode"), ("a\0.tflite", "a zero byte")],
)
def test_names_that_no_file_can_have(name: str, message: str, int8_tflite: bytes, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=message):
        nq.convert(int8_tflite, tmp_path / name)
    with pytest.raises(FormatError, match=message):
        nq.convert(tmp_path / name, tmp_path / "out.tflite")
    assert not list(tmp_path.iterdir())
