"""Reads the weights of a Hugging Face BertModel from a file, by their names there; no code in the file runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
from nq_tflite_models.weights.state_dict import read_state_dict

from nq_tflite.errors import ModelSourceError, needing_extra

Array = npt.NDArray[Any]

#: A BertModel's own name, without what stands before it, such as "model.0.auto_model." or "bert.".
_OWN = re.compile(r"(?:^|\.)((?:embeddings|encoder)\..*)")
_SUFFIXES = (".onnx", ".safetensors", ".bin", ".pth")


def read_encoder(path: Path) -> dict[str, Array]:
    """Name -> array of all weights, matrices [out, in] as PyTorch has them.

    Args:
      path: a .onnx file exported from PyTorch, a .safetensors file, or a state dict in a .bin or .pth file.

    Raises:
      ModelSourceError: the file cannot be read.
      MissingPackageError: the package that reads it is not installed.

    Example:
      read_encoder(Path("model.safetensors"))["encoder.layer.0.output.dense.bias"].shape  # (384,)
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise _unreadable(path, suffix or "no suffix")
    try:
        named = {".onnx": _of_onnx, ".safetensors": _of_safetensors}.get(suffix, _of_state_dict)(path)
        return {_own(name): values for name, values in named}
    except OSError as error:
        raise _unreadable(path, str(error)) from error


def _own(name: str) -> str:
    found = _OWN.search(name)
    return name if found is None else found[1]


def _of_state_dict(path: Path) -> Iterator[tuple[str, Array]]:
    yield from read_state_dict(path).items()


def _of_safetensors(path: Path) -> Iterator[tuple[str, Array]]:
    with needing_extra("text", "reading .safetensors"):
        import safetensors
        from safetensors.numpy import load_file
    try:
        yield from load_file(path).items()
    except safetensors.SafetensorError as error:
        raise _unreadable(path, str(error)) from error


def _of_onnx(path: Path) -> Iterator[tuple[str, Array]]:
    """PyTorch's exporter transposes matrices and calls them by numbers, but nodes have their layers' names."""
    with needing_extra("text", "reading .onnx"):
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    try:
        graph = onnx.load(path).graph
    except DecodeError as error:
        raise _unreadable(path, str(error)) from error
    constants = {each.name: each for each in graph.initializer}
    for name, constant in constants.items():
        if not name.startswith("onnx::"):
            yield name, numpy_helper.to_array(constant)
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            layer = node.name.removesuffix("/MatMul").strip("/").replace("/", ".")
            yield f"{layer}.weight", numpy_helper.to_array(constants[node.input[1]]).T


def _unreadable(path: Path, got: str) -> ModelSourceError:
    expected = f"weights of a BertModel, a {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]} file"
    return ModelSourceError(f"weights {path}", expected=expected, got=got)
