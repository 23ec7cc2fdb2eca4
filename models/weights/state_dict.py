"""Reads PyTorch state dicts (.pth) into NumPy arrays, without PyTorch and without trusting the file.

A .pth is a pickle, and a pickle is a program. This reader first checks every opcode against a short list and then
resolves only the names that a state dict needs; whatever else the file asks for is an error, never an import.
Both layouts are read: the zip of PyTorch 1.6 and later, and the plain stream before it. Only little-endian files.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from nq_tflite.errors import ModelSourceError

Array = npt.NDArray[Any]

STORAGE_DTYPES: Mapping[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}

# What PyTorch's protocol-2 pickles of state dicts are made of; in particular no INST, OBJ, NEWOBJ, EXT or frames.
# fmt: off
ALLOWED_OPCODES = frozenset({
    "PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "BINPUT", "LONG_BINPUT", "BINGET",
    "LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE",
    "SHORT_BINSTRING", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS",
    "EMPTY_DICT", "SETITEM", "SETITEMS",
})
# fmt: on

# What makes a tensor of a storage; the first one is PyTorch's before 0.4.
_REBUILD = frozenset({"_rebuild_tensor", "_rebuild_tensor_v2"})
# Where a checkpoint keeps the state dict, beside an epoch or an accuracy.
_CHECKPOINT_KEY = "state_dict"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_DIMENSIONS = 8

# What a broken or hostile pickle makes the standard library raise (memo and stack misuse included).
_PICKLE_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
)


# Everything a pickle can get hold of is a named tuple: the opcode BUILD writes into any object that has a __dict__ or
# a __setstate__, frozen dataclasses and functions included, and would undo the checks below.
class _StorageType(NamedTuple):
    """Stands in for torch.FloatStorage and its like."""

    dtype: np.dtype[Any]


class _StorageRef(NamedTuple):
    """A storage named by the pickle; its bytes lie elsewhere in the file."""

    key: str
    dtype: np.dtype[Any]
    numel: int


class _TensorRef(NamedTuple):
    """A strided view of a storage, in elements."""

    storage: _StorageRef
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(data: bytes | Path) -> dict[str, Array]:
    """Reads all tensors of a .pth file that holds one state dict, or a checkpoint: a dict with one as "state_dict".

    Args:
      data: the file's bytes, or the path to read them from.

    Returns:
      Name -> array, in the file's order. Arrays own their memory, are C-contiguous and keep the stored dtype.

    Raises:
      ModelSourceError: not a .pth, damaged, out of bounds, big-endian, or asking for anything but tensors.

    Example:
      weights = read_state_dict(Path("mobilenet_v2-b0353104.pth"))
      weights["features.0.0.weight"].shape  # (32, 3, 3, 3), float32, OIHW
    """
    content = data.read_bytes() if isinstance(data, Path) else data
    tensors, storages = _read_zip(content) if content[:4] == b"PK\x03\x04" else _read_legacy(content)
    return {name: _materialize(name, tensor, storages) for name, tensor in tensors.items()}


def _fail(expected: str, got: str) -> NoReturn:
    fix = "Use a .pth that torch.save wrote from a plain state dict."
    raise ModelSourceError("PyTorch state dict", expected=expected, got=got, fix=fix)


def _shown(value: object) -> str:
    """Short text for messages; nested values are not printed, as their text may be exponentially long."""
    return f"{value!r:.80}" if isinstance(value, (int, str, bytes)) else type(value).__name__


class _StateDictUnpickler(pickle.Unpickler):
    """Resolves state-dict names only; tensors become `_TensorRef`, storages `_StorageRef`."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in _REBUILD:
            return _RebuildTensor()
        if module == "torch" and name in STORAGE_DTYPES:
            return _StorageType(STORAGE_DTYPES[name])
        _fail("only tensors", f"a reference to {module}.{name}")

    def persistent_load(self, pid: Any) -> _StorageRef:
        # Legacy files append a sixth item, the view metadata, which is None unless storages are shared views.
        if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage" and pid[5:] in ((), (None,))):
            _fail("a storage tuple", _shown(pid))
        _, storage_type, key, _, numel = pid[:5]
        if not (isinstance(storage_type, _StorageType) and isinstance(key, str) and _is_count(numel)):
            _fail("(storage, type, key, location, count)", _shown(pid))
        return _StorageRef(key, storage_type.dtype, numel)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _is_count_tuple(value: object) -> bool:
    return isinstance(value, tuple) and len(value) <= MAX_DIMENSIONS and all(map(_is_count, value))


class _RebuildTensor(NamedTuple):
    """Stands in for the functions of `_REBUILD`; bounds are checked in `_materialize`."""

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_gradient_and_hooks: Any) -> _TensorRef:
        well_typed = isinstance(storage, _StorageRef) and _is_count(offset)
        if not (well_typed and _is_count_tuple(shape) and _is_count_tuple(strides) and len(shape) == len(strides)):
            _fail("a storage, an offset, and as many sizes as strides", f"{_shown(shape)}, {_shown(strides)}")
        return _TensorRef(storage, offset, shape, strides)


def _load_pickle(stream: io.BytesIO) -> Any:
    """Checks and loads one pickle at the stream's position, and leaves the position behind it."""
    start = stream.tell()
    try:
        _check_opcodes(stream)
        stream.seek(start)
        return _StateDictUnpickler(stream, encoding="utf-8").load()
    except _PICKLE_ERRORS as error:
        _fail(f"a well-formed pickle at byte {start}", f"{type(error).__name__}: {error}")


