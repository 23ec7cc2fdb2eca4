"""`python -m nq_tflite_models.labelled`: its statistics, LiteRT Quantizer, and its rows on a small net."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from labelled_pictures import NUM_PICTURES, write_pictures, zipped
from nq_tflite_models.labelled import labelled
from nq_tflite_models.measure.critical import Kept, critical_nestings
from nq_tflite_models.measure.litert_quantizer import quantized_by_litert
from nq_tflite_models.measure.paired import paired_difference

from nq_tflite.errors import MissingPackageError, UnsupportedModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "inputs")


# ---- statistics ------------------------------------------------------------------------------------------------------


def answers(both: int, first: int, second: int, neither: int) -> tuple[Any, Any]:
    """What two classifiers get right, by the counts of a table of two by two."""
    right = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second + [(False, False)] * neither
    ours, theirs = zip(*right, strict=True)
    return np.array(ours), np.array(theirs)


def test_differences_of_a_textbook() -> None:
    """Agresti, Categorical Data Analysis, table 10.1: 1,600 Britons asked twice; -0.04, 95 % from -0.06 to -0.02."""
    found = paired_difference(*answers(794, 86, 150, 570))
    assert (found.only_first, found.only_second) == (86, 150)
    assert found.difference == pytest.approx(-0.04)
    assert (found.low, found.high) == (pytest.approx(-0.0587, abs=0.0015), pytest.approx(-0.0213, abs=0.0015))
    assert found.p_value == pytest.approx(3.7e-5, rel=0.02)


def test_exact_p_value_of_few_that_differ() -> None:
    """2 (1 + 12 + 66) of 4,096 outcomes of twelve tosses are as far off as 10 to 2."""
    assert paired_difference(*answers(50, 2, 10, 7)).p_value == pytest.approx(2 * 79 / 4096)


def test_no_difference() -> None:
    same = paired_difference(*answers(5, 0, 0, 3))
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert paired_difference(*answers(5, 4, 4, 3)).p_value == 1


def test_intervals_are_paired_and_seeded() -> None:
    """The same margins, once with much and once with little in common."""
    alike, unlike = paired_difference(*answers(80, 5, 2, 13)), paired_difference(*answers(67, 18, 15, 0))
    assert unlike.high - unlike.low > 2 * (alike.high - alike.low)
    assert paired_difference(*answers(80, 5, 2, 13)) == alike


# ---- LiteRT Quantizer ------------------------------------------------------------------------------------------------

#: Stands in for the package: what it was asked becomes the model that it gives.
FAKE_QUANTIZER = """
class Result:
    def __init__(self, model):
        self.quantized_model = model

class Quantizer:
    def __init__(self, model):
        self.asked = []
    def add_static_config(self, regex, operation, activation_num_bits, weight_num_bits):
        self.asked.append(f"{operation.value} {activation_num_bits} {weight_num_bits}")
    def calibrate(self, data, num_threads):
        [(signature, samples)] = data.items()
        self.asked.append(f"{signature} {len(samples)} {sorted(samples[0])} {samples[0]['features'].shape}")
        return {}
    def quantize(self, seen, enable_progress_report):
        if len(self.asked) > 3:
            raise ValueError("four bits are too few")
        return Result("; ".join(self.asked).encode())
"""
FAKE_TYPES = """
import enum
class TFLOperationName(str, enum.Enum):
    ALL = "*"
    CONV = "CONV_2D"
    DENSE = "FULLY_CONNECTED"
"""


def write_package(root: Path) -> None:
    """A package of LiteRT Quantizer's name."""
    package, metadata = root / "litert_quantizer", root / "litert_quantizer-9.9.dist-info"
    package.mkdir()
    metadata.mkdir()
    (package / "__init__.py").touch()
    (package / "quantizer.py").write_text(FAKE_QUANTIZER)
    (package / "qtyping.py").write_text(FAKE_TYPES)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: litert-quantizer\nVersion: 9.9\n")


@pytest.fixture
def dense_file(tmp_path: Path) -> Path:
    from nq_tflite_models.nets.small import dense_net

    from nq_tflite.conversion.sources.keras_export import export

    path = tmp_path / "dense.tflite"
    path.write_bytes(export(dense_net(), None))
    np.save(tmp_path / "samples.npy", np.zeros((5, 33), np.float32))
    return path


