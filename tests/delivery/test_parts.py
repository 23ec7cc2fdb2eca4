"""nq.split and nq.join, and the section table of files of which only the start is there."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
import switching_jobs
from commands import invoke
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import nestings

import nq_tflite as nq
from nq_tflite.delivery.sections import checksum, read_section_table
from nq_tflite.errors import DeliveryError, FormatError
from nq_tflite.format.nesting import Nesting
from nq_tflite.format.section_table import SectionTable
from nq_tflite.graph.nested import read_nested


@pytest.fixture(scope="session")
def model(nested_dir: Path) -> Path:
    """Three levels."""
    return nested_dir / "int8_8_6_4.tflite"


def table_of(content: bytes) -> SectionTable | None:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return read_section_table(file.fileno(), len(content))


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """An empty one for each example of a property."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


# ---- the table -------------------------------------------------------------------------------------------------------


def test_the_table_is_found_as_soon_as_its_bytes_are_there(nested_dir: Path) -> None:
    for path in sorted(nested_dir.iterdir()):
        table = read_nested(path).table
        with path.open("rb") as file:
            found = [read_section_table(file.fileno(), size) for size in range(0, table.sections[0].offset + 1, 64)]
        first = next(index for index, each in enumerate(found) if each)
        assert found == [None] * first + [table] * (len(found) - first)


