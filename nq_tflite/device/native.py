"""The native library through ctypes: custom_ops/include/nq.h as Python."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nq_tflite.device.delegation import PLACES, DelegatedOperator, Delegation
from nq_tflite.device.profile import LayerTime
from nq_tflite.errors import FormatError, NativeLibraryError, NqError, PrecisionError

LIBRARY_NAME = "libnq_tflite.so"
LIBRARY_VARIABLE = "NQ_TFLITE_LIBRARY"
_API_VERSION = (0, 1)

_OK, _INVALID_ARGUMENT, _NOT_READY, _DATA_LOSS, _INVALID_MODEL, _SYSTEM = range(6)
_ERRORS: dict[int, type[NqError]] = {
    _INVALID_ARGUMENT: PrecisionError,
    _NOT_READY: NativeLibraryError,
    _DATA_LOSS: FormatError,
    _INVALID_MODEL: FormatError,
    _SYSTEM: NativeLibraryError,
}
_DROP_PAGE_CACHE = 1


class SwitchResult(ctypes.Structure):
    """nq_switch_result."""

    _fields_ = (
        ("from_level", ctypes.c_int32),
        ("to_level", ctypes.c_int32),
        ("bytes_paged_in", ctypes.c_uint64),
        ("bytes_paged_out", ctypes.c_uint64),
        ("seconds", ctypes.c_double),
        ("deferred", ctypes.c_int32),
    )


class Kernel(ctypes.Structure):
    """nq_kernel."""

    _fields_ = (("kind", ctypes.c_char_p), ("isa", ctypes.c_char_p))


class Operator(ctypes.Structure):
    """nq_operator."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("output", ctypes.c_char_p),
        ("weight", ctypes.c_char_p),
        ("reason", ctypes.c_char_p),
        ("place", ctypes.c_int32),
    )


class LayerTimeRecord(ctypes.Structure):
    """nq_layer_time."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("output", ctypes.c_char_p),
        ("weight", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_int32)),
        ("num_dims", ctypes.c_int32),
        ("place", ctypes.c_int32),
        ("macs", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("invocations", ctypes.c_uint64),
        ("nanoseconds", ctypes.c_uint64),
        ("least", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class LevelMemory:
    """A level's section: its size, the bytes of it that this process holds, and whether it can be paged."""

    size: int
    resident: int
    pageable: bool


def library_path() -> Path:
    """Where the native library is: $NQ_TFLITE_LIBRARY, or in the folder of the package.

    Raises:
        NativeLibraryError: the variable's path is relative, so that the working folder would decide what is loaded.
    """
    override = os.environ.get(LIBRARY_VARIABLE)
    path = Path(override) if override else Path(__file__).resolve().parents[1] / LIBRARY_NAME
    if not path.is_absolute():
        raise NativeLibraryError(LIBRARY_VARIABLE, expected="an absolute path", got=str(path))
    return path


@cache
def load_library() -> ctypes.CDLL:
    """Loads the library and declares its functions.

    Raises:
        NativeLibraryError: it is missing, cannot be loaded, or belongs to another nq_tflite.
    """
    path = library_path()
    if not path.is_file():
        raise NativeLibraryError(
            "native library",
            expected=str(path),
            got="no such file",
            fix=f"Reinstall nq-tflite (building needs a C++17 compiler) or set {LIBRARY_VARIABLE}.",
        )
    try:
        _require_whole(path)
        library = ctypes.CDLL(str(path))
        _declare(library)
    except (OSError, AttributeError) as error:
        raise NativeLibraryError(
            "native library",
            expected=f"a library for this machine at {path}",
            got=str(error),
            fix="Reinstall nq-tflite.",
        ) from error
    version = library.nq_version().decode()
    if tuple(int(part) for part in version.split(".")[:2]) != _API_VERSION:
        raise NativeLibraryError(
            f"native library {path}",
            expected="version {}.{}.x".format(*_API_VERSION),
            got=version,
            fix="Reinstall nq-tflite so that Python and native code match.",
        )
    return library


