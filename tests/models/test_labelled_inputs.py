"""Labelled inputs in folders and zip files: their table, their split, and what a model gets of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_pictures import NUM_CLASSES, NUM_PICTURES, write_pictures, zipped
from nq_tflite_models.measure.labelled_inputs import InputReader, drawn_calibration, given_calibration, read_labelled

from nq_tflite.errors import PhotosError, RepresentativeDataError
from nq_tflite.measure.preprocessing import pixel_preprocessing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "inputs")


# ---- labels ----------------------------------------------------------------------------------------------------------


def test_folder_and_zip_file_are_read_alike(folder: Path) -> None:
    ours, theirs = read_labelled(folder), read_labelled(zipped(folder))
    assert len(ours.files) == NUM_PICTURES
    assert ours.accepted == theirs.accepted
    assert [file.name for file in ours.files] == [file.name for file in theirs.files]
    assert [file.read() for file in ours.files] == [file.read() for file in theirs.files]


@pytest.mark.parametrize(
    ("table", "accepted"),
    [
        ("file,label\npictures/00.png,3\n", [{3}]),
        ("file,class\npictures/00.png, 3 \n\npictures/01.png,0\n", [{3}, {0}]),
        ("\ufefffile,title,class,other\npictures/00.png,cat,3 4,\n", [{3, 4}]),
        ("pictures/00.png,12,3\npictures/01.png,12,11\n", [{3}, {11}]),
    ],
)
def test_tables_of_labels(folder: Path, tmp_path: Path, table: str, accepted: list[set[int]]) -> None:
    (tmp_path / "table.csv").write_text(table, encoding="utf-8")
    assert [set(each) for each in read_labelled(folder, tmp_path / "table.csv").accepted] == accepted


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "expected the columns file and label or class, got an empty file"),
        ("name,label\npictures/00.png,3\n", "got name, label"),
        ("file,colour\npictures/00.png,3\n", "got file, colour"),
        ("file,label\nmissing.png,3\n", r"row 2: expected the name of a file in .*, got 'missing\.png'"),
        ("file,label\n../inputs/pictures/00.png,3\n", "row 2: expected the name of a file"),
        ("file,label\nlabels.csv,3\n", r"row 2: expected a name that ends in one of \.bin, .*, got labels\.csv"),
        ("file,label\npictures/00.png,cat\n", "row 2: expected the index of a class, .*, got 'cat'"),
        ("file,label\npictures/00.png,-1\n", "got '-1'"),
        ("file,label\npictures/00.png,\n", "got ''"),
        ("file,label\npictures/00.png\n", "got ''"),
        ("file,label\npictures/00.png,3\npictures/00.png,3\n", "expected one row for each file, got two rows for"),
        ("file,label\npictures/00.png,\xff", "expected a csv file in UTF-8"),
    ],
)
def test_tables_that_are_refused(folder: Path, table: str, message: str) -> None:
    (folder / "labels.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(PhotosError, match=message):
        read_labelled(folder)


def test_inputs_that_are_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="expected a folder or a zip file, got nothing there"):
        read_labelled(tmp_path / "missing")
    with pytest.raises(PhotosError, match=r"got .*labels\.csv, a file of another kind"):
        read_labelled(folder / "labels.csv")
    with pytest.raises(PhotosError, match=r"expected a labels\.csv in it, got none\. Give the table"):
        read_labelled(folder / "pictures")
    with pytest.raises(PhotosError, match="expected a csv file in UTF-8, got No such file"):
        read_labelled(folder, tmp_path / "missing.csv")


def test_damaged_zip_file(folder: Path) -> None:
    path = zipped(folder)
    content = bytearray(path.read_bytes())
    start = content.index(b"\x89PNG")
    content[start + 20 : start + 40] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(PhotosError, match=r"00\.png: expected a readable file, got Bad CRC-32"):
        drawn_calibration(read_labelled(path), 10, seed=0)


def test_classes_that_the_model_lacks(folder: Path) -> None:
    table = read_labelled(folder)
    table.check_classes(NUM_CLASSES)
    with pytest.raises(PhotosError, match=r"expected a class of the model, 0 to 2, got [3-9]"):
        table.check_classes(3)


# ---- the split -------------------------------------------------------------------------------------------------------


def test_drawn_inputs_are_not_evaluated(folder: Path) -> None:
    table = read_labelled(zipped(folder))
    drawn, left = drawn_calibration(table, 10, seed=0)
    assert (len(drawn), len(left.files)) == (10, NUM_PICTURES - 10)
    assert {file.name for file in drawn}.isdisjoint(file.name for file in left.files)
    by_name = dict(zip([file.name for file in table.files], table.accepted, strict=True))
    assert [by_name[file.name] for file in left.files] == list(left.accepted)
    assert drawn_calibration(table, 10, seed=0) == (drawn, left)
    assert drawn_calibration(table, 10, seed=1) != (drawn, left)


def test_copies_of_a_drawn_input_are_not_evaluated(folder: Path) -> None:
    for number in range(NUM_PICTURES // 2):
        content = (folder / f"pictures/{number:02}.png").read_bytes()
        (folder / f"pictures/{number + NUM_PICTURES // 2:02}.png").write_bytes(content)
    table = read_labelled(write_more(folder, 20))
    drawn, left = drawn_calibration(table, 12, seed=3)
    assert {file.digest() for file in drawn}.isdisjoint(file.digest() for file in left.files)
    assert len({file.digest() for file in drawn}) == 12
    assert len(left.files) < len(table.files) - 12


def write_more(folder: Path, count: int) -> Path:
    """As many pictures more in a folder that has some."""
    other = write_pictures(folder.parent / "more", count, seed=2)
    rows = (other / "labels.csv").read_text().splitlines()[1:]
    for file in (other / "pictures").iterdir():
        file.rename(folder / "pictures" / f"more{file.name}")
    with (folder / "labels.csv").open("a") as table:
        table.writelines(f"{row.replace('pictures/', 'pictures/more')}\n" for row in rows)
    return folder


def test_calibration_by_other_inputs(folder: Path, tmp_path: Path) -> None:
    evaluated = read_labelled(folder)
    others = zipped(write_pictures(tmp_path / "others", 12, seed=9))
    for path, count, found in ((others, 10, 10), (others / "pictures", 100, 12)):
        files = given_calibration(path, evaluated, count, seed=0)
        assert len(files) == found
        assert all(file.name.endswith(".png") for file in files)


def test_shared_inputs_are_refused(folder: Path, tmp_path: Path) -> None:
    evaluated, others = read_labelled(folder), write_pictures(tmp_path / "others", 12, seed=9)
    (others / "renamed.png").write_bytes((folder / "pictures/07.png").read_bytes())
    with pytest.raises(RepresentativeDataError, match=r"got .*renamed\.png, whose content .*07\.png has"):
        given_calibration(others, evaluated, 13, seed=0)


def test_too_few_inputs(folder: Path, tmp_path: Path) -> None:
    evaluated = read_labelled(folder)
    with pytest.raises(RepresentativeDataError, match="inputs to calibrate with: expected at least 8, got 7"):
        drawn_calibration(evaluated, 7, seed=0)
    with pytest.raises(RepresentativeDataError, match="inputs to evaluate: expected at least 20, got 19"):
        drawn_calibration(evaluated, 11, seed=0)
    with pytest.raises(RepresentativeDataError, match="inputs to calibrate with: expected at least 8, got 2"):
        given_calibration(write_pictures(tmp_path / "two", 2, seed=9), evaluated, 100, seed=0)


# ---- inputs ----------------------------------------------------------------------------------------------------------


def single(tmp_path: Path, name: str, content: bytes) -> Any:
    folder = tmp_path / "single"
    folder.mkdir()
    (folder / name).write_bytes(content)
    (folder / "labels.csv").write_text(f"file,label\n{name},0\n")
    [file] = read_labelled(folder).files
    return file


def npy(tmp_path: Path, values: Any) -> bytes:
    np.save(tmp_path / "values.npy", values)
    return (tmp_path / "values.npy").read_bytes()


def test_raw_inputs(tmp_path: Path) -> None:
    codes = np.arange(-3, 3, dtype=np.int8)
    for kind, (name, content) in {
        "int8": ("a.bin", codes.tobytes()),
        "float": ("a.bin", codes.astype("<f4").tobytes()),
        "array": ("a.npy", npy(tmp_path, codes.reshape(1, 2, 3))),
        "floats": ("a.npy", npy(tmp_path, codes.astype(np.float64))),
    }.items():
        (tmp_path / kind).mkdir()
        values = InputReader((2, 3), None, (0.5, -1)).read(single(tmp_path / kind, name, content))
        expected = (codes + 1) * 0.5 if kind in ("int8", "array") else codes
        np.testing.assert_array_equal(values, expected.reshape(2, 3).astype(np.float32), strict=True)


def test_pictures(folder: Path) -> None:
    pixels = pixel_preprocessing("0..1", 16, 16)
    file = read_labelled(zipped(folder)).files[4]
    np.testing.assert_array_equal(
        InputReader((16, 16, 3), pixels).read(file), pixels.apply(folder / "pictures/04.png"), strict=True
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.bin", b"12345", "expected 6 bytes of int8, or 24 of float32, got 5 bytes"),
        ("a.bin", np.full(6, np.nan, "<f4").tobytes(), "expected int8 values or finite floats, got float32"),
        ("a.npy", b"no array", "expected an array in NumPy's format"),
        ("a.npy", np.zeros(5), "expected 2 x 3 values, got 5"),
        ("a.npy", np.zeros(6, np.int32), "expected int8 values or finite floats, got int32"),
        ("a.npy", np.array([None] * 6), "expected an array in NumPy's format"),
        ("a.png", b"", "expected an input of 2 x 3 values, got a picture"),
    ],
)
def test_inputs_that_are_refused(tmp_path: Path, name: str, content: Any, message: str) -> None:
    data = content if isinstance(content, bytes) else npy(tmp_path, content)
    with pytest.raises(PhotosError, match=rf"single/{name}: {message}"):
        InputReader((2, 3), None, (0.5, 0)).read(single(tmp_path, name, data))


def test_int8_inputs_need_their_scale(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match=r"expected the scale of int8 inputs, got none\. .*--quantized-by"):
        InputReader((6,)).read(single(tmp_path, "a.bin", b"123456"))


def test_unreadable_picture(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="expected a readable picture"):
        InputReader((16, 16, 3), pixel_preprocessing("0..1", 16, 16)).read(single(tmp_path, "a.jpg", b"damaged"))
