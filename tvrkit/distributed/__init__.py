"""Processes that train or evaluate one model together. Nothing here knows a model or a loss."""

from tvrkit.distributed.join import join, own_device
from tvrkit.distributed.place import place
from tvrkit.distributed.team import SOLO, Team

__all__ = ["SOLO", "Team", "join", "own_device", "place"]
