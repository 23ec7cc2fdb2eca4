"""Evaluation on synthetic photos whose right answer is known, and every way a folder of photos can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nq_tflite.errors import PhotosError, RepresentativeDataError, UnsupportedModelError
from nq_tflite.measure.classifier import from_output, to_input
from nq_tflite.measure.evaluate import FULL_BIT_REFERENCE, Evaluation, evaluate, score, standard_error
from nq_tflite.measure.photo_folder import read_photo_folder
from nq_tflite.measure.preprocessing import pixel_preprocessing

SIDE, BLOCK, CLASSES = 16, 4, 16


def block_image(bright: int, noise: int = 30) -> np.ndarray:
    """A dark photo with one bright block of the 4 x 4: uint8 [16, 16, 3]."""
    pixels = np.random.default_rng(bright).integers(0, noise, (SIDE, SIDE, 3), dtype=np.uint8)
    row, column = divmod(bright, SIDE // BLOCK)
    pixels[row * BLOCK :, column * BLOCK :][:BLOCK, :BLOCK] += 200
    return pixels


def write_photos(folder: Path, labels: dict[str, str] | None = None, count: int = CLASSES) -> Path:
    """Photos 00.png, 01.png ..., photo k with block k bright; labels.csv has k, or what `labels` says, as right."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,imagenet_indices"]
    for k in range(count):
        name = f"{k:02}.png"
        Image.fromarray(block_image(k)).save(folder / name)
        rows.append(f"{name},{(labels or {}).get(name, str(k))}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """float.tflite, nested.tflite and integer.tflite (int8 in, uint8 out): class k is the brightness of block k."""
    import keras

    from nq_tflite.conversion.convert import convert
    from nq_tflite.conversion.sources.calibration import sample_source
    from nq_tflite.conversion.sources.keras_export import export

    samples = np.stack([block_image(k) for k in range(CLASSES)]).astype(np.float32) / 255
    kernel = (samples > 0.5).reshape(CLASSES, -1).T.astype(np.float32) / (BLOCK * BLOCK * 3)
    inputs = keras.Input((SIDE, SIDE, 3))
    dense = keras.layers.Dense(CLASSES, use_bias=False)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.set_weights([kernel])
    folder = tmp_path_factory.mktemp("models")
    convert(model, folder / "nested.tflite", "8|5", samples, rounding="nearest")
    convert(
        model, folder / "integer.tflite", "8|5", samples, input_type="int8", output_type="uint8", rounding="nearest"
    )
    (folder / "float.tflite").write_bytes(export(model, None))
    model.save(folder / "model.keras")
    (folder / "int8.tflite").write_bytes(export(model, sample_source(samples)))
    return folder


def run(runtime: str, *arguments: Any, **options: Any) -> Evaluation:
    """What `worker` runs in a process with one runtime."""
    return evaluate(*arguments, preprocess="0..1", crop_fraction=1.0, runtime=runtime, num_threads=1, **options)


@pytest.mark.parametrize("name", ["nested.tflite", "integer.tflite"])
def test_knows_the_right_answers(worker: Callable[..., Any], models: Path, photos: Path, name: str) -> None:
    result = worker(run, models / name, photos, reference=models / "float.tflite")
    assert [score.bits for score in result.scores] == [8, 5]
    assert result.num_photos == CLASSES
    assert result.reference == str(models / "float.tflite")
    assert result.reference_top1 == 1.0
    for each in result.scores:
        assert (each.top1, each.top_k, each.agreement) == (1.0, 1.0, 1.0)
        assert (each.top1_standard_error, each.agreement_standard_error) == (0.0, 0.0)
        assert each.logit_snr_db > 10
    assert result.scores[0].logit_snr_db > result.scores[1].logit_snr_db


def test_wrong_labels_cost_their_share(worker: Callable[..., Any], models: Path, tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", {"03.png": "4", "05.png": "9 5", "06.png": "0 1"})
    full = worker(run, models / "nested.tflite", folder, k=CLASSES).scores[0]
    assert full.top1 == 14 / 16
    assert full.top1_standard_error == pytest.approx(np.sqrt(14 / 16 * 2 / 16 / 16))
    assert full.top_k == 1.0


def test_without_reference_the_full_bit_output_serves(worker: Callable[..., Any], models: Path, photos: Path) -> None:
    result = worker(run, models / "nested.tflite", photos)
    assert result.reference == FULL_BIT_REFERENCE
    assert result.reference_top1 is None
    assert result.scores[0].logit_snr_db == float("inf")
    assert 10 < result.scores[1].logit_snr_db < float("inf")


def test_a_stock_model_has_one_score(worker: Callable[..., Any], models: Path, photos: Path) -> None:
    result = worker(run, models / "int8.tflite", photos, reference=models / "float.tflite")
    assert [score.bits for score in result.scores] == [None]
    assert result.scores[0].agreement == 1.0


def test_unlabelled_photos_still_tell_agreement(worker: Callable[..., Any], models: Path, tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", count=3)
    (folder / "labels.csv").unlink()
    result = worker(run, models / "nested.tflite", folder)
    assert result.num_photos == 3
    assert (result.scores[1].top1, result.scores[1].top_k, result.scores[1].agreement) == (None, None, 1.0)


def test_models_that_are_no_photo_classifier(
    worker: Callable[..., Any], models: Path, photos: Path, nested_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModelError, match="16 classes"):
        worker(run, models / "nested.tflite", photos, reference=nested_dir / "int8_8_5.tflite")
    from nq_tflite_models.nets.small import dense_net

    from nq_tflite.conversion.sources.keras_export import export

    (tmp_path / "dense.tflite").write_bytes(export(dense_net(), None))
    with pytest.raises(UnsupportedModelError, match="a photo classifier"):
        worker(run, tmp_path / "dense.tflite", photos)
    with pytest.raises(PhotosError, match="class indices below 16"):
        worker(run, models / "nested.tflite", write_photos(tmp_path / "far", {"00.png": "16"}))
    with pytest.raises(PhotosError, match="expected a folder"):
        worker(run, tmp_path / "missing.tflite", tmp_path / "missing")


# ---- pure pieces -----------------------------------------------------------------------------------------------------


def test_score_of_known_logits() -> None:
    reference = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [0.0, 5.0, 0.0]])
    logits = reference.copy()
    logits[0] = [2.0, 3.0, 1.0]
    result = score(5, logits, reference, [frozenset({0}), frozenset({0, 2}), frozenset({1}), frozenset({1})], k=2)
    assert (result.top1, result.top_k, result.agreement) == (0.5, 0.75, 0.75)
    assert result.logit_snr_db == pytest.approx(10 * np.log10((reference**2).sum() / 2))
    assert standard_error(0.75, 4) == pytest.approx(result.agreement_standard_error)


def test_quantize_rounds_clips_and_comes_back() -> None:
    details = {"dtype": np.int8, "quantization": (0.5, 3)}
    codes = to_input(np.array([0.0, 0.25, 0.75, 1000.0, -1000.0]), details)
    assert codes.tolist() == [3, 3, 5, 127, -128]
    assert from_output(codes[:1], details).tolist() == [0.0]
    assert to_input(np.array([0.25]), {"dtype": np.float32}).dtype == np.float32


@pytest.mark.parametrize("name", ["-1..1", "0..1", "0..255"])
def test_pixel_ranges_end_where_they_say(tmp_path: Path, name: str) -> None:
    for value, end in zip((0, 255), name.split(".."), strict=True):
        Image.new("RGB", (8, 8), (value,) * 3).save(tmp_path / "flat.png")
        assert np.unique(pixel_preprocessing(name, 8, 8).apply(tmp_path / "flat.png")).tolist() == [float(end)]


def test_wide_and_grey_inputs(tmp_path: Path) -> None:
    Image.new("RGB", (50, 90), (255, 255, 255)).save(tmp_path / "flat.png")
    values = pixel_preprocessing("0..1", 20, 60, 1).apply(tmp_path / "flat.png")
    assert values.shape == (20, 60, 1)
    assert (values == 1.0).all()


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_labels_of_a_folder_above(tmp_path: Path) -> None:
    write_photos(tmp_path / "eval", count=2)
    write_photos(tmp_path / "other", count=1)
    table = tmp_path / "labels.csv"
    table.write_text("﻿file,imagenet_indices,source\neval/00.png,1 2,x\nother/00.png,3,x\n", encoding="utf-8")
    folder = read_photo_folder(tmp_path / "eval", table)
    assert [(photo.path.name, photo.accepted) for photo in folder.photos] == [("00.png", frozenset({1, 2}))]
    assert len(read_photo_folder(tmp_path, table).photos) == 2


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "got an empty file"),
        ("file,breed\n00.png,1\n", "expected the columns file and label, got file, breed"),
        ("file,imagenet_indices\n", "expected at least one photo"),
        ("file,imagenet_indices\n../elsewhere.png,1\n", "expected at least one photo"),
        ("file,imagenet_indices\nmissing.png,1\n", r"labels.csv, line 2: expected the path of a photo"),
        ("file,imagenet_indices\n,1\n", "expected the path of a photo"),
        ("file,imagenet_indices\n00.png,1\n00.png,\n", r"line 3: expected class indices.*got ''"),
        ("file,imagenet_indices\n00.png\n", "expected class indices"),
        ("file,imagenet_indices\n00.png,cat\n", "got 'cat'"),
        ("file,imagenet_indices\n00.png,-1\n", "got '-1'"),
        ("file,imagenet_indices\n00.png,1 ²\n", "expected class indices"),
        ("file,imagenet_indices\n00.png,16\n", "class indices below 16"),
    ],
)
def test_bad_labels(tmp_path: Path, table: str, message: str) -> None:
    write_photos(tmp_path, count=1)
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8")
    with pytest.raises(PhotosError, match=message):
        read_photo_folder(tmp_path, num_classes=CLASSES)


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="nothing there"):
        read_photo_folder(tmp_path / "missing")
    with pytest.raises(PhotosError, match="no image file"):
        read_photo_folder(tmp_path)
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(PhotosError, match="a file"):
        read_photo_folder(tmp_path / "file.txt")
    with pytest.raises(PhotosError, match="a readable csv"):
        read_photo_folder(tmp_path, tmp_path / "missing.csv")
    (tmp_path / "latin.csv").write_bytes("file,imagenet_indices\nkäse.png,1\n".encode("latin-1"))
    with pytest.raises(PhotosError, match="UTF-8"):
        read_photo_folder(tmp_path, tmp_path / "latin.csv")


def test_bad_photos_and_preprocessing(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(PhotosError, match="a readable image"):
        pixel_preprocessing("0..1", 8, 8).apply(tmp_path / "broken.png")
    with pytest.raises(PhotosError, match=r"one of -1\.\.1, 0\.\.1"):
        pixel_preprocessing("caffe", 8, 8)
    with pytest.raises(PhotosError, match="crop fraction"):
        pixel_preprocessing("0..1", 8, 8, crop_fraction=0.0)


# ---- samples in place of photos, and a Keras reference ---------------------------------------------------------------


@pytest.fixture(scope="module")
def sample_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x.npy, what the models of `models` take of the photos, and y.npy, their classes."""
    folder = tmp_path_factory.mktemp("samples")
    np.save(folder / "x.npy", np.stack([block_image(k) for k in range(CLASSES)]).astype(np.float32) / 255)
    np.save(folder / "y.npy", np.arange(CLASSES))
    return folder


@pytest.mark.parametrize("name", ["nested.tflite", "integer.tflite"])
def test_samples_are_told_like_photos(worker: Callable[..., Any], models: Path, sample_files: Path, name: str) -> None:
    given = {"samples": sample_files / "x.npy", "reference": models / "float.tflite"}
    result = worker(run_samples, models / name, None, sample_files / "y.npy", **given)
    assert (result.inputs, result.num_photos, result.reference_top1) == ("samples", CLASSES, 1.0)
    assert [score.top1 for score in result.scores] == [1.0, 1.0]
    several = np.stack([np.arange(CLASSES), np.zeros(CLASSES, np.int64)], axis=1)
    several[3] = 9  # wrong, whatever else counts
    result = worker(run_samples, models / name, None, several, samples=np.load(sample_files / "x.npy"))
    assert result.scores[0].top1 == 15 / 16
    assert result.reference == FULL_BIT_REFERENCE


def run_samples(runtime: str, *arguments: Any, **options: Any) -> Evaluation:
    """What `worker` runs in a process with one runtime."""
    return evaluate(*arguments, runtime=runtime, num_threads=1, **options)


@pytest.mark.slow
def test_a_keras_model_is_a_reference(worker: Callable[..., Any], models: Path, sample_files: Path) -> None:
    given = {"samples": sample_files / "x.npy", "reference": models / "model.keras"}
    result = worker(run_samples, models / "nested.tflite", None, sample_files / "y.npy", **given)
    assert result.reference == str(models / "model.keras")
    assert (result.reference_top1, result.scores[0].agreement) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("arrays", "labels", "text"),
    [
        (np.zeros((0, 4)), None, "finite numbers"),
        (np.full((2, 4), np.nan), None, "finite numbers"),
        (np.zeros((2, 4)), np.zeros(3, np.int64), r"\[2\] or \[2, n\], got int64 \[3\]"),
        (np.zeros((2, 4)), np.zeros(2), "whole numbers from 0 on"),
        (np.zeros((2, 4)), np.array([0, -1]), "whole numbers from 0 on"),
        ("missing.npy", None, "expected a .npy file, got No such file"),
    ],
)
def test_bad_samples(arrays: Any, labels: Any, text: str) -> None:
    with pytest.raises(RepresentativeDataError, match=text):
        evaluate("no.tflite", samples=arrays, labels=labels)


def test_samples_that_do_not_fit_the_model(worker: Callable[..., Any], models: Path) -> None:
    path = models / "nested.tflite"
    kind, message = worker(error_of_samples, path, np.zeros((2, 4, 4, 3)), None)
    assert (kind, "16, 16, 3" in message, "[2, 4, 4, 3]" in message) == ("RepresentativeDataError", True, True)
    kind, message = worker(error_of_samples, path, np.zeros((1, SIDE, SIDE, 3)), np.array([99]))
    assert (kind, "class indices below 16" in message) == ("RepresentativeDataError", True)


def error_of_samples(runtime: str, path: Path, samples: Any, labels: Any) -> tuple[str, str]:
    """The error of `worker`'s process."""
    try:
        evaluate(path, samples=samples, labels=labels, runtime=runtime)
    except RepresentativeDataError as error:
        return type(error).__name__, str(error)
    return "", ""


def test_photos_and_samples_are_one_or_the_other() -> None:
    for options in ({}, {"photos": "a", "samples": "b"}):
        with pytest.raises(PhotosError, match=r"photos or samples, got (neither|both)"):
            evaluate("no.tflite", **options)