def test_what_litert_quantizer_is_asked(dense_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    samples, target = tmp_path / "samples.npy", tmp_path / "out.tflite"
    assert quantized_by_litert(dense_file, samples, 8, target) == "litert-quantizer 9.9"
    assert target.read_text() == "* 8 8; serving_default 5 ['features'] (1, 33)"
    with pytest.raises(UnsupportedModelError, match=r"litert_quantizer: expected .*, got four bits are too few"):
        quantized_by_litert(dense_file, samples, 4, target)


def test_without_litert_quantizer(dense_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("litert_quantizer", "ai_edge_quantizer"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('none', name={name!r})")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match=r"not installed\. pip install litert-quantizer"):
        quantized_by_litert(dense_file, tmp_path / "samples.npy", 8, tmp_path / "out.tflite")


# ---- the command -----------------------------------------------------------------------------------------------------


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(labelled, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def model(made_once: Callable[..., Path]) -> Path:
    """A Keras file of a small net of 16 x 16 with ten classes."""
    from nq_tflite_models.nets.small import mixed_net

    return made_once("labelled", lambda folder: mixed_net(seed=2).save(folder / "mixed.keras")) / "mixed.keras"


@pytest.fixture
def no_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> str:
        raise MissingPackageError("LiteRT Quantizer", got="not installed", fix="Install it.")

    monkeypatch.setattr("nq_tflite_models.measure.labelled.quantized_by_litert", missing)


OPTIONS = ("--preprocess", "-1..1", "--method", "nearest", "--method", "squant-nesting")


@pytest.mark.slow
def test_rows(folder: Path, model: Path, no_litert: None) -> None:
    options = ("--nesting", "8|6|4", "--num-calibration", 9, "--json")
    done = invoke(zipped(folder), "--model", model, *OPTIONS, *options)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["num_evaluated"], found["num_calibration"], found["seed"]) == (NUM_PICTURES - 9, 9, 0)
    rows = {(row["method"], row["bits"]): row for row in found["rows"]}
    assert list(rows) == [
        ("float", None),
        ("stock INT8", 8),
        *[("LiteRT Quantizer", bits) for bits in (8, 4)],
        *[(method, bits) for method in ("nearest", "squant-nesting") for bits in (8, 6, 4)],
    ]
    exact, stock, nearest = rows["float", None], rows["stock INT8", 8], rows["nearest", 8]
    assert (exact["score"]["agreement"], exact["against_float"], exact["against_stock"]) == (1, None, None)
    assert stock["against_stock"] is None
    assert nearest["score"]["logit_snr_db"] == stock["score"]["logit_snr_db"] > 20
    assert nearest["against_stock"] == {
        "difference": 0, "low": 0, "high": 0, "p_value": 1, "only_first": 0, "only_second": 0,
    }  # fmt: skip
    assert rows["nearest", 4]["score"]["logit_snr_db"] < stock["score"]["logit_snr_db"]
    assert rows["LiteRT Quantizer", 4]["score"] is None
    for row in rows.values():
        if row["score"] is not None and row["against_float"] is not None:
            difference = row["score"]["top1"] - exact["score"]["top1"]
            assert row["against_float"]["difference"] == pytest.approx(difference)
            assert row["against_float"]["low"] <= difference <= row["against_float"]["high"]


def test_the_narrowest_part_bit_that_keeps_accuracy() -> None:
    """Widths are taken from full-bit down, so that a lucky narrow one does not count."""
    top1 = {7: 0.9, 6: 0.91, 5: 0.86, 4: 0.7, 3: 0.9}
    rows = [Kept("net", "descent", 8, bits, 0.9, part) for bits, part in top1.items()]
    rows += [Kept("net", "descent", 6, 5, 0.9, 0.2), Kept("other", "descent", 8, 7, 0.5, 0.5)]
    expected = [("net", 8, 5), ("net", 6, None), ("other", 8, 7)]
    assert [(each.model, each.full_bits, each.part_bits) for each in critical_nestings(rows)] == expected


@pytest.mark.slow
def test_grid(folder: Path, model: Path, no_litert: None) -> None:
    given = (folder, "--model", model, *OPTIONS[:4], "--num-calibration", 9)
    done = invoke(*given, "--grid")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("┏") == 3
    assert "3 of 6|3" in done.stdout
    refused = invoke(*given, "--grid", "--nesting", "8|5")
    assert refused.exit_code == 2
    assert "--grid cannot be combined with --nesting." in refused.stderr


@pytest.mark.slow
def test_tables_fit_eighty_columns(folder: Path, model: Path, no_litert: None, tmp_path: Path) -> None:
    others = write_pictures(tmp_path / "others", 12, seed=9)
    done = invoke(folder, "--model", model, *OPTIONS, "--calibration", others / "pictures")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{model} on inputs, n = {NUM_PICTURES}"
    assert lines[1] == "calibrated with 12 inputs of pictures that are not among them (28.6 % of all, seed 0)"
    assert done.stdout.count("┏") == 2
    assert max(len(line) for line in lines if line[:1] in "┏┃┡│└") <= 80
    assert "8 of 8|4" in done.stdout
    cells = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert " ".join(cells[2:6]) == "LiteRT Quantizer: not installed: pip install litert-quantizer"
    for stage in ("reading evaluated inputs", "stock INT8, 8 bits", "8|4, nearest: rounding"):
        assert stage in done.stderr


@pytest.mark.slow
def test_raw_inputs_of_an_int8_model(model: Path, tmp_path: Path, no_litert: None) -> None:
    from nq_tflite_models.nets.small import mixed_net

    from nq_tflite.conversion.sources.calibration import sample_source
    from nq_tflite.conversion.sources.keras_export import export

    rng = np.random.default_rng(4)
    samples = rng.uniform(-1, 1, (8, 16, 16, 3)).astype(np.float32)
    (tmp_path / "int8.tflite").write_bytes(export(mixed_net(seed=2), sample_source(samples), "int8", "int8"))
    (tmp_path / "raw").mkdir()
    rows = []
    for number in range(30):
        (tmp_path / f"raw/{number}.bin").write_bytes(rng.integers(-128, 128, 768, np.int8).tobytes())
        rows.append(f"{number}.bin,10,{number % 10}\n")
    (tmp_path / "table.csv").write_text("".join(rows))
    given = ("--labels", tmp_path / "table.csv", "--num-calibration", 10, "--method", "nearest", "--json")
    done = invoke(tmp_path / "raw", "--model", model, "--quantized-by", tmp_path / "int8.tflite", *given)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["num_evaluated"], found["preprocessing"]) == (20, "")
    wrong = invoke(tmp_path / "raw", "--model", model, "--quantized-by", model, *given)
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert "error: " in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--model", "alexnet"), 2, "expected one of mobilenet_v2, efficientnet_lite0, cifar_resnet20"),
        (("--model", "cifar_resnet20"), 2, "needs --weights"),
        (("--model", "mobilenet_v2", "--weights", "w.pth"), 2, "--weights needs --model with one of cifar_resnet20"),
        ((), 2, "--model"),
        (("--model", "net.keras", "--method", "magic"), 2, "magic"),
        (("--model", "net.keras", "--num-calibration", "3"), 1, "expected at least 8, got 3"),
        (("--model", "net.keras", "--calibration", "/missing"), 1, "error: inputs /missing"),
        (("--model", "net.keras"), 1, "error: model net.keras"),
        (("--model", "cifar_resnet20", "--weights", "/missing.th"), 1, "/missing.th"),
    ],
)
def test_command_refuses(folder: Path, arguments: tuple[str, ...], code: int, text: str) -> None:
    given = arguments if "--num-calibration" in arguments else (*arguments, "--num-calibration", "8")
    result = invoke(folder, *given)
    assert (result.exit_code, result.stdout) == (code, "")
    assert text in " ".join(result.stderr.split())


def test_model_that_takes_no_pictures(folder: Path, tmp_path: Path) -> None:
    from nq_tflite_models.nets.small import dense_net

    dense_net().save(tmp_path / "dense.keras")
    rows = [f"pictures/{number:02}.png,0\n" for number in range(NUM_PICTURES)]
    (folder / "labels.csv").write_text("".join(["file,label\n", *rows]))
    result = invoke(folder, "--model", tmp_path / "dense.keras", "--num-calibration", 8)
    assert result.exit_code == 1
    assert "expected a photo classifier" in result.stderr


def test_help_needs_nothing_heavy() -> None:
    code = "import sys; sys.modules.update(dict.fromkeys(('tensorflow', 'keras', 'scipy'))); "
    code += "from nq_tflite_models.labelled import labelled; labelled(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "mlperf_kws" in done.stdout
