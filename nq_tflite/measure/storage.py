"""`nq-tflite storage`: the size of a nested file and of separate models of its bit-widths, by the files themselves.

Every figure but `paper_ratio` is the size of a file that was written. Separate models are written in two ways. Packed:
each weight takes the bits of its model and no more, which is how the paper counts; at 4 bits that is TFLite's INT4 and
the file runs, at other bit-widths TFLite has no such type and the file only shows its size. As TFLite stores them:
INT4 at 4 bits, otherwise INT8 whatever the bit-width.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.convert import convert
from nq_tflite.conversion.rounding import Rounding
from nq_tflite.delivery import split
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.constants import OutputType
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.model import ModelT, TensorT
from nq_tflite.graph.nested import NestedFile, NestedWeight, is_nested, read_nested
from nq_tflite.graph.quantization import scales_of
from nq_tflite.graph.remove_unpack import remove_unpack
from nq_tflite.progress import ShowProgress, shown

NESTINGS = ("8|6", "8|5", "8|4")
#: Corrects biases, as every rounding but nearest does, so that the levels have their usual deltas; needs no data.
ROUNDING: Rounding = "squant"


@dataclass(frozen=True)
class SeparateModel:
    """A model of only one bit-width: bytes of its file packed, and as TFLite stores it."""

    bits: int
    packed_bytes: int
    tflite_bytes: int


@dataclass(frozen=True)
class StorageRow:
    """One nested file, compared with separate models of the same bit-widths.

    Attributes:
        name: of the model.
        nesting: such as "8|4".
        nested_bytes: the nested file.
        base_bytes, upgrade_bytes: its parts by `nq.split`, as they are sent.
        models: the separate models, part-bit first.
    """

    name: str
    nesting: str
    nested_bytes: int
    base_bytes: int
    upgrade_bytes: tuple[int, ...]
    models: tuple[SeparateModel, ...]

    @property
    def packed_bytes(self) -> int:
        """All separate models, packed."""
        return sum(model.packed_bytes for model in self.models)

    @property
    def tflite_bytes(self) -> int:
        """All separate models, as TFLite stores them."""
        return sum(model.tflite_bytes for model in self.models)

    @property
    def switch_bytes(self) -> int:
        """What a switch between part-bit and full-bit moves, in or out."""
        return sum(self.upgrade_bytes)

    @property
    def separate_switch_bytes(self) -> int:
        """What it moves with separate packed models: one in, the other out."""
        return self.models[0].packed_bytes + self.models[-1].packed_bytes

    @property
    def paper_ratio(self) -> float:
        """NestQuant's arithmetic for storage, n + 1 bits per weight over the sum of all bit-widths. Not measured."""
        return (self.models[-1].bits + len(self.models) - 1) / sum(model.bits for model in self.models)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        derived = ("packed_bytes", "tflite_bytes", "switch_bytes", "separate_switch_bytes", "paper_ratio")
        return asdict(self) | {name: getattr(self, name) for name in derived}


def measure_storage(
    sources: Sequence[str | os.PathLike[str]],
    nestings: Sequence[str] = NESTINGS,
    *,
    rounding: Rounding = ROUNDING,
    progress: ShowProgress = True,
) -> tuple[StorageRow, ...]:
    """Writes each model nested and as separate models, into a temporary folder, and reports the sizes.

    Args:
        sources: full-int8 .tflite files, which are nested by each of `nestings`, or nested files, measured as they are.
        nestings: as nq.convert.
        rounding: as nq.convert.
        progress: called before each file; True shows a bar in a terminal or notebook, None shows nothing.

    Returns:
        A row for each model and nesting.

    Raises:
        UnsupportedModelError: a model with float weights, or what nq.convert raises.
        FormatError, NestingError: as nq.convert.

    Example:
        >>> [row.nested_bytes / row.packed_bytes for row in measure_storage(["int8.tflite"])]  # doctest: +SKIP
        [0.59, 0.64, 0.69]
    """
    rows = []
    jobs = [(Path(source), each) for source in sources for each in _nestings_of(Path(source), nestings)]
    with shown(progress) as notify, tempfile.TemporaryDirectory(prefix="nq-tflite-storage-") as folder:
        for done, (source, nesting) in enumerate(jobs):
            notify(f"{source.stem} {nesting or ''}", done, len(jobs))
            path = source
            if nesting is not None:
                path = Path(folder) / source.name
                convert(source, path, nesting, rounding=rounding, progress=None)
            rows.append(_measure(path, Path(folder), source))
    return tuple(rows)