@given(where=st.floats(0, 1, exclude_max=True), chunk=st.binary(min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_damaged_root_gives_the_table_or_an_error(model: Path, where: float, chunk: bytes) -> None:
    data, table = bytearray(model.read_bytes()), read_nested(model).table
    start = int(where * table.sections[0].offset)
    data[start : start + len(chunk)] = chunk
    with contextlib.suppress(FormatError):
        assert table_of(bytes(data)) in (table, None)


def test_every_byte_on_the_way_to_the_table_may_be_anything(model: Path) -> None:
    content, table = model.read_bytes(), read_nested(model).table
    for position, value in itertools.product(range(64), (0, 0x7F, 0x80, 0xFF)):
        data = bytearray(content)
        data[position] = value
        with contextlib.suppress(FormatError):
            assert table_of(bytes(data)) in (table, None)


# ---- there and back --------------------------------------------------------------------------------------------------


@given(nesting=nestings, choice=st.randoms(use_true_random=False))
@settings(max_examples=12, deadline=None)
def test_join_undoes_split(int8_tflite: bytes, nesting: Nesting, choice: Any) -> None:
    """At once, or upgrade by upgrade in any order, in place or to new files: the same bytes."""
    with folder() as here:
        nq.convert(int8_tflite, here / "model.tflite", nesting, rounding="nearest")
        content = (here / "model.tflite").read_bytes()
        parts = nq.split(here / "model.tflite", here / "parts")
        upgrades = [upgrade.path for upgrade in parts.upgrades]
        assert [parts.base.bits, *(upgrade.bits for upgrade in parts.upgrades)] == list(nesting.precisions)
        assert sum(part.bytes for part in (parts.base, *parts.upgrades)) <= len(content)

        choice.shuffle(upgrades)
        whole = nq.join(parts.base.path, upgrades, here / "whole.tflite")
        assert (here / "whole.tflite").read_bytes() == content
        assert (whole.bits, whole.missing) == (nesting.precisions, ())

        at = here / "0.tflite"
        assert nq.join(parts.base.path, [], at).bits == nesting.precisions[:1]
        there = {nesting.precisions[0]}
        for number, upgrade in enumerate(upgrades, 1):
            before, at = at, choice.choice([at, here / f"{number}.tflite"])
            joined = nq.join(before, [upgrade], at)
            there.add(int(upgrade.rpartition(".to")[2]))
            assert set(joined.bits) == set(itertools.takewhile(there.__contains__, nesting.precisions))
            assert joined.bits + joined.missing == nesting.precisions
            assert at.stat().st_size == joined.file_bytes == len(content)
        assert at.read_bytes() == content


def test_parts_are_ranges_of_the_file(model: Path, tmp_path: Path) -> None:
    content, sections = model.read_bytes(), read_nested(model).table.sections
    parts = nq.split(model, tmp_path / "new" / "folder")
    assert [Path(part.path).name for part in (parts.base, *parts.upgrades)] == [
        "int8_8_6_4.base",
        "int8_8_6_4.to6",
        "int8_8_6_4.to8",
    ]
    starts = [0, *(section.offset for section in sections[1:])]
    for part, section, start in zip((parts.base, *parts.upgrades), sections, starts, strict=True):
        data = Path(part.path).read_bytes()
        assert data == content[start : section.offset + section.size]
        assert (part.bytes, part.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 3


def test_a_part_bit_model_of_the_base_alone_is_upgraded_while_it_runs(
    worker: Any, model: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    parts = nq.split(model, tmp_path)
    path = tmp_path / "model.tflite"
    nq.join(parts.base.path, [], path)
    upgrades = [Path(upgrade.path) for upgrade in parts.upgrades]
    got = worker(switching_jobs.join_while_running, path, upgrades, samples[:3])
    wanted = worker(jobs.run_nested, model, samples[:3], [4, 6, 8], builtin=False)
    assert got["refused"] == ["FormatError"] * 2
    for outputs, right in zip(got["outputs"], wanted, strict=True):
        np.testing.assert_array_equal(outputs, right)


def test_a_level_that_is_there_is_not_written_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = nq.split(model, tmp_path)
    path = tmp_path / "model.tflite"
    upgrades = [upgrade.path for upgrade in parts.upgrades]
    nq.join(parts.base.path, upgrades[:1], path)
    written: list[int] = []
    monkeypatch.setattr("nq_tflite.delivery.parts.write_all", lambda d, data, position: written.append(position))
    nq.join(path, upgrades, path)
    assert written == [read_nested(model).table.sections[2].offset]


# ---- bad parts -------------------------------------------------------------------------------------------------------


def test_parts_that_do_not_fit(model: Path, nested_dir: Path, tmp_path: Path) -> None:
    """Nothing is written: neither a new file nor a byte of the one that is upgraded."""
    parts, others = nq.split(model, tmp_path), nq.split(nested_dir / "float_6_3.tflite", tmp_path)
    path, upgrade = tmp_path / "model.tflite", Path(parts.upgrades[0].path)
    nq.join(parts.base.path, [], path)
    before, good = path.read_bytes(), upgrade.read_bytes()
    damaged = tmp_path / "damaged"
    for content in (b"", good[:-1], good + b"\0", bytes([good[0] ^ 1]) + good[1:]):
        damaged.write_bytes(content)
        for target in (path, tmp_path / "new.tflite"):
            with pytest.raises(FormatError, match="an upgrade of this base"):
                nq.join(path, [upgrade, damaged], target)
    with pytest.raises(FormatError, match="an upgrade of this base"):
        nq.join(path, [others.upgrades[0].path], path)
    assert path.read_bytes() == before
    assert not (tmp_path / "new.tflite").exists()


def test_bases_that_are_none(model: Path, int8_tflite: bytes, tmp_path: Path) -> None:
    parts = nq.split(model, tmp_path)
    base = Path(parts.base.path).read_bytes()
    bad = tmp_path / "bad"
    flipped = base[:-200] + bytes([base[-200] ^ 1]) + base[-199:]
    for content in (b"", base[:50], base[:-1], flipped, int8_tflite, Path(parts.upgrades[0].path).read_bytes()):
        bad.write_bytes(content)
        with pytest.raises(FormatError, match="expected"):
            nq.join(bad, [], tmp_path / "new.tflite")
    with pytest.raises(FormatError, match="readable file"):
        nq.join(tmp_path / "missing", [], tmp_path / "new.tflite")
    assert not (tmp_path / "new.tflite").exists()


def test_models_that_cannot_be_split(model: Path, int8_tflite: bytes, tmp_path: Path) -> None:
    parts = nq.split(model, tmp_path / "good")
    nq.join(parts.base.path, [], tmp_path / "partial.tflite")
    content = model.read_bytes()
    (tmp_path / "short.tflite").write_bytes(content[:-1])
    (tmp_path / "stock.tflite").write_bytes(int8_tflite)
    for name in ("partial", "short", "stock", "missing"):
        with pytest.raises(FormatError, match="expected"):
            nq.split(tmp_path / f"{name}.tflite", tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


def test_bytes_behind_the_model_are_left_out_and_counted(model: Path, tmp_path: Path) -> None:
    """A zip of labels, as TFLite's metadata writer packs it: the parts are those of the model alone."""
    labelled = tmp_path / "labelled" / model.name
    labelled.parent.mkdir()
    labelled.write_bytes(model.read_bytes())
    with zipfile.ZipFile(labelled, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    plain, parts = nq.split(model, tmp_path / "plain"), nq.split(labelled, tmp_path / "parts")
    assert parts.left_out_bytes == labelled.stat().st_size - model.stat().st_size > 0
    assert plain.left_out_bytes == 0
    assert [each.sha256 for each in parts.upgrades] == [each.sha256 for each in plain.upgrades]
    nq.join(parts.base.path, [each.path for each in parts.upgrades], tmp_path / "joined.tflite")
    assert (tmp_path / "joined.tflite").read_bytes() == model.read_bytes()
    done = invoke("split", labelled, tmp_path / "parts")
    assert f"left out: {parts.left_out_bytes} bytes that follow the model" in " ".join(done.stdout.split())
    before = labelled.read_bytes()
    nq.join(labelled, [each.path for each in parts.upgrades], labelled)
    assert labelled.read_bytes() == before


def test_a_model_that_is_cut_while_it_is_split(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(model.read_bytes())

    def checksum_and_cut(descriptor: int, start: int, end: int) -> int:
        found = checksum(descriptor, start, end)
        if end == cut.stat().st_size:
            os.truncate(cut, start)
        return found

    monkeypatch.setattr("nq_tflite.delivery.parts.checksum", checksum_and_cut)
    with pytest.raises(FormatError, match="a file that became shorter"):
        nq.split(cut, tmp_path / "parts")
    assert [each.name for each in (tmp_path / "parts").iterdir() if each.name.startswith(".")] == []


def test_folders_that_cannot_be_written(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeliveryError, match="writing"):
        nq.split(model, tmp_path / "file")
    parts = nq.split(model, tmp_path)
    with pytest.raises(DeliveryError, match="writing"):
        nq.join(parts.base.path, [], tmp_path / "missing" / "model.tflite")
