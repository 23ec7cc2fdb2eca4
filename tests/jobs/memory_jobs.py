"""Memory of conversions: `memory_jobs.py FOLDER export|convert|convert-alone` prints the most that the process had.

Images of 640 x 640, and 128 of them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SIZE, SAMPLES = 640, 128
#: Those that tensorflow alone is given, which keeps none of them.
FEW = 8
#: What a conversion may take beyond tensorflow.
CEILING = 1_200_000_000


def net() -> Any:
    """A convolutional net whose first maps have 13 MB, and whose outputs are maps too."""
    import keras
    from nq_tflite_models.nets.seeded import set_seeded_weights

    layers = [
        keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
        keras.layers.DepthwiseConv2D(3, padding="same"),
        keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
        keras.layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
        keras.layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
        keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
        keras.layers.UpSampling2D(4),
        keras.layers.Conv2D(6, 1),
    ]
    return set_seeded_weights(keras.Sequential([keras.Input((SIZE, SIZE, 3)), *layers]), seed=1)


def images(count: int = SAMPLES) -> Iterator[list[np.ndarray]]:
    """Noise of two sizes."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        coarse = rng.uniform(-1, 1, (1, SIZE // 16, SIZE // 16, 3)).astype(np.float32)
        yield [coarse.repeat(16, 1).repeat(16, 2) + rng.normal(0, 0.1, (1, SIZE, SIZE, 3)).astype(np.float32)]


def most_bytes(folder: Path, what: str) -> int:
    """What a process of its own had at most: pages of its own and of files."""
    command = [sys.executable, __file__, str(folder), what]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1])


def run(folder: Path, what: str) -> None:
    """In this process: tensorflow's part of a conversion, a conversion of the Keras model, or one of a float file."""
    import nq_tflite as nq
    from nq_tflite.conversion.sources.calibration import sample_source
    from nq_tflite.conversion.sources.keras_export import export

    if what == "export":
        model = net()
        export(model, sample_source(lambda: images(FEW)))
        (folder / "float.tflite").write_bytes(export(model, None))
    elif what == "convert":
        nq.convert(net(), folder / "nested.tflite", representative_data=images(), progress=None)
    else:
        nq.convert(folder / "float.tflite", folder / "nested.tflite", progress=None)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
    # Not ru_maxrss, which counts the parent that it was forked from.
    print(int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024)
