"""Files in a zip after a .tflite's flatbuffer: labels and vocabularies, as TFLite's metadata names them.

The zip counts its positions from the start of the file, so behind another model it has to be written anew.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from nq_tflite.errors import FormatError

_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class PackedFile:
    """A file within the zip: what the zip says of it, and its bytes."""

    info: zipfile.ZipInfo
    data: bytes


def packed_files(source: str | os.PathLike[str] | bytes) -> tuple[PackedFile, ...]:
    """The files behind a model; none where no zip follows it.

    Raises:
        FormatError: there is a zip, but it cannot be read.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(info.file_size for info in archive.infolist())
            if size > _MOST_BYTES:
                raise _unreadable(f"{size} bytes of them")
            return tuple(PackedFile(info, archive.read(info)) for info in archive.infolist())
    except zipfile.BadZipFile as error:
        if _ends_as_a_zip(source):
            raise _unreadable(str(error)) from error
        return ()
    except (RuntimeError, NotImplementedError, EOFError, zlib.error) as error:  # encrypted, or packed in a rare way
        raise _unreadable(str(error)) from error


def packed_bytes(files: Sequence[PackedFile], start: int) -> bytes:
    """A zip of files, to stand from byte `start` of a file on; nothing for no files."""
    if not files:
        return b""
    buffer = _From(start)
    with zipfile.ZipFile(buffer, "w") as archive:
        for each in files:
            archive.writestr(each.info, each.data)
    return buffer.getvalue()


def _ends_as_a_zip(source: str | os.PathLike[str] | bytes) -> bool:
    return zipfile.is_zipfile(io.BytesIO(source) if isinstance(source, bytes) else source)


def _unreadable(got: str) -> FormatError:
    return FormatError(
        "files packed after the model",
        expected="a readable zip archive below 1 GiB",
        got=got,
        fix="Pack them again, or convert the model without them.",
    )


class _From(io.BytesIO):
    """Bytes that count their positions from `start` on."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self._start = start

    def tell(self) -> int:
        return super().tell() + self._start

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        return super().seek(position - self._start if whence == os.SEEK_SET else position, whence) + self._start
