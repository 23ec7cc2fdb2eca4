"""Writes .pth files as torch.save does, opcode by opcode, so that hostile ones can be written too."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
STORAGE_NAMES = {"float32": "FloatStorage", "int64": "LongStorage", "uint8": "ByteStorage", "float16": "HalfStorage"}


class Global:
    """Pickles as a bare reference to <module>.<name>, whether or not that exists here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """Pickles as a call of a global with arguments."""

    def __init__(self, function: Global, *arguments: object) -> None:
        self.function, self.arguments = function, arguments


class Storage:
    """Pickles as a persistent id, as torch.save does it."""

    def __init__(self, key: str, array: Array, *, numel: int | None = None) -> None:
        self.key, self.array = key, array
        self.numel = array.size if numel is None else numel


class Built:
    """Pickles as an object followed by BUILD with a state."""

    def __init__(self, target: object, state: object) -> None:
        self.target, self.state = target, state


def dumps(value: object, *, legacy: bool = False) -> bytes:
    """A protocol-2 pickle, opcode by opcode, so that hostile ones can be written too."""
    return b"\x80\x02" + _encode(value, legacy) + b"."


def _encode(value: object, legacy: bool) -> bytes:
    def encode_all(values: Any) -> bytes:
        return b"".join(_encode(item, legacy) for item in values)

    match value:
        case Global():
            return b"c" + value.module.encode() + b"\n" + value.name.encode() + b"\n"
        case Call():
            return _encode(value.function, legacy) + _encode(value.arguments, legacy) + b"R"
        case Built():
            return _encode(value.target, legacy) + _encode(value.state, legacy) + b"b"
        case Storage():
            kind = Global("torch", STORAGE_NAMES[str(value.array.dtype)])
            pid = ("storage", kind, value.key, "cpu", value.numel, *((None,) if legacy else ()))
            return _encode(pid, legacy) + b"Q"
        case OrderedDict():
            made = _encode(Call(Global("collections", "OrderedDict")), legacy)
            return made + b"(" + encode_all(part for item in value.items() for part in item) + b"u"
        case dict():
            return b"}(" + encode_all(part for item in value.items() for part in item) + b"u"
        case tuple():
            return b"(" + encode_all(value) + b"t"
        case list():
            return b"](" + encode_all(value) + b"e"
        case _:
            return pickle.dumps(value, 2)[2:-1]


def tensor(storage: Storage, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Call:
    function = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(function, storage, offset, shape, strides, False, Call(Global("collections", "OrderedDict")))


def legacy_file(state: object, storages: list[Storage], *, system: object = SYSTEM) -> bytes:
    head = [dumps(MAGIC), dumps(PROTOCOL), dumps(system), dumps(state, legacy=True)]
    keys = dumps([storage.key for storage in storages])
    blobs = [struct.pack("<q", storage.array.size) + storage.array.tobytes() for storage in storages]
    return b"".join([*head, keys, *blobs])


def zip_file(state: object, storages: list[Storage], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", dumps(state))
        archive.writestr("archive/byteorder", b"little")
        for storage in storages:
            archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())
        archive.writestr("archive/version", b"3\n")
    return buffer.getvalue()


def saved_state_dict(weights: dict[str, Array]) -> bytes:
    """A file of these tensors as PyTorch wrote it before 0.4, in a checkpoint beside an accuracy."""
    storages = [
        Storage(str(number), np.ascontiguousarray(each).ravel()) for number, each in enumerate(weights.values())
    ]
    state = OrderedDict(
        (name, old_tensor(storage, each.shape)) for (name, each), storage in zip(weights.items(), storages, strict=True)
    )
    return legacy_file({"best_prec1": 91.7, "state_dict": state}, storages)


def old_tensor(storage: Storage, shape: tuple[int, ...]) -> Call:
    """A whole storage by the function that PyTorch had before 0.4."""
    strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    return Call(Global("torch._utils", "_rebuild_tensor"), storage, 0, shape, strides)
