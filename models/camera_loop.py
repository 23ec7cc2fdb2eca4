"""`python -m nq_tflite_models.camera_loop`: classifies a camera's frames, at part-bit when short of memory or hot.

An example to start from, for a Raspberry Pi: needs a TFLite runtime, psutil, and python3-picamera2 for its camera; or a
folder of pictures and Pillow, on any machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import nq_tflite as nq

PICTURES = (".png", ".jpg", ".jpeg")


def camera_frames(height: int, width: int) -> Iterator[np.ndarray]:
    """Frames of a Raspberry Pi's camera: uint8 [height, width, 3], red first."""
    from picamera2 import Picamera2

    camera = Picamera2()
    # The camera's names are those of its bytes from the last to the first: this one is red, green, blue.
    camera.configure(camera.create_video_configuration({"size": (width, height), "format": "BGR888"}))
    camera.start()
    try:
        while True:
            yield camera.capture_array()[:height, :width]
    finally:
        camera.stop()


def folder_frames(folder: Path, height: int, width: int) -> Iterator[np.ndarray]:
    """The pictures of a folder, by name."""
    from PIL import Image

    for path in sorted(each for each in folder.iterdir() if each.suffix.lower() in PICTURES):
        yield np.asarray(Image.open(path).convert("RGB").resize((width, height)))


def model_input(frame: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """A frame as the model takes it: [1, height, width, 3] of [-1, 1], quantized where the input is."""
    values = frame[None].astype(np.float32) / 127.5 - 1
    scale, zero_point = details["quantization"]
    if not scale:
        return values
    limits = np.iinfo(details["dtype"])
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(details["dtype"])


def classify(interpreter: nq.Interpreter, frames: Iterable[np.ndarray], governor: nq.Governor) -> Iterator[str]:
    """A line for each frame, and one for each switch."""
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    for frame in frames:
        for switch in governor.step():
            moved = f"{switch.bytes_moved / 1e6:.2f} MB in {1e3 * switch.seconds:.2f} ms"
            yield f"{switch.from_bits} to {switch.to_bits} bits, {switch.reason}: {moved}"
        start = time.perf_counter()
        interpreter.set_tensor(source["index"], model_input(frame, source))
        interpreter.invoke()
        scores = interpreter.get_tensor(sink["index"])[0]
        seconds = time.perf_counter() - start
        held = interpreter.resident_bytes() / 1e6
        yield f"class {scores.argmax()}, {interpreter.precision} bits, {1e3 * seconds:.1f} ms, {held:.2f} MB held"


def main() -> None:
    """Classifies until there are no more frames."""
    parser = argparse.ArgumentParser(prog="python -m nq_tflite_models.camera_loop", description=__doc__)
    parser.add_argument("model", type=Path, help="a nested .tflite with one picture as its input")
    parser.add_argument("--frames", type=Path, help="a folder of pictures in place of the camera")
    parser.add_argument("--count", type=int, help="stop after so many frames")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--policy", default="memory+thermal", help="as nq.Governor takes it; default: %(default)s")
    options = parser.parse_args()

    interpreter = nq.Interpreter(options.model, precision="part", num_threads=options.threads)
    interpreter.allocate_tensors()
    _, height, width, _ = map(int, interpreter.get_input_details()[0]["shape"])
    frames = folder_frames(options.frames, height, width) if options.frames else camera_frames(height, width)
    governor = nq.Governor(interpreter, options.policy)
    for line in classify(interpreter, islice(frames, options.count), governor):
        print(line, flush=True)


if __name__ == "__main__":
    main()
