"""Files that others made, from packages: nested, run, switched and extracted as the README promises, or refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from nq_tflite_models.measure.dynamic_range import write_dynamic_range
from nq_tflite_models.weights.third_party import THIRD_PARTY_FILES, ThirdPartyFile, third_party_bytes
from same_model import assert_same_model

import nq_tflite as nq
from nq_tflite.errors import ModelSourceError, UnsupportedModelError
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.prune import prune
from nq_tflite.graph.shape_arithmetic import fold_shapes
from nq_tflite.graph.widening import widen

pytestmark = [pytest.mark.network, pytest.mark.slow]

#: Of outputs at dynamic range, beside those of float arithmetic on the same weights; where dynamic range loses more, as
#: in scores that are nearly 0, they may be so much further off than XNNPACK's.
LEAST_SNR_DB, PEER_SLACK_DB = 15.0, 3.0
_RUN = [name for name, file in THIRD_PARTY_FILES.items() if not file.refusal]
_REFUSED = [name for name, file in THIRD_PARTY_FILES.items() if file.refusal]
_STEPS, _STATEFUL_STEPS, _SAMPLES = 3, 24, 6


def obtained(file: ThirdPartyFile) -> bytes:
    """The file's bytes, or the test is skipped with the reason."""
    try:
        return third_party_bytes(file)
    except ModelSourceError as error:
        pytest.skip(str(error))


def samples_for(file: ThirdPartyFile, source: bytes) -> np.ndarray:
    """A few inputs; every file here has one."""
    subgraph = fb.read_model(source).model.subgraphs[0]
    [tensor] = [subgraph.tensors[index] for index in fb.indices(subgraph.inputs)]
    shape = file.input_shape or fb.shape(tensor)
    return np.concatenate([jobs.made_up(shape, [seed]) for seed in range(_SAMPLES)]).astype(np.float32)


@dataclass(frozen=True)
class Converted:
    """A third-party file, its nested one, and that extracted at "full" and "part"."""

    file: ThirdPartyFile
    source: bytes
    nested: Path
    extracted: dict[str, Path]
    report: nq.ConversionReport

    @property
    def options(self) -> dict[str, Any]:
        """Of `jobs.run_sequence`."""
        steps = _STATEFUL_STEPS if self.file.stateful else _STEPS
        return {"steps": steps, "shape": self.file.input_shape}

    def lacks(self, runtime: str, *, builtin: bool = False) -> bool:
        """Whether a runtime has no kernel for one of the file's operators."""
        return bool(self.file.only_xnnpack) and (builtin or runtime == "tflite-runtime")

    def dynamic_range(self, precision: str) -> Path:
        """A stock file with the same codes as INT8 constants under float activations."""
        path = self.nested.with_name(f"{precision}_dynamic_range.tflite")
        write_dynamic_range(self.nested, path, precision)
        return path


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in _RUN])
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    file = THIRD_PARTY_FILES[request.param]
    source, folder = obtained(file), tmp_path_factory.mktemp(file.name)
    nested = folder / "nested.tflite"
    report = nq.convert(source, nested, "8|5", samples_for(file, source), exact=True)
    extracted = {precision: folder / f"{precision}.tflite" for precision in ("full", "part")}
    for precision, path in extracted.items():
        nq.extract(nested, path, precision)
    return Converted(file, source, nested, extracted, report)


@pytest.mark.parametrize("name", _REFUSED)
def test_what_cannot_nest_is_refused_with_a_reason(name: str, tmp_path: Path) -> None:
    file = THIRD_PARTY_FILES[name]
    source = obtained(file)
    with pytest.raises(UnsupportedModelError, match=file.refusal):
        nq.convert(source, tmp_path / "nested.tflite", "8|5", samples_for(file, source))
    assert not list(tmp_path.iterdir())


def test_every_weight_nests_or_says_why_not(converted: Converted) -> None:
    report, model = converted.report, fb.read_model(converted.source).model
    is_int8 = converted.file.weights == "int8"  # float16 ones are what DEQUANTIZE makes of them
    wanted = fb.schema.TensorType.INT8 if is_int8 else fb.schema.TensorType.FLOAT32
    by_name = {fb.text(tensor.name): tensor for _, subgraph in fb.subgraphs(model) for tensor in subgraph.tensors}
    assert report.weights
    assert all(by_name[row.name].type == wanted for row in report.weights)
    assert all(each.reason for each in report.unnested)


def test_extracting_gives_the_source_back(converted: Converted) -> None:
    """All of it for INT8 weights, but for channels of zeros, whose scale shrinks; all but the weights for float.

    float16 constants count as what DEQUANTIZE makes of them: those of nested layers are float32 afterwards.
    """
    rows = converted.report.weights
    before, after = (fb.read_model(each).model for each in (converted.source, converted.extracted["full"].read_bytes()))
    if converted.file.weights == "float16":
        for model in (before, after):
            widen(model)
            prune(model)
    if fold_shapes(before):
        prune(before)
    changed = {row.name for row in rows}
    if converted.file.weights == "int8":
        assert all(row.snr_db[-1] == np.inf for row in rows)
        changed = with_silent_channels(before, changed)
    assert_same_model(before, after, without=changed)


