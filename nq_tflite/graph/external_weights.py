"""Weights that LiteRT keeps in files beside the model: `ExternalBuffer`s, which tensors name by an id.

They are read into ordinary buffers, so that a nested file holds everything itself.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import FormatError, reason_of
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.model import ExternalBufferT, ModelT, TensorT

#: The packing of bytes that are as the tensor's type has them; a file may also say nothing.
_PLAIN = {"", "unpacked"}


def bring_in_external(model: ModelT, source: str | os.PathLike[str] | bytes) -> None:
    """Changes a model in place; one without such buffers stays as it is.

    Args:
        source: what the model was read from. The names of the files are relative to its folder, and stay within it: a
            model that names another place on this machine is refused.

    Raises:
        FormatError: a file is missing or too short, or is named or packed in a way that cannot be read.
    """
    tensors = [tensor for _, subgraph in fb.subgraphs(model) for tensor in subgraph.tensors if _id_of(tensor)]
    if not tensors:
        return
    if isinstance(source, bytes):
        raise FormatError(
            "model content",
            expected="a model that contains its weights",
            got="one whose weights are in other files",
            fix="Give the model's path, so that they can be found.",
        )
    reading = _Reading(model, Path(source).absolute().parent)
    for tensor in tensors:
        tensor.buffer, tensor.externalBuffer = reading.buffer(tensor), 0
    model.externalBuffers = model.externalBufferGroups = None


def _id_of(tensor: TensorT) -> int:
    """0 where there is none; schemas before LiteRT's know of none."""
    return int(getattr(tensor, "externalBuffer", 0))


class _Reading:
    """Reads each file once, and makes one buffer for each id."""

    def __init__(self, model: ModelT, folder: Path) -> None:
        self._model, self._folder = model, folder
        self._by_id = {each.id: each for each in model.externalBuffers or []}
        self._files: dict[int, NDArray[np.uint8]] = {}
        self._made: dict[int, int] = {}

    def buffer(self, tensor: TensorT) -> int:
        """Index of the buffer with a tensor's bytes."""
        number, name = _id_of(tensor), fb.text(tensor.name)
        if number not in self._made:
            external = self._by_id.get(number)
            if external is None:
                raise _damaged(f"weight {name!r}", f"an external buffer with id {number}", "none of that id")
            self._made[number] = fb.add_buffer(self._model, self._bytes(external, name))
        return self._made[number]

    def _bytes(self, external: ExternalBufferT, name: str) -> NDArray[np.uint8]:
        packing = fb.text(external.packing)
        if packing not in _PLAIN:
            raise _damaged(f"weight {name!r}", "bytes that are not packed", f"packing {packing!r}")
        data, end = self._file(external.group), external.offset + external.length
        if end > len(data):
            what = f"weight {name!r} in {self._path(external.group)}"
            raise FormatError(
                what, expected=f"{end} bytes", got=str(len(data)), fix="The file is truncated: copy it again."
            )
        return data[external.offset : end]

    def _file(self, group: int) -> NDArray[np.uint8]:
        if group not in self._files:
            path = self._path(group)
            try:
                self._files[group] = np.fromfile(path, np.uint8)
            except OSError as error:
                raise FormatError(
                    "weights beside the model",
                    expected=f"the file {path}",
                    got=reason_of(error),
                    fix="Copy it there: the model is incomplete without it.",
                ) from error
        return self._files[group]

    def _path(self, group: int) -> Path:
        groups = self._model.externalBufferGroups or []
        name = fb.text(groups[group].name) if group < len(groups) else ""
        path = (self._folder / name).resolve()
        if not name or "\0" in name or self._folder.resolve() not in path.parents:
            raise _damaged("weights beside the model", "the name of a file in the model's folder", repr(name))
        return path


def _damaged(what: str, expected: str, got: str) -> FormatError:
    return FormatError(what, expected=expected, got=got, fix="Export the model again, with its weights inside.")
