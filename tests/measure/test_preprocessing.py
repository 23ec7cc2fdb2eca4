"""How photos become inputs: what a model tells of it, the names of known ranges, and photos that do not fit."""

from __future__ import annotations

import importlib
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import check_error, invoke
from PIL import Image

from nq_tflite.conversion.sources.source_input import may_tell_values, source_input
from nq_tflite.errors import PhotosError, UnsupportedModelError
from nq_tflite.graph.image_input import ImageInput
from nq_tflite.measure.input_in_child import input_in_child
from nq_tflite.measure.photo_folder import photo_paths, read_photo_folder
from nq_tflite.measure.photo_samples import photo_samples
from nq_tflite.measure.preprocessing import SeenValues, pixel_preprocessing, preprocessing_for

#: keras.applications' modules of another name than ours.
_MODULES = {"keras_resnet50": "resnet50", "keras_resnet_v2": "resnet_v2"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four photos from black to white, in a folder without labels.csv."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(4):
        pixels = np.linspace(0, 255, 20 * 12 * 3).reshape(20, 12, 3) * (index + 1) / 4
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return folder


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "keras_mobilenet",
        "keras_mobilenet_v2",
        "keras_mobilenet_v3",
        "keras_efficientnet",
        "keras_resnet50",
        "keras_resnet_v2",
        "keras_vgg16",
        "keras_densenet",
        "keras_inception_v3",
        "keras_xception",
    ],
)
def test_keras_names_do_what_keras_does(name: str, photos: Path) -> None:
    module = importlib.import_module(f"keras.applications.{name.removeprefix('keras_')}")
    photo = Image.open(photos / "3.png")
    ours = pixel_preprocessing(name, 20, 12, crop_fraction=1.0).apply(photo)
    np.testing.assert_allclose(ours, module.preprocess_input(np.asarray(photo, np.float32)), atol=2e-5)


@pytest.mark.parametrize(("name", "crop"), [("0..1", 1.0), ("-1..1", 1.0), ("imagenet", 0.875), ("keras_vgg16", 0.875)])
def test_only_names_of_imagenet_crop(name: str, crop: float) -> None:
    assert pixel_preprocessing(name, 8, 8).crop_fraction == crop
    assert pixel_preprocessing(name, 8, 8, crop_fraction=0.5).crop_fraction == 0.5


# ---- what the model tells --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ((0.0, 1.0), "0..1"),
        ((-1.0, 0.992), "-1..1"),
        ((0.0, 255.0), "0..255"),
        ((-2.118, 2.64), "imagenet"),
        ((-0.992, 1.0), "efficientnet_lite0"),
    ],
)
def test_a_range_is_told_by_the_values_that_a_model_takes(values: tuple[float, float], name: str) -> None:
    pixels = preprocessing_for(ImageInput(8, 9, 1, values, "its scale"), None)
    assert (pixels.name, pixels.told_by, pixels.height, pixels.width, pixels.channels) == (name, "its scale", 8, 9, 1)
    assert str(pixels).startswith(f"{name} (told by its scale), ")
    asked = preprocessing_for(ImageInput(8, 9, 1, values, "its scale"), "0..255")
    assert (asked.name, asked.told_by) == ("0..255", "")


@pytest.mark.parametrize(
    ("image", "size", "text"),
    [
        (ImageInput(8, 8, 3), None, "got a model that does not record it. Give it with --preprocess"),
        (ImageInput(8, 8, 3, (-1.2, 2.0), "its scale"), None, "takes -1.2 to 2 by its scale. Give it"),
        (ImageInput(None, 8, 3, (0.0, 1.0), "its scale"), None, "--size N"),
        (ImageInput(8, 8, 3, (0.0, 1.0), "its scale"), 9, "expected the model's 8 x 8, got 9. Leave --size out"),
    ],
)
def test_what_nothing_tells_is_asked_for(image: ImageInput, size: int | None, text: str) -> None:
    with pytest.raises(PhotosError, match=text):
        preprocessing_for(image, None, size=size)


def test_a_graph_tells_by_its_scale(stock_dir: Path, nested_dir: Path) -> None:
    """Float inputs that are quantized at once; nothing is known of float graphs."""
    for path in (stock_dir / "int8.tflite", nested_dir / "int8_8_5.tflite"):
        image = input_in_child(path)
        assert image is not None
        assert image.values is not None
        assert (image.height, image.width, image.channels) == (16, 16, 3)
        assert -3 < image.values[0] < 0 < image.values[1] < 3
    image = input_in_child(stock_dir / "float.tflite")
    assert image == ImageInput(16, 16, 3)


def rescaling_model(scale: float, offset: float) -> Any:
    import keras

    inputs = keras.Input((None, 12, 1))
    x = keras.layers.Rescaling(scale, offset)(keras.layers.RandomFlip()(inputs))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, padding="same")(x)))


