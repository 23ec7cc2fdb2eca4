"""`python -m nq_tflite_models.accuracy` on a small net in place of the real ones."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from nq_tflite_models import accuracy as module
from nq_tflite_models.accuracy import accuracy
from nq_tflite_models.photos import calibration_photos, demo_photos, write_demo_photos

from nq_tflite.measure.photo_folder import read_photo_folder


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(accuracy, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A net of 16 x 16 with 100 classes under each real model's name; nothing is fetched."""
    from nq_tflite_models.nets.small import mixed_net

    monkeypatch.setattr(module, "_build", lambda name: mixed_net(seed=len(name), width=10))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    for number, photo in enumerate(calibration_photos(3, seed=2)):
        photo.save(path / f"{number}.png")
    return path


def test_own_photos(small_models: None, folder: Path) -> None:
    result = invoke("--photos", folder, "--models", "mobilenet_v2", "--nesting", "8|4", "--method", "nearest")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("┏") == 1
    assert "mobilenet_v2, weights alone, 3 photos" in result.stdout
    assert "far too few" not in result.stdout
    assert "mobilenet_v2: obtaining weights" in result.stderr


@pytest.mark.slow
def test_as_json(small_models: None, folder: Path) -> None:
    options: tuple[Any, ...] = ("--nesting", "8|4", "--method", "minmax", "--method", "nearest", "--json")
    result = invoke("--photos", folder, "--calibration", folder, *options)
    assert result.exit_code == 0, result.stderr
    models = json.loads(result.stdout)["models"]
    assert [model["source"] for model in models] == list(module.MODELS)
    assert [row["method"] for row in models[0]["rows"]] == ["minmax", "nearest"]


def test_demo_photos_are_files_with_labels(tmp_path: Path) -> None:
    write_demo_photos(tmp_path)
    folder = read_photo_folder(tmp_path, num_classes=1000)
    by_name = {photo.name: photo.accepted for photo in demo_photos()}
    assert {photo.path.stem: photo.accepted for photo in folder.photos} == by_name


@pytest.mark.slow
@pytest.mark.network
def test_real_model_on_the_photos_of_packages() -> None:
    command = [sys.executable, "-m", "nq_tflite_models.accuracy", "--models", "mobilenet_v2", "--nesting", "8|4"]
    methods = ["--method", "squant-nesting", "--method", "descent-calibrated"]
    done = subprocess.run([*command, *methods, "--json"], capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    [model] = json.loads(done.stdout)["models"]
    published, ours = (row["scores"][1]["logit_snr_db"] for row in model["rows"])
    assert ours > published + 3


@pytest.fixture
def small_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dense net in place of those that are shown, another in place of those to tune on."""
    from nq_tflite_models.nets import for_rounding

    for known, name, seed in (("NETS", "shown", 1), ("TUNING_NETS", "other", 2)):
        net = for_rounding.RoundingNet(partial(for_rounding.dense, (48, 64, 32)), seed)
        monkeypatch.setattr(for_rounding, known, {name: net})


@pytest.mark.slow
def test_full_bit_beside_plain_rounding(small_nets: None) -> None:
    """Every kind of source, with and without data; a Keras model without data is the float file."""
    result = invoke("--nets", "all", "--samples", "0,12", "--json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    kinds = ["keras", *(kind for kind in ("float file", "INT8 file", "dynamic-range file") for _ in range(2))]
    assert [row["source"] for row in rows] == kinds
    assert [row["samples"] for row in rows] == [12, 0, 12, 0, 12, 0, 12]
    assert {row["net"] for row in rows} == {"shown"}
    for row in rows:
        assert row["loss"] == pytest.approx(row["nearest"][0] - row["default"][0])
        assert 10 < row["stock"] < 50  # INT8 that a dozen samples calibrated clips others
        assert row["loss"] < 1
        assert row["nearest"][0] > row["nearest"][1]
        assert 10 < row["fused"][1] < row["fused"][0] < row["default"][0] + 1  # whose floats nothing quantizes


def test_nets_to_tune_on(small_nets: None) -> None:
    result = invoke("--nets", "tuning", "--samples", "0", "--nesting", "8|4")
    assert result.exit_code == 0, result.stderr
    assert "other" in result.stdout
    assert "8|4" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--nets", "alexnet"), 2, "'alexnet'"),
        (("--nets", "all", "--samples", "many"), 2, "whole numbers with commas"),
        (("--nets", "all", "--method", "nearest"), 2, "cannot be combined with --photos or --method"),
        (("--models", "alexnet"), 2, "'alexnet'"),
        (("--labels", "labels.csv"), 2, "need --photos"),
        (("--calibration", "others"), 2, "need --photos"),
        (("--activations", "int16"), 2, "--activations"),
        (("--photos", "/missing"), 1, "error: photos /missing"),
    ],
)
def test_command_refuses(small_models: None, arguments: tuple[str, ...], code: int, text: str) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert text in result.stderr


def test_help_needs_no_tensorflow() -> None:
    code = "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; "
    code += "from nq_tflite_models.accuracy import accuracy; accuracy(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "mobilenet_v2" in done.stdout
