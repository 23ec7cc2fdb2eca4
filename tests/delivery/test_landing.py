"""Where a model arrives: full and odd disks, files of others, a killed process, an interpreter of the file."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
import switching_jobs
from arrivals import check_nothing_is_left, check_runs_part_bit, damaged, ends, receive
from model_server import ModelServer

import nq_tflite as nq
from nq_tflite.delivery import disk, landing
from nq_tflite.errors import DeliveryError, FormatError
from nq_tflite.format.section_table import Section

# ---- the disk --------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_found_out_before_the_levels_arrive(
    server: ModelServer, path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        assert (start, size) == (0, len(content))
        raise OSError(errno.ENOSPC, "No space left on device")

    path.write_bytes(b"old")
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        with pytest.raises(DeliveryError, match="No space left"):
            receive(server, path)
    assert path.read_bytes() == b"old"
    receive(server, path)
    assert path.read_bytes() == content


def test_a_file_system_without_fallocate(
    server: ModelServer, path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", missing)
    receive(server, path)
    assert path.read_bytes() == content


def test_paths_that_cannot_be_written(server: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "missing" / "model.tflite", tmp_path / "folder"):
        with pytest.raises(DeliveryError, match="writing"):
            receive(server, path)
    with pytest.raises(DeliveryError, match="the name of a file"):
        receive(server, Path())


def test_one_at_a_time(server: ModelServer, path: Path, content: bytes) -> None:
    server.at[5000] = server.wait_for_release
    thread = threading.Thread(target=receive, args=(server, path))
    thread.start()
    while not server.requests:
        pass
    with pytest.raises(DeliveryError, match="no other call that does it, got a running one"):
        receive(server, path)
    server.released.set()
    thread.join()
    assert path.read_bytes() == content


def test_a_file_put_there_meanwhile_is_left_alone(server: ModelServer, path: Path, sections: Any) -> None:
    """Whether the call goes on or a later one finds it."""

    def put_another(arrived: nq.ArrivedLevel) -> None:
        if arrived.level == 0:
            path.unlink()
            path.write_bytes(b"mine")

    with pytest.raises(DeliveryError, match="another one"):
        receive(server, path, on_level=put_another)
    assert path.read_bytes() == b"mine"
    server.cuts = [sections[2].offset + 1]
    with pytest.raises(DeliveryError, match="got only"):
        receive(server, path)
    path.write_bytes(b"mine")
    assert receive(server, path).resumed_bytes == 0
    assert path.read_bytes() == server.content


@pytest.mark.parametrize(
    "state",
    [
        *(b"", b"[]", b"{}", b'{"version": 1, "source": 5}', b"\xff"),
        *({"version": 2}, {"received": "x"}, {"received": -1}, {"crc32": None}, {"validator": 5}, {"length": [1]}),
    ],
)
def test_a_state_that_cannot_be_read(
    state: bytes | dict[str, Any], server: ModelServer, path: Path, content: bytes
) -> None:
    server.cuts = [30000]
    with pytest.raises(DeliveryError):
        receive(server, path)
    [file] = path.parent.glob(".*/state.json")
    good = json.loads(file.read_text())
    assert good["received"] == 30000
    file.write_bytes(state if isinstance(state, bytes) else json.dumps(good | state).encode())
    assert receive(server, path).resumed_bytes == 0
    assert path.read_bytes() == content


def test_the_state_holds_no_secrets(server: ModelServer, path: Path) -> None:
    server.cuts = [30000, 40000]
    for token in ("secret1", "secret2"):  # another token is no other source
        with pytest.raises(DeliveryError):
            nq.receive(f"{server.url}?token={token}#{token}", path, headers={"Authorization": token}, retries=0)
    with pytest.raises(DeliveryError, match="headers="):
        nq.receive(server.url.replace("127.0.0.1", "user:secret@127.0.0.1"), path)
    [file] = path.parent.glob(".*/state.json")
    assert "secret" not in file.read_text()
    assert json.loads(file.read_text())["received"] == 40000
    assert file.parent.stat().st_mode & 0o077 == 0


def test_a_level_once_verified_is_never_written_again(
    server: ModelServer, path: Path, content: bytes, sections: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when a level behind it fails and is fetched again, nor when the state has fallen behind the file.

    The last bytes of a level are written when all of it is right.
    """
    written: list[int] = []
    completed: list[int] = []

    def record(descriptor: int, data: memoryview, position: int) -> None:
        disk.write_all(descriptor, data, position)
        if data == landing.UNFINISHED:
            return
        written.append(position)
        for section, end in zip(sections, ends(sections), strict=True):
            if position + len(data) == end:
                assert landing.checksum(descriptor, section.offset, end) == section.crc32
                completed.append(section.bits)

    monkeypatch.setattr(landing, "write_all", record)
    server.content = damaged(content, sections[2].offset + 9)
    with pytest.raises(FormatError):
        receive(server, path)
    assert completed == [4, 6]
    [file] = path.parent.glob(".*/state.json")
    state = json.loads(file.read_text())
    state["received"] = sections[1].offset + 3  # as if killed before it was written
    state["crc32"] = landing.checksum(os.open(path, os.O_RDONLY), 0, state["received"])
    file.write_text(json.dumps(state))
    server.content = content
    written.clear()
    assert receive(server, path).resumed_bytes == ends(sections)[1]
    assert min(written) == sections[2].offset
    assert completed == [4, 6, 8]
    assert path.read_bytes() == content


