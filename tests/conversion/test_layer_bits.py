"""Part-bits of each layer's own take no more bytes than the same for all layers, and serve the outputs better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import nq_tflite as nq
from nq_tflite.cli import nq_tflite
from nq_tflite.conversion.layer_bits import own_nestings, shared_out
from nq_tflite.conversion.sensitivity import Sensitivity
from nq_tflite.conversion.sources.source import load_source
from nq_tflite.errors import NestingError, NqError, SelectionError
from nq_tflite.format.nesting import LayerBits, Nesting
from nq_tflite.graph.model import TensorPlace
from nq_tflite.graph.nested import read_nested
from nq_tflite.progress import silent

NESTINGS = [Nesting.parse(each) for each in ("8|2", "8|3", "8|4", "8|7", "6|3", "8|6|4", "8|7|6|5|4")]


@given(
    st.lists(st.tuples(st.floats(1e-9, 1), st.integers(1, 400), st.integers(2, 7)), min_size=1, max_size=30),
    st.sampled_from(NESTINGS),
    st.integers(2, 4),
)
def test_no_level_takes_more_bytes(layers: list[tuple[float, int, int]], nesting: Nesting, floor: int) -> None:
    known = {TensorPlace(0, k): Sensitivity(noise, 64 * lines, most) for k, (noise, lines, most) in enumerate(layers)}
    shared = shared_out(known, nesting, floor)
    for level, bits in enumerate(nesting.precisions):
        own = {place: shared.get(place, nesting).precisions[level] for place in known}
        assert sum(own[place] * each.bit_bytes for place, each in known.items()) <= bits * sum(
            each.bit_bytes for each in known.values()
        )
    for place, each in shared.items():
        assert each.full_bits == nesting.full_bits
        assert len(each.precisions) == len(nesting.precisions)
        assert min(floor, nesting.part_bits) <= each.part_bits <= max(known[place].most_bits, nesting.part_bits)


def test_a_layer_without_a_say_gives_its_bits_away() -> None:
    quiet, loud = TensorPlace(0, 1), TensorPlace(0, 2)
    known = {quiet: Sensitivity(1e-6, 6400), loud: Sensitivity(0.1, 640)}
    shared = shared_out(known, Nesting.parse("8|4"))
    assert {place: str(each) for place, each in shared.items()} == {quiet: "8|3", loud: "8|7"}
    assert not shared_out(known, Nesting.parse("8|4"), min_bits=4)
    assert not shared_out({}, Nesting.parse("8|4"))


@pytest.mark.parametrize("nesting", ["8|4", "8|6|4"])
def test_a_file_is_no_larger_and_nearer_to_its_source(
    nesting: str, float_tflite: bytes, samples: np.ndarray, tmp_path: Path
) -> None:
    given = float_tflite, tmp_path / "own.tflite", nesting, samples
    own = nq.convert(*given, rounding="squant", layer_bits="own")
    first = (tmp_path / "own.tflite").read_bytes()
    nq.convert(*given, rounding="squant", layer_bits="own")
    assert (tmp_path / "own.tflite").read_bytes() == first
    same = nq.convert(float_tflite, tmp_path / "same.tflite", nesting, samples, rounding="squant")
    assert {row.nesting for row in same.weights} == {nesting} < {row.nesting for row in own.weights}
    ours, theirs = (np.cumsum(nq.inspect_file(tmp_path / f"{name}.tflite").section_bytes) for name in ("own", "same"))
    assert (ours <= theirs).all()
    assert own.estimate is not None
    assert same.estimate is not None
    assert own.estimate.snr_db[0] > same.estimate.snr_db[0]
    assert read_nested(tmp_path / "own.tflite").precisions == Nesting.parse(nesting).precisions


def test_without_inputs_all_layers_have_the_same(float_tflite: bytes) -> None:
    blind = load_source(float_tflite, None, look=False, notify=silent)
    assert own_nestings(blind, Nesting.parse("8|4"), notify=silent) == {}


@pytest.mark.parametrize("layer_bits", [None, "same"])
def test_auto_shares_bits_out_unless_it_is_told_not_to(
    layer_bits: LayerBits | None, float_tflite: bytes, samples: np.ndarray, tmp_path: Path
) -> None:
    wished = {"min_agreement": 0.5, "min_bits": 3, "layer_bits": layer_bits}
    report = nq.convert(float_tflite, tmp_path / "auto.tflite", "auto", samples, rounding="squant", **wished)
    assert report.search is not None
    assert any(each.mixed for each in report.search.candidates) is (layer_bits is None)


def test_the_command_takes_it_and_a_wrong_word_is_refused(
    float_tflite: bytes, samples: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "float.tflite").write_bytes(float_tflite)
    np.save(tmp_path / "samples.npy", samples)
    paths = [str(tmp_path / "float.tflite"), str(tmp_path / "own.tflite")]
    options = ["--representative", str(tmp_path / "samples.npy"), "--rounding", "squant", "--nesting", "8|4"]
    result = CliRunner().invoke(nq_tflite, ["convert", *paths, *options, "--layer-bits", "own"])
    assert result.exit_code == 0, result.stderr
    assert len({str(each.nesting) for each in read_nested(tmp_path / "own.tflite").weights}) > 1
    with pytest.raises(NestingError, match="layer_bits: expected one of own, same, or nestings"):
        nq.convert(float_tflite, tmp_path / "own.tflite", "8|4", layer_bits="mine")  # type: ignore[arg-type]


def test_nestings_by_names(float_tflite: bytes, tmp_path: Path) -> None:
    """The last pattern that fits counts; weights that none fits have the file's nesting."""
    first, second, *others = nq.convert(float_tflite, tmp_path / "same.tflite", "8|4", rounding="nearest").weights
    given = {f"{second.name}*": "8|7", first.name: "8|5", second.name: Nesting((8, 6))}
    nq.convert(float_tflite, tmp_path / "own.tflite", "8|4", rounding="nearest", layer_bits=given)
    nestings = [str(weight.nesting) for weight in read_nested(tmp_path / "own.tflite").weights]
    assert nestings == ["8|5", "8|6", *["8|4"] * len(others)]


@pytest.mark.parametrize(
    ("nesting", "given", "error", "says"),
    [
        ("8|4", {"*": "8|6|4"}, NestingError, r"layer_bits of '\*': expected 2 bit-widths from 8 down"),
        ("8|4", {"*": "6|4"}, NestingError, r"as the file's 8\|4, got 6\|4"),
        ("8|4", {"*": "8"}, NestingError, "descending bit-widths"),
        ("8|4", {"nothing": "8|6"}, SelectionError, "layer_bits pattern 'nothing': expected the name of a weight"),
        ("auto", {"*": "8|6"}, NestingError, "layer_bits: expected 'own' or 'same' with nesting 'auto'"),
    ],
)
def test_nestings_by_names_that_cannot_be(
    nesting: str, given: dict[str, str], error: type[NqError], says: str, float_tflite: bytes, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        nq.convert(float_tflite, tmp_path / "own.tflite", nesting, rounding="nearest", layer_bits=given)
