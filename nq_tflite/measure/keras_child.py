"""Keras models as a runtime takes them: tensorflow converts them, in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nq_tflite.measure.child_process import Job, answer_job, run_in_child

_KERAS = {".keras", ".h5", ".hdf5"}


def float_reference(source: str | os.PathLike[str], folder: Path) -> Path:
    """The path of a .tflite file: the source itself, or what tensorflow makes of a Keras file or a SavedModel folder.

    Args:
        source: any of these.
        folder: where that is written.

    Raises:
        UnsupportedModelError, MissingPackageError: as `conversion.sources.keras_export.export`.
    """
    path = Path(source)
    if path.suffix.lower() not in _KERAS and not path.is_dir():
        return path
    target = folder / "reference.tflite"
    run_in_child(__name__, {"job": "export", "source": str(path), "target": str(target)})
    return target


def int8_model(source: str | os.PathLike[str], inputs: NDArray[np.float32], folder: Path) -> Path:
    """The path of the full-int8 .tflite file that a Keras file or a SavedModel folder becomes.

    Args:
        source: one of these.
        inputs: representative data, float32 [inputs, ...].
        folder: where the file is written.

    Raises:
        RepresentativeDataError, UnsupportedModelError, MissingPackageError: as `keras_export.export`.
    """
    samples, target = folder / "samples.npy", folder / "int8.tflite"
    np.save(samples, inputs)
    job = {"job": "export", "source": os.fspath(source), "target": str(target), "samples": str(samples)}
    run_in_child(__name__, job)
    return target


def _export(job: Job) -> Job:
    from nq_tflite.conversion.sources.calibration import sample_source
    from nq_tflite.conversion.sources.keras_export import export

    samples = sample_source(np.load(job["samples"])) if "samples" in job else None
    content = export(job["source"], samples)
    Path(job["target"]).write_bytes(content)
    return {"bytes": len(content)}


if __name__ == "__main__":
    answer_job({"export": _export})