# ---- being killed ----------------------------------------------------------------------------------------------------

CHILD = """
import sys
import nq_tflite as nq
from nq_tflite.delivery import landing
landing.CHECKPOINT_SECONDS = float(sys.argv[3])
nq.receive(sys.argv[1], sys.argv[2], pause=0.01)
"""


def start_child(server: ModelServer, path: Path, checkpoint_seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD, server.url, str(path), str(checkpoint_seconds)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 100.0])
def test_killed_anywhere_and_resumed(
    checkpoint_seconds: float,
    server: ModelServer,
    path: Path,
    content: bytes,
    newer: bytes,
    sections: tuple[Section, ...],
) -> None:
    """Before each byte of a few, while an old model stands at the path: it is whole, or the new one runs part-bit."""
    path.write_bytes(newer)
    chance = random.Random(3)
    positions = sorted({1, *(section.offset + 1 for section in sections), *ends(sections)[:-1]})
    positions += [chance.randrange(len(content)) for _ in range(3)]
    child: list[subprocess.Popen[bytes]] = []
    for position in sorted(positions):
        server.at = {position: lambda: (time.sleep(0.05), child[-1].kill())}  # what was sent has been written by then
        child.append(start_child(server, path, checkpoint_seconds))
        child[-1].wait(timeout=60)
        if path.read_bytes() != newer:
            check_runs_part_bit(path, content, sections)
    assert [each.returncode for each in child].count(-signal.SIGKILL) > len(positions) / 2
    assert any(server.requests)
    server.at = {}
    receive(server, path)
    assert path.read_bytes() == content
    check_nothing_is_left(path)


@pytest.mark.slow
def test_killed_at_any_time_and_resumed(
    server: ModelServer, path: Path, content: bytes, newer: bytes, sections: tuple[Section, ...]
) -> None:
    """At random times, wherever the child may be: between a rename and a state, say."""
    chance, outcomes = random.Random(4), set()
    server.pause = 0.002
    for _ in range(40):
        path.write_bytes(newer)
        for _ in range(2):
            child = start_child(server, path, chance.choice([0.0, 0.01, 100.0]))
            while child.poll() is None and not server.requests:
                pass
            try:
                child.wait(timeout=chance.uniform(0, 0.12))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            server.requests.clear()
            outcomes.add(old := path.read_bytes() == newer)
            if not old:
                check_runs_part_bit(path, content, sections)
        receive(server, path)
        assert path.read_bytes() == content
        check_nothing_is_left(path)
    assert outcomes == {True, False}


# ---- beside a running interpreter ------------------------------------------------------------------------------------


def test_an_interpreter_runs_part_bit_while_the_rest_arrives(
    worker: Any, server: ModelServer, nested_dir: Path, samples: np.ndarray, path: Path, sections: Any
) -> None:
    """A switch fails while its level is on its way, and succeeds in the same interpreter once it has arrived."""
    server.at[sections[1].offset + sections[1].size // 2] = server.wait_for_release
    server.pause = 0.005
    got = worker(switching_jobs.run_while_receiving, server.url, path, samples[:3])
    wanted = worker(jobs.run_nested, nested_dir / "int8_8_6_4.tflite", samples[:3], [4, 6, 8], builtin=False)
    assert got["refused"] == {"6": "FormatError", "8": "FormatError"}
    assert got["levels"] == [4, 6, 8]
    assert got["precisions"] == [4, 6, 8]
    for outputs, right in zip(got["outputs"], wanted, strict=True):
        np.testing.assert_array_equal(outputs, right)
    assert got["only part-bit"]


def test_it_needs_no_flatbuffers_and_no_runtime(server: ModelServer, path: Path, content: bytes) -> None:
    hidden = "flatbuffers", "ai_edge_litert", "tflite_runtime", "tensorflow", "click", "rich", "bitarray"
    code = f"import sys\nfor name in {hidden}: sys.modules[name] = None\n{CHILD}"
    subprocess.run([sys.executable, "-c", code, server.url, str(path), "1"], check=True, timeout=60)
    assert path.read_bytes() == content
