"""`python docs/figures/measure_switch.py nq-tflite-demo`: a camera's seconds with a nested model, and with a stock one.

Takes the stock models of `make demo` and nests the same MobileNetV2 with 8|4, each layer with bits of its own. Each
model runs in a process of its own on the same frames, 60 a second: crops of the demo's photos, which no model was
calibrated on. The nested one switches after every round of frames. What they add to their process goes to switch.json,
which the README's picture is drawn from. So does how often they answer as the float model does, of more such frames.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from nq_tflite_models.nets.mobilenet_v2 import MOBILENET_V2_PREPROCESSING, mobilenet_v2
from nq_tflite_models.photos import calibration_photos, demo_photos
from PIL import ImageOps

from nq_tflite.conversion.convert import convert
from nq_tflite.device.native import load_library
from nq_tflite.device.opening import open_model
from nq_tflite.device.runtimes import load_runtime
from nq_tflite.measure.benchmark import cpu_name
from nq_tflite.measure.demo import FLOAT_FILE, INT8_FILE, NUM_CALIBRATION_PHOTOS
from nq_tflite.measure.preprocessing import pixel_preprocessing
from nq_tflite.measure.resident import resident_memory

FRAMES, FRAMES_A_SECOND, LOOK_EVERY = 180, 60, 5
JUDGED_FRAMES = 1440
PRECISIONS = ("part", "full", "part")
SMALLEST_CROP = 0.5
NESTING, NESTED_FILE = "8|4", "mobilenet_v2_8_4_own.tflite"
RESULT = Path(__file__).with_name("switch.json")


def frames(count: int = FRAMES, seed: int = 0) -> np.ndarray:
    """Random square crops of the demo's photos, half of them mirrored: float32 [count, 224, 224, 3]."""
    rng, photos, pixels = np.random.default_rng(seed), demo_photos(), pixel_preprocessing("mobilenet_v2", 224, 224)
    made = []
    for index in range(count):
        image = photos[index % len(photos)].image
        side = int(min(image.size) * rng.uniform(SMALLEST_CROP, 1))
        left, top = (int(rng.integers(0, extent - side + 1)) for extent in image.size)
        crop = image.crop((left, top, left + side, top + side))
        made.append(pixels.apply(ImageOps.mirror(crop) if rng.random() < 0.5 else crop))
    return np.stack(made)


def nest(path: Path) -> None:
    """Writes the nested model, calibrated on the demo's calibration photos."""
    photos = [MOBILENET_V2_PREPROCESSING.apply(photo) for photo in calibration_photos(NUM_CALIBRATION_PHOTOS)]
    convert(mobilenet_v2(), path, NESTING, representative_data=np.stack(photos), layer_bits="own")


def run(path: str, frames_path: str, precisions: Sequence[str], paced: bool = True) -> dict[str, Any]:
    """Runs all frames once at each precision ("stock" for a stock model), in a process that has run no other model.

    The frames are mapped: freed memory of theirs would be where the model moves in, unseen.

    Returns:
        Of each frame its time and the model's answer; of each look at the memory its time and the bytes added; of each
        switch its time, bytes and seconds.
    """
    inputs, nested = np.load(frames_path, mmap_mode="r"), "stock" not in precisions
    runtime = load_runtime(None)
    if nested:
        load_library()
    resident_memory(path)  # what measuring itself takes from the heap is not the model's
    before = resident_memory(path).held
    interpreter = open_model(path, nested, None, 1, precisions[0])
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    result: dict[str, Any] = {
        "runtime": f"{runtime.name} {runtime.version}",
        "answers": [],
        "memory": [],
        "switches": [],
    }
    start = time.monotonic()
    for count, precision in enumerate(precisions):
        if nested and count:
            switch = interpreter.switch(precision)
            result["switches"].append([time.monotonic() - start, switch.bytes_moved, switch.seconds])
        for index, frame in enumerate(inputs):
            interpreter.set_tensor(source, frame[None])
            interpreter.invoke()
            result["answers"].append(int(interpreter.get_tensor(sink)[0].argmax()))
            if paced and index % LOOK_EVERY == 1:
                result["memory"].append([time.monotonic() - start, resident_memory(path).held - before])
            due = start + (count * len(inputs) + index + 1) / FRAMES_A_SECOND
            time.sleep(max(0.0, due - time.monotonic()) if paced else 0.0)
    return result


def agreement(answers: Sequence[int], wanted: Sequence[int]) -> list[float]:
    """Of each round of frames, how many are answered as wanted."""
    rounds = np.asarray(answers).reshape(-1, len(wanted))
    return [round(float(each), 4) for each in (rounds == np.asarray(wanted)).mean(axis=1)]


def main(folder: Path) -> None:
    """Measures, prints, and writes the result."""
    if not (folder / NESTED_FILE).exists():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # one process holds one TFLite runtime
            pool.submit(nest, folder / NESTED_FILE).result()
    measured = _measured(folder)
    for name, each in measured.items():
        held = [bytes_ / 1e6 for _, bytes_ in each["memory"]]
        print(f"{name}: {min(held):.2f} to {max(held):.2f} MB added, agreement {each['agreement']}, {each['switches']}")
    about = {"model": f"MobileNetV2 {NESTING}", "frames": JUDGED_FRAMES, "cpu": cpu_name(), "precisions": PRECISIONS}
    RESULT.write_text(json.dumps(about | measured) + "\n")


def _measured(folder: Path) -> dict[str, dict[str, Any]]:
    """Of the nested and of the stock model: what `run` gives of the seconds, and the agreement in each stretch."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = {count: str(Path(scratch) / f"{count}.npy") for count in (FRAMES, JUDGED_FRAMES)}
        for count, path in paths.items():
            np.save(path, frames(count))

        def in_process(name: str, precisions: Sequence[str], count: int = FRAMES) -> dict[str, Any]:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                return pool.submit(run, str(folder / name), paths[count], precisions, count == FRAMES).result()

        def answers(name: str, precisions: Sequence[str]) -> list[int]:
            return in_process(name, precisions, JUDGED_FRAMES)["answers"]

        wanted = answers(FLOAT_FILE, ["stock"])
        part, full = agreement(answers(NESTED_FILE, ["part", "full"]), wanted)
        stock = agreement(answers(INT8_FILE, ["stock"]), wanted)
        rates = {"part": part, "full": full}
        measured = {"nested": in_process(NESTED_FILE, PRECISIONS), "stock": in_process(INT8_FILE, ["stock"] * 3)}
    measured["nested"]["agreement"] = [rates[each] for each in PRECISIONS]
    measured["stock"]["agreement"] = stock * 3
    for each in measured.values():
        del each["answers"]
    return measured


if __name__ == "__main__":
    main(Path(sys.argv[1]))
