"""Every architecture and every odd kind of model: converted, run under every runtime, switched; and the command."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nq_tflite_models.measure.compatibility import Cell, Processes, try_models
from nq_tflite_models.measure.rows import ALL_ROWS, FORMATS, ROWS, Row
from nq_tflite_models.nets.families import APPLICATIONS, CUTS, FAMILIES
from nq_tflite_models.weights.third_party import THIRD_PARTY_FILES

from nq_tflite.device.runtimes import RUNTIMES, installed_runtimes
from nq_tflite.errors import UnsupportedModelError

pytestmark = [
    pytest.mark.skipif(set(installed_runtimes()) < set(RUNTIMES), reason="needs all three runtimes"),
    pytest.mark.xdist_group("compatibility"),  # whose processes load tensorflow once
]

LOOPS = "tensorflow cannot calibrate them"
#: (model, format, activations) -> words of the reason why it cannot be.
UNSUPPORTED = {("lstm", "memory", "int8"): LOOPS}
#: One of each architecture, at its real size.
REAL_SIZES = ("ResNet50", "DenseNet121", "InceptionV3", "NASNetMobile", "MobileNetV3Large", "EfficientNetB0", "VGG16")


#: The largest of the small ones: eight seconds and more of a CPU each.
LARGE = {"nasnet", "resnet_v2", "efficientnet", "vgg", "inception_resnet", "resnet", "mobilenet", "convnext"}
LARGE |= {"inception", "densenet", "xception", "efficientnet_v2", "mobilenet_v2", "mobilenet_v3", "swin", "shufflenet"}
LARGE |= {"vit", "gru_unrolled", "lstm_unrolled"}
#: Of the files that others made, one of each kind; test_third_party.py runs all of them, each at each precision, too.
KINDS = ("open_alexa", "open_hey_jarvis", "open_melspectrogram", "iris_landmark", "face_detection_front")
KINDS += ("keyword_spotting", "micro_alexa", "tflite_micro_speech", "selfie_segmentation")
#: By the default rounding, whose matrices are as large as filters are deep.
LARGE_TO_ROUND = LARGE | {"segmenter", "lstm", "audio"}


def slow_if_large(names: Iterable[str], large: set[str] = LARGE) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in large else name for name in names]


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as started:
        yield started


def check(cells: list[Cell]) -> None:
    """Every cell passes but those that `UNSUPPORTED` names."""
    assert cells
    for cell in cells:
        reason = UNSUPPORTED.get((cell.model, cell.format, cell.activations))
        assert cell.outcome == ("unsupported" if reason else "pass"), cell
        assert (reason or "") in cell.reason, cell


@pytest.mark.parametrize("name", slow_if_large(ROWS))
def test_small_models(name: str, tmp_path: Path, processes: Processes) -> None:
    check(list(try_models([name], tmp_path, formats=["memory"], processes=processes)))


@pytest.mark.parametrize(
    "name",
    slow_if_large(["vit", "swin", "shufflenet", "embedding", "lstm", "nasnet", "audio", "segmenter"], LARGE_TO_ROUND),
)
def test_small_models_rounded_by_default(name: str, tmp_path: Path, processes: Processes) -> None:
    """The default rounding walks the graph: operators of every kind pass under it."""
    options: dict[str, Any] = {"formats": ["memory"], "runtimes": ["ai-edge-litert"], "rounding": "descent"}
    check(list(try_models([name], tmp_path, processes=processes, **options)))


@pytest.mark.parametrize(
    ("format_name", "name"),
    [
        *((each, "audio") for each in FORMATS if each != "memory"),
        *(pytest.param(each, "resnet", marks=pytest.mark.slow) for each in ("h5", "saved_model", "float.tflite")),
    ],
)
def test_formats(format_name: str, name: str, tmp_path: Path, processes: Processes) -> None:
    """A net with batch norms in each kind of format; `REAL_SIZES` are INT8 files."""
    check(list(try_models([name], tmp_path, formats=[format_name], processes=processes)))


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL_SIZES)
def test_real_sizes(name: str, tmp_path: Path, processes: Processes) -> None:
    options: dict[str, Any] = {"formats": ["int8.tflite"], "runtimes": ["ai-edge-litert"]}
    check(list(try_models([name], tmp_path, processes=processes, **options)))


def test_all_of_keras_applications_is_here() -> None:
    import keras

    theirs = {name for name in dir(keras.applications) if name[0].isupper()}
    assert theirs == set(APPLICATIONS)
    assert {cut.application for cut in CUTS.values()} <= theirs
    assert set(FAMILIES) | set(APPLICATIONS) <= set(ALL_ROWS)


# ---- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_file_is_a_row(tmp_path: Path, int8_tflite: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from nq_tflite_models.measure import compatibility

    row = Row("given", file=functools.partial(bytes, int8_tflite), activations="int8")
    monkeypatch.setitem(compatibility.ALL_ROWS, "given", row)
    cells = list(try_models(["given"], tmp_path, runtimes=["ai-edge-litert"]))
    assert [(cell.format, cell.activations, cell.precision) for cell in cells] == [
        ("int8.tflite", "int8", "full"),
        ("int8.tflite", "int8", "part"),
    ]
    check(cells)


@pytest.mark.network
@pytest.mark.slow
def test_third_party_files(tmp_path: Path, processes: Processes) -> None:
    """What does not pass is what the files' list says: nothing to gain, or an operator that the runtime lacks."""
    assert {_kind(name) for name in KINDS} == {_kind(name) for name in THIRD_PARTY_FILES}
    for cell in try_models(KINDS, tmp_path, processes=processes):
        if "ModelSourceError" in cell.reason:
            pytest.skip(cell.reason)
        file = THIRD_PARTY_FILES[cell.model]
        reason = file.refusal or (file.only_xnnpack if cell.runtime == "tflite-runtime" else "")
        assert cell.outcome == ("unsupported" if reason else "pass"), cell
        assert reason in cell.reason, cell


