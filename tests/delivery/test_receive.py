"""nq.receive against a real HTTP server, and streams: all of it arrives, and nothing unverified counts."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from arrivals import check_nothing_is_left, check_runs_part_bit, damaged, ends, receive
from model_server import ModelServer, serving

import nq_tflite as nq
from nq_tflite.delivery import landing
from nq_tflite.errors import DeliveryError, FormatError
from nq_tflite.format.section_table import Section, SectionTable

# ---- the straight way ------------------------------------------------------------------------------------------------


def test_a_model_arrives_level_by_level(
    server: ModelServer, path: Path, content: bytes, sections: tuple[Section, ...]
) -> None:
    seen, progress = [], []

    def on_level(arrived: nq.ArrivedLevel) -> None:
        check_runs_part_bit(path, content, sections)
        seen.append(arrived)

    done = receive(server, path, on_level=on_level, on_progress=lambda have, total: progress.append((have, total)))
    assert path.read_bytes() == content
    assert [(each.level, each.bits, each.file_bytes) for each in seen] == [
        (level, bits, end) for level, (bits, end) in enumerate(zip((4, 6, 8), ends(sections), strict=True))
    ]
    assert done == nq.Delivery(str(path), len(content), tuple(seen), 0, len(content), 1, done.seconds)
    assert done.part_seconds == seen[0].seconds <= seen[-1].seconds <= done.seconds
    assert progress == sorted(progress)
    assert progress[-1] == (len(content), len(content))
    json.dumps(done.as_dict())
    check_nothing_is_left(path)


def test_bytes_behind_the_model_are_left_out_and_counted(content: bytes, path: Path) -> None:
    """Labels that a zip behind the model holds: the source is longer than the model, and is no damaged one."""
    with serving(content + b"PK and labels") as server:
        done = receive(server, path)
        assert (done.left_out_bytes, done.file_bytes) == (13, len(content))
        assert path.read_bytes() == content
        done = receive(server, path, sha256=hashlib.sha256(content).hexdigest())
        assert path.read_bytes() == content
        with pytest.raises(FormatError, match=f"the digest of the first {len(content)} bytes: bytes after the model"):
            receive(server, path, sha256=hashlib.sha256(content + b"PK and labels").hexdigest())
    assert path.read_bytes() == content


def test_the_file_has_its_length_when_it_appears(
    server: ModelServer, path: Path, content: bytes, sections: tuple[Section, ...]
) -> None:
    """Allocated, with zeros, and with marks that keep a level of zeros from having the right checksum too early."""
    wanted = bytearray(content[: ends(sections)[0]].ljust(len(content), b"\0"))
    for end in ends(sections)[1:]:
        wanted[end - len(landing.UNFINISHED) : end] = landing.UNFINISHED
    server.at[sections[1].offset] = server.wait_for_release

    def on_level(arrived: nq.ArrivedLevel) -> None:
        if arrived.level == 0:
            assert path.read_bytes() == wanted
            assert path.stat().st_blocks * 512 >= len(content)
            server.released.set()

    receive(server, path, on_level=on_level)
    assert path.read_bytes() == content


def test_it_replaces_what_stood_there(server: ModelServer, path: Path, content: bytes) -> None:
    path.write_bytes(b"old")
    server.at[1000] = lambda: check_old(path)
    receive(server, path)
    assert path.read_bytes() == content
    mode = path.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    assert mode == 0o666 & ~umask


def check_old(path: Path) -> None:
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["BytesIO", "file", "read only", "one by one"])
def test_a_stream_of_unknown_length(kind: str, content: bytes, tmp_path: Path, path: Path) -> None:
    """It is read to the end of the model, and not beyond what it takes to know that."""
    (tmp_path / "source").write_bytes(content)

    class ReadOnly:
        def __init__(self, limit: int) -> None:
            self.file, self.limit = io.BytesIO(content), limit

        def read(self, size: int) -> bytes:
            return self.file.read(min(size, self.limit))

    stream: Any = {
        "BytesIO": lambda: io.BytesIO(content),
        "file": lambda: (tmp_path / "source").open("rb"),
        "read only": lambda: ReadOnly(1 << 20),
        "one by one": lambda: ReadOnly(997),
    }[kind]()
    done = nq.receive(stream, path)
    assert path.read_bytes() == content
    assert (done.resumed_bytes, done.connections) == (0, 1)


# ---- interruptions ---------------------------------------------------------------------------------------------------


def interesting_positions(sections: tuple[Section, ...], count: int = 12) -> list[int]:
    """Inside the root, at and around every boundary, and anywhere."""
    edges = [edge for section in sections for edge in (section.offset, section.offset + section.size)]
    around = {edge + step for edge in edges[:-1] for step in (-1, 0, 1)} | {edges[-1] - 1}
    chance = random.Random(0)
    root = {0, 1, 7, 8, 100, 4095, 4096} | {chance.randrange(edges[0]) for _ in range(count)}
    return sorted(root | around | {chance.randrange(edges[-1]) for _ in range(count)})


def test_a_call_after_an_interruption_anywhere_goes_on_there(
    server: ModelServer, tmp_path: Path, content: bytes, sections: tuple[Section, ...]
) -> None:
    for position in interesting_positions(sections):
        path = tmp_path / str(position) / "model.tflite"
        path.parent.mkdir()
        server.cuts, server.requests, server.sent = [position], [], 0
        with pytest.raises(DeliveryError, match=f"got only {position}"):
            receive(server, path)
        assert path.exists() == (position >= ends(sections)[0])
        levels: list[int] = []
        done = receive(server, path, on_level=lambda arrived, levels=levels: levels.append(arrived.bits))
        assert path.read_bytes() == content
        assert server.requests == [None, f"bytes={position}-" if position else None]
        assert server.sent == len(content)
        assert (done.resumed_bytes, done.fetched_bytes, levels) == (position, len(content) - position, [4, 6, 8])
        check_nothing_is_left(path)


def test_one_call_goes_on_by_itself(server: ModelServer, path: Path, content: bytes, sections: Any) -> None:
    server.cuts = interesting_positions(sections)[1:]
    done = receive(server, path, retries=1)
    assert path.read_bytes() == content
    assert (done.connections, server.sent) == (len(interesting_positions(sections)), len(content))


def test_retries_count_failures_in_a_row(server: ModelServer, path: Path, content: bytes) -> None:
    server.answers = [503, 0, 429, 500]
    server.cuts = [5000]
    with pytest.raises(DeliveryError, match="HTTP status 500"):
        receive(server, path, retries=2)
    assert len(server.requests) == 4
    receive(server, path)
    assert path.read_bytes() == content


def test_a_connection_that_falls_silent(server: ModelServer, path: Path, content: bytes) -> None:
    server.at[20000] = server.wait_for_release
    with pytest.raises(DeliveryError, match="timed out"):
        receive(server, path, timeout=1.0)
    server.released.set()
    assert receive(server, path).resumed_bytes == 20000
    assert path.read_bytes() == content


def test_no_server_at_all(path: Path) -> None:
    with serving(b"") as server:
        url = server.url
    told: list[tuple[str, float]] = []
    with pytest.raises(DeliveryError, match="refused"):
        nq.receive(url, path, retries=3, pause=0.001, on_retry=lambda why, seconds: told.append((why, seconds)))
    assert [seconds for _, seconds in told] == [0.001, 0.002, 0.004]
    assert all("refused" in why for why, _ in told)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("tells_length", [True, False])
@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', None])
def test_a_server_without_ranges(
    tells_length: bool, etag: str | None, server: ModelServer, path: Path, content: bytes, sections: Any
) -> None:
    """All is sent again; what was there is compared and not written."""
    server.ranges, server.tells_length, server.etag = False, tells_length, etag
    server.cuts = [position := sections[1].offset + 5]
    with pytest.raises(DeliveryError):
        receive(server, path)
    done = receive(server, path)
    assert (done.resumed_bytes, done.fetched_bytes) == (position, len(content) - position)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("etag", "modified", "position", "wanted"),
    [
        (None, "Wed, 21 Oct 2015 07:28:00 GMT", 100, "bytes=100-"),
        ('W/"1"', None, 100, None),
        (None, None, 100, None),
        (None, None, -100, "bytes"),
    ],
)
def test_without_an_etag(
    etag: str | None, modified: str | None, position: int, wanted: str | None, server: ModelServer, path: Path
) -> None:
    """The date will do; with neither, the base is not put together from two answers, which nothing could vouch for."""
    server.etag, server.modified, server.cuts = etag, modified, [position % len(server.content)]
    with pytest.raises(DeliveryError):
        receive(server, path)
    receive(server, path)
    assert str(server.requests[1]).startswith(str(wanted))
    assert path.read_bytes() == server.content


# ---- a source that changes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("etag", ['"2"', None])
@pytest.mark.parametrize("part", [0.1, 0.9])
def test_a_changed_source_is_begun_anew(
    part: float, etag: str | None, ranges: bool, server: ModelServer, path: Path, newer: bytes, sections: Any
) -> None:
    """A part-bit model that stands at the path stays until the new one can take its place."""
    server.cuts, server.ranges, server.etag = [int(part * len(server.content))], ranges, etag and '"1"'
    with pytest.raises(DeliveryError):
        receive(server, path)
    before = path.read_bytes() if path.exists() else None
    assert (before is None) == (part < 0.5)
    server.content, server.etag = newer, etag
    server.at[1000] = lambda: before is None or path.read_bytes() == before or pytest.fail("the old model is gone")
    levels: list[int] = []
    receive(server, path, retries=2, on_level=lambda arrived: levels.append(arrived.bits))
    assert path.read_bytes() == newer
    assert levels[-2:] == [5, 8]
    check_nothing_is_left(path)


def another_version(content: bytes, sections: tuple[Section, ...]) -> bytes:
    """A model of the same layout with other bytes in every level."""
    data, found = bytearray(content), []
    for section, end in zip(sections, ends(sections), strict=True):
        data[section.offset + section.size // 2] ^= 1
        found.append(replace(section, crc32=zlib.crc32(data[section.offset : end])))
    table, start = SectionTable(tuple(found)).pack(), content.index(b"NQST")
    data[start : start + len(table)] = table
    return bytes(data)


@pytest.mark.parametrize("ranges", [True, False])
def test_another_version_of_the_same_length_that_nothing_tells_apart(
    ranges: bool, server: ModelServer, path: Path, content: bytes, sections: tuple[Section, ...]
) -> None:
    """Its levels do not fit the old base, which their checksums say; the call after that begins anew."""
    server.etag, server.ranges, server.cuts = None, ranges, [sections[1].offset + 1000]
    with pytest.raises(DeliveryError):
        receive(server, path)
    before, server.content = path.read_bytes(), another_version(content, sections)
    if ranges:
        with pytest.raises(FormatError, match="checksum of level 1"):
            receive(server, path)
        assert path.read_bytes()[: ends(sections)[0]] == before[: ends(sections)[0]]
    receive(server, path, retries=1)
    assert path.read_bytes() == server.content
    check_nothing_is_left(path)


def test_a_source_that_got_shorter(server: ModelServer, path: Path, newer: bytes, sections: Any) -> None:
    server.etag, server.cuts = None, [len(server.content.rstrip(b"\0")) - 1]
    with pytest.raises(DeliveryError):
        receive(server, path)
    server.content = newer
    receive(server, path, retries=1)
    assert path.read_bytes() == newer


def test_a_source_that_never_stays_the_same(server: ModelServer, path: Path) -> None:
    contents = [os.urandom(8) + server.content[8:] for _ in range(9)]

    def change() -> None:
        server.content = contents.pop()

    server.etag, server.ranges, server.cuts = None, False, [9000] * 9
    server.at[8999] = change
    with pytest.raises((DeliveryError, FormatError)):
        receive(server, path, retries=3)
    assert len(server.requests) <= 9


# ---- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_damaged_byte_in_a_level(
    place: str, level: int, server: ModelServer, path: Path, content: bytes, sections: Any
) -> None:
    """That level does not count, those before it do, and the next call fetches what is missing."""
    section = sections[level]
    position = section.offset + {"first": 0, "middle": section.size // 2, "last": section.size - 1}[place]
    server.content = damaged(content, position)
    levels: list[int] = []
    with pytest.raises(FormatError, match=rf"checksum of level {level} .*expected {section.crc32:08x}"):
        receive(server, path, on_level=lambda arrived: levels.append(arrived.level))
    assert levels == list(range(level))
    assert path.exists() == (level > 0)
    server.content = content
    done = receive(server, path)
    assert path.read_bytes() == content
    assert done.resumed_bytes == (section.offset if level else 0)
    assert server.requests[1:] == [f"bytes={section.offset}-" if level else None]


def test_damage_in_the_root_and_in_the_gaps(server: ModelServer, path: Path, content: bytes, sections: Any) -> None:
    for position in (4, content.index(b"NQST"), content.index(b"NQST") + 20, ends(sections)[0]):
        server.content = damaged(content, position)
        with pytest.raises(FormatError, match="expected"):
            receive(server, path)
        server.content = content
        receive(server, path)
        assert path.read_bytes() == content


@pytest.mark.parametrize("tells_length", [True, False])
def test_truncated_sources(
    tells_length: bool, server: ModelServer, path: Path, content: bytes, sections: tuple[Section, ...]
) -> None:
    server.tells_length = tells_length
    for size in (0, 5, 100, sections[0].offset, sections[0].offset + 10, ends(sections)[0], len(content) - 1):
        server.content = content[:size]
        with pytest.raises((FormatError, DeliveryError)) as caught:
            receive(server, path)
        assert "expected" in str(caught.value)
        assert not path.exists() or not tells_length
    server.content = content
    receive(server, path, retries=1)
    assert path.read_bytes() == content


def test_a_truncated_stream_leaves_what_ran(path: Path, content: bytes, sections: tuple[Section, ...]) -> None:
    with pytest.raises(DeliveryError, match="got only"):
        nq.receive(io.BytesIO(content[:-1]), path)
    check_runs_part_bit(path, content, sections)
    with pytest.raises(DeliveryError, match="got only 1000"):
        nq.receive(io.BytesIO(content[:1000]), path)
    check_runs_part_bit(path, content, sections)
    check_nothing_is_left(path)


@pytest.mark.parametrize("kind", ["stock", "text", "zeros"])
def test_what_is_no_nested_model(kind: str, server: ModelServer, path: Path, int8_tflite: bytes) -> None:
    path.write_bytes(b"old")
    server.content = {"stock": int8_tflite, "text": b"<html>not here</html>" * 99, "zeros": bytes(99999)}[kind]
    for source in (server.url, io.BytesIO(server.content)):
        with pytest.raises(FormatError, match=r"expected a (nested model|TFLite flatbuffer)"):
            nq.receive(source, path)
    assert path.read_bytes() == b"old"
    check_nothing_is_left(path)


@pytest.mark.parametrize("status", [400, 403, 404, 410, 501])
def test_refusals_are_not_repeated(status: int, server: ModelServer, path: Path) -> None:
    server.answers = [status] * 3
    with pytest.raises(DeliveryError, match=f"HTTP status {status}"):
        receive(server, path, retries=5)
    assert len(server.requests) == 1
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("source", ["ftp://host/model", "model.tflite", "file:///model", "http://", 5, None, b"bytes"])
def test_sources_that_are_none(source: Any, path: Path) -> None:
    with pytest.raises(DeliveryError, match="expected an http or https URL, or a binary stream"):
        nq.receive(source, path)


def test_a_text_stream(path: Path) -> None:
    with pytest.raises(DeliveryError, match="got str"):
        nq.receive(io.StringIO("text"), path)  # type: ignore[arg-type]


# ---- digests ---------------------------------------------------------------------------------------------------------


def test_digests(server: ModelServer, path: Path, content: bytes, sections: tuple[Section, ...]) -> None:
    whole, base = hashlib.sha256(content).hexdigest(), hashlib.sha256(content[: ends(sections)[0]]).hexdigest()
    path.write_bytes(b"old")
    with pytest.raises(FormatError, match="sha256 of the base"):
        receive(server, path, base_sha256=whole)
    assert path.read_bytes() == b"old"
    with pytest.raises(FormatError, match=f"sha256 of .*got {whole}"):
        receive(server, path, sha256=base)
    assert path.read_bytes() == b"old"
    check_nothing_is_left(path)
    with pytest.raises(DeliveryError, match="64 hexadecimal digits"):
        receive(server, path, sha256="abc")
    receive(server, path, sha256=whole.upper(), base_sha256=base)
    assert path.read_bytes() == content
    asked = len(server.requests)
    levels: list[int] = []
    done = receive(server, path, sha256=whole, on_level=lambda arrived: levels.append(arrived.bits))
    assert (done.resumed_bytes, done.connections, len(server.requests), levels) == (len(content), 0, asked, [4, 6, 8])
    check_nothing_is_left(path)


def test_a_wrong_digest_takes_a_new_file_away(server: ModelServer, path: Path) -> None:
    with pytest.raises(FormatError, match="sha256"):
        receive(server, path, sha256="0" * 64)
    assert not list(path.parent.iterdir())


def test_a_wrong_digest_brings_back_the_file_before_after_an_interruption(server: ModelServer, path: Path) -> None:
    path.write_bytes(b"old")
    server.cuts = [len(server.content) - 1]
    for expected in (DeliveryError, FormatError):
        with pytest.raises(expected):
            receive(server, path, sha256="0" * 64)
    assert path.read_bytes() == b"old"
    check_nothing_is_left(path)
