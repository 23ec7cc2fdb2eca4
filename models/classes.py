"""The names of the ImageNet-1k classes."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The 1000 class names of ImageNet-1k in index order, as torchvision words them.

    Example:
      imagenet_classes()[281]  # "tabby"
    """
    names = resources.files(__package__).joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(names.splitlines())
