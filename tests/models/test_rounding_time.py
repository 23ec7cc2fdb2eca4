"""The command that times conversions. Times are never asserted."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from nq_tflite_models.rounding_time import rounding_time


@pytest.mark.slow
def test_each_conversion_has_its_stages() -> None:
    arguments = ["--models", "ds_cnn_s", "--methods", "nearest,descent", "--sources", "keras,int8", "--samples", "0,16"]
    done = CliRunner().invoke(rounding_time, [*arguments, "--nesting", "8|5", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    found = [(row["source"], row["method"], row["samples"]) for row in rows]
    assert found == [(s, m, n) for s in ("keras", "int8") for m in ("nearest", "descent") for n in (0, 16)]
    for row in rows:
        assert (row["net"], row["nesting"]) == ("ds_cnn_s", "8|5")
        assert 0 < sum(row["stages"].values()) <= row["seconds"]
        assert (row["tensorflow_seconds"] > 0) == (row["source"] == "keras")
        assert row["peak_bytes"] > 0
        assert sum(row["rounded"].values()) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "many"], "expected numbers from 0 to 160"),
        (["--methods", "guess"], "no 'guess'; expected names of descent"),
        (["--sources", "onnx"], "no 'onnx'; expected names of keras"),
    ],
)
def test_bad_usage(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(rounding_time, arguments)
    assert (done.exit_code, message in done.output) == (2, True)
