"""Files that survive a crash: locks, states, digests, and the file system's errors as DeliveryErrors."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from nq_tflite.errors import DeliveryError
from nq_tflite.format.section_table import Section

BLOCK_BYTES = 1 << 20
_STATE_VERSION = 1
#: What file systems without fallocate answer where the C library does not stand in for them.
_NO_FALLOCATE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@dataclass(frozen=True)
class State:
    """What a later call needs to know: the source, its version, and how many bytes (with their CRC-32) are safe."""

    source: str
    validator: str | None
    length: int | None
    received: int
    crc32: int

    @classmethod
    def read(cls, path: Path) -> State | None:
        """The state in a file; None if there is none that this version can read."""
        try:
            fields = json.loads(path.read_bytes())
            state = cls(**fields) if fields.pop("version") == _STATE_VERSION else None
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        return state if state is not None and state.is_sound() else None

    def is_sound(self) -> bool:
        """Whether every field is of its type."""
        numbers = self.received, self.crc32, self.length or 0
        texts = self.source, self.validator or ""
        return all(isinstance(each, int) and each >= 0 for each in numbers) and all(isinstance(t, str) for t in texts)

    def write(self, path: Path) -> None:
        """Replaces the file as a whole."""
        temporary = path.with_suffix(".new")
        with temporary.open("w") as file:
            json.dump({"version": _STATE_VERSION} | asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Gives the errors of the file system as DeliveryErrors."""
    try:
        yield
    except DeliveryError:
        raise
    except OSError as error:
        raise DeliveryError(
            f"writing {path}",
            expected="a writable folder with room for the model",
            got=error.strerror or str(error),
            fix="Make room, or choose another folder, and call again.",
        ) from error


def lock_folder(folder: Path) -> int:
    """A descriptor that locks the folder, which is made if need be.

    Raises:
        DeliveryError: somebody else has it.
    """
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise DeliveryError(
                f"receiving into {folder}",
                expected="no other call that does it",
                got="a running one",
                fix="Wait until it ends.",
            ) from None
        if is_file_at(descriptor, folder):
            return descriptor
        os.close(descriptor)  # whoever had it finished meanwhile, and removed it


def is_file_at(descriptor: int, path: Path) -> bool:
    """Whether the open file (or folder) is the one that stands at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def end_of(section: Section) -> int:
    """Where a section ends in the file."""
    return section.offset + section.size


def preallocate(descriptor: int, size: int) -> None:
    """Gives a file its length, and its blocks where the file system can, so that a full disk is found out now."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _NO_FALLOCATE:
            raise
        os.ftruncate(descriptor, max(size, os.fstat(descriptor).st_size))


def write_all(descriptor: int, data: memoryview, position: int) -> None:
    """Writes all of the data at a position."""
    while len(data):
        written = os.pwrite(descriptor, data, position)
        data, position = data[written:], position + written


def sha256_of(descriptor: int, size: int) -> str:
    """Hexadecimal sha256 of a file's first bytes."""
    digest, position = hashlib.sha256(), 0
    while block := os.pread(descriptor, min(BLOCK_BYTES, size - position), position):
        digest.update(block)
        position += len(block)
    return digest.hexdigest()
