"""What the system refuses, on order: memory, pages, files, permissions.

Nothing crashes, nothing is half done, errors say why, and docs/threat_model.md shows what was observed.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import fault_jobs
import fault_table
import pytest
from distributions import EXPORTS
from fault_server import FaultyProcess
from fault_table import Models, run_deed
from model_server import ModelServer, serving

import nq_tflite as nq
from nq_tflite.device.native import library_path
from nq_tflite.errors import DeliveryError
from nq_tflite.graph.nested import read_nested

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "threat_model.md"
#: Of the allocations of opening a model, every so manieth fails in the default suite; a slow test takes all.
STRIDE = 23

pytestmark = [
    pytest.mark.xdist_group("faults"),
    pytest.mark.skipif(not Path("/lib64/ld-linux-x86-64.so.2").exists(), reason="the shim needs glibc on x86-64"),
]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyProcess]:
    with fault_table.faulty_process(tmp_path_factory.mktemp("shim")) as process:
        yield process


@pytest.fixture(scope="module")
def models(faulty: FaultyProcess, tmp_path_factory: pytest.TempPathFactory) -> Models:
    return fault_table.make_models(tmp_path_factory.mktemp("models"), faulty)


def table_of_page(name: str) -> str:
    found = re.search(rf"<!-- table: {name} -->\n\n(.*?)(?:\n\n|\n\Z)", PAGE.read_text(), re.DOTALL)
    assert found, name
    return found[1]


# ---- the page's tables -----------------------------------------------------------------------------------------------


def test_a_model_that_runs_keeps_its_precision_and_says_why(faulty: FaultyProcess, models: Models) -> None:
    head = ("what fails", "while", "outcome")
    assert fault_table.markdown(head, fault_table.model_rows(faulty, models)) == table_of_page("models")


def test_every_allocation_may_fail(faulty: FaultyProcess, models: Models) -> None:
    check_memory_table(faulty, models, STRIDE)


@pytest.mark.slow
def test_every_single_allocation_may_fail(faulty: FaultyProcess, models: Models) -> None:
    check_memory_table(faulty, models, 1)


def check_memory_table(faulty: FaultyProcess, models: Models, stride: int) -> None:
    head = ("what fails", "while", "outcome")
    observed = fault_table.markdown(head, fault_table.memory_rows(faulty, models, stride)).splitlines()
    expected = table_of_page("memory").splitlines()
    if stride == 1:
        assert observed == expected
    for line, whole in zip(observed, expected, strict=True):
        *where, outcomes = line.split(" | ")
        *same, all_outcomes = whole.split(" | ")
        assert where == same
        assert set(outcomes.removesuffix(" |").split("; ")) <= set(all_outcomes.removesuffix(" |").split("; "))


def test_files_appear_whole_or_not_at_all(faulty: FaultyProcess, models: Models, tmp_path: Path) -> None:
    chosen = ("full disk", "EIO at fsync", "short writes", "read-only")
    rows = list(fault_table.command_rows(faulty, models, tmp_path, chosen))
    head, _, *page = [line.strip("| ").split(" | ") for line in table_of_page("commands").splitlines()]
    columns = [head.index(name) + 1 for name in chosen]  # the head's first field is empty
    assert [[row[0], *(row[column] for column in columns)] for row in page] == [list(row) for row in rows]
    assert not faulty.run(fault_jobs.has_tensorflow).value


@pytest.mark.slow
def test_files_under_every_fault(faulty: FaultyProcess, models: Models, tmp_path: Path) -> None:
    rows = fault_table.command_rows(faulty, models, tmp_path)
    assert fault_table.markdown(("", *fault_table.FILE_FAULTS), rows) == table_of_page("commands")


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(\w+\.(?:py|cc))::(\w+)`", PAGE.read_text())
    assert len(named) > 40
    for file, test in named:
        [path] = (path for folder in ("tests", "custom_ops/tests") for path in (ROOT / folder).rglob(file))
        definition = rf"^def {test}\(" if path.suffix == ".py" else rf"^TEST\({test}\)"
        assert re.search(definition, path.read_text(), re.MULTILINE), f"{file} has no {test}"


# ---- a library that is not the right one -----------------------------------------------------------------------------


def compile_library(path: Path, version: str, names: set[str]) -> None:
    """A library with these functions, which says that it is of that version."""
    functions = (f"void {name}(void) {{}}" for name in sorted(names - {"nq_version"}))
    path.with_suffix(".c").write_text(
        f'const char* nq_version(void) {{ return "{version}"; }}\n' + "\n".join(functions)
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, path.with_suffix(".c")], check=True)


def test_a_library_of_another_version_is_refused(faulty: FaultyProcess, tmp_path: Path) -> None:
    mine = ".".join(nq.__version__.split(".")[:2])
    for version, names, wanted in (
        ("9.9.0", EXPORTS, f"expected version {mine}.x, got 9.9.0"),
        (nq.__version__, EXPORTS - {"nq_session_delegation"}, "nq_session_delegation"),
        (nq.__version__, EXPORTS, "loads"),
    ):
        compile_library(tmp_path / "other.so", version, names)
        outcome = faulty.run(fault_jobs.load_library, tmp_path / "other.so").value
        assert wanted in outcome
        assert outcome == "loads" or outcome.startswith("NativeLibraryError: ")
        (tmp_path / "other.so").unlink()  # a mapped library must not be written to


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_library_is_refused(kept: float, faulty: FaultyProcess, tmp_path: Path) -> None:
    """The dynamic linker would map what is not there, and end the process."""
    content = library_path().read_bytes()
    (tmp_path / "short.so").write_bytes(content[: int(kept * len(content))])
    ended = faulty.run(fault_jobs.load_library, tmp_path / "short.so")
    assert ended.signal == 0
    assert ended.value.startswith("NativeLibraryError: native library: expected a library for this machine at short.so")


def test_a_model_folder_gives_no_code(models: Models, tmp_path: Path) -> None:
    """Libraries and modules that lie beside a model, in the working folder, are not loaded."""
    model = tmp_path / "model.tflite"
    model.write_bytes(models.nested.read_bytes())
    for name in ("nq_tflite", "click", "numpy", "flatbuffers", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the model folder was imported')\n")
    compile_library(tmp_path / "libnq_tflite.so", "9.9.0", EXPORTS)
    (tmp_path / "libLiteRtGpuAccelerator.so").write_bytes((tmp_path / "libnq_tflite.so").read_bytes())
    command = [Path(sys.executable).with_name("nq-tflite"), "benchmark", "model.tflite", "--runs", "1", "--json"]
    done = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "model folder" not in done.stdout + done.stderr


def test_a_redirect_leads_to_the_web_only(tmp_path: Path) -> None:
    """Not to a file of this machine."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")

    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", secret.as_uri())
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing on stderr."""

    with HTTPServer(("127.0.0.1", 0), Redirecting) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(DeliveryError, match=r"not allowed|HTTP status 302"):
            nq.receive(f"http://127.0.0.1:{server.server_port}/model.tflite", tmp_path / "model.tflite", retries=0)
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


# ---- a disk that is full ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system is root's")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("deed", ["convert", "extract", "split", "join", "receive", "storage"])
def test_a_real_disk_that_is_full(deed: str, small_disk: Path, faulty: FaultyProcess, models: Models) -> None:
    (small_disk / "filler").write_bytes(bytes(40_000))
    with serving(models.nested.read_bytes()) as server:
        ended, target = run_deed(faulty, models, deed, "", small_disk, server.url)
        assert ended.value.is_clear_error, ended.value
        assert "No space left on device" in ended.value.output
        if fault_table.DEEDS[deed].before(models):
            assert target.read_bytes() == fault_table.OLD
        subprocess.run(["mount", "-o", "remount,size=4m,ro", small_disk], check=True)
        ended, _ = run_deed(faulty, models, deed, "", small_disk, server.url)
        assert ended.value.is_clear_error, ended.value
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        ended, target = run_deed(faulty, models, deed, "", small_disk, server.url)
        assert ended.value.exit_code == 0, ended.value
    assert {path.name for path in small_disk.iterdir()} <= {"filler", target.name}


def test_an_output_that_takes_nothing(models: Models) -> None:
    command = [sys.executable, "-m", "nq_tflite", "inspect", str(models.nested)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0
    assert "error: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


# ---- being killed ----------------------------------------------------------------------------------------------------

KILLS = [pytest.param(6, id="a few"), pytest.param(100, id="a hundred", marks=pytest.mark.slow)]


def kills(faulty: FaultyProcess, models: Models, deed: str, times: int, folder: Path, url: str) -> Iterator[Path]:
    """Runs a command again and again, killed each time: before or after a random one of its calls that change the file
    system, or, every third time, at a random time. Gives the folder of each, and at last makes sure of the kills."""
    chance = random.Random(f"{deed} {times}")
    count_calls = "file,{},1000000,1,0"
    (folder / "whole").mkdir()
    ended, _ = run_deed(faulty, models, deed, count_calls, folder / "whole", url)
    [calls] = ended.value.hits
    killed = 0
    for number in range(times):
        place = folder / str(number)
        place.mkdir()
        if number % 3 == 2:
            ended, _ = run_deed(faulty, models, deed, "", place, url, kill_after=chance.uniform(0, 0.1))
        else:
            rules = f"file,{{}},{chance.randint(1, calls)},1,{chance.choice([-9, -10])}"
            ended, _ = run_deed(faulty, models, deed, rules, place, url)
            # The network decides how many calls a download makes: with fewer, it has come to its end.
            assert ended.signal == signal.SIGKILL or (url and ended.value.exit_code == 0)
        killed += ended.signal == signal.SIGKILL
        yield place
    assert killed > times / 2


@pytest.mark.parametrize("times", KILLS)
def test_convert_killed_anywhere(times: int, faulty: FaultyProcess, models: Models, tmp_path: Path) -> None:
    outcomes = set()
    for place in kills(faulty, models, "convert", times, tmp_path, ""):
        content = (place / "out.tflite").read_bytes()
        assert content in (fault_table.OLD, models.two_levels.read_bytes())
        outcomes.add(content)
        # All that may be left is hidden, and in nobody's way.
        assert all(path.name.startswith(".out.tflite.") for path in place.iterdir() if path.name != "out.tflite")
        if times < 10 or random.Random(place.name).random() < 0.2:
            ended, target = run_deed(faulty, models, "convert", "", place, "")
            assert ended.value.exit_code == 0
            assert target.read_bytes() == models.two_levels.read_bytes()
    assert len(outcomes) == 2 or times < 10


@pytest.mark.parametrize("times", KILLS)
def test_receive_killed_anywhere(times: int, faulty: FaultyProcess, models: Models, tmp_path: Path) -> None:
    content, sections = models.nested.read_bytes(), read_nested(models.nested).table.sections
    base_end = sections[0].offset + sections[0].size
    with serving(content) as server:
        for place in kills(faulty, models, "receive", times, tmp_path, server.url):
            found = (place / "out.tflite").read_bytes()
            assert found == fault_table.OLD or (len(found) == len(content) and found[:base_end] == content[:base_end])
            check_received(server, faulty, models, place)


def check_received(server: ModelServer, faulty: FaultyProcess, models: Models, place: Path) -> None:
    ended, target = run_deed(faulty, models, "receive", "", place, server.url)
    assert ended.value.exit_code == 0
    assert target.read_bytes() == models.nested.read_bytes()
    assert [path.name for path in place.iterdir()] == ["out.tflite"]


@pytest.mark.parametrize("times", KILLS)
def test_join_in_place_killed_anywhere(times: int, faulty: FaultyProcess, models: Models, tmp_path: Path) -> None:
    base, content = models.base.read_bytes(), models.nested.read_bytes()
    for place in kills(faulty, models, "join, in place", times, tmp_path, ""):
        assert (place / "out.tflite").read_bytes().startswith(base)
        ended, target = run_deed(faulty, models, "join, in place", "", place, "")
        assert ended.value.exit_code == 0
        assert target.read_bytes() == content
        assert [path.name for path in place.iterdir()] == ["out.tflite"]


def run_rules(faulty: FaultyProcess, models: Models, folder: Path, rules: str) -> Any:
    return run_deed(faulty, models, "convert", rules, folder, "")[0]


def test_the_shim_does_what_it_is_told(faulty: FaultyProcess, models: Models, tmp_path: Path) -> None:
    """A fault that never struck would look like one that was survived."""
    assert run_rules(faulty, models, tmp_path, "write,/elsewhere,1,0,28").value.hits == (0,)
    assert run_rules(faulty, models, tmp_path, "write,{},1,0,28").value.hits == (1,)
    assert run_rules(faulty, models, tmp_path, "fsync,{},3,1,5").value.exit_code == 0
    assert run_rules(faulty, models, tmp_path, "rename,{},1,1,-9").signal == signal.SIGKILL
    assert (tmp_path / "out.tflite").read_bytes() != fault_table.OLD  # the call before
