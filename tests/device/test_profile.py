"""The time of each layer: all of them once, at the precision they ran at, under every stock runtime."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import profile_jobs
import pytest

import nq_tflite as nq
from nq_tflite.graph.nested import read_nested

#: Invocations at each precision of `timed`.
COUNTS = {8: 3, 5: 2}


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_every_layer_is_timed_once_at_each_precision(worker: Any, nested_dir: Path, kind: str) -> None:
    path = nested_dir / f"{kind}_8_5.tflite"
    found = worker(profile_jobs.timed, path, COUNTS)
    operators = Counter(each.name for each in found.delegation.operators if each.place == "fused")
    assert operators["DEPTHWISE_CONV_2D"] > 0
    for bits, profile in found.profiles.items():
        assert profile.bits == bits
        assert Counter(name for layer in profile.layers for name in layer.name.split(" + ")) == operators
        weights = Counter(layer.weight for layer in profile.layers if layer.weight)
        assert weights == Counter(weight.name for weight in read_nested(path).weights)
        assert {layer.place for layer in profile.layers} == {"fused"}
        assert {layer.invocations for layer in profile.layers} == {COUNTS[bits]}
        assert all(0 < layer.least_seconds <= layer.seconds for layer in profile.layers)
        assert profile.seconds * COUNTS[bits] <= found.seconds[bits]
        assert profile.slowest[0].least_seconds == max(layer.least_seconds for layer in profile.layers)


def test_counts_of_a_layer(worker: Any, nested_dir: Path) -> None:
    """Multiplications, and bytes: of the weights, the part-bit model reads one level less."""
    path = nested_dir / "int8_8_5.tflite"
    found = worker(profile_jobs.timed, path, COUNTS)
    shapes = {weight.name: weight.shape for weight in read_nested(path).weights}
    full, part = found.profiles[8].layers, found.profiles[5].layers
    for layer in full:
        if layer.weight is None:
            continue
        weight = shapes[layer.weight]
        channels = weight[3] if layer.name.endswith("DEPTHWISE_CONV_2D") else weight[0]
        assert layer.shape[-1] == channels
        assert layer.macs == np.prod(layer.shape) * np.prod(weight) // channels
    assert all(layer.macs == 0 for layer in full if layer.name in ("ADD", "MEAN", "RESHAPE"))
    saved = sum(one.bytes - other.bytes for one, other in zip(full, part, strict=True))
    assert 0.9 * found.level_bytes[1] < saved <= found.level_bytes[1]


def test_times_change_no_result(worker: Any, nested_dir: Path) -> None:
    for kind in ("int8", "float"):
        plain, timed = (
            worker(profile_jobs.outputs, nested_dir / f"{kind}_8_5.tflite", profile=p) for p in (False, True)
        )
        np.testing.assert_array_equal(plain, timed)


def test_unpacking_is_timed_where_the_runtime_computes(worker: Any, nested_dir: Path) -> None:
    path = nested_dir / "int8_8_5.tflite"
    found = worker(profile_jobs.timed, path, COUNTS, fuse=False)
    for bits, profile in found.profiles.items():
        assert [layer.weight for layer in profile.layers] == [weight.name for weight in read_nested(path).weights]
        assert {(layer.name, layer.place) for layer in profile.layers} == {("NQ_UNPACK_DEQUANT", "unpacked")}
        assert {layer.invocations for layer in profile.layers} == {COUNTS[bits]}


def test_resetting_and_resizing_start_anew(worker: Any, nested_dir: Path) -> None:
    before, reset, resized = worker(profile_jobs.started_anew, nested_dir / "int8_8_5.tflite")
    assert {layer.invocations for layer in before.layers} == {2}
    assert {(layer.invocations, layer.seconds, layer.least_seconds) for layer in reset.layers} == {(0, 0.0, 0.0)}
    assert reset.rows()[0][3:5] == ["0.0 µs", "-"]
    assert {layer.invocations for layer in resized.layers} == {1}
    assert [layer.macs for layer in resized.layers] == [3 * layer.macs for layer in before.layers]
    assert [layer.shape[1:] for layer in resized.layers] == [layer.shape[1:] for layer in before.layers]


def test_a_stock_model_has_no_layers_of_ours(worker: Any, int8_tflite: bytes) -> None:
    assert worker(profile_jobs.of_stock, int8_tflite) == nq.Profile(None, ())


def test_bad_use_says_what_to_do(worker: Any, nested_dir: Path) -> None:
    path = nested_dir / "int8_8_5.tflite"
    unasked = "profile: expected a model that keeps times, got one that was loaded without. Load it with profile=True."
    assert worker(profile_jobs.refusals, path) == [
        ("NqError", unasked),
        ("NqError", unasked),
        ("PrecisionError", "precision: expected 'full', 'part' or one of [5, 8] bits, got 7. Choose one of these."),
        ("NqError", "profile: expected True or False, got 'yes'"),
    ]


def test_the_record_survives_json() -> None:
    layer = nq.LayerTime("CONV_2D + ADD", "y", None, "fused", (1, 4, 4, 8), 4096, 640, 2, 3e-6, 2e-6)
    profile = nq.Profile(8, (layer, layer))
    assert nq.Profile.from_dict(json.loads(json.dumps(profile.as_dict()))) == profile
    assert "<td>CONV_2D + ADD</td>" in profile._repr_html_()
