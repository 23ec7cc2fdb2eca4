"""Comparisons of rounding methods: that each score is what the method's own files would get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nq_tflite.conversion.convert import convert
from nq_tflite.conversion.plan import Plan, make_plan
from nq_tflite.conversion.rounding import METHODS
from nq_tflite.conversion.sources.calibration import sample_source
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.conversion.sources.source import Source, load_source
from nq_tflite.conversion.trial import start_lockstep, try_nesting
from nq_tflite.conversion.walk import GraphWalk
from nq_tflite.device.runtimes import walking_runtime
from nq_tflite.errors import NestingError, PhotosError, UnsupportedModelError
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.replace_weights import replace_weights
from nq_tflite.graph.sites import as_matrix, find_sites
from nq_tflite.measure.compare import MethodComparison, compare
from nq_tflite.measure.contenders import CONTENDERS, round_with
from nq_tflite.measure.evaluate import Evaluation, evaluate
from nq_tflite.measure.photo_folder import read_photo_folder
from nq_tflite.measure.preprocessing import pixel_preprocessing
from nq_tflite.progress import silent

#: The comparisons that its fixtures make are made in one of pytest's workers.
pytestmark = pytest.mark.xdist_group("compare")
PIXELS = {"preprocess": "0..1", "crop_fraction": 1.0, "num_threads": 1}


def write_photos(folder: Path, count: int, seed: int, labels: str = "") -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(count):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((16, 16), Image.Resampling.BICUBIC).save(folder / f"{index:02}.png")
    if labels:
        (folder / "labels.csv").write_text("file,imagenet_indices\n" + labels)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = "".join(f"{index:02}.png,{index} {index + 30}\n" for index in range(20))
    return write_photos(tmp_path_factory.mktemp("compare") / "eval", 20, 1, labels)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("compare") / "others", 24, 2)


@pytest.fixture(scope="module")
def weights_alone(mixed_model: Any, photos: Path, others: Path) -> MethodComparison:
    return compare(mixed_model, photos, nestings=["8|4"], calibration=others, **PIXELS)


@pytest.fixture(scope="module")
def three_levels(mixed_model: Any, photos: Path, others: Path) -> MethodComparison:
    return compare(mixed_model, photos, nestings=["8|6|4"], calibration=others, **PIXELS)


@pytest.fixture(scope="module")
def whole_files(mixed_model: Any, photos: Path, others: Path) -> MethodComparison:
    methods = ["minmax", "nestquant-code", "squant-nesting", "nearest", "descent-calibrated"]
    options: dict[str, Any] = {"methods": methods, "calibration": others, "activations": "int8"}
    return compare(mixed_model, photos, nestings=["8|5"], **options, **PIXELS)


@pytest.mark.slow
def test_every_method_has_every_level(three_levels: MethodComparison, weights_alone: MethodComparison) -> None:
    rows = (*weights_alone.rows, *three_levels.rows)
    assert [row.nesting for row in rows] == ["8|4"] * len(CONTENDERS) + ["8|6|4"] * len(CONTENDERS)
    assert [row.method for row in rows[: len(CONTENDERS)]] == list(CONTENDERS)
    assert [score.bits for score in rows[0].scores] == [8, 4]
    assert [score.bits for score in rows[-1].scores] == [8, 6, 4]
    assert (three_levels.num_photos, three_levels.stock, three_levels.activations) == (20, None, "float")
    assert three_levels.runtime.split()[0] == walking_runtime().name
    assert three_levels.reference_top1 is not None
    for row in rows:
        assert row.note is None
        assert row.seconds > 0
        assert row.scores[0].logit_snr_db > row.scores[-1].logit_snr_db
        assert row.scores[0].top1 is not None
    bits = {(row.nesting, row.method): row.bits_a_weight for row in rows}
    assert (bits["8|6|4", "minmax"], bits["8|6|4", "squant-nesting"]) == (18, 10)


def test_bits_a_weight(weights_alone: MethodComparison) -> None:
    found = {row.method: row.bits_a_weight for row in weights_alone.rows}
    assert (found["minmax"], found["squant-nesting"]) == (12, 9)
    assert 8 < found["nearest"] < found["descent"]  # padding; biases


def test_methods_keep_their_order(weights_alone: MethodComparison) -> None:
    """What they do is tested elsewhere; here that each is given its own net, data and biases."""
    part = {row.method: row.scores[-1].logit_snr_db for row in weights_alone.rows}
    full = {row.method: row.scores[0].logit_snr_db for row in weights_alone.rows}
    assert part["descent-calibrated"] > part["descent"] > part["nearest"] + 3
    assert part["squant"] > part["nearest"]
    assert full["minmax"] == full["squant-nesting"] == pytest.approx(full["nearest"], abs=0.01)
    assert full["exact"] == pytest.approx(full["nearest"], abs=0.01)


@pytest.mark.slow
def test_whole_files_score_as_files_do(
    whole_files: MethodComparison, mixed_model: Any, float_tflite: bytes, photos: Path, others: Path, tmp_path: Path
) -> None:
    pixels = pixel_preprocessing("0..1", 16, 16, crop_fraction=1.0)
    given = np.stack([pixels.apply(photo.path) for photo in read_photo_folder(others).photos])
    (tmp_path / "float.tflite").write_bytes(float_tflite)

    def scores(path: Path) -> Evaluation:
        runtime = walking_runtime().name
        return evaluate(path, photos, reference=tmp_path / "float.tflite", runtime=runtime, **PIXELS)

    by_method = {row.method: row for row in whole_files.rows}
    for method, rounding in (("nearest", "nearest"), ("descent-calibrated", "descent")):
        report = convert(mixed_model, tmp_path / "nested.tflite", "8|5", given, rounding=rounding)
        assert by_method[method].bits_a_weight == pytest.approx(report.bits_a_weight.total)
        wanted = scores(tmp_path / "nested.tflite")
        assert by_method[method].scores == wanted.scores
        assert whole_files.reference_top1 == wanted.reference_top1
    (tmp_path / "stock.tflite").write_bytes(export(mixed_model, sample_source(given)))
    stock = whole_files.stock
    assert stock is not None
    assert (stock,) == scores(tmp_path / "stock.tflite").scores
    nearest = by_method["nearest"].scores[0]
    for method in ("minmax", "squant-nesting"):  # the same codes, but for ties
        assert by_method[method].scores[0].logit_snr_db == pytest.approx(nearest.logit_snr_db, abs=0.5)
        assert by_method[method].scores[1].logit_snr_db < nearest.logit_snr_db
    part, full = (score.logit_snr_db for score in by_method["nestquant-code"].scores[::-1])
    assert part < nearest.logit_snr_db - 1 < full  # codes of its own, which have more of each channel's range


@pytest.mark.slow
def test_a_float_tflite_without_calibration(float_tflite: bytes, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(float_tflite)
    steps: list[tuple[str, int, int]] = []
    result = compare(
        tmp_path / "float.tflite",
        photos,
        progress=lambda *step: steps.append(step),
        **PIXELS,
    )
    assert [row.method for row in result.rows] == [name for name, each in CONTENDERS.items() if not each.calibrated]
    assert result.source == str(tmp_path / "float.tflite")
    assert ("8|5, minmax: 5 bits", 20, 20) in steps


def test_a_graph_is_walked_as_it_is_run(float_tflite: bytes) -> None:
    """Nothing replaced, nothing changed, so that what a level loses is its own."""
    model = fb.read_model(float_tflite).model
    sample = np.random.default_rng(4).uniform(0, 1, (1, 16, 16, 3)).astype(np.float32)
    [walked] = GraphWalk(model, [[sample]], walking_runtime()).outputs()
    interpreter = walking_runtime().interpreter(model_content=float_tflite)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample)
    interpreter.invoke()
    run = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(walked, run, rtol=1e-4, atol=1e-4)


# ---- the edit --------------------------------------------------------------------------------------------------------


def outputs(content: bytes, sample: np.ndarray) -> np.ndarray:
    interpreter = walking_runtime().interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample)
    interpreter.invoke()
    values: np.ndarray = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return values


def replaced(int8_tflite: bytes, shrink: int) -> bytes:
    """Every weight's codes divided by `shrink`, its scales times as much."""
    model = fb.read_model(int8_tflite).model
    for group in find_sites(model)[0]:
        tensor = model.subgraphs[group[0].subgraph].tensors[group[0].tensor]
        codes = as_matrix(fb.constant(model, tensor), group[0].layout)
        scales = np.asarray(tensor.quantization.scale, np.float32) * np.float32(shrink)
        replace_weights(model, group, np.rint(codes / shrink).astype(np.int8), scales)
    return fb.pack_model(model)


