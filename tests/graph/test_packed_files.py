"""Files in a zip behind a model: they stay behind the nested and the extracted one."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import nq_tflite as nq
from nq_tflite.errors import FormatError
from nq_tflite.graph.packed_files import packed_bytes, packed_files

LABELS = b"cat\ndog\n" * 32


@pytest.fixture
def labelled(int8_tflite: bytes, tmp_path: Path) -> Path:
    """A source as TFLite's metadata writer leaves it: a stored file, a packed one, a name beyond ASCII."""
    path = tmp_path / "labelled.tflite"
    path.write_bytes(int8_tflite)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", LABELS)
        archive.writestr("vocab/ä.txt", b"words", compress_type=zipfile.ZIP_DEFLATED)
    return path


def files_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("form", ["path", "bytes"])
def test_a_conversion_keeps_them(form: str, labelled: Path, int8_tflite: bytes, tmp_path: Path) -> None:
    nested, plain = tmp_path / "nested.tflite", tmp_path / "plain.tflite"
    source = labelled if form == "path" else labelled.read_bytes()
    report = nq.convert(source, nested, rounding="nearest")
    assert files_of(nested) == files_of(labelled) == {"labels.txt": LABELS, "vocab/ä.txt": b"words"}
    assert report.file_bytes == nested.stat().st_size
    nq.convert(int8_tflite, plain, rounding="nearest")
    assert nested.read_bytes().startswith(plain.read_bytes())
    for precision in ("full", "part"):
        nq.extract(nested, tmp_path / "stock.tflite", precision)
        assert files_of(tmp_path / "stock.tflite") == files_of(labelled)


def test_positions_count_from_the_files_start(labelled: Path) -> None:
    """As in the source: a reader that trusts them finds each file's header there."""
    content = b"model" + packed_bytes(packed_files(labelled), 5)
    positions = [each.info.header_offset for each in packed_files(content)]
    assert [content[at : at + 4] for at in positions] == [b"PK\x03\x04"] * 2
    assert positions[0] == 5


def test_a_model_without_any(int8_tflite: bytes) -> None:
    assert packed_files(int8_tflite) == ()
    assert packed_bytes((), 100) == b""


def test_files_that_cannot_be_read(labelled: Path, tmp_path: Path) -> None:
    content = labelled.read_bytes()
    at = content.index(LABELS)
    for bad in (content[:at] + b"C" + content[at + 1 :], content.replace(b"PK\x01\x02", b"PK\x01\x00")):
        with pytest.raises(FormatError, match="expected a readable zip archive"):
            nq.convert(bad, tmp_path / "nested.tflite")
    assert not (tmp_path / "nested.tflite").exists()