@pytest.mark.parametrize(
    ("scale", "offset", "values"), [(1 / 255, 0.0, (0.0, 255.0)), (2.0, -1.0, (0.0, 1.0)), (3.0, 0.0, None)]
)
def test_a_keras_model_tells_by_its_rescaling(scale: float, offset: float, values: tuple[float, float] | None) -> None:
    image = source_input(rescaling_model(scale, offset))
    assert (image.height, image.width, image.channels, image.values) == (None, 12, 1, values)
    assert image.told_by == ("the model's Rescaling layer" if values else "")


def test_a_saved_model_and_a_float_graph_tell_theirs(tmp_path: Path) -> None:
    from nq_tflite.conversion.sources.keras_export import export

    model = rescaling_model(1 / 127.5, -1.0)
    model.export(tmp_path / "saved", verbose=False)
    assert source_input(tmp_path / "saved") == ImageInput(None, 12, 1)
    (tmp_path / "float.tflite").write_bytes(export(model, None))
    told = source_input(tmp_path / "float.tflite")
    assert (told.height, told.width, told.values) == (None, 12, (0.0, 255.0))


@pytest.mark.parametrize(
    ("layer", "told"),
    [("Rescaling", True), ("Normalization", True), ("BatchNormalization", False), ("Conv2D", False)],
)
def test_a_keras_file_that_tells_no_values_is_known_by_its_layers(layer: str, told: bool, tmp_path: Path) -> None:
    import keras

    given = {"Rescaling": (0.5,), "Conv2D": (2, 3)}.get(layer, ())
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((8, 8, 1)), getattr(keras.layers, layer)(*given)]).save(path)
    assert may_tell_values(path) is told


def test_an_untold_range_is_asked_for_before_tensorflow_loads(photos: Path, tmp_path: Path) -> None:
    """These are no models: loading them would fail."""
    file, folder = tmp_path / "model.keras", tmp_path / "saved"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", '{"class_name": "Conv2D"}')
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"none")
    for source in (file, folder):
        result = invoke("convert", source, tmp_path / "out.tflite", "--representative", photos)
        check_error(result, "got a model that does not record it. Give it with --preprocess")
    result = invoke("convert", file, tmp_path / "out.tflite", "--representative", photos, "--preprocess", "0..255")
    assert "--preprocess" not in result.stderr
    for other in (tmp_path / "missing.keras", tmp_path):
        assert may_tell_values(other)


def test_photos_need_an_image_input() -> None:
    from nq_tflite_models.nets.small import dense_net, two_input_net

    for model in (dense_net(), two_input_net()):
        with pytest.raises(UnsupportedModelError, match=r"one input \[1, height, width, 3 or 1\]"):
            source_input(model)


# ---- photos ----------------------------------------------------------------------------------------------------------


def test_photos_become_inputs_of_the_models_own_size(photos: Path) -> None:
    samples = photo_samples(rescaling_model(1 / 255, 0.0), photos, size=12)
    shapes = {each.shape for each in samples()}
    assert shapes == {(1, 12, 12, 1)}
    assert samples.doubt == ""
    assert max(float(each.max()) for each in samples()) > 200


@pytest.mark.parametrize(
    ("preprocess", "text"),
    [("-1..1", ""), ("imagenet", "values from -2.08 to 2.24, the model takes -1 to 1: 53 % are outside"),
     ("0..1", "they reach over 50 % of that"), ("0..255", "% are outside")],
)  # fmt: skip
def test_photos_that_do_not_fit_are_doubted(preprocess: str, text: str, photos: Path) -> None:
    seen = SeenValues((-1.0, 1.0))
    for path in photo_paths(photos):
        seen.add(pixel_preprocessing(preprocess, 20, 12).apply(path))
    assert (seen.doubt == "") == (text == "")

    assert re.search(text, seen.doubt)


def test_conversion_needs_no_labels(photos: Path) -> None:
    """Nor a labels.csv that can be read; photos may lie in a folder for each class."""
    (photos / "labels.csv").write_text("picture,what\n")
    assert [path.name for path in photo_paths(photos)] == ["0.png", "1.png", "2.png", "3.png"]
    assert len(photo_paths(photos.parent)) == 4
    (photos.parent / "empty").mkdir()
    with pytest.raises(PhotosError, match="at least one photo"):
        photo_paths(photos.parent / "empty")


@pytest.mark.parametrize("column", ["label", "class", "imagenet_indices"])
def test_the_column_of_classes(column: str, photos: Path) -> None:
    (photos / "labels.csv").write_text(f"file,{column}\n0.png,7\n1.png,3 4\n")
    assert [each.accepted for each in read_photo_folder(photos).photos] == [{7}, {3, 4}]
    (photos / "labels.csv").write_text("label,file,imagenet_indices\ncat,0.png,281\n")
    assert [each.accepted for each in read_photo_folder(photos).photos] == [{281}]
