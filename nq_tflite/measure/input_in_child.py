"""`graph.image_input` in a process of its own.

What reads a flatbuffer may load another runtime than the one that measures, and two of them clash in one process.
"""

from __future__ import annotations

import os
from dataclasses import asdict

from nq_tflite.errors import MissingPackageError
from nq_tflite.graph.image_input import ImageInput, find_image_input
from nq_tflite.measure.child_process import Job, answer_job, run_in_child
from nq_tflite.records import from_dict


def input_in_child(path: str | os.PathLike[str]) -> ImageInput | None:
    """The image input of a model; None if it has none, or where nothing is installed that reads it.

    Raises:
        FormatError: as `graph.flatbuffer.read_model`.
    """
    try:
        found = run_in_child(__name__, {"job": "image", "path": os.fspath(path)})["image"]
    except MissingPackageError:
        return None
    return None if found is None else from_dict(ImageInput, found)


def _image(job: Job) -> Job:
    from nq_tflite.graph import flatbuffer as fb

    found = find_image_input(fb.read_model(job["path"]).model)
    return {"image": None if found is None else asdict(found)}


if __name__ == "__main__":
    answer_job({"image": _image})
