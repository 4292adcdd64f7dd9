"""Find videos by words: prepare, train, evaluate, export and search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from tvrkit.core import load_model as load


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, so `tvrkit.load` is looked up only when somebody asks for it.
    if name == "load":
        from tvrkit.core import load_model

        return load_model
    raise AttributeError(f"module 'tvrkit' has no attribute {name!r}")
