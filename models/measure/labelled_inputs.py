"""Labelled inputs of a classifier in a folder or a zip file: pictures, or arrays as the model takes them."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nq_tflite.errors import PhotosError, RepresentativeDataError, reason_of
from nq_tflite.format.affine import dequantize
from nq_tflite.measure.photo_folder import CLASSES_COLUMNS, FILE_COLUMN, LABELS_FILE, PHOTO_SUFFIXES
from nq_tflite.measure.preprocessing import PixelPreprocessing

#: Raw bytes of int8 or float32, and NumPy's files.
RAW_SUFFIX, ARRAY_SUFFIX = ".bin", ".npy"
INPUT_SUFFIXES = PHOTO_SUFFIXES | {RAW_SUFFIX, ARRAY_SUFFIX}
#: Fewer say nothing.
FEWEST_EVALUATED, FEWEST_CALIBRATION = 20, 8
#: Of a class.
_MOST_DIGITS = 9
#: Columns of a table without a header, as EEMBC's runner has it.
_WITHOUT_HEADER = (FILE_COLUMN, "classes", "class")


#: What damaged and encrypted archives make the standard library raise.
_ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class Store:
    """A folder, a zip file, or a folder in a zip file: `images.zip/calibration`.

    Attributes:
        path: as it was given.
        names: of all files in it, with / between folders, sorted.

    Raises:
        PhotosError: there is nothing of that kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive, self._inside = _archive_of(path)
        if self._archive is not None:
            files = [info.filename for info in self._archive.infolist() if not info.is_dir()]
            self.names = sorted(name.removeprefix(self._inside) for name in files if name.startswith(self._inside))
        else:
            self.names = sorted(each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file())
        self._known = frozenset(self.names)

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:
        """Another process opens the same path."""
        return type(self), (self.path,)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def read(self, name: str) -> bytes:
        """The bytes of one of the files.

        Raises:
            PhotosError: they cannot be read.
        """
        try:
            if self._archive is not None:
                return self._archive.read(self._inside + name)
            return (self.path / name).read_bytes()
        except (*_ARCHIVE_ERRORS, OSError) as error:
            raise PhotosError(f"{self.path / name}", expected="a readable file", got=reason_of(error)) from error


def _archive_of(path: Path) -> tuple[zipfile.ZipFile | None, str]:
    """The zip file that a path names or leads into, and what the names in it begin with."""
    if path.is_dir():
        return None, ""
    found = next((each for each in (path, *path.parents) if each.is_file()), None)
    if found is None or not zipfile.is_zipfile(found):
        got = "nothing there" if found is None else f"{found}, a file of another kind"
        raise PhotosError(f"inputs {path}", expected="a folder or a zip file", got=got)
    inside = "" if found == path else f"{path.relative_to(found).as_posix()}/"
    try:
        return zipfile.ZipFile(found), inside
    except _ARCHIVE_ERRORS as error:
        raise PhotosError(f"inputs {path}", expected="an intact zip file", got=reason_of(error)) from error


