"""`python -m nq_tflite_models.camera_loop`: classifies a camera's frames, at part-bit when short of memory or hot.

An example to start from, for a Raspberry Pi: needs NumPy, a TFLite runtime, and python3-picamera2 for its camera; or a
folder of pictures and Pillow, on any machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import nq_tflite as nq

THERMOMETER = Path("/sys/class/thermal/thermal_zone0/temp")
MEMORY = Path("/proc/meminfo")
PICTURES = (".png", ".jpg", ".jpeg")


@dataclass
class Governor:
    """Which precision to use: part-bit when memory is short or the CPU is hot, full-bit once both are well again.

    Attributes:
        low_bytes: part-bit below so much available memory; full-bit from 1.25 times as much on.
        hot_celsius: part-bit from this temperature on; full-bit from 5 degrees below it.
        precision: "full" or "part".
    """

    low_bytes: float
    hot_celsius: float
    precision: str = "full"

    def update(self, available_bytes: float, celsius: float) -> str:
        """The precision for the next frame."""
        if available_bytes < self.low_bytes or celsius >= self.hot_celsius:
            self.precision = "part"
        elif available_bytes >= 1.25 * self.low_bytes and celsius < self.hot_celsius - 5:
            self.precision = "full"
        return self.precision


def available_bytes() -> float:
    """Memory that the system can still give."""
    lines = dict(line.split(":") for line in MEMORY.read_text().splitlines())
    return 1024.0 * int(lines["MemAvailable"].split()[0])


def cpu_celsius() -> float:
    """The CPU's temperature; 0 where there is no thermometer."""
    return int(THERMOMETER.read_text()) / 1000 if THERMOMETER.exists() else 0.0


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


def classify(interpreter: nq.Interpreter, frames: Iterable[np.ndarray], governor: Governor) -> Iterator[str]:
    """A line for each frame, and one for each switch."""
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    for frame in frames:
        switch = interpreter.switch(governor.update(available_bytes(), cpu_celsius()))
        if switch.to_bits != switch.from_bits:
            moved = f"{switch.bytes_moved / 1e6:.2f} MB in {1e3 * switch.seconds:.2f} ms"
            held = f"{interpreter.resident_bytes() / 1e6:.2f} MB held"
            yield f"{switch.from_bits} to {switch.to_bits} bits: {moved}, {held}"
        start = time.perf_counter()
        interpreter.set_tensor(source["index"], model_input(frame, source))
        interpreter.invoke()
        scores = interpreter.get_tensor(sink["index"])[0]
        seconds = time.perf_counter() - start
        yield f"class {int(np.argmax(scores))}, {interpreter.precision} bits, {1e3 * seconds:.1f} ms"


def main() -> None:
    """Classifies until there are no more frames."""
    parser = argparse.ArgumentParser(prog="python -m nq_tflite_models.camera_loop", description=__doc__)
    parser.add_argument("model", type=Path, help="a nested .tflite with one picture as its input")
    parser.add_argument("--frames", type=Path, help="a folder of pictures in place of the camera")
    parser.add_argument("--count", type=int, help="stop after so many frames")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument(
        "--low-memory", type=float, default=100, metavar="MB", help="part-bit below; default: %(default)s"
    )
    parser.add_argument(
        "--hot", type=float, default=75, metavar="CELSIUS", help="part-bit from there; default: %(default)s"
    )
    options = parser.parse_args()

    interpreter = nq.Interpreter(options.model, precision="part", num_threads=options.threads)
    interpreter.allocate_tensors()
    _, height, width, _ = map(int, interpreter.get_input_details()[0]["shape"])
    frames = folder_frames(options.frames, height, width) if options.frames else camera_frames(height, width)
    governor = Governor(1e6 * options.low_memory, options.hot)
    for line in classify(interpreter, islice(frames, options.count), governor):
        print(line, flush=True)


if __name__ == "__main__":
    main()
