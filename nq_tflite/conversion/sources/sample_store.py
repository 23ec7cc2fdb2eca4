"""Arrays of samples that a conversion keeps: in memory up to a budget, in a temporary file beyond it.

What a net holds at one layer, for every sample and at every level, grows with the image and the number of samples.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from bisect import bisect
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, BinaryIO, cast, overload

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import OutputError, reason_of
from nq_tflite.units import bytes_text

Array = NDArray[Any]

#: Bytes of arrays that a store keeps in memory.
MEMORY = 512 << 20
#: A folder for large temporary files: /tmp is in memory on many systems.
_ON_DISK = "/var/tmp"


class Kept:
    """An array in a store; its room there is free again once nobody refers to this.

    Attributes:
        load: gives the array, which nobody may change. It raises OutputError if the temporary file cannot be read.
    """

    def __init__(self, load: Callable[[], Array], free: Callable[[], None]) -> None:
        self.load, self._free = load, free

    def __del__(self) -> None:
        self._free()


class KeptArrays(Sequence[Array]):
    """Kept arrays, each loaded when it is asked for, and passed through a function if one is given."""

    def __init__(self, kept: Sequence[Kept], then: Callable[[Array], Array] | None = None) -> None:
        self._kept, self._then = kept, then

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, which: int) -> Array: ...
    @overload
    def __getitem__(self, which: slice) -> KeptArrays: ...
    def __getitem__(self, which: int | slice) -> Array | KeptArrays:
        """One array, or those of a slice."""
        if isinstance(which, slice):
            return KeptArrays(self._kept[which], self._then)
        values = self._kept[which].load()
        return values if self._then is None else self._then(values)


class SampleStore:
    """Keeps arrays. Its file is gone at the end of a `with` statement, or once nobody refers to the store.

    The file has no name, so that nothing of it is left however the process ends. It is read and written, not mapped:
    a write to a mapping would kill the process where the disk is full.

    Args:
        memory: bytes of arrays that stay in memory; MEMORY if None.

    Attributes:
        file_bytes: what was written to the file so far.
    """

    def __init__(self, memory: int | None = None) -> None:
        self._left = MEMORY if memory is None else memory
        self._file: BinaryIO | None = None
        self._gaps = _Gaps()
        self._freed: deque[tuple[int | None, int]] = deque()
        self.file_bytes = 0

    def __enter__(self) -> SampleStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def keep(self, values: Array | Kept) -> Kept:
        """An array, kept; what is kept already stays where it is.

        Raises:
            OutputError: the temporary file cannot be made or written.
        """
        if isinstance(values, Kept):
            return values
        self._take_back()
        size = values.nbytes
        if size <= self._left or values.dtype.hasobject:
            self._left -= size
            return Kept(lambda: values, partial(self._freed.append, (None, size)))
        start = self._gaps.take(size)
        self._write(values, start)
        return Kept(partial(self._read, values.shape, values.dtype, start), partial(self._freed.append, (start, size)))

    def _take_back(self) -> None:
        """Takes back the room of arrays that are gone: when they go, in whatever thread, they only say so."""
        while self._freed:
            start, size = self._freed.popleft()
            if start is None:
                self._left += size
            else:
                self._gaps.give(start, size)

    def _write(self, values: Array, start: int) -> None:
        left = _bytes_of(np.ascontiguousarray(values))
        try:
            if self._file is None:
                self._file = _temporary_file()
                weakref.finalize(self, self._file.close)
            self._file.seek(start)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise _failed(f"room for {bytes_text(start + values.nbytes)}, and more later", error) from error
        self.file_bytes += values.nbytes

    def _read(self, shape: tuple[int, ...], dtype: np.dtype[Any], start: int) -> Array:
        values, file = np.empty(shape, dtype), cast(Any, self._file)
        left = _bytes_of(values)
        try:
            file.seek(start)
            while left:
                count = file.readinto(left)
                if not count:
                    raise OSError("it has become shorter")
                left = left[count:]
        except OSError as error:
            raise _failed("what was written there", error) from error
        return values


class _Gaps:
    """Where a file has room: between the arrays in it, and behind them."""

    def __init__(self) -> None:
        self._end = 0
        self._gaps: list[tuple[int, int]] = []  # (start, end), in order; none touches another one or the end

    def take(self, size: int) -> int:
        """Start of the first gap of that size."""
        for number, (start, end) in enumerate(self._gaps):
            if end - start >= size:
                self._gaps[number : number + 1] = [(start + size, end)] if end - start > size else []
                return start
        self._end += size
        return self._end - size

    def give(self, start: int, size: int) -> None:
        """Makes a gap of what was taken."""
        end, at = start + size, bisect(self._gaps, (start, 0))
        if at < len(self._gaps) and self._gaps[at][0] == end:
            end = self._gaps.pop(at)[1]
        if at and self._gaps[at - 1][1] == start:
            at -= 1
            start = self._gaps.pop(at)[0]
        if end == self._end:
            self._end = start
        else:
            self._gaps.insert(at, (start, end))


def _bytes_of(values: Array) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def _folder() -> str:
    given = os.environ.get("TMPDIR")
    return given or (_ON_DISK if os.access(_ON_DISK, os.W_OK | os.X_OK) else tempfile.gettempdir())


def _temporary_file() -> BinaryIO:
    return cast(BinaryIO, tempfile.TemporaryFile(buffering=0, dir=_folder()))


def _failed(expected: str, error: OSError) -> OutputError:
    return OutputError(
        f"a temporary file in {_folder()}",
        expected=expected,
        got=reason_of(error),
        fix="Make room there, set TMPDIR to a folder on a larger disk, or give fewer or smaller samples.",
    )