def _kind(name: str) -> tuple[str, bool, bool, bool, bool]:
    """What a third-party file's cells depend on."""
    file = THIRD_PARTY_FILES[name]
    return file.weights, bool(file.refusal), bool(file.only_xnnpack), file.stateful, file.input_shape is not None


def test_what_is_wrong_becomes_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file, a process that dies, a runtime that is not there."""
    from nq_tflite_models.measure import compatibility

    for name, file in (("damaged", functools.partial(bytes, b"damaged")), ("deadly", _die)):
        monkeypatch.setitem(compatibility.ALL_ROWS, name, Row(name, file=file))
    monkeypatch.setattr(compatibility, "installed_runtimes", lambda: ("tensorflow",))
    cells = list(try_models(["damaged", "deadly", "damaged"], tmp_path, runtimes=["tensorflow", "ai-edge-litert"]))
    by_runtime = [[cell for cell in cells if cell.runtime == runtime] for runtime in ("tensorflow", "ai-edge-litert")]
    damaged = "fails", "FormatError"
    seen = [(cell.outcome, cell.reason.split(":")[0]) for cell in by_runtime[0]]
    assert seen == [damaged] * 2 + [("fails", "its process died")] * 2 + [damaged] * 2
    assert {(cell.outcome, cell.reason) for cell in by_runtime[1]} == {
        ("unsupported", "ai-edge-litert is not installed")
    }


def _die() -> bytes:
    import os

    os._exit(3)


def test_wrong_outputs_fail(tmp_path: Path, processes: Processes) -> None:
    """A stock file with other weights, a nested file with another precision's: the check tells."""
    from nq_tflite_models.measure.compatibility_jobs import check_file

    list(try_models(["audio"], tmp_path, formats=["memory"], runtimes=["tensorflow"], processes=processes))
    for activations in ("float", "int8"):
        stem = tmp_path / f"audio_memory_{activations}"
        assert processes.run("tensorflow", check_file, "tensorflow", stem, activations, "full").outcome == "pass"
        Path(f"{stem}_part.tflite").rename(f"{stem}_full.tflite")
        result = processes.run("tensorflow", check_file, "tensorflow", stem, activations, "full")
        assert (result.outcome, "unpacked: " in result.reason) == ("fails", True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["alexnet"]}, "model: .*'?alexnet'?"),
        ({"names": ["vit"], "formats": ["onnx"]}, "format: .*onnx"),
        ({"names": ["vit"], "runtimes": ["onnx"]}, "runtime: .*onnx"),
    ],
)
def test_unknown_names(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        list(try_models(options.pop("names"), tmp_path, **options))


# ---- the command -----------------------------------------------------------------------------------------------------


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nq_tflite_models.matrix", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_command_prints_a_matrix_and_reasons(tmp_path: Path) -> None:
    done = run("--models", "lstm,audio", "--formats", "memory", "--runtimes", "ai-edge-litert", "--keep", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "8 cells: 6 pass, 0 fails, 2 unsupported" in done.stdout
    words = " ".join(done.stdout.replace("│", " ").split())
    assert "ai-edge-litert full, ai-edge-litert part" in words
    assert LOOPS in words
    assert (tmp_path / "audio_memory_int8.tflite").exists()


@pytest.mark.slow
def test_command_as_json() -> None:
    done = run("--models", "audio", "--formats", "keras", "--runtimes", "ai-edge-litert", "--json")
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout)["cells"]
    assert [cell["outcome"] for cell in cells] == ["pass"] * 4
    keys = {"model", "format", "activations", "runtime", "precision", "outcome", "reason"}
    assert {frozenset(cell) for cell in cells} == {frozenset(keys)}


@pytest.mark.parametrize("arguments", [("--models", "alexnet"), ("--formats", "onnx"), ("--runtimes", ""), ("extra",)])
def test_command_refuses(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


# ---- the models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", slow_if_large(FAMILIES))
def test_families_are_alive(name: str) -> None:
    """The same seed gives the same model; outputs are finite and differ from input to input."""
    from nq_tflite_models.nets.families import build_family
    from nq_tflite_models.nets.seeded import model_inputs

    model, again = build_family(name, 3), build_family(name, 3)
    inputs = model_inputs(model, 3)[0]
    outputs = np.asarray(model(inputs, training=False))
    np.testing.assert_array_equal(outputs, np.asarray(again(inputs, training=False)))
    assert np.isfinite(outputs).all()
    assert outputs.std(axis=0).mean() > 0.02 * outputs.std() > 0.0
