"""Which weights nest, by patterns of their names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from nq_tflite.errors import SelectionError

_NEAREST = 3


@dataclass(frozen=True)
class Selection:
    """The user's choice of single weights. Without it, those weights nest that take fewer bytes nested.

    A pattern matches a whole name: * stands for any characters, ? for one, and [...] for one of those inside.

    Attributes:
        include: weights that nest even where that saves nothing, as long as the format can hold them.
        exclude: weights that stay as they are, unless `include` has them too.

    >>> Selection(include=("block_1/*",), exclude=("*",)).excludes("block_2/kernel")
    True
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def includes(self, name: str) -> bool:
        """Whether the weight is asked for."""
        return any(_fits(name, pattern) for pattern in self.include)

    def excludes(self, name: str) -> bool:
        """Whether the weight is to stay as it is."""
        return any(_fits(name, pattern) for pattern in self.exclude) and not self.includes(name)

    def check(self, names: Collection[str]) -> None:
        """Raises SelectionError if a pattern fits none of a model's weights."""
        for kind, patterns in (("include", self.include), ("exclude", self.exclude)):
            for pattern in patterns:
                if not any(_fits(name, pattern) for name in names):
                    raise SelectionError(
                        f"{kind} pattern {pattern!r}",
                        expected="the name of a weight, or a pattern with * for any characters",
                        got=f"one that matches none of {len(names)} names",
                        fix=f"The closest names are {', '.join(_nearest(pattern, names))}." if names else "",
                    )


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _nearest(pattern: str, names: Collection[str]) -> list[str]:
    """Names that hold the pattern's text come first, then those that look like it."""
    bare = pattern.strip("*")
    holding = sorted(name for name in names if bare and bare.lower() in name.lower())
    alike = get_close_matches(bare, names, _NEAREST, cutoff=0)
    return list(dict.fromkeys([*holding, *alike]))[:_NEAREST]
