"""A backbone of which each process holds a part (torch's FSDP2)."""

from __future__ import annotations

import torch
from torch import nn

from tvrkit.core.model import RetrievalModel
from tvrkit.distributed import Team
from tvrkit.errors import InstallError
from tvrkit.train.parallel import Parallel


class Sharded(Parallel):
    """The backbone in parts."""

    even = True

    def __init__(self, model: RetrievalModel, objective: nn.Module, team: Team, device: torch.device) -> None:
        raise InstallError("train.parallel=fsdp is not there yet: set train.parallel=ddp.")
