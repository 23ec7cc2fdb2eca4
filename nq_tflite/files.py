"""Files by their outside: whether a path can be read as a model or written, and files that appear whole or not at all.

Python's own library only, so that every other room may ask.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nq_tflite.errors import FormatError, NqError, OutputError, did_you_mean, reason_of

#: What every TFLite flatbuffer has at byte 4.
IDENTIFIER = b"TFL3"
_KERAS_MAGIC = (b"PK\x03\x04", b"\x89HDF")
_URL = re.compile(r"https?:/")
_UPGRADE = re.compile(r"\.to[2-8]$")


def check_name(path: str | os.PathLike[str], error_type: type[NqError]) -> None:
    """Raises an error unless the system can be asked for a file of that name at all."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        wrong = f"a name that {encoding}, this system's encoding of file names, can encode"
    else:
        if b"\0" not in encoded:
            return
        wrong = "a name without a zero byte"
    raise error_type(
        "path", expected=wrong, got=ascii(os.fspath(path)), fix="Choose another name, or set PYTHONUTF8=1."
    )


def check_model_file(path: str | os.PathLike[str]) -> None:
    """Raises FormatError unless the path is a readable file that starts as a TFLite flatbuffer does."""
    check_name(path, FormatError)
    try:
        with Path(path).open("rb") as file:
            head, size = file.read(8), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise unreadable(path, "a readable .tflite file", error) from error
    check_model_bytes(os.fspath(path), head, size)


def check_model_bytes(name: str, head: bytes, size: int) -> None:
    """As `check_model_file`, of the first bytes of a model and the number of all."""
    if size >= 16 and head[4:8] == IDENTIFIER:
        return
    if head[:4] in _KERAS_MAGIC:
        got, fix = "an archive, such as a Keras model", "Convert it first: nq.convert or nq-tflite convert."
    elif _UPGRADE.search(name):
        got = "an upgrade file that split wrote"
        fix = "Give the base first: nq-tflite join BASE UPGRADE MODEL, or nq.join(base, upgrade, model)."
    else:
        got, fix = f"{size} bytes that start with {head!r}" if size else "an empty file", "Check the path."
    raise FormatError(
        name, expected=f"a TFLite flatbuffer (identifier {IDENTIFIER.decode()} at byte 4)", got=got, fix=fix
    )


def unreadable(path: str | os.PathLike[str], expected: str, error: OSError) -> FormatError:
    """The error of a file that cannot be read, with the name in its folder that looks most like it."""
    fix = "Check the path."
    if isinstance(error, FileNotFoundError):
        fix = _nearest_file(Path(path)) or fix
    if _URL.match(os.fspath(path)):
        fix = "Fetch it first: nq.receive or nq-tflite receive."
    return FormatError(os.fspath(path), expected=expected, got=reason_of(error), fix=fix)


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no folder {path.parent}."
    names = sorted(each.name for each in path.parent.iterdir() if not each.name.startswith("."))
    return did_you_mean(path.name, names, as_text=lambda name: str(path.with_name(name)))


def check_output(
    path: str | os.PathLike[str], source: object = None, *, error_type: type[NqError] = OutputError
) -> None:
    """Raises before the work starts if its result could not be written, or would take its own source's place.

    Args:
        path: the file to write; one that stands there is replaced.
        source: what it is made from; counts where it is the path of a file.
        error_type: of the error.
    """
    check_name(path, error_type)
    target = Path(path)
    folder = target.parent
    if target.is_dir():
        wrong = "a path for a file", "a folder", f"Name a file in it: {target / 'model.tflite'}."
    elif target.exists() and not stat.S_ISREG(target.stat().st_mode):
        wrong = "a path for a file", "a device or a pipe", "Write a file, and copy it there."
    elif not folder.is_dir():
        wrong = "a writable folder", f"no folder {folder}", "Create the folder."
    elif not os.access(folder, os.W_OK | os.X_OK):
        wrong = "a writable folder", f"no permission for {folder}", "Choose another folder."
    elif isinstance(source, str | os.PathLike) and target.exists() and _same_file(target, Path(source)):
        wrong = "another file than the source", "the source itself", "Choose another name."
    else:
        return
    expected, got, fix = wrong
    raise error_type(f"writing {target}", expected=expected, got=got, fix=fix)


def _same_file(path: Path, other: Path) -> bool:
    return other.exists() and path.samefile(other)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write and read, which takes its place at `path` once the block has ended and its bytes are on the disk.

    Until then it is a hidden one in the same folder; where the block raises, nothing is left of it.

    Raises:
        OSError: as the file system says it.
    """
    target = Path(path)
    descriptor, temporary = _new_file_beside(target)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def _new_file_beside(target: Path) -> tuple[int, Path]:
    """A hidden file in the folder of `target`, open for reading and writing, with the permissions of any new file.

    The system takes the umask from those. `tempfile` makes private files, and to learn the umask a process has to set
    it, for all of its threads.
    """
    while True:
        path = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        with suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), path


def write_whole(path: str | os.PathLike[str], chunks: Sequence[tuple[int, bytes]]) -> int:
    """Writes `(offset, bytes)` chunks to a file that appears whole or not at all; returns its size.

    Raises:
        OutputError: it cannot be written.
    """
    check_output(path)
    try:
        with replacing(path) as file:
            for offset, data in chunks:
                file.seek(offset)
                file.write(data)
            return file.seek(0, os.SEEK_END)
    except OSError as error:
        raise OutputError(
            f"writing {os.fspath(path)}",
            expected="a writable folder with room for the file",
            got=reason_of(error),
            fix="Make room, or choose another folder.",
        ) from error


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