def _nestings_of(source: Path, nestings: Sequence[str]) -> Sequence[str | None]:
    return [None] if is_nested(fb.read_model(source)) else [str(Nesting.parse(each)) for each in nestings]


def _measure(path: Path, folder: Path, source: Path) -> StorageRow:
    nested, parts = read_nested(path), split(path, folder / "parts")
    for weight in nested.weights:
        if weight.block.output_type is not OutputType.INT8:
            raise UnsupportedModelError(
                f"{source}, weight {weight.name!r}",
                expected="a full-int8 model, to compare with separate integer models",
                got="float weights",
                fix="Convert it with representative data.",
            )
    return StorageRow(
        name=path.stem,
        nesting="|".join(map(str, nested.precisions[::-1])),
        nested_bytes=nested.file.size,
        base_bytes=parts.base.bytes,
        upgrade_bytes=tuple(part.bytes for part in parts.upgrades),
        models=tuple(_separate(path, bits, folder) for bits in nested.precisions),
    )


def _separate(path: Path, bits: int, folder: Path) -> SeparateModel:
    packed = write_separate(path, folder / "packed.tflite", bits, packed=True)
    return SeparateModel(bits, packed, write_separate(path, folder / "stored.tflite", bits, packed=bits == 4))


def write_separate(nested: str | os.PathLike[str], path: str | os.PathLike[str], bits: int, *, packed: bool) -> int:
    """Writes a stock model of one bit-width from a nested one's full-bit weights, rounded to nearest.

    Args:
        nested: a nested file with int8 weights.
        path: the file to write.
        bits: of its weights, 2 to 8.
        packed: whether they take so many bits in the file, rather than 8. TFLite runs packed files of 4 and 8 bits.

    Returns:
        Bytes written.
    """
    source = read_nested(nested)
    remove_unpack(source.file.model, source.weights, len(source.precisions) - 1)
    for weight, tensor in _tensors(source):
        codes = weight.values(len(source.precisions) - 1)
        limit = (1 << (bits - 1)) - 1
        step = 1 << (8 - bits)
        values = np.clip(np.rint(codes / step), -limit, limit).astype(np.int8)
        _store(source.file.model, tensor, values, bits if packed else 8, step)
    return fb.write_model(path, source.file.model)


def _tensors(nested: NestedFile) -> list[tuple[NestedWeight, TensorT]]:
    """The tensors that were nested weights; their numbers have changed, their names have not."""
    found = []
    for weight in nested.weights:
        tensors = nested.file.model.subgraphs[weight.subgraph].tensors
        found.append((weight, next(each for each in tensors if fb.text(each.name) == weight.name)))
    return found


def _store(model: ModelT, tensor: TensorT, values: NDArray[np.int8], width: int, step: int) -> None:
    """Gives a tensor its values at a width, and their scale."""
    if tensor.quantization is not None:  # floats have none
        tensor.quantization.scale = (scales_of(tensor) * np.float32(step)).tolist()
    if width == 4:
        tensor.type = fb.schema.TensorType.INT4
    model.buffers[tensor.buffer].data = np.frombuffer(pack_integers(values, width), np.uint8)


def pack_integers(values: NDArray[np.int8], width: int) -> bytes:
    """Signed integers of `width` bits, one after the other from the lowest bit up, as TFLite packs INT4.

    >>> pack_integers(np.array([1, -1, 2], np.int8), 4).hex()
    'f102'
    """
    bits = np.unpackbits(values.reshape(-1, 1).view(np.uint8), axis=1, bitorder="little")[:, :width]
    return np.packbits(bits, bitorder="little").tobytes()
