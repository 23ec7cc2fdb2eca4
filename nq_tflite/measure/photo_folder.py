"""Folders of photos with the classes that count as right: labels.csv."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nq_tflite.errors import PhotosError, reason_of

LABELS_FILE = "labels.csv"
FILE_COLUMN = "file"
#: Names of the column with the class indices; a csv that has several is read by the first of these.
CLASSES_COLUMNS = ("imagenet_indices", "label", "class")
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
_NO_IMAGE = f"no image file ({', '.join(sorted(PHOTO_SUFFIXES))})"


@dataclass(frozen=True)
class Photo:
    """A photo's path, and the class indices that count as right (empty: not labelled)."""

    path: Path
    accepted: frozenset[int]


@dataclass(frozen=True)
class PhotoFolder:
    """Photos to evaluate, at least one; either every one is labelled or none is."""

    photos: tuple[Photo, ...]

    @property
    def labelled(self) -> bool:
        """Whether top-1 can be told."""
        return all(photo.accepted for photo in self.photos)


def read_photo_folder(
    folder: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None, num_classes: int | None = None
) -> PhotoFolder:
    """Lists a folder's photos with their labels.

    Args:
        folder: the photos. Without labels, every image file directly in it, by name.
        labels: a csv with the columns `file` (relative to the csv's own folder) and `label` (or `class`, or
            `imagenet_indices`: class indices separated by blanks, any of which counts as right). Its photos inside
            `folder` are used. None for the folder's own labels.csv, if it has one.
        num_classes: of the model, if known: larger indices are then refused.

    Raises:
        PhotosError: the folder, csv, photos, a column or a file is missing, or a label is not a class index.

    Example:
        >>> read_photo_folder("photos").labelled  # doctest: +SKIP
        True
    """
    root = _folder(folder)
    table = root / LABELS_FILE if labels is None else Path(labels)
    photos = _labelled(root, table, num_classes) if labels is not None or table.is_file() else _unlabelled(root)
    if not photos:
        got = _NO_IMAGE if labels is None and not table.is_file() else f"no row of {table} inside the folder"
        raise PhotosError(f"photos {root}", expected="at least one photo", got=got)
    return PhotoFolder(photos)


def photo_paths(folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """A folder's image files by name, whatever their labels; those in folders of it where it has none itself.

    Raises:
        PhotosError: no such folder, or no photo in it.
    """
    root = _folder(folder)
    found = _image_files(root.iterdir()) or _image_files(root.rglob("*"))
    if not found:
        raise PhotosError(f"photos {root}", expected="at least one photo", got=_NO_IMAGE)
    return tuple(found)


def _folder(folder: str | os.PathLike[str]) -> Path:
    root = Path(folder)
    if not root.is_dir():
        raise PhotosError(f"photos {root}", expected="a folder", got="a file" if root.exists() else "nothing there")
    return root


def _image_files(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file())


def _unlabelled(root: Path) -> tuple[Photo, ...]:
    return tuple(Photo(path, frozenset()) for path in _image_files(root.iterdir()))


def _labelled(root: Path, table: Path, num_classes: int | None) -> tuple[Photo, ...]:
    inside = root.resolve()
    photos = []
    rows, classes = _rows(table)
    for line, row in rows:
        path = table.parent / row[FILE_COLUMN].strip()
        if not path.resolve().is_relative_to(inside):
            continue
        if not row[FILE_COLUMN].strip() or not path.is_file():
            raise PhotosError(f"{table}, line {line}", expected="the path of a photo", got=f"no file {path}")
        photos.append(Photo(path, _class_indices(row[classes], f"{table}, line {line}", num_classes)))
    return tuple(photos)


def _rows(table: Path) -> tuple[list[tuple[int, dict[str, str]]], str]:
    """The csv's rows with their line numbers, and the name of the column of classes; every row has both columns."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or [])
            rows = [(reader.line_num, {key: value or "" for key, value in row.items() if key}) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PhotosError(f"labels {table}", expected="a readable csv file in UTF-8", got=reason_of(error)) from error
    classes = next((name for name in CLASSES_COLUMNS if name in columns), None)
    if FILE_COLUMN not in columns or classes is None:
        raise PhotosError(
            f"labels {table}",
            expected=f"the columns {FILE_COLUMN} and label",
            got=", ".join(columns) or "an empty file",
        )
    return rows, classes


def _class_indices(text: str, where: str, num_classes: int | None) -> frozenset[int]:
    words = text.split()
    indices = frozenset(int(word) for word in words if word.isascii() and word.isdigit())
    wrong = not words or not all(word.isascii() and word.isdigit() for word in words)
    if wrong or (num_classes is not None and max(indices) >= num_classes):
        below = "" if num_classes is None else f" below {num_classes}"
        raise PhotosError(where, expected=f"class indices{below}, separated by blanks", got=repr(text))
    return indices
