"""`nq.split` and `nq.join`: a model as a base and upgrades, each an artefact of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from nq_tflite.delivery.disk import BLOCK_BYTES, disk_errors, end_of, preallocate, write_all
from nq_tflite.delivery.sections import checksum, read_section_table
from nq_tflite.errors import DeliveryError, FormatError
from nq_tflite.files import check_model_bytes, check_output, replacing, unreadable
from nq_tflite.format.section_table import Section, SectionTable

_FETCH_AGAIN = "Fetch it again."


@dataclass(frozen=True)
class Part:
    """An artefact: a file, the precision that it completes, its size and its sha256."""

    path: str
    bits: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Parts:
    """A model as parts, the base first.

    The base is the model file up to the end of level 0; an upgrade is the bytes of one further level. None of them is a
    model by itself: a runtime takes what `join` makes of the base.

    Attributes:
        base, upgrades: the artefacts.
        left_out_bytes: of the file behind the model, which are in none of them: a zip with label files, for one.
    """

    base: Part
    upgrades: tuple[Part, ...]
    left_out_bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Joined:
    """A model file that `join` has made or completed.

    Attributes:
        path: the file.
        file_bytes: its full length, whatever of it is there.
        bits: precisions that it can run at.
        missing: precisions that want an upgrade, this one or one below it.
    """

    path: str
    file_bytes: int
    bits: tuple[int, ...]
    missing: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def split(model: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Parts:
    """Splits a nested model into a base, from which `join` makes a part-bit model, and an upgrade for each other level.

    Args:
        model: a complete nested file.
        folder: the folder to write `NAME.base`, `NAME.to6`, `NAME.to8` ... to. NAME is the model's file name without
            its suffix. The folder is created if necessary.

    Returns:
        The parts with their sha256. Bytes that follow the model in its file are left out and counted.

    Raises:
        FormatError: the model is not nested, or not complete.
        DeliveryError: the folder cannot be written.

    Example:
        >>> [upgrade.path for upgrade in nq.split("model.tflite", "parts").upgrades]  # doctest: +SKIP
        ['parts/model.to8']
    """
    source, target = Path(model), Path(folder)
    with ExitStack() as stack:
        file = stack.enter_context(_reading(source))
        table, size = _table_of(file, source), os.fstat(file.fileno()).st_size
        last = end_of(table.sections[-1])
        if size < last:
            raise FormatError(str(source), expected=f"{last} bytes", got=str(size), fix=_FETCH_AGAIN)
        for section in table.sections:
            _require_checksum(source, section, checksum(file.fileno(), section.offset, end_of(section)))
        if target.exists() and not target.is_dir():
            raise DeliveryError(f"writing {target}", expected="a folder", got="a file", fix="Name the folder last.")
        with disk_errors(target):
            target.mkdir(parents=True, exist_ok=True)
        base, *upgrades = table.sections
        stem = target / source.stem
        return Parts(
            _copy(file, 0, end_of(base), stem.with_name(f"{source.stem}.base"), base.bits),
            tuple(_copy(file, u.offset, u.size, stem.with_name(f"{source.stem}.to{u.bits}"), u.bits) for u in upgrades),
            left_out_bytes=size - last,
        )


def join(
    base: str | os.PathLike[str],
    upgrades: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str],
) -> Joined:
    """Joins a base and any of its upgrades, or adds upgrades to a model that is in use.

    Every part is verified against the base's section table before anything is written. Even without all upgrades, the
    file has its full length, with zeros in place of the missing levels, and runs at the precisions that it has. If
    `path` is the base itself, the upgrades are written into this file, and an interpreter that runs it can then switch
    to them. While a level is being copied, a switch to it fails on its checksum and keeps the precision. Levels that
    the file has already are not written again. If `path` is another file, it appears complete or not at all.

    Args:
        base: a base that `split` wrote, or a model that `join` or `receive` wrote.
        upgrades: any number, in any order; the section table identifies them.
        path: the model file. An upgrade is never overwritten.

    Raises:
        FormatError: a part is damaged or belongs to another model.
        DeliveryError: the file cannot be written.

    Example:
        >>> nq.join("parts/model.base", [], "model.tflite").bits  # doctest: +SKIP
        (4,)
        >>> nq.join("model.tflite", ["parts/model.to8"], "model.tflite").bits  # doctest: +SKIP
        (4, 8)
    """
    source, target = Path(base), Path(path)
    given = [upgrades] if isinstance(upgrades, str | os.PathLike) else upgrades
    check_output(target, error_type=DeliveryError)
    with ExitStack() as stack:
        file = stack.enter_context(_reading(source))
        table = _table_of(file, source)
        _refuse_to_replace_a_part(target, table)
        first = table.sections[0]
        _require_checksum(source, first, checksum(file.fileno(), first.offset, end_of(first)))
        files = [(Path(each), stack.enter_context(_reading(Path(each)))) for each in given]
        chosen = {_level_of(each, upgrade, table): upgrade for each, upgrade in files}
        with disk_errors(target):
            if target.exists() and target.samefile(source):
                with target.open("r+b") as whole:
                    levels = _fill(whole, table, chosen)
            else:
                levels = _write_new(target, file, table, chosen)
    return Joined(
        os.fspath(path),
        end_of(table.sections[-1]),
        tuple(each.bits for each in table.sections[:levels]),
        tuple(each.bits for each in table.sections[levels:]),
    )


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise unreadable(path, "a readable file", error) from error
    with file:
        yield file


def _head(file: BinaryIO) -> bytes:
    """The first bytes, however few the system gives at a time."""
    file.seek(0)
    return file.read(8)


def _table_of(file: BinaryIO, path: Path) -> SectionTable:
    size = os.fstat(file.fileno()).st_size
    check_model_bytes(str(path), _head(file), size)
    table = read_section_table(file.fileno(), size, str(path))
    if table is None or size < end_of(table.sections[0]):
        raise FormatError(
            str(path),
            expected="a nested model with its level 0",
            got=f"{size} bytes, which end before it",
            fix=_FETCH_AGAIN,
        )
    return table


def _refuse_to_replace_a_part(target: Path, table: SectionTable) -> None:
    if target.exists() and target.stat().st_size in {each.size for each in table.sections[1:]}:
        with target.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if (size, checksum(file.fileno(), 0, size)) in {(each.size, each.crc32) for each in table.sections[1:]}:
                raise DeliveryError(
                    f"writing {target}",
                    expected="the path of the model to write",
                    got="an upgrade of it",
                    fix="Name the model last, after the upgrades.",
                )


def _require_checksum(path: Path, section: Section, found: int) -> None:
    if found != section.crc32:
        raise FormatError(
            f"{path}, {section.bits} bits",
            expected=f"checksum {section.crc32:08x}",
            got=f"{found:08x}",
            fix=_FETCH_AGAIN,
        )


def _level_of(path: Path, upgrade: BinaryIO, table: SectionTable) -> int:
    """The level whose bytes an upgrade holds."""
    size = os.fstat(upgrade.fileno()).st_size
    found = checksum(upgrade.fileno(), 0, size)
    for level, section in enumerate(table.sections[1:], 1):
        if (section.size, section.crc32) == (size, found):
            return level
    wanted = ", ".join(f"{each.size} bytes with checksum {each.crc32:08x}" for each in table.sections[1:])
    raise FormatError(
        str(path), expected=f"an upgrade of this base: {wanted}", got=f"{size} bytes with {found:08x}", fix=_FETCH_AGAIN
    )


def _write_new(target: Path, base: BinaryIO, table: SectionTable, upgrades: dict[int, BinaryIO]) -> int:
    with replacing(target) as whole:
        base.seek(0)
        shutil.copyfileobj(base, whole, BLOCK_BYTES)
        whole.flush()
        return _fill(whole, table, upgrades)


def _fill(whole: BinaryIO, table: SectionTable, upgrades: dict[int, BinaryIO]) -> int:
    """Gives a file its length and the levels that it lacks; returns how many it has without a gap."""
    descriptor = whole.fileno()
    preallocate(descriptor, end_of(table.sections[-1]))
    there = [checksum(descriptor, each.offset, end_of(each)) == each.crc32 for each in table.sections]
    for level, upgrade in upgrades.items():
        if not there[level]:
            position = table.sections[level].offset
            upgrade.seek(0)
            while block := upgrade.read(BLOCK_BYTES):
                write_all(descriptor, memoryview(block), position)
                position += len(block)
            there[level] = True
    os.fsync(descriptor)
    return [*there, False].index(False)


def _copy(file: BinaryIO, start: int, size: int, path: Path, bits: int) -> Part:
    """Writes a range of a file as a file of its own, whole or not at all."""
    digest, left = hashlib.sha256(), size
    with disk_errors(path), replacing(path) as part:
        file.seek(start)
        while left:
            block = file.read(min(BLOCK_BYTES, left))
            if not block:
                raise FormatError(
                    str(file.name), expected=f"{left} more bytes", got="a file that became shorter", fix=_FETCH_AGAIN
                )
            digest.update(block)
            part.write(block)
            left -= len(block)
    return Part(os.fspath(path), bits, size, digest.hexdigest())
