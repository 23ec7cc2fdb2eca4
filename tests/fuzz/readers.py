"""Everything in the Python package that reads bytes of others, as functions of a fuzzer's bytes.

Only errors of `nq_tflite.errors` are caught: whatever else escapes is a finding.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import nq_tflite as nq
from nq_tflite.delivery.disk import State
from nq_tflite.delivery.sections import read_section_table
from nq_tflite.errors import NqError
from nq_tflite.format.constants import TABLE_CHECKSUM, TABLE_HEADER
from nq_tflite.format.option_block import OptionBlock
from nq_tflite.format.section_table import SectionTable
from nq_tflite.govern.policy import Policy
from nq_tflite.govern.traces import read_trace
from nq_tflite.graph.flatbuffer import pack_model, read_model
from nq_tflite.graph.nested import read_nested

ROOT = Path(__file__).parent.parent.parent
SEEDS = sorted((ROOT / "custom_ops" / "fuzz" / "seeds").glob("*.tflite"))
EDIT_BYTES = 8
TABLE_MAGIC = b"NQST"

Reader = Callable[[bytes], None]


# ---- inputs ----------------------------------------------------------------------------------------------------------


@cache
def seed(index: int) -> bytes:
    return SEEDS[index % len(SEEDS)].read_bytes()


@cache
def root_bytes(index: int) -> int:
    """Bytes of a seed's flatbuffer root, which ends in zeros up to its first section."""
    return len(seed(index)[: SectionTable.parse(seed(index)[table_start(index) :]).sections[0].offset].rstrip(b"\0"))


@cache
def table_start(index: int) -> int:
    return seed(index).index(TABLE_MAGIC)


def edited(data: bytes) -> bytearray:
    """A seed with edits: u8 seed, u8 switches (1: leave checksums alone, 2: cut the file), and edits of 8 bytes.

    An edit is u8 operation, u8 (0: into the section table, else anywhere in the root, by its low bits into the rest of
    the file), u16 position, u32 operand.
    """
    index, switches = (data[0] % len(SEEDS), data[1]) if len(data) >= 2 else (0, 0)
    content = bytearray(seed(index))
    for start in range(2, len(data) - EDIT_BYTES + 1, EDIT_BYTES):
        operation, where = data[start], data[start + 1]
        position = int.from_bytes(data[start + 2 : start + 4], "little")
        operand = data[start + 4 : start + 8]
        if where == 0:
            position = table_start(index) + position % 128
        elif where == 255:
            position = len(content) - 1 - position
        else:
            position %= root_bytes(index)
        if not 0 <= position < len(content):
            continue
        if operation % 4 == 0:
            content[position] ^= 1 << operand[0] % 8
        else:
            size = operation % 4 if operation % 4 < 3 else 4
            content[position : position + size] = operand[:size]
    if not switches & 1:
        _seal(content, table_start(index))
    return content[: len(content) * data[-1] // 256] if switches & 2 else content


def _seal(content: bytearray, start: int) -> None:
    """Checksums that fit: nobody guesses one."""
    size = int.from_bytes(content[start + 8 : start + 12], "little")
    for level in range(min(int.from_bytes(content[start + 12 : start + 16], "little"), 7)):
        entry = start + TABLE_HEADER.size + 24 * level
        first, length = (int.from_bytes(content[entry + k : entry + k + 8], "little") for k in (0, 8))
        if first + length <= len(content):
            content[entry + 16 : entry + 20] = zlib.crc32(content[first : first + length]).to_bytes(4, "little")
    if TABLE_CHECKSUM.size <= size <= len(content) - start:
        body = start + size - TABLE_CHECKSUM.size
        content[body : body + 4] = zlib.crc32(content[start:body]).to_bytes(4, "little")


@cache
def folder() -> Path:
    """A folder of this process, in memory where the system has such a place."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    made = tempfile.TemporaryDirectory(prefix="nq_fuzz_", dir=place)
    _kept.append(made)
    return Path(made.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


def written(data: bytes, name: str) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


# ---- readers ---------------------------------------------------------------------------------------------------------


def option_block(data: bytes) -> None:
    with contextlib.suppress(NqError):
        block = OptionBlock.parse(data)
        assert OptionBlock.parse(block.pack()) == block
        assert all(block.level_bytes(level) > 0 for level in range(len(block.levels)))


def section_table(data: bytes) -> None:
    size = int.from_bytes(data[8:12], "little")
    body = data[: max(0, min(size, len(data)) - TABLE_CHECKSUM.size)]
    for content in (data, body + zlib.crc32(body).to_bytes(4, "little")):
        with contextlib.suppress(NqError):
            table = SectionTable.parse(content)
            assert SectionTable.parse(table.pack()) == table


def sections(data: bytes) -> None:
    """The table of a file that is still arriving."""
    for content in (data, bytes(edited(data))):
        descriptor = os.memfd_create("nq_fuzz")
        try:
            os.write(descriptor, content)
            for available in (len(content), len(content) // 2):
                with contextlib.suppress(NqError):
                    read_section_table(descriptor, available)
        finally:
            os.close(descriptor)


def flatbuffer(data: bytes) -> None:
    for content in (data, bytes(edited(data))):
        with contextlib.suppress(NqError):
            read_model(content)


def nested(data: bytes) -> None:
    with contextlib.suppress(NqError):
        file = read_nested(bytes(edited(data)))
        for weight in file.weights:
            for level in range(len(file.precisions)):
                weight.values(level)
                if weight.base_bias is not None:
                    weight.bias(level)
        pack_model(file.file.model)


def delivery(data: bytes) -> None:
    """Receiving a file, and taking one apart and putting it together."""
    content = bytes(edited(data))
    path = folder() / "received.tflite"
    with contextlib.suppress(NqError):
        nq.receive(io.BytesIO(content), path)
        read_nested(path)
    path.unlink(missing_ok=True)
    whole = written(content, "whole.tflite")
    with contextlib.suppress(NqError):
        parts = nq.split(whole, folder() / "parts")
        upgrades = [part.path for part in parts.upgrades]
        nq.join(parts.base.path, upgrades[1:], path)
        nq.join(path, upgrades, path)
        assert path.read_bytes()[: parts.base.bytes] == content[: parts.base.bytes]
    with contextlib.suppress(NqError):  # a damaged base and damaged upgrades
        nq.join(whole, [written(data, "upgrade")], folder() / "joined.tflite")


def state(data: bytes) -> None:
    """What an interrupted delivery left behind."""
    found = State.read(written(data, "state.json"))
    assert found is None or found.is_sound()


def policy(data: bytes) -> None:
    with contextlib.suppress(NqError):
        read = Policy.read(written(data, "policy.toml"))
        for rule in read.rules:
            rule.holds(20.0, False)
            rule.level((4, 6, 8))
            str(rule)


def trace(data: bytes) -> None:
    for suffix in ("csv", "jsonl"):
        with contextlib.suppress(NqError):
            read = read_trace(written(data, f"trace.{suffix}"))
            list(read.readings())
            assert len(read.durations) == len(read.seconds)


READERS: dict[str, Reader] = {
    each.__name__: each
    for each in (option_block, section_table, sections, flatbuffer, nested, delivery, state, policy, trace)
}