@dataclass(frozen=True)
class InputFile:
    """A file of a store."""

    store: Store
    name: str

    def __str__(self) -> str:
        return str(self.store.path / self.name)

    @property
    def is_picture(self) -> bool:
        """By its suffix."""
        return self._suffix in PHOTO_SUFFIXES

    @property
    def is_raw(self) -> bool:
        """Whether it has bare values, without their shape and type."""
        return self._suffix == RAW_SUFFIX

    @property
    def _suffix(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    def read(self) -> bytes:
        """Its bytes, or a PhotosError."""
        return self.store.read(self.name)

    def digest(self) -> bytes:
        """The same for files of the same content."""
        return hashlib.sha256(self.read()).digest()


@dataclass(frozen=True)
class LabelledInputs:
    """Inputs with the classes that count as right for each."""

    files: tuple[InputFile, ...]
    accepted: tuple[frozenset[int], ...]

    def without(self, numbers: frozenset[int]) -> LabelledInputs:
        """All but those of these numbers."""
        kept = [number for number in range(len(self.files)) if number not in numbers]
        return LabelledInputs(tuple(self.files[k] for k in kept), tuple(self.accepted[k] for k in kept))

    def check_classes(self, num_classes: int) -> None:
        """Raises PhotosError if a class is none of a model with so many."""
        for file, accepted in zip(self.files, self.accepted, strict=True):
            if max(accepted) >= num_classes:
                expected = f"a class of the model, 0 to {num_classes - 1}"
                raise PhotosError(f"label of {file}", expected=expected, got=str(max(accepted)))


def read_labelled(path: Path, labels: Path | None = None) -> LabelledInputs:
    """Reads the table of labels; the inputs themselves are read one by one later.

    Args:
        path: of the store.
        labels: a csv with the columns `file` (a name in the store) and `label` (or `class`, or `imagenet_indices`):
            indices of classes between blanks, any of which counts as right. A table without a header has the columns
            file, number of classes, class. The store's own labels.csv if None.

    Raises:
        PhotosError: no such store or table, a column or file that it lacks, or indices that are none.
    """
    store = Store(path)
    if labels is None and LABELS_FILE not in store:
        raise PhotosError(
            f"inputs {path}", expected=f"a {LABELS_FILE} in it", got="none", fix="Give the table with --labels FILE."
        )
    table = path / LABELS_FILE if labels is None else labels
    try:
        content = store.read(LABELS_FILE) if labels is None else labels.read_bytes()
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PhotosError(f"labels {table}", expected="a csv file in UTF-8", got=reason_of(error)) from error
    file_column, class_column, first = _columns(table, rows)
    files, accepted = [], []
    for line, row in enumerate(rows[first:], start=first + 1):
        if row:
            cells = [*row, *[""] * max(file_column, class_column)]
            where = f"{table}, row {line}"
            files.append(_file(store, cells[file_column].strip(), where))
            accepted.append(_classes(cells[class_column], where))
    _refuse_twice(table, files)
    return LabelledInputs(tuple(files), tuple(accepted))


def _columns(table: Path, rows: Sequence[Sequence[str]]) -> tuple[int, int, int]:
    """Numbers of the columns of files and of classes, and of the first row below the header."""
    header, first = [word.strip() for word in rows[0]] if rows else [], 1
    if len(header) == len(_WITHOUT_HEADER) and all(word.isdecimal() for word in header[1:]):
        header, first = list(_WITHOUT_HEADER), 0
    classes = next((name for name in CLASSES_COLUMNS if name in header), None)
    if FILE_COLUMN not in header or classes is None:
        raise PhotosError(
            f"labels {table}",
            expected=f"the columns {FILE_COLUMN} and {' or '.join(CLASSES_COLUMNS[1:])}",
            got=", ".join(header) or "an empty file",
        )
    return header.index(FILE_COLUMN), header.index(classes), first


def _file(store: Store, name: str, where: str) -> InputFile:
    if name not in store:
        raise PhotosError(where, expected=f"the name of a file in {store.path}", got=repr(name))
    if PurePosixPath(name).suffix.lower() not in INPUT_SUFFIXES:
        raise PhotosError(where, expected=f"a name that ends in one of {', '.join(sorted(INPUT_SUFFIXES))}", got=name)
    return InputFile(store, name)


def _classes(text: str, where: str) -> frozenset[int]:
    words = text.split()
    if not words or not all(word.isdecimal() and len(word) <= _MOST_DIGITS for word in words):
        raise PhotosError(where, expected="the index of a class, or several separated by blanks", got=f"{text!r:.80}")
    return frozenset(map(int, words))


def _refuse_twice(table: Path, files: Iterable[InputFile]) -> None:
    seen: set[str] = set()
    for file in files:
        if file.name in seen:
            raise PhotosError(f"labels {table}", expected="one row for each file", got=f"two rows for {file.name}")
        seen.add(file.name)


def drawn_calibration(labelled: LabelledInputs, count: int, seed: int) -> tuple[tuple[InputFile, ...], LabelledInputs]:
    """Draws inputs to calibrate with; the others are left to evaluate. What has the content of a drawn one is neither.

    Raises:
        RepresentativeDataError: too few are drawn or left.
    """
    digests = [file.digest() for file in labelled.files]
    firsts = {digest: number for number, digest in reversed(list(enumerate(digests)))}
    order = np.random.default_rng(seed).permutation(sorted(firsts.values()))
    chosen = sorted(int(number) for number in order[:count])
    taken = {digests[number] for number in chosen}
    left = labelled.without(frozenset(number for number, digest in enumerate(digests) if digest in taken))
    calibration = tuple(labelled.files[number] for number in chosen)
    check_split(calibration, left)
    return calibration, left


def given_calibration(path: Path, evaluated: LabelledInputs, count: int, seed: int) -> tuple[InputFile, ...]:
    """Inputs of another store, all of them or as many as wanted, drawn by a seed.

    Raises:
        PhotosError: no such store.
        RepresentativeDataError: some of them are evaluated too, or there are too few.
    """
    store = Store(path)
    files = [InputFile(store, name) for name in store.names if PurePosixPath(name).suffix.lower() in INPUT_SUFFIXES]
    order = np.random.default_rng(seed).permutation(len(files))[:count]
    chosen = tuple(files[number] for number in sorted(order))
    check_split(chosen, evaluated)
    return chosen


def check_split(calibration: Sequence[InputFile], evaluated: LabelledInputs) -> None:
    """Raises RepresentativeDataError if an input has the content of one in the other part, or a part is too small."""
    _check_enough("inputs to calibrate with", FEWEST_CALIBRATION, len(calibration))
    _check_enough("inputs to evaluate", FEWEST_EVALUATED, len(evaluated.files))
    digests = {file.digest(): file for file in calibration}
    for file in evaluated.files:
        if (same := digests.get(file.digest())) is not None:
            raise RepresentativeDataError(
                "calibration", expected="inputs that are not evaluated", got=f"{same}, with the same content as {file}"
            )


def _check_enough(what: str, fewest: int, count: int) -> None:
    if count < fewest:
        raise RepresentativeDataError(what, expected=f"at least {fewest}", got=str(count))


@dataclass(frozen=True)
class InputReader:
    """Makes inputs of files.

    Attributes:
        shape: of the model's input, without the batch.
        pixels: what makes an input of a picture; None where the model takes none.
        quantization: scale and zero point of raw int8 inputs; None where there are none.
    """

    shape: tuple[int, ...]
    pixels: PixelPreprocessing | None = None
    quantization: tuple[float, int] | None = None

    def read(self, file: InputFile) -> NDArray[np.float32]:
        """Real values as the float model takes them, of `shape`.

        Raises:
            PhotosError: the file cannot be read, or is no input of the model.
        """
        content = file.read()
        if file.is_picture:
            return self._of_picture(file, content)
        values = self._of_bytes(file, content) if file.is_raw else _of_npy(file, content)
        if values.size != int(np.prod(self.shape)):
            raise PhotosError(str(file), expected=f"{_shape_text(self.shape)} values", got=_shape_text(values.shape))
        if values.dtype == np.int8:
            values = dequantize(values, *self._scale(file), np.float32)
        if values.dtype.kind != "f" or not np.isfinite(values).all():
            raise PhotosError(str(file), expected="int8 values or finite floats", got=f"{values.dtype}")
        return values.astype(np.float32).reshape(self.shape)

    def _of_picture(self, file: InputFile, content: bytes) -> NDArray[np.float32]:
        if self.pixels is None:
            raise PhotosError(str(file), expected=f"an input of {_shape_text(self.shape)} values", got="a picture")
        try:
            with Image.open(io.BytesIO(content)) as picture:
                return self.pixels.apply(picture.convert("RGB"))
        except (OSError, Image.DecompressionBombError) as error:
            raise PhotosError(str(file), expected="a readable picture", got=reason_of(error)) from error

    def _of_bytes(self, file: InputFile, content: bytes) -> NDArray[np.generic]:
        size = int(np.prod(self.shape))
        types = {size: np.dtype(np.int8), 4 * size: np.dtype("<f4")}
        if len(content) not in types:
            raise PhotosError(
                str(file), expected=f"{size} bytes of int8, or {4 * size} of float32", got=f"{len(content)} bytes"
            )
        return np.frombuffer(content, types[len(content)])

    def _scale(self, file: InputFile) -> tuple[float, int]:
        if self.quantization is None:
            raise PhotosError(
                str(file),
                expected="the scale of int8 inputs",
                got="none",
                fix="Give an INT8 .tflite model that takes these inputs: --quantized-by FILE.",
            )
        return self.quantization


def _of_npy(file: InputFile, content: bytes) -> NDArray[np.generic]:
    try:
        loaded: NDArray[np.generic] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PhotosError(str(file), expected="an array in NumPy's format", got=reason_of(error)) from error
    return loaded


def _shape_text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
