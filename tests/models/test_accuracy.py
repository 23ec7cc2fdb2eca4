"""`python -m nq_tflite_models.accuracy` on a small net in place of the real ones."""

from __future__ import annotations

import json
import subprocess
import sys
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


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
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
