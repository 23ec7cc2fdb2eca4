"""A model to agree with, as a runtime takes it: a Keras one is converted by tensorflow, in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

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


def _export(job: Job) -> Job:
    from nq_tflite.conversion.sources.keras_export import export

    content = export(job["source"], None)
    Path(job["target"]).write_bytes(content)
    return {"bytes": len(content)}


if __name__ == "__main__":
    answer_job({"export": _export})
