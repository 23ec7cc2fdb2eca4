"""What nested files take beside separate models, and the commands that measure it and time deliveries."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from nq_tflite_models.delivery import delivery
from nq_tflite_models.measure.first_inference import first_inferences
from nq_tflite_models.measure.throttled import throttled_server

import nq_tflite as nq
from nq_tflite.cli import nq_tflite
from nq_tflite.errors import FormatError, UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.nested import read_nested
from nq_tflite.measure.storage import measure_storage, pack_integers, write_separate


@pytest.fixture
def stock(tmp_path: Path, int8_tflite: bytes) -> Path:
    path = tmp_path / "stock.tflite"
    path.write_bytes(int8_tflite)
    return path


@given(width=st.integers(2, 8), values=st.lists(st.integers(-128, 127), max_size=20))
def test_packed_integers_take_their_bits_and_come_back(width: int, values: list[int]) -> None:
    limit = 1 << (width - 1)
    signed = [(value + limit) % (2 * limit) - limit for value in values]
    packed = pack_integers(np.array(signed, np.int8), width)
    assert len(packed) == -(-width * len(values) // 8)
    number = int.from_bytes(packed, "little")
    fields = [number >> width * index & 2 * limit - 1 for index in range(len(values))]
    assert [(field + limit) % (2 * limit) - limit for field in fields] == signed


@pytest.mark.slow
def test_sizes_are_those_of_files(stock: Path, tmp_path: Path) -> None:
    rows = measure_storage([stock], ["8|4", "8|6|4"])
    assert [row.nesting for row in rows] == ["8|4", "8|6|4"]
    for row in rows:
        nested = tmp_path / "nested.tflite"
        nq.convert(stock, nested, row.nesting, rounding="squant")
        parts = nq.split(nested, tmp_path / "parts")
        assert row.nested_bytes == nested.stat().st_size
        assert (row.base_bytes, *row.upgrade_bytes) == (parts.base.bytes, *(part.bytes for part in parts.upgrades))
        for model in row.models:
            whole = nq.extract(nested, tmp_path / "extracted.tflite")
            count = sum(weight.block.channels * weight.block.depth for weight in read_nested(nested).weights)
            saved = whole - model.packed_bytes
            assert abs(saved - count * (8 - model.bits) / 8) < 0.01 * whole
            assert model.tflite_bytes == (model.packed_bytes if model.bits in (4, 8) else whole)
        assert row.separate_switch_bytes == row.models[0].packed_bytes + row.models[-1].packed_bytes
        assert row.nested_bytes < row.packed_bytes <= row.tflite_bytes
    assert [round(row.paper_ratio, 3) for row in rows] == [round(x, 3) for x in (9 / 12, 10 / 18)]
    assert measure_storage([nested])[0].nesting == "8|6|4"


@pytest.mark.parametrize("bits", [4, 8])
def test_packed_files_that_tflite_has_a_type_for_run(
    bits: int, native_worker_of: Any, runtimes: tuple[str, ...], nested_dir: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    """The outputs are those of the same integers in bytes."""
    nested = nested_dir / "int8_8_5.tflite"
    outputs = []
    for packed in (True, False):
        path = tmp_path / f"{packed}.tflite"
        assert write_separate(nested, path, bits, packed=packed) == path.stat().st_size
        outputs.append(native_worker_of("ai-edge-litert")(jobs.run_stock, path, samples[:2]))
    np.testing.assert_array_equal(*outputs)


def test_packed_weights_are_the_nearest_integers(nested_dir: Path, tmp_path: Path) -> None:
    path = nested_dir / "int8_8_5.tflite"
    write_separate(path, tmp_path / "separate.tflite", 5, packed=False)
    model = fb.read_model(tmp_path / "separate.tflite").model
    tensors = {fb.text(tensor.name): tensor for tensor in model.subgraphs[0].tensors}
    for weight in read_nested(path).weights:
        values = fb.constant(model, tensors[weight.name])
        np.testing.assert_array_equal(values, np.clip(np.rint(weight.values(1) / 8), -15, 15))
        np.testing.assert_allclose(tensors[weight.name].quantization.scale, 8 * weight.scales)


def test_models_that_have_no_integers_beside_them(nested_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="full-int8"):
        measure_storage([nested_dir / "float_8_5.tflite"])
    with pytest.raises(FormatError):
        measure_storage([tmp_path / "missing.tflite"])


def test_the_command(stock: Path, nested_dir: Path) -> None:
    arguments = ["storage", str(stock), str(nested_dir / "int8_8_5.tflite"), "--nesting", "8|5"]
    result = CliRunner().invoke(nq_tflite, arguments)
    assert result.exit_code == 0, result.stderr
    for text in ("all 2", "NestQuant's formula", "a switch moves", "8|5"):
        assert text in result.stdout
    found = json.loads(CliRunner().invoke(nq_tflite, [*arguments, "--json"]).stdout)
    assert [row["nesting"] for row in found["models"]] == ["8|5", "8|5"]
    [total] = found["totals"]
    assert total["nested_bytes"] == sum(row["nested_bytes"] for row in found["models"])


@pytest.mark.slow
def test_the_command_of_the_zoo(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "nq_tflite_models.fleet",
        "--models",
        "ds_cnn_s",
        "--cache",
        str(tmp_path),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    rows = json.loads(done.stdout)["models"]
    assert [(row["name"], row["nesting"]) for row in rows] == [("ds_cnn_s", each) for each in ("8|6", "8|5", "8|4")]


# ---- first inferences ------------------------------------------------------------------------------------------------


def test_a_throttled_server_is_never_faster() -> None:
    content = bytes(range(256)) * 100
    with throttled_server(content, 1.0) as url:
        started = time.monotonic()
        with urllib.request.urlopen(url) as response:
            assert response.read() == content
        assert time.monotonic() - started >= len(content) * 8 / 1e6


def test_first_inferences(nested_dir: Path, tmp_path: Path) -> None:
    """Both kinds deliver; at 2 Mbit/s the wire cannot be faster than this."""
    nested = nested_dir / "int8_8_5.tflite"
    size = nq.extract(nested, tmp_path / "stock.tflite")
    found = first_inferences(tmp_path / "stock.tflite", nested, [2.0])
    [row] = found.rows
    assert (found.stock_bytes, found.nested_bytes, found.precisions) == (size, nested.stat().st_size, (5, 8))
    assert found.base_bytes < size
    for seconds, sent in ((row.stock_seconds, size), (row.part_seconds, found.base_bytes)):
        assert seconds >= sent * 8 / 2e6
    assert row.full_seconds > row.part_seconds
    json.dumps(found.as_dict())
    with pytest.raises(UnsupportedModelError, match="bandwidths"):
        first_inferences(tmp_path / "stock.tflite", nested, [0])


@pytest.mark.parametrize(
    "arguments", [["--megabits", "fast"], ["--megabits", "0"], ["--megabits", ""], ["--runs", "0"]]
)
def test_bad_usage_of_the_delivery_command(arguments: list[str]) -> None:
    assert CliRunner().invoke(delivery, arguments).exit_code == 2
