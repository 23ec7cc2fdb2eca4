"""The example of docs/raspberry_pi.md on any machine: a folder of frames, and a signal of the test's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from nq_tflite_models import camera_loop
from PIL import Image

import nq_tflite as nq

SHORT_OF_LIGHT = nq.Policy("dark", (nq.Rule("light", below=5, until=5),), dwell_seconds=0)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of another size than the model's input."""
    folder = tmp_path_factory.mktemp("frames")
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.mark.parametrize("name", ["int8_8_5", "float_8_6_4"])
def test_switches_while_it_runs(name: str, nested_dir: Path, frames: Path) -> None:
    interpreter = nq.Interpreter(nested_dir / f"{name}.tflite", precision="part")
    interpreter.allocate_tensors()
    governor = nq.Governor(interpreter, SHORT_OF_LIGHT)
    pictures = list(camera_loop.folder_frames(frames, 16, 16))

    def seen() -> Iterator[np.ndarray]:
        for picture, light in zip(pictures, (9, 9, 1, 1, 9, 9), strict=True):
            governor.report(light=light)
            yield picture

    lines = list(camera_loop.classify(interpreter, seen(), governor))
    part, full = interpreter.levels[0], 8
    kinds = [line.split(", ")[0 if " to " in line else 1] for line in lines]
    first, second = [f"{full} bits"] * 2, [f"{part} bits"] * 2
    up, down = f"{part} to {full} bits", f"{full} to {part} bits"
    assert kinds == [up, *first, down, *second, up, *first]

    details = interpreter.get_input_details()[0]
    interpreter.set_tensor(details["index"], camera_loop.model_input(pictures[-1], details))
    interpreter.invoke()
    scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    assert lines[-1].startswith(f"class {int(scores.argmax())},")


def test_command(nested_dir: Path, frames: Path, tmp_path: Path) -> None:
    (tmp_path / "always.toml").write_text('[[rules]]\nsignal = "memory_available"\nbelow = 101\nuntil = 101\n')
    command = [sys.executable, "-m", "nq_tflite_models.camera_loop", nested_dir / "int8_8_5.tflite"]
    options = ["--frames", frames, "--count", "3", "--threads", "1", "--policy", tmp_path / "always.toml"]
    done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
    assert [line.split(", ")[1] for line in done.stdout.splitlines()] == ["5 bits"] * 3