def with_silent_channels(model: Any, names: set[str]) -> set[str]:
    """Those of the weights that have a channel of zeros, and their biases."""
    found = set()
    for _, subgraph in fb.subgraphs(model):
        for operator in subgraph.operators:
            weight, *bias = [subgraph.tensors[index] for index in fb.indices(operator.inputs)[1:3] if index >= 0] or [
                None
            ]
            if weight is not None and fb.text(weight.name) in names:
                axis = weight.quantization.quantizedDimension
                matrix = np.moveaxis(fb.constant(model, weight), axis, 0)
                if not matrix.reshape(len(matrix), -1).any(axis=1).all():
                    found |= {fb.text(tensor.name) for tensor in (weight, *bias)}
    return found


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("keyword_spotting", ""),
        ("open_hey_jarvis", "operator IF: .* calls subgraphs"),
        ("open_melspectrogram", "expected fixed sizes"),
        ("micro_alexa", "operator CALL_ONCE: .* keeps state"),
    ],
)
def test_without_data_the_report_says_what_could_not_be_looked_at(name: str, note: str, tmp_path: Path) -> None:
    report = nq.convert(obtained(THIRD_PARTY_FILES[name]), tmp_path / "nested.tflite", "8|5")
    assert (report.estimate is None) == bool(note)
    assert re.search(note, " ".join(report.notes))


def test_unpacked_is_extracted_bit_for_bit(converted: Converted, runtimes: tuple[str, ...], worker_of: Any) -> None:
    """With each runtime's builtin kernels; the nested file lacks those that the stock one lacks."""
    for runtime in runtimes:
        for precision, path in converted.extracted.items():
            if converted.lacks(runtime, builtin=True):
                for each, precisions in ((path, ()), (converted.nested, [precision])):
                    with pytest.raises(RuntimeError, match=converted.file.only_xnnpack):
                        worker_of(runtime)(jobs.run_sequence, each, precisions, builtin=True, **converted.options)
                continue
            wanted = worker_of(runtime)(jobs.run_sequence, path, builtin=True, **converted.options)
            got = worker_of(runtime)(
                jobs.run_sequence, converted.nested, [precision], fuse=False, builtin=True, **converted.options
            )
            assert_equal(got, wanted, f"{runtime}, {precision}")


def test_fused_is_what_is_promised(converted: Converted, runtimes: tuple[str, ...], worker_of: Any) -> None:
    """Full-int8: XNNPACK's results to the bit. Float: those of dynamic range, which are near the exact ones."""
    is_int8 = converted.file.weights == "int8"
    for runtime in runtimes:
        if converted.lacks(runtime) or (is_int8 and runtime == "tflite-runtime"):
            continue  # its XNNPACK takes no int8, and what is not fused is its builtin kernels'
        for precision, path in converted.extracted.items():

            def run(path: Path, *precisions: str, runtime: str = runtime) -> list[list[np.ndarray]]:
                return worker_of(runtime)(jobs.run_sequence, path, precisions, **converted.options)

            got, wanted, where = run(converted.nested, precision), run(path), f"{runtime}, {precision}"
            if is_int8:
                assert_equal(got, wanted, where)
            elif min(snr_db(got, wanted)) < LEAST_SNR_DB:
                theirs = snr_db(run(converted.dynamic_range(precision), runtime=runtimes[0]), wanted)
                assert_near(snr_db(got, wanted), theirs, where)


def test_a_switch_gives_what_a_fresh_interpreter_gives(
    converted: Converted, runtimes: tuple[str, ...], worker_of: Any
) -> None:
    """State from another precision counts: what keeps some repeats itself, and runs on."""
    order = ["full", "part", "part"]
    for runtime in [each for each in runtimes if not converted.lacks(each)]:

        def run(precisions: list[str], runtime: str = runtime) -> list[list[np.ndarray]]:
            return worker_of(runtime)(jobs.run_sequence, converted.nested, precisions, **converted.options)

        if converted.file.stateful:
            wanted = run(order)
        else:
            fresh = {precision: run([precision]) for precision in order}
            wanted = [fresh[order[step % len(order)]][step] for step in range(_STEPS)]
        assert_equal(run(order), wanted, runtime)


def assert_equal(got: list[list[np.ndarray]], wanted: list[list[np.ndarray]], where: str) -> None:
    for step, (some, others) in enumerate(zip(got, wanted, strict=True)):
        for number, (a, b) in enumerate(zip(some, others, strict=True)):
            np.testing.assert_array_equal(a, b, err_msg=f"{where}, output {number} of step {step}", strict=True)


def snr_db(got: list[list[np.ndarray]], wanted: list[list[np.ndarray]]) -> list[float]:
    """Of each output, all steps together."""
    outputs = zip(zip(*wanted, strict=True), zip(*got, strict=True), strict=True)
    return [signal_to_noise_db(np.stack(one), np.stack(other)) for one, other in outputs]


def assert_near(ours: list[float], theirs: list[float], where: str) -> None:
    for number, (some, others) in enumerate(zip(ours, theirs, strict=True)):
        assert some >= min(LEAST_SNR_DB, others - PEER_SLACK_DB), f"{where}, output {number}: not {others:.1f} dB"
