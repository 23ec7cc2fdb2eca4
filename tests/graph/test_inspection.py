"""What a nested file says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nq_tflite as nq


@pytest.mark.parametrize("nesting", ["8|6", "8|5", "8|4"])
def test_a_switch_moves_less_than_two_files_and_than_the_paper(
    nesting: str, int8_tflite: bytes, tmp_path: Path
) -> None:
    # Levels of squant have their own biases.
    nq.convert(int8_tflite, tmp_path / "nested.tflite", nesting, rounding="squant")
    switching = nq.inspect_file(tmp_path / "nested.tflite").switching
    full, part = (int(bits) for bits in nesting.split("|"))
    assert switching.ratio == pytest.approx((full - part) / (full + part), rel=0.02)
    assert switching.ratio < switching.paper_ratio(full, part)


def test_inspect_adds_up(nested_dir: Path) -> None:
    for path in nested_dir.iterdir():
        report = nq.inspect_file(path)
        for level, size in enumerate(report.section_bytes):
            assert size == sum(row.level_bytes[level] for row in report.weights)
        bits = report.bits_a_weight
        assert bits.total == pytest.approx(8 * sum(report.section_bytes) / report.num_weights)
        assert bits.nesting == max(report.precisions)
        assert 0 < bits.biases < 0.06 * (len(report.precisions) - 1)
        assert bits.padding >= 0
        assert all(row.snr_db[-1] == float("inf") for row in report.weights)
        assert json.loads(json.dumps(report.as_dict()))["switch_bytes"] == sum(report.section_bytes[1:])
