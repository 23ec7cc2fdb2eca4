"""`nq-tflite demo`: a real ImageNet MobileNetV2, nested 8|5, on real photos, beside the ways to do without nesting.

Tensorflow converts in one child process; the stock runtime classifies and is measured in others, since one process must
not hold two TFLite runtimes.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.errors import FormatError, ModelSourceError, needing_extra, reason_of
from nq_tflite.measure.benchmark import footprint_in_child
from nq_tflite.measure.child_process import Job, answer_job, run_in_child
from nq_tflite.measure.memory import Footprint, MedianSwitch
from nq_tflite.progress import Progress, silent
from nq_tflite.records import from_dict

NESTING = "8|5"
NUM_CALIBRATION_PHOTOS = 64
NESTED_FILE, FLOAT_FILE, INT8_FILE = "mobilenet_v2_8_5.tflite", "mobilenet_v2_float.tflite", "mobilenet_v2_int8.tflite"
PHOTOS_FOLDER = "photos"
SWITCHES, RELOADS = 100, 10


@dataclass(frozen=True)
class FileSizes:
    """Bytes.

    Attributes:
        nested, float32, int8: the three files.
        part_weights: the nested weights at part-bit, packed (level 0): a separate part-bit file holds at least these.
    """

    nested: int
    float32: int
    int8: int
    part_weights: int

    @property
    def separate(self) -> int:
        """Two separate models: the stock INT8 file, and a part-bit file counted as its packed weights alone."""
        return self.int8 + self.part_weights


@dataclass(frozen=True)
class PhotoLabels:
    """What each model says of a photo: class names, and the indices that count as right."""

    name: str
    accepted: tuple[int, ...]
    float32: tuple[int, str]
    full: tuple[int, str]
    part: tuple[int, str]


@dataclass(frozen=True)
class DemoReport:
    """What the demo found.

    Attributes:
        workdir: where the models and photos are.
        sizes: of the files.
        photos: labels by the float model and by one nested interpreter that switches live.
        switched_back_identical: whether full-bit outputs after part-bit and back equalled those before, bit for bit.
        nested, stock: memory, switches and reloads of the nested and the stock INT8 file.
        seconds: the whole demo.
    """

    workdir: str
    sizes: FileSizes
    photos: tuple[PhotoLabels, ...]
    switched_back_identical: bool
    nested: Footprint
    stock: Footprint
    seconds: float

    @property
    def switch(self) -> MedianSwitch:
        """Of the nested file."""
        if self.nested.switch is None:
            raise FormatError(self.nested.path, expected="a nested model", got="a stock one")
        return self.nested.switch

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self) | {"separate_bytes": self.sizes.separate}


def run_demo(
    workdir: str | Path = "nq-tflite-demo", *, runtime: RuntimeName | None = None, progress: Progress | None = None
) -> DemoReport:
    """Obtains, converts, classifies, switches and measures; the files stay in `workdir`.

    Args:
        workdir: folder to work in, made if need be.
        runtime: as nq.Interpreter.
        progress: called before each stage.

    Raises:
        MissingPackageError: tensorflow, the models or the photos' packages are not installed.
        ModelSourceError: the weights could not be obtained, or the folder cannot be made.

    Example:
        >>> run_demo("demo").sizes.nested  # doctest: +SKIP
        4109376
    """
    started, folder, notify = time.monotonic(), Path(workdir), progress or silent
    try:
        (folder / PHOTOS_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelSourceError(
            f"demo folder {folder}", expected="a folder that can be created", got=reason_of(error)
        ) from error
    notify("obtaining MobileNetV2, converting it (tensorflow)", 0, 4)
    sizes = from_dict(FileSizes, run_in_child(__name__, {"job": "build", "workdir": str(folder)}))
    notify("classifying photos, switching live", 1, 4)
    labels = run_in_child(__name__, {"job": "classify", "workdir": str(folder), "runtime": runtime})
    notify("measuring switches of the nested file", 2, 4)
    nested = footprint_in_child(str(folder / NESTED_FILE), True, runtime, 1, SWITCHES, RELOADS)
    notify("measuring reloads of the stock INT8 file", 3, 4)
    stock = footprint_in_child(str(folder / INT8_FILE), False, runtime, 1, SWITCHES, RELOADS)
    notify("done", 4, 4)
    photos = tuple(from_dict(PhotoLabels, photo) for photo in labels["photos"])
    return DemoReport(str(folder), sizes, photos, labels["identical"], nested, stock, time.monotonic() - started)


# ---- in child processes ----------------------------------------------------------------------------------------------


def _build(job: Job) -> Job:
    """Writes the three models and the photos with their labels.csv; answers with the sizes."""
    with needing_extra("demo", "the demo"):
        from nq_tflite_models.nets.mobilenet_v2 import MOBILENET_V2_PREPROCESSING, mobilenet_v2
        from nq_tflite_models.photos import calibration_photos, write_demo_photos
    import numpy as np

    from nq_tflite.conversion.convert import convert
    from nq_tflite.conversion.sources.calibration import sample_source
    from nq_tflite.conversion.sources.keras_export import export
    from nq_tflite.files import write_whole
    from nq_tflite.graph.inspection import inspect_file

    folder = Path(job["workdir"])
    write_demo_photos(folder / PHOTOS_FOLDER)
    model = mobilenet_v2()
    photos = calibration_photos(NUM_CALIBRATION_PHOTOS)
    samples = np.stack([MOBILENET_V2_PREPROCESSING.apply(photo) for photo in photos])
    return {
        "nested": convert(model, folder / NESTED_FILE, NESTING, representative_data=samples, progress=None).file_bytes,
        "float32": write_whole(folder / FLOAT_FILE, [(0, export(model, None))]),
        "int8": write_whole(folder / INT8_FILE, [(0, export(model, sample_source(samples)))]),
        "part_weights": inspect_file(folder / NESTED_FILE).section_bytes[0],
    }


def _classify(job: Job) -> Job:
    """Labels by the float model and, in one interpreter, at full-bit, part-bit and full-bit again."""
    import numpy as np
    from nq_tflite_models.classes import imagenet_classes

    from nq_tflite.measure.classifier import Classifier
    from nq_tflite.measure.photo_folder import read_photo_folder
    from nq_tflite.measure.preprocessing import pixel_preprocessing

    folder, runtime = Path(job["workdir"]), job["runtime"]
    float32 = Classifier(folder / FLOAT_FILE, None, runtime)
    nested = Classifier(folder / NESTED_FILE, None, runtime)
    photos = read_photo_folder(folder / PHOTOS_FOLDER).photos
    height, width, channels = nested.input_shape
    pixels = pixel_preprocessing("mobilenet_v2", height, width, channels)
    inputs = [pixels.apply(photo.path) for photo in photos]
    passes = []
    for bits in (nested.levels[-1], nested.levels[0], nested.levels[-1]):
        nested.switch(bits)
        passes.append([nested.logits(each) for each in inputs])
    full, part, again = passes
    names = imagenet_classes()

    def label(logits: Any) -> tuple[int, str]:
        best = int(logits.argmax())
        return best, names[best]

    return {
        "identical": bool(np.array_equal(full, again)),
        "photos": [
            {
                "name": photo.path.stem,
                "accepted": sorted(photo.accepted),
                "float32": label(float32.logits(pixel)),
                "full": label(full_logits),
                "part": label(part_logits),
            }
            for photo, pixel, full_logits, part_logits in zip(photos, inputs, full, part, strict=True)
        ],
    }


if __name__ == "__main__":
    answer_job({"build": _build, "classify": _classify})
