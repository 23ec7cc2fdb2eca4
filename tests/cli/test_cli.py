"""The command line: every command's happy path, --json, exit codes, wrong and missing arguments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import check_error, invoke, run
from model_server import serving
from PIL import Image

from nq_tflite import __version__
from nq_tflite.cli import nq_tflite
from nq_tflite.conversion.report import LEAST_AGREEMENT
from nq_tflite.device.delegation import Delegation
from nq_tflite.device.native import LIBRARY_VARIABLE
from nq_tflite.device.runtimes import installed_runtimes
from nq_tflite.format.bitview import parse_filter_bits
from nq_tflite.graph.inspection import inspect_file
from nq_tflite.graph.nested import read_nested

COMMANDS = (
    "benchmark",
    "convert",
    "demo",
    "evaluate",
    "extract",
    "inspect",
    "join",
    "receive",
    "report",
    "simulate",
    "split",
    "storage",
    "watch",
)


@pytest.fixture
def nested(nested_dir: Path) -> Path:
    return nested_dir / "int8_8_5.tflite"


@pytest.fixture
def stock(tmp_path: Path, int8_tflite: bytes) -> Path:
    path = tmp_path / "stock.tflite"
    path.write_bytes(int8_tflite)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos of noise with a labels.csv."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(7)
    for index in range(3):
        Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    (folder / "labels.csv").write_text("file,imagenet_indices\n0.png,1\n1.png,2 3\n2.png,4\n")
    return folder


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nq_tflite_models.nets.small import mixed_net

    path = tmp_path_factory.mktemp("keras") / "mixed.keras"
    mixed_net(seed=3, width=4).save(path)
    return path


# ---- the group -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"nq-tflite {command}" in result.stdout.split("Examples:")[1]
    assert "--json" in result.stdout


def test_group_help_lists_every_command() -> None:
    assert sorted(nq_tflite.commands) == sorted(COMMANDS)
    result = invoke("--help")
    assert result.exit_code == 0
    assert "Exit codes" in result.stdout


def test_module_and_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"nq-tflite, version {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dance",),
        ("inspect",),
        ("inspect", "a", "b"),
        ("inspect", "a", "--bits"),
        ("inspect", "a", "--weight", "w", "--bits", "--count", "0"),
        ("extract", "a"),
        ("convert", "a"),
        ("convert", "a", "b", "--rounding", "up"),
        ("convert", "a", "b", "--input-type", "int4"),
        ("evaluate", "a"),
        ("evaluate", "a", "--photos", "b", "--threads", "0"),
        ("evaluate", "a", "--photos", "b", "--runtime", "onnx"),
        ("benchmark",),
        ("benchmark", "a", "--threads", "1,0"),
        ("benchmark", "a", "--threads", "two"),
        ("benchmark", "a", "--threads", ""),
        ("benchmark", "a", "--runs", "0"),
        ("demo", "extra"),
        ("join", "a"),
        ("receive", "a"),
        ("receive", "http://a", "b", "--timeout", "0"),
        ("receive", "http://a", "b", "--header", "none"),
        ("split", "a"),
        ("storage",),
    ],
)
def test_bad_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage:" in result.stderr


@pytest.mark.slow
def test_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch, nested: Path) -> None:
    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nq_tflite.graph.inspection.inspect_file", interrupt)
    result = invoke("inspect", nested)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize("package", ["click", "rich"])
def test_missing_package_is_one_clear_error(package: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None; from nq_tflite.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    check_error(done, package, "pip install '.[cli]'")


# ---- convert ---------------------------------------------------------------------------------------------------------


def test_convert_a_tflite_file(stock: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.tflite"
    result = invoke("convert", stock, output, "--nesting", "8|6|4", "--rounding", "nearest")
    assert result.exit_code == 0
    assert inspect_file(output).precisions == (4, 6, 8)
    for text in ("8|6|4", "dB, 4 bits", "weights in", str(output.stat().st_size)):
        assert text in result.stdout
    assert "rounding" in result.stderr


def test_convert_shows_a_summary_the_worst_layers_and_what_to_try(stock: Path, tmp_path: Path) -> None:
    """All layers with --layers alone; suggestions in both, and in JSON."""
    arguments = ("convert", stock, tmp_path / "out.tflite", "--nesting", "8|4", "--rounding", "squant")
    text, every, data = (invoke(*arguments, *more).stdout for more in ((), ("--layers",), ("--json",)))
    report = json.loads(data)
    worst = sorted(report["weights"], key=lambda row: row["snr_db"][0])
    assert len(worst) > 5
    assert f"\nthe worst 5 of {len(worst)} nested weights (all: --layers), by SNR; all have bits 8|4\n" in text
    assert "\nnested weights, worst first, by SNR; all have bits 8|4\n" in every
    assert table_rows(text, "the worst 5 of") == 5
    assert table_rows(every, "nested weights, worst first") == len(worst)
    assert text.startswith(f"{tmp_path / 'out.tflite'}: ")
    assert report["advice"]
    assert all(f"to try: {each}\n" in text and f"to try: {each}\n" in every for each in report["advice"])
    assert f"\nleft as they are: {len(report['unnested'])} tensor" in text
    assert all(f": {each['reason']}\n" in text for each in report["unnested"])


def table_rows(text: str, title: str) -> int:
    """Of the table below that title."""
    table = text.split(f"\n{title}")[1].split("└")[0]
    return sum(line.startswith("│") for line in table.splitlines())


@pytest.mark.parametrize("kind", [pytest.param("npy", marks=pytest.mark.slow), "npz", "photos"])
def test_convert_keras_with_representative_data(
    kind: str, keras_file: Path, samples: np.ndarray, photos: Path, tmp_path: Path
) -> None:
    source = {"npy": tmp_path / "samples.npy", "npz": tmp_path / "samples.npz", "photos": photos}[kind]
    np.save(tmp_path / "samples.npy", samples[:4])
    np.savez(tmp_path / "samples.npz", image=samples[:4])
    output = tmp_path / "out.tflite"
    types = ("--input-type", "int8", "--output-type", "uint8")
    result = invoke(
        "convert",
        keras_file,
        output,
        "--representative",
        source,
        *(("--preprocess", "0..1") if kind == "photos" else ()),
        *types,
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["path"] == str(output)
    assert report["nesting"] == "8|5"
    assert report["file_bytes"] == output.stat().st_size
    assert {weight["output_type"] for weight in report["weights"]} == {"int8"}
    assert report["rounding"] == "descent"
    assert len(report["estimate"]["agreement"]) == 2
    assert not report["estimate"]["held_out"]
    if kind == "photos":
        chosen = report["preprocessing"]
        assert (chosen["name"], chosen["crop_fraction"], chosen["height"], chosen["doubt"]) == ("0..1", 1.0, 16, "")


def test_convert_estimates_what_it_wrote(stock: Path, samples: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "samples.npy", np.concatenate([samples] * 6))
    result = invoke("convert", stock, tmp_path / "out.tflite", "--representative", tmp_path / "samples.npy", "--exact")
    assert result.exit_code == 0
    assert "\nestimated on 144 samples of the representative data, 29 that rounding has not seen\n" in result.stdout
    assert "8 bits (full)" in result.stdout
    assert ", rounding: exact)" in result.stdout
    assert result.stderr.split() == ["rounding", "estimating", "writing"]
    np.save(tmp_path / "samples.npy", samples)
    result = invoke("convert", stock, tmp_path / "out.tflite", "--representative", tmp_path / "samples.npy")
    assert "\nestimated on 24 samples of the representative data, all seen by rounding, so too good\n" in result.stdout


def test_convert_warns_of_a_poor_precision(stock: Path, tmp_path: Path) -> None:
    arguments = ("convert", stock, tmp_path / "out.tflite", "--nesting", "3|2", "--rounding", "squant")
    result = invoke(*arguments, "--json")
    report = json.loads(result.stdout)
    assert report["doubtful"]
    assert min(report["estimate"]["agreement"]) < LEAST_AGREEMENT
    assert "\nwarning: a precision agrees with the source on less than 80.0 % of the inputs" in result.stderr
    assert "warning" not in invoke("convert", stock, tmp_path / "out.tflite", "--rounding", "nearest").stderr


def test_convert_says_why_nothing_is_estimated(tmp_path: Path) -> None:
    import keras

    from nq_tflite.conversion.sources.keras_export import export

    tokens = keras.Input((12,), dtype="int32")
    x = keras.layers.Dense(96)(keras.layers.Embedding(50, 64)(tokens))
    (tmp_path / "tokens.tflite").write_bytes(export(keras.Model(tokens, x), None))
    result = invoke("convert", tmp_path / "tokens.tflite", tmp_path / "out.tflite")
    assert result.exit_code == 0
    assert "estimated" not in result.stdout
    assert "\nnote: " in result.stdout
    assert "Give representative data." in result.stdout


def test_convert_refuses(stock: Path, keras_file: Path, photos: Path, samples: np.ndarray, tmp_path: Path) -> None:
    output = tmp_path / "out.tflite"
    np.save(tmp_path / "samples.npy", samples[:2])
    np.savez(tmp_path / "uneven.npz", a=samples[:2], b=samples[:3])
    (tmp_path / "noise.npy").write_bytes(b"noise")
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "small.npy", samples[:2, :9])
    check_error(
        invoke("convert", stock, output, "--representative", tmp_path / "small.npy"), "16, 16, 3", "[1, 9, 16, 3]"
    )
    check_error(invoke("convert", tmp_path / "missing.tflite", output), "missing.tflite")
    check_error(invoke("convert", tmp_path / "missing.keras", output), "missing.keras")
    check_error(invoke("convert", stock, tmp_path / "no" / "out.tflite"), "a writable folder")
    for name, text in (
        ("noise.npy", "a .npy or .npz file"),
        ("missing.npz", "a .npy or .npz file"),
        ("uneven.npz", "with equally many samples"),
        ("empty", "at least one photo"),
    ):
        check_error(invoke("convert", keras_file, output, "--representative", tmp_path / name), text)
    with_photos = ("convert", keras_file, output, "--representative", photos)
    check_error(invoke(*with_photos, "--preprocess", "0..1", "--size", 9), "the model's 16 x 16", "Leave --size out")
    check_error(invoke(*with_photos), "the pixel range that the model was trained with", "keras_mobilenet_v2")
    assert not output.exists()


# ---- inspect ---------------------------------------------------------------------------------------------------------


def test_inspect(nested: Path) -> None:
    report = inspect_file(nested)
    result = invoke("inspect", nested, "--layers")
    assert "\nthe worst 5 of " in invoke("inspect", nested).stdout
    assert result.exit_code == 0
    assert result.stderr == ""
    for text in (
        str(report.switching.residual_bytes),
        f"{report.bits_a_weight.total:.3f} bits a weight: 8 of the nesting, ",
        "NestQuant's formula, (l+1)/(n+h), predicts 30.8 %",
        "FULLY_CONNECTED",
        "DEPTHWISE_CONV_2D",
    ):
        assert text in result.stdout


def test_inspect_says_what_is_fused_and_why_the_rest_is_not(nested_dir: Path) -> None:
    for name in ("int8_8_5", "float_8_5"):
        path = nested_dir / f"{name}.tflite"
        data = json.loads(invoke("inspect", path, "--json").stdout)
        assert data["delegation_unknown"] is None
        assert data["delegation"]["runtime"].split()[0] == installed_runtimes()[0]
        delegation = Delegation.from_dict({key: data["delegation"][key] for key in ("operators", "num_partitions")})
        assert {each.place for each in delegation.nested} <= {"fused", "unpacked"}
        assert sorted(str(each.weight) for each in delegation.nested) == sorted(
            each["name"] for each in data["weights"]
        )
        text = invoke("inspect", path, "--layers").stdout
        first, *reasons = delegation.lines()
        assert f"\n{first}, with {data['delegation']['runtime']} on this machine\n" in text
        assert all(f"\n  {reason}\n" in text for reason in reasons)
        place = delegation.nested[0].place
        alike = {each.place for each in delegation.nested} == {place}
        assert f"runs {place}, " in text if alike else text.count(f" {place} ") >= len(delegation.nested) - 1
        weight = json.loads(invoke("inspect", path, "--weight", delegation.nested[0].weight, "--json").stdout)
        assert (weight["place"], weight["reason"]) == (place, delegation.nested[0].reason)


def test_inspect_without_a_runtime_or_library(nested: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(LIBRARY_VARIABLE, str(tmp_path / "missing.so"))
    result = invoke("inspect", nested)
    assert result.exit_code == 0
    assert f"\nfused or unpacked: not known here: native library: expected {tmp_path / 'missing.so'}" in result.stdout
    monkeypatch.setattr("nq_tflite.cli.inspect_command.installed_runtimes", lambda: ())
    result = invoke("inspect", nested)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "\nfused or unpacked: not known here: no TFLite runtime is installed" in result.stdout
    assert "FULLY_CONNECTED" in result.stdout
    data = json.loads(invoke("inspect", nested, "--json").stdout)
    assert data["delegation"] is None
    assert "no TFLite runtime is installed" in data["delegation_unknown"]


def test_inspect_json(nested: Path) -> None:
    data = json.loads(invoke("inspect", nested, "--json").stdout)
    report = inspect_file(nested)
    assert data["precisions"] == [5, 8]
    assert data["num_weights"] == report.num_weights
    assert data["switch_bytes"] == report.section_bytes[1]
    assert len(data["weights"]) == len(report.weights)
    assert data["weights"][0]["snr_db"][1] is None  # infinite: full-bit against itself


def test_inspect_bits_of_a_filter(nested: Path) -> None:
    weight = read_nested(nested).weights[0]
    arguments = ("inspect", nested, "--weight", weight.name, "--bits", "--count", 4)
    first = json.loads(invoke(*arguments, "--json").stdout)["first_filter"]
    codes = weight.codes()[0, :4].tolist()
    assert [parse_filter_bits(each["bits"]) for each in first] == codes == [each["codes"][1] for each in first]
    table = invoke(*arguments)
    assert table.exit_code == 0
    assert all(each["bits"] in table.stdout for each in first)
    assert "first_filter" not in json.loads(invoke("inspect", nested, "--weight", weight.name, "--json").stdout)


def test_inspect_refuses(nested: Path, stock: Path, tmp_path: Path) -> None:
    check_error(invoke("inspect", tmp_path / "missing.tflite"), "missing.tflite")
    check_error(invoke("inspect", stock), "a nested model", "a stock model")
    check_error(invoke("inspect", stock, "--json"), "a nested model")
    check_error(invoke("inspect", nested, "--weight", "no such weight"), "got 0 matching weights")


# ---- extract ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["full", "part", "5"])
def test_extract(nested: Path, tmp_path: Path, precision: str) -> None:
    output = tmp_path / "out.tflite"
    result = invoke("extract", nested, output, "--precision", precision, "--json")
    assert result.exit_code == 0
    bits = 8 if precision == "full" else 5
    expected = {"path": str(output), "precision": precision, "bits": bits, "file_bytes": output.stat().st_size}
    assert json.loads(result.stdout) == expected
    text = invoke("extract", nested, output, "--precision", precision).stdout
    assert str(output.stat().st_size) in text
    assert ("TFLite has no type of 5 bits" in text) is (bits == 5)


def test_extract_refuses(nested: Path, stock: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.tflite"
    check_error(invoke("extract", nested, output, "--precision", "6"), "precision", "[5, 8]")
    check_error(invoke("extract", stock, output), "a nested model")
    assert not output.exists()


# ---- split, join and receive -----------------------------------------------------------------------------------------


def test_split_and_join(nested: Path, tmp_path: Path) -> None:
    result = invoke("split", nested, tmp_path / "parts", "--json")
    assert result.exit_code == 0
    parts = json.loads(result.stdout)
    base, [upgrade] = parts["base"]["path"], [each["path"] for each in parts["upgrades"]]
    assert parts["base"]["sha256"] in invoke("split", nested, tmp_path / "parts").stdout
    model = tmp_path / "model.tflite"
    result = invoke("join", base, model)
    assert "runs at 5 bits; for 8 bits, join an upgrade" in result.stdout
    joined = json.loads(invoke("join", model, upgrade, model, "--json").stdout)
    assert joined == {"path": str(model), "file_bytes": nested.stat().st_size, "bits": [5, 8], "missing": []}
    assert model.read_bytes() == nested.read_bytes()
    check_error(invoke("join", upgrade, model), "TFLite flatbuffer")
    check_error(invoke("split", upgrade, tmp_path), "TFLite flatbuffer")


def test_receive(nested: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    with serving(nested.read_bytes()) as server:
        result = invoke("receive", server.url, path, "--header", "Authorization: none", "--json")
        assert result.exit_code == 0, result.stderr
        delivery = json.loads(result.stdout)
        assert [level["bits"] for level in delivery["levels"]] == [5, 8]
        assert delivery["fetched_bytes"] == nested.stat().st_size
        assert str(nested.stat().st_size) in invoke("receive", server.url, path).stdout
        server.answers = [404]
        check_error(invoke("receive", server.url, path), "HTTP status 404")
    assert path.read_bytes() == nested.read_bytes()


def test_receive_from_stdin(nested: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nq_tflite", "receive", "-", str(tmp_path / "model.tflite")]
    with nested.open("rb") as file:
        subprocess.run(command, stdin=file, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "model.tflite").read_bytes() == nested.read_bytes()


# ---- evaluate and benchmark ------------------------------------------------------------------------------------------


def test_evaluate(nested: Path, stock: Path, photos: Path) -> None:
    arguments = ("evaluate", nested, "--photos", photos, "--preprocess", "0..1", "--top", 90, "--threads", 1)
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    for text in ("8 bits (full)", "5 bits (part)", "top-90", "3 photos", "the model's own full-bit output"):
        assert text in done.stdout
    figure = photos / "accuracy.svg"
    done = run(*arguments, "--labels", photos / "labels.csv", "--reference", stock, "--plot", figure, "--json")
    assert done.returncode == 0, done.stderr
    assert "top-90" in figure.read_text()
    data = json.loads(done.stdout)
    assert [score["bits"] for score in data["scores"]] == [8, 5]
    assert [score["top_k"] for score in data["scores"]] == [1.0, 1.0]
    assert data["reference"] == str(stock)
    assert data["num_photos"] == 3


@pytest.mark.slow
def test_evaluate_compare(keras_file: Path, photos: Path) -> None:
    methods = [word for name in ("minmax", "nearest", "descent-calibrated") for word in ("--method", name)]
    nestings = ("--nesting", "8|6", "--nesting", "8|4")
    common = ("evaluate", keras_file, "--compare", "--photos", photos, "--preprocess", "0..1", "--threads", 1)
    done = invoke(*common, *nestings, *methods, "--calibration", photos)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("┏") == 1
    for text in ("weights alone, 3 photos", "min-max, separate files", "descent, calibrated", "12.00", "8|6", "4 bits"):
        assert text in done.stdout
    assert "8|4, descent-calibrated: rounding" in done.stderr
    figure = photos / "bits.svg"
    done = invoke(*common, *methods, "--calibration", photos, "--activations", "int8", "--plot", figure, "--json")
    assert done.exit_code == 0, done.stderr
    assert "descent, calibrated" in figure.read_text()
    found = json.loads(done.stdout)
    assert [(row["nesting"], row["method"]) for row in found["rows"]] == [
        ("8|5", name) for name in ("minmax", "nearest", "descent-calibrated")
    ]
    assert (found["activations"], found["num_photos"], found["stock"]["bits"]) == ("int8", 3, None)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--nesting", "8|4"), "--nesting needs --compare"),
        (("--method", "nearest"), "--method needs --compare"),
        (("--calibration", "b"), "--calibration needs --compare"),
        (("--activations", "int8"), "--activations needs --compare"),
        (("--compare", "--reference", "c"), "--reference cannot be combined with --compare"),
        (("--compare", "--runtime", "tflite-runtime"), "--runtime cannot be combined with --compare"),
        (("--compare", "--activations", "int16"), "--activations"),
    ],
)
def test_options_of_the_other_evaluation(arguments: tuple[str, ...], text: str) -> None:
    result = invoke("evaluate", "a", "--photos", "b", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert text in result.stderr


def test_evaluate_compare_refuses(keras_file: Path, stock: Path, photos: Path, tmp_path: Path) -> None:
    compare = ("evaluate", keras_file, "--compare", "--photos")
    check_error(invoke(*compare, tmp_path / "missing"), "nothing there")
    check_error(invoke(*compare, photos, "--activations", "int8"), "calibration photos")
    check_error(invoke("evaluate", stock, "--compare", "--photos", photos), "a float .tflite or a Keras model")


def test_evaluate_refuses(nested: Path, photos: Path, tmp_path: Path) -> None:
    check_error(run("evaluate", nested, "--photos", tmp_path / "missing"), "photos", "nothing there")
    check_error(run("evaluate", tmp_path / "missing.tflite", "--photos", photos), "missing.tflite")
    (photos / "labels.csv").write_text("file,breed\n")
    check_error(run("evaluate", nested, "--photos", photos, "--json"), "the columns file and label, got file, breed")


@pytest.mark.slow
def test_benchmark(nested: Path, stock: Path) -> None:
    counts = ("--runs", 2, "--switches", 2, "--reloads", 1)
    done = run("benchmark", nested, "--against", stock, *counts)
    assert done.returncode == 0, done.stderr
    for text in ("ratio to stock.tflite", "switched, 5 bits", "switch to full-bit (2)", "trust the ratios", "1 thread"):
        assert text in done.stdout
    [line] = [line for line in done.stdout.splitlines() if "nested weights fused" in line]
    assert line.startswith(f"{nested.name}, ")
    figure = stock.with_name("ratios.svg")
    done = run("benchmark", nested, "--precision", "part", "--threads", "1,2", *counts, "--plot", figure, "--json")
    assert done.returncode == 0, done.stderr
    assert "2 threads" in figure.read_text()
    data = json.loads(done.stdout)
    assert [setting["num_threads"] for setting in data["settings"]] == [1, 2]
    assert [latency["bits"] for latency in data["settings"][0]["latencies"]] == [5]
    assert data["footprints"][0]["switch"]["count"] == 2
    assert len(data["footprints"][0]["delegation"]["operators"]) > len(inspect_file(nested).weights)
    assert data["cpu"]


def test_benchmark_refuses(nested: Path, tmp_path: Path) -> None:
    check_error(run("benchmark", tmp_path / "missing.tflite"), "No such file")
    check_error(run("benchmark", nested, "--precision", "7"), "precision")
