"""A model of three levels, its sections, a server of it, and a place where it arrives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from model_server import ModelServer, serving

from nq_tflite.format.section_table import Section
from nq_tflite.graph.nested import read_nested


@pytest.fixture(scope="session")
def content(nested_dir: Path) -> bytes:
    """A model of three levels."""
    return (nested_dir / "int8_8_6_4.tflite").read_bytes()


@pytest.fixture(scope="session")
def sections(content: bytes) -> tuple[Section, ...]:
    return read_nested(content).table.sections


@pytest.fixture
def server(content: bytes) -> Iterator[ModelServer]:
    with serving(content) as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.tflite"


@pytest.fixture(scope="session")
def newer(nested_dir: Path) -> bytes:
    return (nested_dir / "int8_8_5.tflite").read_bytes()