def test_replacing_weights_by_themselves_changes_nothing(int8_tflite: bytes, samples: np.ndarray) -> None:
    for sample in samples[:4, None]:
        wanted = outputs(int8_tflite, sample)
        np.testing.assert_array_equal(outputs(replaced(int8_tflite, 1), sample), wanted)


def test_coarser_weights_keep_biases(int8_tflite: bytes, samples: np.ndarray) -> None:
    """At a fourth of the codes and four times the scale the net is nearly itself; with biases amiss it would not be."""
    wanted = np.stack([outputs(int8_tflite, sample) for sample in samples[:8, None]])
    coarse = np.stack([outputs(replaced(int8_tflite, 4), sample) for sample in samples[:8, None]])
    assert not np.array_equal(coarse, wanted)
    assert np.linalg.norm(coarse - wanted) < 0.2 * np.linalg.norm(wanted)


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_refusals(mixed_model: Any, int8_tflite: bytes, float_tflite: bytes, photos: Path, tmp_path: Path) -> None:
    for name, content in (("int8", int8_tflite), ("float", float_tflite)):
        (tmp_path / f"{name}.tflite").write_bytes(content)
    with pytest.raises(NestingError, match=r"'4\|8'"):
        compare(mixed_model, photos, nestings=["8|4", "4|8"])
    with pytest.raises(NestingError, match="at least one"):
        compare(mixed_model, photos, nestings=[])
    with pytest.raises(NestingError, match="expected one of minmax"):
        compare(mixed_model, photos, methods=["gptq"])
    with pytest.raises(PhotosError, match="nothing there"):
        compare(mixed_model, tmp_path / "missing")
    with pytest.raises(PhotosError, match="nothing there"):
        compare(mixed_model, photos, calibration=tmp_path / "missing")
    with pytest.raises(PhotosError, match=r"one of -1\.\.1"):
        compare(mixed_model, photos, preprocess="caffe")
    with pytest.raises(PhotosError, match="a folder, because descent-calibrated needs it, got none"):
        compare(mixed_model, photos, methods=["nearest", "descent-calibrated"])
    with pytest.raises(PhotosError, match="a folder, because int8 activations need ranges, got none"):
        compare(mixed_model, photos, activations="int8")
    with pytest.raises(UnsupportedModelError, match="a Keras model, for int8"):
        compare(tmp_path / "float.tflite", photos, activations="int8", calibration=photos)
    with pytest.raises(UnsupportedModelError, match="a float"):
        compare(tmp_path / "int8.tflite", photos)


