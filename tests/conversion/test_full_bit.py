"""Full-bit beside plain rounding, on inputs that neither has seen: small nets in every kind of file.

`python -m nq_tflite_models.accuracy --nets all` prints the same for larger ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import nq_tflite as nq
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.extraction import extract
from nq_tflite.graph.nested import read_nested

if TYPE_CHECKING:
    from nq_tflite_models.nets.for_rounding import RoundingNet

#: The promise, in dB.
MOST_LOSS = 1.0


def shared(name: str, **options: Any) -> Callable[[], Any]:
    from nq_tflite_models.nets import shared_layers

    return partial(getattr(shared_layers, name), **options)


def net(make: Callable[[], Any], seed: int, *, fake_quant: bool = False) -> RoundingNet:
    from nq_tflite_models.nets.for_rounding import RoundingNet

    return RoundingNet(make, seed, fake_quant)


@pytest.fixture(scope="module", params=["conv", "dense"])
def trained(request: pytest.FixtureRequest) -> tuple[Any, bytes]:
    """A net as quantization-aware training leaves it, and tensorflow's full-int8 file of it."""
    from nq_tflite_models.nets import fake_quant

    model = net(getattr(fake_quant, f"fake_quant_{request.param}"), 31, fake_quant=True).build()
    return model, fake_quant.full_int8(model)


@pytest.mark.parametrize("count", [0, 16, 48])
def test_codes_of_training_stay(trained: tuple[Any, bytes], count: int, tmp_path: Path) -> None:
    """Full-bit is the file, to the bit; part-bit is exact's."""
    from nq_tflite_models.measure.full_bit import data_of

    model, content = trained
    data = data_of(model, count)
    report = nq.convert(content, tmp_path / "nested.tflite", "8|5", data)
    assert {row.rounding for row in report.weights} == {report.rounding} == {"exact"}
    assert any("rounding='squant'" in note for note in report.notes)
    nq.convert(content, tmp_path / "exact.tflite", "8|5", data, exact=True)
    assert (tmp_path / "nested.tflite").read_bytes() == (tmp_path / "exact.tflite").read_bytes()
    extract(tmp_path / "nested.tflite", tmp_path / "full.tflite")
    model = fb.read_model(content).model
    stored = {fb.text(each.name): each for each in model.subgraphs[0].tensors}
    full = fb.read_model(tmp_path / "full.tflite").model
    for tensor in full.subgraphs[0].tensors:
        values = fb.constant(full, tensor)
        if values is not None and fb.text(tensor.name) in stored:
            np.testing.assert_array_equal(values, fb.constant(model, stored[fb.text(tensor.name)]))


def test_a_method_that_was_asked_for_moves_them(trained: tuple[Any, bytes], tmp_path: Path) -> None:
    report = nq.convert(trained[1], tmp_path / "nested.tflite", "8|5", rounding="squant")
    assert report.rounding == "squant"
    assert not any("stay as they are" in note for note in report.notes)
    assert any(np.isfinite(row.snr_db[-1]) for row in report.weights)


def test_codes_that_were_rounded_after_training_may_move(int8_tflite: bytes, tmp_path: Path) -> None:
    """The same file without a word of its making keeps them."""
    report = nq.convert(int8_tflite, tmp_path / "nested.tflite", "8|5")
    assert report.rounding == "descent"
    moved = [
        np.abs(each.codes() - fb_codes).max() for each, fb_codes in _codes(tmp_path / "nested.tflite", int8_tflite)
    ]
    assert max(moved) > 0
    model = fb.read_model(int8_tflite).model
    model.metadata = []
    report = nq.convert(fb.pack_model(model), tmp_path / "silent.tflite", "8|5")
    assert report.rounding == "exact"
    assert all(row.snr_db[-1] == np.inf for row in report.weights)


def _codes(nested: Path, source: bytes) -> list[tuple[Any, np.ndarray]]:
    from nq_tflite.graph.sites import as_matrix

    model = fb.read_model(source).model
    stored = {fb.text(each.name): each for each in model.subgraphs[0].tensors}
    weights = read_nested(nested).weights
    return [(each, as_matrix(np.asarray(fb.constant(model, stored[each.name])), each.block.layout)) for each in weights]


@pytest.mark.parametrize(
    ("name", "options", "kind", "count"),
    [
        pytest.param("siamese_dense", {"width": 128}, "keras", 48, marks=pytest.mark.slow),
        ("siamese_dense", {"width": 128}, "INT8 file", 0),
        ("siamese_dense", {"width": 128}, "float file", 16),
        pytest.param("siamese_conv", {"width": 16}, "keras", 16, marks=pytest.mark.slow),
        pytest.param("time_distributed", {"width": 32}, "float file", 0, marks=pytest.mark.slow),
        pytest.param("time_distributed", {"width": 32}, "float file", 48, marks=pytest.mark.slow),
        pytest.param("time_distributed", {"width": 32}, "dynamic-range file", 12, marks=pytest.mark.slow),
    ],
)
def test_full_bit_keeps_the_promise(name: str, options: dict[str, Any], kind: Any, count: int) -> None:
    from nq_tflite_models.measure.full_bit import measure_full_bit

    [row] = measure_full_bit(name, net(shared(name, **options), 32), [count], [kind])
    assert row.nearest[0] > 20
    assert row.loss < MOST_LOSS
    assert row.default[1] > row.nearest[1] - 0.5
