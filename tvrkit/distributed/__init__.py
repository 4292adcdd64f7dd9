"""Processes that train or evaluate one model together. Nothing here knows a model or a loss."""

from tvrkit.distributed.team import SOLO, Team

__all__ = ["SOLO", "Team"]