@pytest.mark.slow
def test_models_without_photos_or_weights_to_nest(photos: Path, others: Path) -> None:
    import keras
    from nq_tflite_models.nets.small import dense_net, mixed_net

    with pytest.raises(UnsupportedModelError, match="dense_net: expected a photo classifier"):
        compare(dense_net(), photos, **PIXELS)
    with pytest.raises(UnsupportedModelError, match="weights to nest"):
        compare(mixed_net(width=1), others, methods=["minmax"], **PIXELS)
    inputs = keras.Input((16, 16, 3))
    few = keras.layers.Dense(10)(keras.layers.Flatten()(inputs))
    with pytest.raises(PhotosError, match="class indices below 10"):
        compare(keras.Model(inputs, few), photos, **PIXELS)


def test_a_net_without_finite_outputs(mixed_model: Any, photos: Path) -> None:
    import keras

    inputs = keras.Input((16, 16, 3))
    dense = keras.layers.Dense(64)
    scores = dense(keras.layers.Flatten()(keras.layers.Rescaling(1e30)(inputs)))
    model = keras.Model(inputs, keras.layers.Rescaling(1e30)(scores))
    with pytest.raises(UnsupportedModelError, match="NaN or infinity"):
        compare(model, photos, methods=["minmax"], **PIXELS)


@pytest.mark.slow
def test_ours_go_the_road_of_a_conversion(float_tflite: bytes, tmp_path: Path) -> None:
    """Where the guard fails, the cautious codes are compared, and not those that no file would have."""
    samples = np.random.default_rng(3).normal(0, 1, (4, 16, 16, 3)).astype(np.float32)  # too few to do without caution
    source = load_source(float_tflite, samples, look=True, notify=silent)
    nesting = Nesting.parse("8|4")
    careful, bold = (try_nesting(source, nesting, METHODS["descent"], notify=silent).plan, _unguarded(source, nesting))
    shown = round_with(CONTENDERS["descent-calibrated"], source, nesting)
    kept = [shown.replacements(level) for level in range(2)]
    differs = False
    for plan, other in zip(careful.weights, bold.weights, strict=True):
        for site in plan.sites:
            for level in range(2):
                for slot, constant in plan.constants(source.model, site, level).items():
                    np.testing.assert_array_equal(kept[level][slot].values, constant.values)
                differs |= bool((plan.codes != other.codes).any())
    assert differs


def _unguarded(source: Source, nesting: Nesting) -> Plan:
    return make_plan(source.model, nesting, METHODS["descent"], start_lockstep(source, nesting))
