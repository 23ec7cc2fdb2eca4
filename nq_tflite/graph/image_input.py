"""What a model says of its image input, as data: nothing here reads a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Factors that bring 8-bit pixels to 0..1 and to 0..2.
PIXEL_FACTORS = (1 / 255, 1 / 127.5)


@dataclass(frozen=True)
class ImageInput:
    """The one image input of a model.

    Attributes:
        height, width: None where the model takes any.
        channels: 3 or 1.
        values: the least and the greatest value that it takes; None where nothing tells them.
        told_by: what tells them; "" if nothing does.
    """

    height: int | None
    width: int | None
    channels: int
    values: tuple[float, float] | None = None
    told_by: str = ""

    @classmethod
    def of_shape(
        cls, shape: Sequence[int | None], values: tuple[float, float] | None = None, told_by: str = ""
    ) -> ImageInput | None:
        """The input of that shape [batch, height, width, channels]; None if no image has it.

        >>> ImageInput.of_shape([1, 28, 28, 1])
        ImageInput(height=28, width=28, channels=1, values=None, told_by='')
        """
        if len(shape) != 4 or shape[3] not in (1, 3):
            return None
        height, width = (side if side is not None and side > 0 else None for side in shape[1:3])
        return cls(height, width, int(shape[3] or 0), values, told_by)
