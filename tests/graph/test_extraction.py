"""One precision taken out of a nested file as a stock model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stored_weights import weights_of

import nq_tflite as nq
from nq_tflite.errors import (
    FormatError,
    PrecisionError,
)
from nq_tflite.format.bitpack import Layout
from nq_tflite.format.levels import value_at
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.nested import read_nested


@pytest.mark.parametrize("kind", ["int8", "float"])
@pytest.mark.parametrize("nesting", ["8|5", "8|6|4", "6|3"])
def test_extracted_weights_are_the_nested_ones(kind: str, nesting: str, nested_dir: Path, tmp_path: Path) -> None:
    path = nested_dir / f"{kind}_{nesting.replace('|', '_')}.tflite"
    nested = read_nested(path)
    for level, bits in enumerate(Nesting.parse(nesting).precisions):
        size = nq.extract(path, tmp_path / "stock.tflite", bits)
        assert size == (tmp_path / "stock.tflite").stat().st_size
        extracted = weights_of(fb.read_model(tmp_path / "stock.tflite").model)
        for weight in nested.weights:
            codes = value_at(weight.codes(), weight.nesting, level)
            wanted = codes if kind == "int8" else codes * weight.scales[:, None]
            if weight.block.layout is Layout.DEPTHWISE:
                wanted = wanted.T
            np.testing.assert_array_equal(extracted[weight.name], wanted.reshape(weight.shape))


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_extract_undoes_convert(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Whatever convert added is gone: same tensors, operators, signatures and (int8) the same bytes of every buffer."""
    source = request.getfixturevalue(f"{kind}_tflite")
    nq.convert(source, tmp_path / "nested.tflite", "8|5", rounding="nearest")
    nq.extract(tmp_path / "nested.tflite", tmp_path / "stock.tflite")
    before, after = fb.read_model(source).model, fb.read_model(tmp_path / "stock.tflite").model
    old, new = before.subgraphs[0], after.subgraphs[0]
    assert [fb.text(t.name) for t in old.tensors] == [fb.text(t.name) for t in new.tensors]
    assert [fb.operator_name(before, o) for o in old.operators] == [fb.operator_name(after, o) for o in new.operators]
    assert [fb.indices(o.inputs) for o in old.operators] == [fb.indices(o.inputs) for o in new.operators]
    assert [fb.text(s.signatureKey) for s in before.signatureDefs] == [
        fb.text(s.signatureKey) for s in after.signatureDefs
    ]
    assert [fb.text(m.name) for m in before.metadata] == [fb.text(m.name) for m in after.metadata]
    if kind == "int8":
        for a, b in zip(old.tensors, new.tensors, strict=True):
            np.testing.assert_array_equal(before.buffers[a.buffer].data, after.buffers[b.buffer].data)


def test_extract_refuses_stock_models_and_unknown_precisions(
    nested_dir: Path, int8_tflite: bytes, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match="a stock model"):
        nq.extract(int8_tflite, tmp_path / "out.tflite")
    with pytest.raises(PrecisionError, match=r"\[5, 8\]"):
        nq.extract(nested_dir / "int8_8_5.tflite", tmp_path / "out.tflite", 6)
    assert not list(tmp_path.iterdir())
