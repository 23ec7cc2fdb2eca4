"""The example of docs/raspberry_pi.md on any machine: a folder of frames, and made-up memory and temperature."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nq_tflite_models import camera_loop
from nq_tflite_models.camera_loop import Governor
from PIL import Image

import nq_tflite as nq


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of another size than the model's input."""
    folder = tmp_path_factory.mktemp("frames")
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_governor_waits_until_both_are_well() -> None:
    governor = Governor(low_bytes=100, hot_celsius=75)
    steps = [((200, 50), "full"), ((99, 50), "part"), ((120, 50), "part"), ((125, 74), "part"), ((125, 69), "full")]
    steps += [((200, 75), "part"), ((200, 71), "part"), ((110, 60), "part"), ((200, 60), "full"), ((110, 71), "full")]
    for (available, celsius), wanted in steps:
        assert governor.update(available, celsius) == wanted, (available, celsius)


def test_sensors_of_this_machine() -> None:
    assert camera_loop.available_bytes() > 1e6
    assert camera_loop.cpu_celsius() < 120


@pytest.mark.parametrize("name", ["int8_8_5", "float_8_6_4"])
def test_switches_while_it_runs(name: str, nested_dir: Path, frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = iter([1e9, 1e9, 1e6, 1e6, 1e9, 1e9])
    monkeypatch.setattr(camera_loop, "available_bytes", lambda: next(memory))
    monkeypatch.setattr(camera_loop, "cpu_celsius", lambda: 40.0)
    interpreter = nq.Interpreter(nested_dir / f"{name}.tflite", precision="part")
    interpreter.allocate_tensors()
    pictures = list(camera_loop.folder_frames(frames, 16, 16))
    lines = list(camera_loop.classify(interpreter, pictures, Governor(5e7, 75)))
    part, full = interpreter.levels[0], 8
    kinds = [line.split(":")[0] if " to " in line else line.split(", ")[1] for line in lines]
    first, second = [f"{full} bits"] * 2, [f"{part} bits"] * 2
    up, down = f"{part} to {full} bits", f"{full} to {part} bits"
    assert kinds == [up, *first, down, *second, up, *first]

    details = interpreter.get_input_details()[0]
    interpreter.set_tensor(details["index"], camera_loop.model_input(pictures[-1], details))
    interpreter.invoke()
    scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    assert lines[-1].startswith(f"class {int(scores.argmax())},")


def test_command(nested_dir: Path, frames: Path) -> None:
    command = [sys.executable, "-m", "nq_tflite_models.camera_loop", nested_dir / "int8_8_5.tflite"]
    options = ["--frames", frames, "--count", "3", "--threads", "1", "--low-memory", "1", "--hot", "-300"]
    done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
    assert [line.split(", ")[1] for line in done.stdout.splitlines()] == ["5 bits"] * 3
