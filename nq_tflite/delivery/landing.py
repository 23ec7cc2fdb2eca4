"""The file while it arrives: where its bytes are written, when they become a model, and what survives a crash.

Beside `model.tflite` a folder `.model.tflite.receiving` holds the bytes before they are a part-bit model (`data`), the
state (`state.json`) and, where a digest can still condemn the new file, the one before it (`previous`). Whoever
receives holds a lock on the folder. Once level 0 is whole, `data` is renamed to `model.tflite`; the levels above are
then written into that same file. The state is written when the bytes that it speaks of are on the disk, so after a
crash there can be more bytes than it says, never fewer.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from pathlib import Path
from types import TracebackType

from nq_tflite.delivery.disk import (
    State,
    disk_errors,
    end_of,
    is_file_at,
    lock_folder,
    preallocate,
    sha256_of,
    write_all,
)
from nq_tflite.delivery.sections import checksum, read_section_table
from nq_tflite.errors import DeliveryError, FormatError
from nq_tflite.files import sync_folder
from nq_tflite.format.constants import SECTION_ALIGNMENT
from nq_tflite.format.section_table import Section, SectionTable

CHECKPOINT_SECONDS = 2.0
#: What a level ends in until its last bytes are written. Many end in zeros, and would have the right checksum before.
UNFINISHED = b"NQ: not here yet"


class Landing:
    """A model on its way to `path`. A context manager; what has arrived when it ends is kept for the next one.

    Args:
        path: where the model is to appear.
        source: what tells the source from others; None if it cannot be resumed.
        base_sha256: of the file up to the end of level 0, if known.
        may_be_withdrawn: keep the file that stood at `path` until `finish`.

    Attributes:
        received: bytes in their place, from the file's start on.
        fetched: bytes that `write` has taken; some may have been lost again.
        levels: how many levels are whole and verified. With the first one there is a model at `path`.
        table: the section table, once its bytes are there.
        validator, length: of the source, as `restart` was told.
    """

    def __init__(self, path: Path, source: str | None, *, base_sha256: str | None, may_be_withdrawn: bool) -> None:
        self.path, self._source = path, source
        self._base_sha256, self._may_be_withdrawn = base_sha256, may_be_withdrawn
        self._folder = path.with_name(f".{path.name}.receiving")
        self._data, self._state = self._folder / "data", self._folder / "state.json"
        self._previous = self._folder / "previous"
        self._descriptor = self._lock = -1
        self._begun = False
        self.fetched = 0
        self._forget()

    def _forget(self) -> None:
        self.received = self.levels = self.crc32 = 0
        self.table: SectionTable | None = None
        self.validator: str | None = None
        self.length: int | None = None
        self._saved = time.monotonic()

    def __enter__(self) -> Landing:
        with disk_errors(self.path):
            self._lock = lock_folder(self._folder)
            try:
                self._recover()
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.received and self._source is not None and not self.whole:
                self.checkpoint()
            elif self._begun and not (self.received and self._source):
                self._clean()
            else:
                self._remove_folder()
        finally:
            self._close()

    @property
    def whole(self) -> bool:
        """Whether every level is there."""
        return self.table is not None and self.levels == len(self.table.sections)

    @property
    def total(self) -> int | None:
        """Bytes of the whole file, as far as they are known."""
        return self.length if self.table is None else end_of(self.table.sections[-1])

    @property
    def left_out_bytes(self) -> int:
        """Bytes that the source is known to have behind the model, which do not come along."""
        if self.length is None or self.table is None:
            return 0
        return self.length - end_of(self.table.sections[-1])

    # ---- beginning and going on --------------------------------------------------------------------------------------

    def restart(self, validator: str | None, length: int | None) -> None:
        """Begins anew with a version of the source. A file that stands at `path` stays there until level 0 is whole."""
        with disk_errors(self.path):
            self._close_file()
            self._forget()
            self._begun = True
            self.validator, self.length = validator, length
            self._state.unlink(missing_ok=True)
            self._descriptor = os.open(self._data, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)

    def _recover(self) -> None:
        """Takes up what an earlier call left, if all of it is still as the state says."""
        state = State.read(self._state)
        if state is None or state.source != self._source:
            return
        exposed = not self._data.exists()
        try:
            self._descriptor = os.open(self.path if exposed else self._data, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        if checksum(self._descriptor, 0, state.received) != state.crc32:
            return
        self.table = read_section_table(self._descriptor, state.received)
        if exposed and not self._is_exposed(state.received):
            self.table = None
            return
        self.validator, self.length = state.validator, state.length
        self.received, self.crc32 = state.received, state.crc32
        self._find_levels()
        if self.levels and not exposed:
            self._expose()

    def adopt(self, sha256: str) -> None:
        """Takes the file at `path` for all that was to arrive, if it has that digest."""
        with disk_errors(self.path):
            if not self.path.is_file():
                return
            self._close_file()
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            size = os.fstat(self._descriptor).st_size
            if sha256_of(self._descriptor, size) == sha256:
                self.table, self.received = read_section_table(self._descriptor, size), size
                self._find_levels()

    def _is_exposed(self, received: int) -> bool:
        """Whether the file at `path` can be the one that was renamed to it, and not one that only begins alike."""
        if self.table is None or received < end_of(self.table.sections[0]):
            return False
        return os.fstat(self._descriptor).st_size == end_of(self.table.sections[-1])

    def _find_levels(self) -> None:
        """Counts the levels that are whole; there may be more than the state knew of."""
        if self.table is None or self.received < self.table.sections[0].offset:
            return
        for section in self.table.sections:
            if checksum(self._descriptor, section.offset, end_of(section)) != section.crc32:
                break
            self.levels += 1
            self.received = max(self.received, end_of(section))
        self.crc32 = checksum(self._descriptor, 0, self.received)

    # ---- bytes -------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Puts the next bytes of the source into their place; what follows the file's end is ignored.

        Raises:
            FormatError: they are not those of a nested model, or a level's checksum is wrong.
            DeliveryError: the disk does not take them.
        """
        view = memoryview(data)
        with disk_errors(self.path):
            while len(view) and not self.whole:
                piece = view[: self._boundary() - self.received]
                self._take(piece)
                view = view[len(piece) :]
        if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self.checkpoint()

    def _boundary(self) -> int:
        """Where the next piece must end: before the table is known, where a section might start."""
        if self.table is None:
            return (self.received // SECTION_ALIGNMENT + 1) * SECTION_ALIGNMENT
        edges = (edge for section in self.table.sections for edge in (section.offset, end_of(section)))
        return next(edge for edge in edges if edge > self.received)

    def _take(self, piece: memoryview) -> None:
        section, end = self._section_at(self.received), self.received + len(piece)
        completes = section is not None and end == end_of(section)
        if section is not None and completes:
            self._check_level(section, piece)  # before the last bytes of a level are written, never after
        if section is None and self.levels:
            _require_zeros(piece, self.received)
        else:
            write_all(self._descriptor, piece, self.received)
        self.received, self.crc32 = end, zlib.crc32(piece, self.crc32)
        self.fetched += len(piece)
        if self.table is None:
            self._look_for_table()
        elif completes:
            self.levels += 1
            if self.levels == 1:
                self._expose()
            self.checkpoint()

    def _section_at(self, position: int) -> Section | None:
        sections = () if self.table is None else self.table.sections
        return next((each for each in sections if each.offset <= position < end_of(each)), None)

    def _look_for_table(self) -> None:
        try:
            self.table = read_section_table(self._descriptor, self.received)
            if self.table is not None:
                self._check_table(self.table)
            elif self.length is not None and self.received >= self.length:
                raise FormatError("model", expected="a whole flatbuffer", got=f"{self.length} damaged bytes")
        except FormatError:
            self.received = 0  # none of it is worth keeping
            raise
        if self.table is not None:
            preallocate(self._descriptor, end_of(self.table.sections[-1]))
            for section in self.table.sections:
                mark = memoryview(UNFINISHED)[-section.size :]
                write_all(self._descriptor, mark, end_of(section) - len(mark))

    def _check_table(self, table: SectionTable) -> None:
        size, first = end_of(table.sections[-1]), table.sections[0].offset
        if first < self.received:
            raise FormatError("section 0", expected=f"a start at byte {self.received} or later", got=str(first))
        if self.length is not None and self.length < size:
            raise FormatError(
                "model",
                expected=f"{size} bytes or more, as its section table says",
                got=f"{self.length} at the source",
                fix="The file at the source is damaged: upload it again.",
            )

    def _check_level(self, section: Section, last: memoryview) -> None:
        """Raises FormatError, and goes back to where the damage may begin, unless the level is whole with `last`."""
        found = zlib.crc32(last, checksum(self._descriptor, section.offset, self.received))
        if found != section.crc32:
            self._rewind(section.offset if self.levels else 0)
            if self.validator is None:
                self._give_up()
            raise FormatError(
                f"checksum of level {self.levels} ({section.bits} bits)",
                expected=f"{section.crc32:08x}",
                got=f"{found:08x}",
                fix="It was damaged in transit or at the source. Call again to fetch what is missing.",
            )

    def _give_up(self) -> None:
        """Lets the next call begin anew: without a validator this may be another version, wrong at every attempt."""
        self._state.unlink(missing_ok=True)
        self.received = 0

    def _rewind(self, position: int) -> None:
        self.received, self.crc32 = position, checksum(self._descriptor, 0, position)

    # ---- becoming a model --------------------------------------------------------------------------------------------

    def _expose(self) -> None:
        """Lets the file appear at `path`, where it runs part-bit."""
        self._check_base()
        self.checkpoint()
        os.fsync(self._descriptor)
        if self._may_be_withdrawn and self.path.exists() and not self._previous.exists():
            try:
                self._previous.hardlink_to(self.path)
            except OSError:  # FAT has no links
                self.path.rename(self._previous)
        self._data.replace(self.path)
        sync_folder(self.path.parent)

    def _check_base(self) -> None:
        found = self._base_sha256 and sha256_of(self._descriptor, self.received)
        if found != self._base_sha256:
            self.levels = 0
            self._rewind(0)
            raise FormatError(
                "sha256 of the base (the file up to the end of level 0)",
                expected=str(self._base_sha256),
                got=str(found),
                fix="Check the digest and the source.",
            )

    def checkpoint(self) -> None:
        """Makes what has arrived survive a crash, if it can be of use."""
        self._saved = time.monotonic()
        if self._source is None:
            return
        with disk_errors(self.path):
            os.fdatasync(self._descriptor)
            State(self._source, self.validator, self.length, self.received, self.crc32).write(self._state)

    def finish(self, sha256: str | None) -> None:
        """Ends a whole delivery: no state is left behind.

        Raises:
            FormatError: the file has another sha256. It is taken away, and the one that stood there comes back.
            DeliveryError: meanwhile somebody has put another file there.
        """
        with disk_errors(self.path):
            os.fsync(self._descriptor)
            is_ours, found = (
                is_file_at(self._descriptor, self.path),
                sha256 and sha256_of(self._descriptor, self.received),
            )
            if is_ours and found != sha256:
                self._withdraw()
            self._previous.unlink(missing_ok=True)
            self._clean()
        if not is_ours:
            raise DeliveryError(str(self.path), expected="the partly received file", got="another one")
        if found != sha256:
            fix = "Check the digest and the source."
            if self.left_out_bytes:
                fix = f"It must be the digest of the first {self.received} bytes: bytes after the model are left out."
            raise FormatError(f"sha256 of {self.path}", expected=str(sha256), got=str(found), fix=fix)

    def _withdraw(self) -> None:
        if self._previous.exists():
            self._previous.replace(self.path)
        else:
            self.path.unlink()
        sync_folder(self.path.parent)

    def _clean(self) -> None:
        """Removes what is of no use to a later call; a previous file stays."""
        for path in (self._data, self._state, self._state.with_suffix(".new")):
            path.unlink(missing_ok=True)
        self._remove_folder()

    def _remove_folder(self) -> None:
        """Unless something is in it."""
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _close_file(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _close(self) -> None:
        self._close_file()
        os.close(self._lock)


def _require_zeros(piece: memoryview, position: int) -> None:
    if bytes(piece).strip(b"\0"):
        raise FormatError(
            "bytes between sections", expected="zeros", got=f"other bytes after byte {position}", fix="Call again."
        )
