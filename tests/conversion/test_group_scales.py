"""`nq.convert(group_size=...)`: what the file holds, what comes back, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from repacked import repacked
from tied_graph import WIDTH, tied_graph

import nq_tflite as nq
from nq_tflite.errors import FormatError, NestingError, UnsupportedModelError
from nq_tflite.format.groups import spread
from nq_tflite.format.levels import lowest_codes
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.inspection import inspect_file
from nq_tflite.graph.nested import read_nested


@pytest.fixture(scope="module")
def nested_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("groups") / "nested.tflite"
    nq.convert(tied_graph(), path, "8|4", group_size=32)
    return path


@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize("nesting", ["8|4", "4|3|2"])
def test_weights_are_within_half_a_code_of_the_source(nesting: str, group_size: int, tmp_path: Path) -> None:
    content, path = tied_graph(), tmp_path / "nested.tflite"
    report = nq.convert(content, path, nesting, group_size=group_size, rounding="nearest")
    model = fb.read_model(content).model
    source = {fb.text(t.name): fb.constant(model, t) for t in model.subgraphs[0].tensors}
    nested = read_nested(path)
    assert [weight.consumer for weight in nested.weights] == ["GATHER", "FULLY_CONNECTED", "FULLY_CONNECTED"]
    for weight in nested.weights:
        full_bits, channels = weight.nesting.full_bits, weight.shape[0]
        assert weight.scales.shape == (channels, WIDTH // group_size)
        step = spread(weight.scales, WIDTH) * float(1 << (8 - full_bits))
        last = len(weight.levels) - 1
        at_limit = weight.codes() <= lowest_codes(WIDTH, weight.nesting)
        near = np.abs(weight.values(last) - source[weight.name]) <= 0.5001 * step
        assert (near | at_limit).all()
        assert near.mean() > 0.95
        expected = weight.codes().astype(np.float32) * spread(weight.scales, WIDTH)
        np.testing.assert_array_equal(weight.values(last), expected)
    bits = report.bits_a_weight
    assert bits.group_scales == pytest.approx(16 / group_size, rel=0.1)  # 100 rows are padded to 112
    assert bits.total == bits.nesting + bits.padding + bits.group_scales
    assert inspect_file(path).bits_a_weight.group_scales == pytest.approx(16 / group_size, rel=0.1)
    assert "of group scales" in str(bits)


def test_groups_are_nearer_than_channels(tmp_path: Path) -> None:
    by_groups = nq.convert(tied_graph(), tmp_path / "a.tflite", "8|4", group_size=32)
    by_channels = nq.convert(tied_graph(), tmp_path / "b.tflite", "8|4", rounding="nearest")
    for groups, channels in zip(by_groups.weights, by_channels.weights, strict=True):
        assert groups.snr_db[0] > channels.snr_db[0] + 1


def test_scales_stay_with_the_root_and_are_stored_once(nested_path: Path, tmp_path: Path) -> None:
    """A tied weight has one buffer of them, and the base that is delivered first has it."""
    nested = read_nested(nested_path)
    model = nested.file.model
    names = ["t1/group_scale", "t2/group_scale"]
    tensors = [t for t in model.subgraphs[0].tensors if fb.text(t.name) in names]
    assert len({t.buffer for t in tensors}) == 2
    sizes = [fb.constant(model, t).nbytes for t in tensors]  # type: ignore[union-attr]
    assert sorted(set(sizes)) == [4 * 2 * 112, 4 * 2 * 128]
    nq.split(nested_path, tmp_path / "parts")
    base, upgrade = sorted((tmp_path / "parts").iterdir())
    nq.join(base, upgrade, tmp_path / "joined.tflite")
    assert (tmp_path / "joined.tflite").read_bytes() == nested_path.read_bytes()
    first_part, table = base.read_bytes(), model.subgraphs[0].tensors
    for tensor in table:
        if fb.text(tensor.name) in names:
            assert bytes(model.buffers[tensor.buffer].data) in first_part


def test_a_channel_scale_stays_what_it_was(tmp_path: Path) -> None:
    """Files without groups are those of version 1.0, byte for byte in their option blocks."""
    nq.convert(tied_graph(), tmp_path / "nested.tflite", "8|4", rounding="nearest")
    model = fb.read_model(tmp_path / "nested.tflite").model
    operator = next(o for o in model.subgraphs[0].operators if fb.custom_name(model, o))
    assert bytes(operator.customOptions)[4:16] == bytes.fromhex("010000004000000000000000")
    assert bytes(operator.customOptions)[28:32] == bytes(4)


@pytest.mark.parametrize("group_size", [0, 16, 33, 256, True, "32"])
def test_sizes_that_no_file_has(group_size: object, tmp_path: Path) -> None:
    with pytest.raises(NestingError, match="group_size: expected one of 32, 64, 128"):
        nq.convert(tied_graph(), tmp_path / "nested.tflite", group_size=group_size)  # type: ignore[arg-type]


def test_a_size_that_does_not_divide_the_depth(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"'t1'.* that is a multiple of 64, got 96"):
        nq.convert(tied_graph(width=96), tmp_path / "nested.tflite", group_size=64)


def test_groups_on_a_convolution(float_tflite: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"one of EMBEDDING_LOOKUP, FULLY_CONNECTED, GATHER, got CONV_2D"):
        nq.convert(float_tflite, tmp_path / "nested.tflite", group_size=32)


def test_groups_on_int8_weights(int8_tflite: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="group scales of"):
        nq.convert(int8_tflite, tmp_path / "nested.tflite", group_size=32)


def group_scales_of(model: object) -> object:
    return next(t for t in model.subgraphs[0].tensors if b"group_scale" in t.name)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "4288 bytes|expected .* bytes"),
        ("shape", "type and shape of group scales"),
        ("type", "type and shape of group scales"),
        ("value", "0 or positive, normal"),
        ("padding", "channels that pad"),
        ("inputs", "inputs: expected 6, got 5"),
    ],
)
def test_damaged_scales_are_refused(kind: str, message: str, nested_path: Path) -> None:
    def change(model: object) -> None:
        tensor = group_scales_of(model)
        buffer = model.buffers[tensor.buffer]  # type: ignore[attr-defined]
        if kind == "truncated":
            buffer.data = np.asarray(buffer.data)[:-2]
        elif kind == "shape":
            tensor.shape = [4, tensor.shape[0], 16]  # type: ignore[attr-defined]
        elif kind == "type":
            tensor.type = schema.TensorType.INT16  # type: ignore[attr-defined]
        elif kind == "value":
            buffer.data = np.concatenate([np.array([0, 0xFC], np.uint8), np.asarray(buffer.data)[2:]])
        elif kind == "padding":
            buffer.data = np.concatenate([np.asarray(buffer.data)[:-2], np.array([0, 0x3C], np.uint8)])
        else:
            operator = next(o for o in model.subgraphs[0].operators if fb.custom_name(model, o))  # type: ignore[attr-defined, arg-type]
            operator.inputs = fb.indices(operator.inputs)[:-1]

    with pytest.raises(FormatError, match=message):
        read_nested(repacked(nested_path.read_bytes(), change))
