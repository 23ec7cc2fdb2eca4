"""`nesting="auto"`: budgets hold in the file, accuracy is what was asked for or is said not to be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import nq_tflite as nq
from nq_tflite.cli import nq_tflite
from nq_tflite.conversion.lockstep import expected_agreement
from nq_tflite.conversion.plan import make_plan
from nq_tflite.conversion.report import Candidate, Estimate, Search
from nq_tflite.conversion.rounding import METHODS
from nq_tflite.conversion.sensitivity import LEAST_BITS, PROBE, Sensitivity, measure_sensitivities, spend_bits
from nq_tflite.conversion.sources.source import load_source
from nq_tflite.conversion.trial import Road
from nq_tflite.conversion.walk import GraphWalk
from nq_tflite.device.runtimes import walking_runtime
from nq_tflite.errors import NestingError, UnsupportedModelError
from nq_tflite.format.levels import value_at
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.nested import read_nested
from nq_tflite.progress import silent


@pytest.fixture(scope="module")
def classifier() -> bytes:
    """A float net of three weights whose sizes and places make them unlike: float32 [N, 8, 8, 3] to 12 scores."""
    import keras
    from nq_tflite_models.nets.seeded import set_seeded_weights

    from nq_tflite.conversion.sources.keras_export import export

    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(48, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.Conv2D(64, 3, strides=2, activation="relu", name="strided_conv")(x)
    x = keras.layers.Dense(32, name="scores")(keras.layers.GlobalAveragePooling2D()(x))
    return export(set_seeded_weights(keras.Model(inputs, x), 7), None)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """float32 [48, 8, 8, 3]"""
    return np.random.default_rng(11).normal(0.2, 0.6, (48, 8, 8, 3)).astype(np.float32)


def part_fraction(path: Path) -> float:
    """Part-bit bytes over full-bit bytes in a file."""
    sections = nq.inspect_file(path).section_bytes
    return sections[0] / sum(sections)


@pytest.mark.parametrize("budget", [0.26, 0.38, 0.42, 0.5, 0.55, 0.63, 0.7, 0.8, 0.99])
def test_budgets_hold_in_the_file(budget: float, classifier: bytes, images: np.ndarray, tmp_path: Path) -> None:
    report = nq.convert(classifier, tmp_path / "auto.tflite", "auto", images, budget=budget, rounding="nearest")
    assert report.search is not None
    assert report.search.met
    chosen = report.search.candidates[report.search.chosen]
    assert part_fraction(tmp_path / "auto.tflite") <= budget
    assert all(each.fraction <= budget for each in report.search.candidates)
    assert chosen.snr_db == max(each.snr_db for each in report.search.candidates)
    assert chosen.fraction > budget - 0.15


def test_layers_of_their_own_bits_beat_the_same_for_all(classifier: bytes, images: np.ndarray, tmp_path: Path) -> None:
    report = nq.convert(classifier, tmp_path / "auto.tflite", "auto", images, budget=0.56)
    assert report.search is not None
    same, mixed = report.search.candidates
    assert (same.mixed, mixed.mixed) == (False, True)
    assert same.nesting == "8|4"
    assert report.search.chosen == 1
    assert len({row.nesting for row in report.weights}) > 1


def test_a_file_of_mixed_nestings_reads_runs_and_extracts(
    runtimes: tuple[str, ...], worker_of: Any, classifier: bytes, images: np.ndarray, tmp_path: Path
) -> None:
    report = nq.convert(classifier, tmp_path / "mixed.tflite", "auto", images, budget=0.56)
    nested = read_nested(tmp_path / "mixed.tflite")
    assert [str(weight.nesting) for weight in nested.weights] == [row.nesting for row in report.weights]
    assert len({str(weight.nesting) for weight in nested.weights}) > 1
    assert nested.precisions == Nesting.parse(report.nesting).precisions
    for level, precision in enumerate(("part", "full")):
        for weight in nested.weights:
            codes = value_at(weight.codes(), weight.nesting, level)
            np.testing.assert_array_equal(weight.values(level).reshape(codes.shape), codes * weight.scales[:, None])
        nq.extract(tmp_path / "mixed.tflite", tmp_path / f"{precision}.tflite", precision)
        for worker in map(worker_of, runtimes):
            wanted = worker(jobs.run_stock, tmp_path / f"{precision}.tflite", images[:4])
            [got] = worker(jobs.run_nested, tmp_path / "mixed.tflite", images[:4], [precision])
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
            [fused] = worker(jobs.run_nested, tmp_path / "mixed.tflite", images[:4], [precision], builtin=False)
            assert np.abs(fused - wanted).max() < 0.1 * np.abs(wanted).max()


def test_the_fewest_part_bits_that_agree(classifier: bytes, images: np.ndarray, tmp_path: Path) -> None:
    report = nq.convert(classifier, tmp_path / "auto.tflite", "auto", images, min_agreement=0.9)
    search = report.search
    assert search is not None
    assert search.met
    assert search.held_out
    assert search.num_inputs == len(images[::5])
    chosen = search.candidates[search.chosen]
    assert chosen.kept is not None
    assert chosen.kept >= 0.9
    assert report.nesting == chosen.nesting
    assert all((each.kept or 0) < 0.9 for each in search.candidates[: search.chosen])
    assert [each.part_bytes for each in search.candidates] == sorted(each.part_bytes for each in search.candidates)
    nq.convert(classifier, tmp_path / "named.tflite", report.nesting, images, layer_bits="own")
    assert (tmp_path / "auto.tflite").read_bytes() == (tmp_path / "named.tflite").read_bytes()


def test_too_much_agreement_takes_the_nearest_and_says_so(
    classifier: bytes, images: np.ndarray, tmp_path: Path
) -> None:
    report = nq.convert(classifier, tmp_path / "auto.tflite", "auto", images, min_agreement=1.0, rounding="nearest")
    assert report.search is not None
    assert not report.search.met
    best = max(each.kept or 0 for each in report.search.candidates)
    assert report.search.candidates[report.search.chosen].kept == best < 1
    assert "none has 1 of full-bit's agreement" in report.notes[-1]


def test_what_cannot_be_had_is_refused(classifier: bytes, images: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "auto.tflite"
    with pytest.raises(NestingError, match=r"budget: expected at least 0\.2"):
        nq.convert(classifier, path, "auto", images, budget=0.2)
    with pytest.raises(NestingError, match=r"both, got 8\|2: 0\.2\d\d of the bytes, .* of the agreement.* mixed: 0\.3"):
        nq.convert(classifier, path, "auto", images, budget=0.39, min_agreement=1.0)
    for wrong in ({"budget": 0.0}, {"budget": 1.0}, {"min_agreement": 0.0}, {"min_agreement": 1.1}):
        with pytest.raises(NestingError, match="expected a fraction"):
            nq.convert(classifier, path, "auto", images, **wrong)
    with pytest.raises(NestingError, match="nesting 'auto', which searches for bit-widths"):
        nq.convert(classifier, path, "8|5", images, budget=0.5)
    assert not list(tmp_path.iterdir())


def test_without_inputs_nothing_can_be_chosen(
    classifier: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nq_tflite.conversion import convert

    load = convert.load_source
    monkeypatch.setattr(
        convert, "load_source", lambda *a, **k: replace(load(*a, **k), samples=None, without="nothing to look at")
    )
    with pytest.raises(UnsupportedModelError, match="got nothing to look at"):
        nq.convert(classifier, tmp_path / "auto.tflite", "auto")


def test_layers_are_measured_one_at_a_time(classifier: bytes, images: np.ndarray) -> None:
    """The noise of each weight is that of a model in which nothing else is rounded."""
    source = load_source(classifier, images, look=True, notify=silent)
    before = fb.pack_model(source.model)
    found = measure_sensitivities(source, Road(METHODS["nearest"]))
    assert fb.pack_model(source.model) == before
    assert source.samples is not None
    samples = source.samples.arrays[:8]
    wanted = np.concatenate(GraphWalk(source.model, samples, walking_runtime()).outputs())
    for weight in make_plan(source.model, PROBE, METHODS["nearest"]).weights:
        model, [site] = fb.read_model(classifier).model, weight.sites
        values = (value_at(weight.codes, PROBE, 0) * weight.scales[:, None]).astype(np.float32)
        buffer = model.subgraphs[0].tensors[site.tensor].buffer
        model.buffers[buffer].data = np.frombuffer(values.tobytes(), np.uint8)
        error = np.concatenate(GraphWalk(model, samples, walking_runtime()).outputs()) - wanted
        noise = np.square(error).sum() / np.square(wanted).sum()
        assert found[site.subgraph, site.tensor].noise == pytest.approx(noise, rel=1e-3)
    assert len(found) == 3


def test_few_part_bits_are_warned_of(classifier: bytes, tmp_path: Path) -> None:
    for nesting, warned in (("8|4", False), ("8|3", True), ("8|6|2", True)):
        report = nq.convert(classifier, tmp_path / "nested.tflite", nesting, rounding="nearest")
        assert any("poor" in note for note in report.notes) is warned


def test_no_layer_has_fewer_bits_than_the_floor(classifier: bytes, images: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "auto.tflite"
    report = nq.convert(classifier, path, "auto", images, min_agreement=0.1, min_bits=5, rounding="nearest")
    assert report.nesting == "8|5"
    nq.convert(classifier, path, "auto", images, budget=0.7, min_bits=5, rounding="nearest")
    assert min(weight.nesting.part_bits for weight in read_nested(path).weights) >= 5
    with pytest.raises(NestingError, match=r"budget: expected at least 0\.\d+ for 6 bits"):
        nq.convert(classifier, path, "auto", images, budget=0.5, min_bits=6)
    with pytest.raises(NestingError, match="min_bits: expected a number of bits from 2 to 7, got 8"):
        nq.convert(classifier, path, "auto", images, min_bits=8)


def test_a_note_does_not_contradict_what_was_measured() -> None:
    """Nor is it silent on what few part-bits cost full-bit."""
    from nq_tflite.conversion.convert import _few_bits

    kept = Estimate("photos", 30, True, (2, 8), (1.0, 1.0), (0.99, 0.99), (20.0, 40.0))
    assert _few_bits(Nesting.parse("8|3"), None) is not None
    for estimate, word in ((kept, "100.0 % of 30 inputs"), (replace(kept, agreement=(0.5, 1.0)), "poor"),
                           (replace(kept, held_out=False), "poor")):  # fmt: skip
        assert word in str(_few_bits(Nesting.parse("8|2"), estimate))
    few, more = (Candidate(each, False, 1.0, 20.0, 1.0, snr, 10, 40) for each, snr in (("8|2", 24.0), ("8|5", 36.0)))
    search = Search(0.95, None, "photos", 30, True, (few, more), 0, "why", True)
    assert search.warnings() == (
        "full-bit pays for few part-bits: its outputs have 24.0 dB, with 8|5 36.0 dB; min_bits (--min-bits) sets a "
        "floor",
    )
    assert replace(search, chosen=1).warnings() == ()


def test_the_command_prints_the_curve(classifier: bytes, images: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(classifier)
    np.save(tmp_path / "images.npy", images)
    paths = [str(tmp_path / name) for name in ("float.tflite", "auto.tflite")]
    command = ["convert", *paths, "--representative", str(tmp_path / "images.npy"), "--nesting", "auto"]
    asked = ["--budget", "0.56", "--min-agreement", "0.5"]
    result = CliRunner().invoke(nq_tflite, [*command, *asked])
    assert result.exit_code == 0, result.stderr
    for text in ("search, on 10 inputs", "8|2", "chosen: 8|", "0.5 of full-bit's agreement and at most 0.56"):
        assert text in result.stdout
    result = CliRunner().invoke(nq_tflite, [*command, *asked, "--rounding", "nearest", "--json"])
    search = json.loads(result.stdout)["search"]
    assert search["met"] is True
    assert {"nesting", "agreement", "snr_db", "part_bytes"} <= set(search["candidates"][search["chosen"]])


@given(
    st.lists(st.tuples(st.floats(1e-9, 1), st.integers(1, 400), st.integers(LEAST_BITS, 7)), min_size=1, max_size=30),
    st.floats(0.2, 1),
)
def test_bits_are_spent_within_their_bytes(layers: list[tuple[float, int, int]], fraction: float) -> None:
    known = {(0, k): Sensitivity(noise, 64 * lines, most) for k, (noise, lines, most) in enumerate(layers)}
    most_bytes = int(fraction * 8 * sum(each.bit_bytes for each in known.values()))
    bits = spend_bits(known, most_bytes)
    if bits is None:
        assert sum(LEAST_BITS * each.bit_bytes for each in known.values()) > most_bytes
        return
    assert sum(bits[place] * each.bit_bytes for place, each in known.items()) <= most_bytes
    assert all(LEAST_BITS <= bits[place] <= each.most_bits for place, each in known.items())
    for a, one in known.items():  # of two layers alike, the one that makes more noise has not fewer bits
        for b, other in known.items():
            if one.bit_bytes == other.bit_bytes and one.noise > other.noise and one.most_bits >= other.most_bits:
                assert bits[a] >= bits[b]


def test_expected_agreement_is_steadier_than_counting() -> None:
    """Both tell the same rate; from few errors the expected one strays less."""
    rng = np.random.default_rng(2)
    scores, errors = rng.normal(size=(400, 20)), 0.2 * rng.normal(size=(400, 20))
    flips = scores.argmax(axis=1) == (scores + errors).argmax(axis=1)
    parts = [slice(k, k + 20) for k in range(0, 400, 20)]
    counted = [flips[part].mean() for part in parts]
    expected = [expected_agreement(scores[:80], errors[part]) for part in parts]
    assert np.mean(expected) == pytest.approx(flips.mean(), abs=0.03)
    assert np.std(expected) < np.std(counted) / 3