def _require_whole(path: Path) -> None:
    """Raises OSError if the library ends before its section headers, which stand last in it.

    The dynamic linker does not ask: it maps what is missing, and reading that ends the process.
    """
    with path.open("rb") as file:
        head, size = file.read(64), os.fstat(file.fileno()).st_size
    if head[:4] != b"\x7fELF" or len(head) < 64:
        return  # the linker says so
    start, layout = (40, "<Q10x2H") if head[4] == 2 else (32, "<I10x2H")
    offset, entry_bytes, count = struct.unpack_from(layout, head, start)
    if size < offset + entry_bytes * count:
        raise OSError(f"only {size} of {offset + entry_bytes * count} bytes")


def _declare(library: ctypes.CDLL) -> None:
    session, status = ctypes.c_uint64, ctypes.c_int
    pointer = ctypes.POINTER
    i32, u64, strings = pointer(ctypes.c_int32), pointer(ctypes.c_uint64), pointer(ctypes.c_char_p)
    signatures: dict[str, tuple[object, list[object]]] = {
        "nq_version": (ctypes.c_char_p, []),
        "nq_isa": (ctypes.c_char_p, []),
        "nq_kernels": (status, [pointer(pointer(Kernel)), i32]),
        "nq_last_error": (ctypes.c_char_p, []),
        "nq_accelerator_set_options": (status, [strings, strings, ctypes.c_size_t]),
        "nq_session_open": (session, []),
        "nq_session_close": (None, [session]),
        "nq_session_prepare": (status, [session]),
        "nq_session_levels": (status, [session, i32, i32, ctypes.c_int32]),
        "nq_session_get_level": (status, [session, i32]),
        "nq_session_set_level": (status, [session, ctypes.c_int32, ctypes.c_uint32, pointer(SwitchResult)]),
        "nq_session_memory": (status, [session, ctypes.c_int32, u64, u64, i32]),
        "nq_session_delegation": (status, [session, pointer(pointer(Operator)), i32, i32]),
        "nq_session_profile": (status, [session, ctypes.c_int32, pointer(pointer(LayerTimeRecord)), i32]),
        "nq_session_reset_profile": (status, [session]),
        "nq_session_invocation_ended": (status, [session]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


def set_accelerator_options(options: dict[str, str]) -> None:
    """Options of the delegates that LiteRT asks for on this thread from now on. Forgets the thread's last error."""
    library = load_library()
    strings = ctypes.c_char_p * len(options)
    keys, values = strings(*map(str.encode, options)), strings(*map(str.encode, options.values()))
    if library.nq_accelerator_set_options(keys, values, len(options)) != _OK:
        raise NativeLibraryError(last_error())


def last_error() -> str:
    """The message of this thread's last failure in the native library; "" if it had none."""
    return str(load_library().nq_last_error().decode(errors="replace"))


def kernels() -> dict[str, str]:
    """The instruction set of each kind of kernel: matrix, depthwise, unpack, quantize, addition, elementwise,
    checksum.

    Raises:
        NativeLibraryError: NQ_ISA in the environment names none that this CPU has.
    """
    found, count = ctypes.POINTER(Kernel)(), ctypes.c_int32()
    if load_library().nq_kernels(ctypes.byref(found), ctypes.byref(count)) != _OK:
        raise NativeLibraryError(last_error())
    return {each.kind.decode(): each.isa.decode() for each in found[: count.value]}


class Session:
    """One interpreter's connection to the native library; thread-safe. Errors carry the library's own message."""

    def __init__(self) -> None:
        self._library = load_library()
        self.handle = int(self._library.nq_session_open())
        if not self.handle:
            raise NativeLibraryError(last_error())

    def close(self) -> None:
        """Forgets the handle; a running interpreter keeps its precision."""
        self._library.nq_session_close(self.handle)

    def prepare(self) -> None:
        """Checks the model's nested weights and pages in the starting precision."""
        self._call("nq_session_prepare")

    def precisions(self) -> tuple[int, ...]:
        """Bits of each level's precision, part-bit first; empty for a stock model."""
        count, bits = ctypes.c_int32(), (ctypes.c_int32 * 8)()
        self._call("nq_session_levels", ctypes.byref(count), bits, len(bits))
        return tuple(bits[: count.value])

    def level(self) -> int:
        """The level that the next invocation uses."""
        level = ctypes.c_int32()
        self._call("nq_session_get_level", ctypes.byref(level))
        return level.value

    def set_level(self, level: int, *, drop_page_cache: bool = False) -> SwitchResult:
        """Switches; effective at the next invocation."""
        result = SwitchResult()
        flags = _DROP_PAGE_CACHE if drop_page_cache else 0
        self._call("nq_session_set_level", level, flags, ctypes.byref(result))
        return result

    def memory(self, level: int) -> LevelMemory:
        """Size and residency of a level."""
        size, resident, pageable = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_int32()
        self._call("nq_session_memory", level, ctypes.byref(size), ctypes.byref(resident), ctypes.byref(pageable))
        return LevelMemory(size.value, resident.value, bool(pageable.value))

    def size(self, level: int) -> int:
        """Bytes of a level's section."""
        size = ctypes.c_uint64()
        self._call("nq_session_memory", level, ctypes.byref(size), None, None)
        return size.value

    def pageable(self, level: int) -> bool:
        """Whether a level can be paged: asks nothing of the system."""
        pageable = ctypes.c_int32()
        self._call("nq_session_memory", level, None, None, ctypes.byref(pageable))
        return bool(pageable.value)

    def delegation(self) -> Delegation:
        """How the model is divided between fused partitions and the runtime."""
        operators, num_partitions = self._operators()
        return Delegation(tuple(map(_delegated, operators)), num_partitions)

    def operator_names(self) -> set[str]:
        """Names of the model's kinds of operators."""
        return {_text(operator.name) or "" for operator in self._operators()[0]}

    def _operators(self) -> tuple[list[Operator], int]:
        """Until the next such call on this thread, and the number of partitions."""
        operators, count, partitions = ctypes.POINTER(Operator)(), ctypes.c_int32(), ctypes.c_int32()
        self._call("nq_session_delegation", ctypes.byref(operators), ctypes.byref(count), ctypes.byref(partitions))
        return operators[: count.value], partitions.value

    def profile(self, level: int) -> tuple[LayerTime, ...]:
        """The times of the layers in invocations at a level."""
        layers, count = ctypes.POINTER(LayerTimeRecord)(), ctypes.c_int32()
        self._call("nq_session_profile", level, ctypes.byref(layers), ctypes.byref(count))
        return tuple(map(_layer_time, layers[: count.value]))

    def reset_profile(self) -> None:
        """Forgets all times."""
        self._call("nq_session_reset_profile")

    def invocation_ended(self) -> None:
        """Tells the library that an invocation failed halfway."""
        self._call("nq_session_invocation_ended")

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(self.handle, *arguments)
        if status != _OK:
            raise _ERRORS.get(status, NativeLibraryError)(last_error())


def _delegated(operator: Operator) -> DelegatedOperator:
    return DelegatedOperator(
        name=_text(operator.name) or "",
        output=_text(operator.output) or "",
        weight=_text(operator.weight),
        place=PLACES[operator.place],
        reason=_text(operator.reason),
    )


def _layer_time(layer: LayerTimeRecord) -> LayerTime:
    return LayerTime(
        name=_text(layer.name) or "",
        output=_text(layer.output) or "",
        weight=_text(layer.weight),
        place=PLACES[layer.place],
        shape=tuple(layer.shape[: layer.num_dims]),
        macs=layer.macs,
        bytes=layer.bytes,
        invocations=layer.invocations,
        seconds=layer.nanoseconds / layer.invocations * 1e-9 if layer.invocations else 0.0,
        least_seconds=layer.least * 1e-9,
    )


def _text(value: bytes | None) -> str | None:
    """Names are bytes of the model file, and may be anything there."""
    return None if value is None else value.decode(errors="replace")
