from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Hit"]


class Hit(NamedTuple):
    id: str
    score: float
    metadata: dict[str, Any] | None
    vector: Any
