"""All precisions of a model, and the one it is compared with, run side by side on inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.measure.classifier import Classifier
from nq_tflite.measure.photo_folder import PhotoFolder
from nq_tflite.measure.preprocessing import PixelPreprocessing, SeenValues
from nq_tflite.measure.sample_inputs import SampleInputs
from nq_tflite.progress import Progress


@dataclass
class Precisions:
    """A model's precisions, full-bit first, and a reference behind them. A process that is sent them opens them itself.

    Attributes:
        path: of the model.
        reference: a .tflite file; None without one.
        reference_name: what errors call it.
        runtime, num_threads: as nq.Interpreter.
        content: of the reference, where the file may not be at hand.
    """

    path: str
    reference: Path | None
    reference_name: str | None
    runtime: RuntimeName | None
    num_threads: int | None
    content: bytes | None = None
    _models: list[Classifier] = field(default_factory=list, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without open models, but with the reference's bytes: it may lie in a temporary folder."""
        content = self.content or (self.reference and self.reference.read_bytes())
        return vars(self) | {"content": content, "_models": []}

    @property
    def bits(self) -> list[int | None]:
        """Of each precision; None for a stock model."""
        return [model.bits for model in self.opened()[: len(self._models) - (self.reference is not None)]]

    def opened(self) -> list[Classifier]:
        """An interpreter a precision, and one of the reference.

        Raises:
            UnsupportedModelError: a model is no classifier, or the reference has other classes.
            FormatError, MissingPackageError, NativeLibraryError: as nq.Interpreter.
        """
        if not self._models:
            first = self._open(None)
            rest = [self._open(bits) for bits in first.levels[-2::-1]]
            self._models = [first, *rest, *([] if self.reference is None else [self._open_reference(first)])]
        return self._models

    def _open(self, bits: int | None) -> Classifier:
        return Classifier(self.path, bits, self.runtime, self.num_threads)

    def _open_reference(self, model: Classifier) -> Classifier:
        with TemporaryDirectory(prefix="nq-reference-") as folder:
            path = self.reference
            if self.content is not None:
                path = Path(folder, "reference.tflite")
                path.write_bytes(self.content)
            other = Classifier(str(path), None, self.runtime, self.num_threads, self.reference_name)
        if other.num_classes != model.num_classes:
            raise UnsupportedModelError(
                f"reference {other.path}",
                expected=f"{model.num_classes} classes as {model.path} has",
                got=str(other.num_classes),
            )
        return other


@dataclass(frozen=True)
class EvaluatedPhotos:
    """A folder's photos as inputs of models.

    Attributes:
        folder: the photos.
        pixels: what makes inputs of them.
        shapes: of every model's input: height, width, channels.
        values: least and greatest that the model takes, where it tells them.
    """

    folder: PhotoFolder
    pixels: PixelPreprocessing
    shapes: tuple[tuple[int, ...], ...]
    values: tuple[float, float] | None
    noun = "photos"

    def __len__(self) -> int:
        return len(self.folder.photos)

    def __getitem__(self, which: slice) -> EvaluatedPhotos:
        """The photos of a slice."""
        return replace(self, folder=PhotoFolder(self.folder.photos[which]))

    def __iter__(self) -> Iterator[tuple[str, list[NDArray[Any]]]]:
        """The name of each photo, and the input of every model. One at a time, so that any number fits."""
        sizes = [
            replace(self.pixels, height=height, width=width, channels=channels)
            for height, width, channels in self.shapes
        ]
        for photo in self.folder.photos:
            ready = {each: each.apply(photo.path) for each in set(sizes)}
            yield str(photo.path), [ready[each] for each in sizes]

    @property
    def preprocessing(self) -> str:
        """How photos become inputs."""
        return str(self.pixels)

    @property
    def accepted(self) -> list[frozenset[int]] | None:
        """For each photo the classes that count as right; None without labels."""
        return [photo.accepted for photo in self.folder.photos] if self.folder.labelled else None


@dataclass(frozen=True)
class Outputs:
    """What models said to inputs: of each model [inputs, classes], and the values that the inputs had."""

    logits: list[NDArray[np.float64]]
    seen: SeenValues


def run_precisions(precisions: Precisions, inputs: EvaluatedPhotos | SampleInputs, *, notify: Progress) -> Outputs:
    """Runs inputs through every model.

    Raises:
        UnsupportedModelError: NaN or infinity comes out.
    """
    models = precisions.opened()
    rows: list[list[NDArray[np.float64]]] = [[] for _ in models]
    seen = SeenValues(inputs.values)
    for done, (name, arrays) in enumerate(inputs, start=1):
        seen.add(arrays[0])
        # Samples are the same for all models; photos are as large as each model takes them.
        for row, model, array in zip(rows, models, arrays * (len(models) // len(arrays)), strict=True):
            values = model.logits(array)
            if not np.isfinite(values).all():
                raise UnsupportedModelError(model.path, expected="finite outputs", got=f"NaN or infinity for {name}")
            row.append(values)
        notify(inputs.noun, done, len(inputs))
    return Outputs([np.stack(each) for each in rows], seen)


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The outputs of batches as one."""
    seen = parts[0].seen
    for part in parts[1:]:
        seen.add_all(part.seen)
    return Outputs([np.concatenate(each) for each in zip(*(part.logits for part in parts), strict=True)], seen)