def _check_opcodes(stream: io.BytesIO) -> None:
    size = stream.getbuffer().nbytes
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name not in ALLOWED_OPCODES:
            _fail("the opcodes of a state dict", opcode.name)
        # The unpickler allocates its memo up to the index, so an index must not exceed what the file can fill.
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > size:
            _fail(f"memo indices below {size}", str(argument))


def _tensors_of(loaded: Any) -> dict[str, _TensorRef]:
    if not isinstance(loaded, dict):
        _fail("a dict of tensors", type(loaded).__name__)
    tensors = _items(loaded)
    if isinstance(state := tensors.get(_CHECKPOINT_KEY), dict):
        tensors = _items(state)
    for name, tensor in tensors.items():
        if not (isinstance(name, str) and isinstance(tensor, _TensorRef)):
            _fail("a tensor for each name", f"{type(tensor).__name__} for {_shown(name)}")
    return tensors


def _items(loaded: dict[Any, Any]) -> dict[Any, Any]:
    """A copy, whatever the pickle has made of the object's own attributes."""
    return dict(OrderedDict.items(loaded) if isinstance(loaded, OrderedDict) else dict.items(loaded))


def _refs_by_key(tensors: Mapping[str, _TensorRef]) -> dict[str, _StorageRef]:
    refs: dict[str, _StorageRef] = {}
    for tensor in tensors.values():
        if refs.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            _fail(f"one type and size for storage {tensor.storage.key!r:.80}", "two")
    return refs


def _read_legacy(content: bytes) -> tuple[dict[str, _TensorRef], dict[str, Array]]:
    """Magic, protocol, system info, state dict, keys (five pickles), then int64 count + elements for each key."""
    stream = io.BytesIO(content)
    magic = _load_pickle(stream)
    if magic != LEGACY_MAGIC:
        _fail(f"a .pth (zip or magic number {LEGACY_MAGIC:#x})", _shown(magic))
    protocol = _load_pickle(stream)
    if protocol != LEGACY_PROTOCOL:
        _fail(f"protocol {LEGACY_PROTOCOL}", _shown(protocol))
    system = _load_pickle(stream)
    if not (isinstance(system, dict) and system.get("little_endian") is True):
        _fail("little-endian storages", "another byte order")
    tensors, keys = _tensors_of(_load_pickle(stream)), _load_pickle(stream)
    refs = _refs_by_key(tensors)
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys) and set(keys) == set(refs)):
        _fail("a list of the storages that the tensors use", "another list")
    return tensors, {key: _read_legacy_storage(stream, refs[key]) for key in keys}


def _read_legacy_storage(stream: io.BytesIO, ref: _StorageRef) -> Array:
    header = stream.read(8)
    count = struct.unpack("<q", header)[0] if len(header) == 8 else None
    if count != ref.numel:
        _fail(f"{ref.numel} elements in storage {ref.key!r:.80}", str(count))
    return _storage_array(ref, stream.read(ref.numel * ref.dtype.itemsize))


def _storage_array(ref: _StorageRef, content: bytes) -> Array:
    expected = ref.numel * ref.dtype.itemsize
    if len(content) != expected:
        _fail(f"{expected} bytes in storage {ref.key!r:.80}", str(len(content)))
    return np.frombuffer(content, ref.dtype)


def _read_zip(content: bytes) -> tuple[dict[str, _TensorRef], dict[str, Array]]:
    """<top>/data.pkl holds the state dict, <top>/data/<key> the elements of each storage."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
            if len(pickles) != 1:
                _fail("one <top>/data.pkl in the zip", str(pickles))
            top = pickles[0].removesuffix("data.pkl")
            _check_byte_order(archive, top)
            tensors = _tensors_of(_load_pickle(io.BytesIO(_stored_member(archive, pickles[0]))))
            refs = _refs_by_key(tensors)
            members = {key: _stored_member(archive, f"{top}data/{key}") for key in refs}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        _fail("an intact zip", f"{type(error).__name__}: {error}")
    return tensors, {key: _storage_array(ref, members[key]) for key, ref in refs.items()}


def _stored_member(archive: zipfile.ZipFile, name: str) -> bytes:
    if name not in archive.namelist():
        _fail(f"the member {name:.80} in the zip", "none")
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        _fail(f"{name:.80} stored as PyTorch does", "a compressed member")
    return archive.read(name)


def _check_byte_order(archive: zipfile.ZipFile, top: str) -> None:
    if f"{top}byteorder" in archive.namelist():
        order = _stored_member(archive, f"{top}byteorder")
        if order != b"little":
            _fail("little-endian storages", f"{order!r:.80}")


def _materialize(name: str, tensor: _TensorRef, storages: Mapping[str, Array]) -> Array:
    storage = storages[tensor.storage.key]
    count = math.prod(tensor.shape)
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    # Strides of zero would let a small file ask for a huge array, hence the check on the count as well.
    if count and (last >= storage.size or count > storage.size):
        _fail(f"tensor {name!r:.80} inside its {storage.size} elements", f"index {last}, {count} elements")
    if not count:
        return np.zeros(tensor.shape, storage.dtype)
    byte_strides = [stride * storage.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, byte_strides, writeable=False)
    return np.array(view, order="C")
