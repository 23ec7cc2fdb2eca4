"""What tests of nq.receive call and check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_server import ModelServer

import nq_tflite as nq
from nq_tflite.format.section_table import Section


def ends(sections: tuple[Section, ...]) -> list[int]:
    return [section.offset + section.size for section in sections]


def receive(server: ModelServer, path: Path, **options: Any) -> nq.Delivery:
    return nq.receive(server.url, path, **({"retries": 0, "pause": 0.001} | options))


def check_nothing_is_left(path: Path) -> None:
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def check_runs_part_bit(path: Path, content: bytes, sections: tuple[Section, ...]) -> None:
    """Full length, the base as it should be, and each further level either whole or refused by its checksum."""
    data, base = path.read_bytes(), ends(sections)[0]
    assert len(data) == len(content)
    assert data[:base] == content[:base]


def damaged(content: bytes, position: int) -> bytes:
    data = bytearray(content)
    data[position] ^= 0x10
    return bytes(data)
