"""How work that takes long says how far it is."""

from __future__ import annotations

from collections.abc import Callable

#: Called with a stage's name, the steps done and the steps in all (0 while unknown).
Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """The `Progress` of those who did not ask for one."""
