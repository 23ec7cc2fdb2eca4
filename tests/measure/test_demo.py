"""The demo: its pieces on a small model, its errors, and (slow, from the network) the real thing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from nq_tflite.cli import nq_tflite
from nq_tflite.errors import FormatError, MissingPackageError, ModelSourceError
from nq_tflite.measure import demo
from nq_tflite.measure.child_process import run_in_child
from nq_tflite.measure.memory import Footprint, MedianReload, MedianSwitch, MemoryState
from nq_tflite.measure.resident import ResidentMemory

MEMORY = ResidentMemory(1, 2, 3)
RELOAD = MedianReload(10, 0.003, 0.007)
NESTED = Footprint(
    "nested.tflite",
    "some-runtime 1.0",
    1,
    (MemoryState(8, MEMORY, 3_000_000), MemoryState(5, MEMORY, 2_000_000), MemoryState(8, MEMORY, 3_000_000)),
    MedianSwitch(100, 0.0002, 0.0001, 0.012, 0.011, 1_000_000, 1_000_000, 10, 0.0006, 0.013),
    RELOAD,
)
STOCK = Footprint("int8.tflite", "some-runtime 1.0", 1, (MemoryState(None, MEMORY, None),), None, RELOAD)
REPORT = demo.DemoReport(
    workdir="work",
    sizes=demo.FileSizes(nested=4_100_000, float32=14_000_000, int8=4_000_000, part_weights=2_200_000),
    photos=(demo.PhotoLabels("cat", (281, 282), (281, "tabby"), (282, "tiger cat"), (0, "tench")),),
    switched_back_identical=True,
    nested=NESTED,
    stock=STOCK,
    seconds=42.0,
)


@pytest.fixture
def workdir(tmp_path: Path, nested_dir: Path, float_tflite: bytes) -> Path:
    """What `_build` leaves, with a small net and random photos."""
    photos = tmp_path / demo.PHOTOS_FOLDER
    photos.mkdir()
    (tmp_path / demo.FLOAT_FILE).write_bytes(float_tflite)
    (tmp_path / demo.NESTED_FILE).write_bytes((nested_dir / "int8_8_5.tflite").read_bytes())
    rng = np.random.default_rng(2)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(photos / f"{name}.png")
    (photos / "labels.csv").write_text("file,imagenet_indices\na.png,1 2\nb.png,3\n")
    return tmp_path


def test_classify_switches_live(workdir: Path) -> None:
    answer = run_in_child("nq_tflite.measure.demo", {"job": "classify", "workdir": str(workdir), "runtime": None})
    assert answer["identical"] is True
    assert [(photo["name"], photo["accepted"]) for photo in answer["photos"]] == [("a", [1, 2]), ("b", [3])]
    for photo in answer["photos"]:
        assert all(0 <= photo[kind][0] < 90 and photo[kind][1] for kind in ("float32", "full", "part"))


def test_table_of_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "run_demo", lambda workdir, runtime, progress: REPORT)
    result = CliRunner().invoke(nq_tflite, ["demo"])
    assert result.exit_code == 0
    for text in ("tiger cat", "tench *", "6.20 MB", "4.10 MB", "0.20 ms", "12.00 ms", "identical to", "are in work"):
        assert text in result.stdout
    assert "tabby *" not in result.stdout
    data = json.loads(CliRunner().invoke(nq_tflite, ["demo", "--json"]).stdout)
    assert data["separate_bytes"] == 6_200_000
    assert data["photos"][0]["part"] == [0, "tench"]


def test_a_report_without_switches_says_so() -> None:
    report = demo.DemoReport("work", REPORT.sizes, (), True, STOCK, STOCK, 1.0)
    with pytest.raises(FormatError, match="a nested model"):
        _ = report.switch


def test_missing_models_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nq_tflite_models.nets.mobilenet_v2", None)
    with pytest.raises(MissingPackageError, match=r"nq_tflite_models.*pip install '\.\[demo\]'"):
        demo._build({"workdir": str(tmp_path)})


def test_a_workdir_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelSourceError, match="a folder that can be created"):
        demo.run_demo(tmp_path / "file")
    result = CliRunner().invoke(nq_tflite, ["demo", "--workdir", str(tmp_path / "file")])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error: demo folder" in result.stderr


@pytest.mark.slow
@pytest.mark.network
def test_the_real_demo(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nq_tflite", "demo", "--workdir", str(tmp_path / "demo"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["switched_back_identical"]
    assert report["sizes"]["nested"] < 1.03 * report["sizes"]["int8"] < report["separate_bytes"]
    right = [photo["full"][0] in photo["accepted"] for photo in report["photos"]]
    assert len(right) == 5
    assert sum(right) >= 4
    assert all((tmp_path / "demo" / name).is_file() for name in (demo.NESTED_FILE, demo.FLOAT_FILE, demo.INT8_FILE))
