"""A backbone of which each process holds a part: of the weights, the gradients and the optimiser's state (FSDP2).

A block's weights are gathered while it runs and let go afterwards, so that what a GPU holds at once is its part, one
block and the activations. What is small, heads, objective and logit scale, is whole on every process.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tvrkit.core.model import RetrievalModel
from tvrkit.distributed import Team
from tvrkit.errors import InstallError
from tvrkit.train.parallel import Parallel, average_gradients, is_sharded, trained
from tvrkit.train.towers import tower_blocks


class Sharded(Parallel):
    """The backbone in parts, everything else on every process.

    FSDP2 averages the backbone's gradients in every backward pass, so no pass needs to be the last. Its collectives
    are why all processes must run the towers equally often.
    """

    even = True

    def __init__(self, model: RetrievalModel, objective: nn.Module, team: Team, device: torch.device) -> None:
        """Shard the model's backbone in place.

        Raises:
            InstallError: this torch has no FSDP2.
        """
        try:
            from torch.distributed.device_mesh import DeviceMesh
            from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
        except ImportError:
            raise InstallError(
                f"train.parallel=fsdp needs torch 2.6 or newer, and this is {torch.__version__}:"
                " `pip install --upgrade torch`, or set train.parallel=ddp."
            ) from None
        self._team = team
        # To evaluate and save with; not larger than the model that was whole on this device a moment ago.
        self._whole = copy.deepcopy(model).requires_grad_(False).eval()
        for tensor in (*model.parameters(), *model.buffers(), *objective.parameters()):
            dist.broadcast(tensor.detach(), src=0)
        # A group of its own, as its collectives come between those of `Team.rows`.
        group: Any = dist.new_group()
        mesh = DeviceMesh.from_group(group, device.type)
        backbone = model.backbone
        for block in tower_blocks(backbone.clip):
            fully_shard(block, mesh=mesh)
        single = {parameter for parameter in backbone.parameters() if parameter.ndim == 0}
        fully_shard(backbone, mesh=mesh, ignored_params=single)
        for method in ("encode_text", "encode_images"):
            register_fsdp_forward_method(backbone, method)
        self._by_hand = [parameter for parameter in trained([model, objective]) if not is_sharded(parameter)]

    def finish(self) -> None:
        """Average what is not sharded."""
        average_gradients(self._by_hand, self._team)

    def whole(self, tensor: Tensor) -> Tensor:
        """See `Parallel`."""
        full: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
        return full

    def like(self, full: Tensor, parameter: Tensor) -> Tensor:
        """See `Parallel`."""
        if not is_sharded(parameter):
            return full.to(parameter.device)
        from torch.distributed.tensor import distribute_tensor

        shard: Any = parameter
        return distribute_tensor(full.to(shard.device), shard.device_mesh, shard.placements)

    def evaluated(self, model: RetrievalModel) -> RetrievalModel:
        """A plain model with the weights of now, in evaluation mode; the same object at each call."""
        with torch.no_grad():
            for own, tensor in zip(self._whole.state_dict().values(), model.state_dict().values(), strict=True):
                now = self.whole(tensor)
                if not torch.equal(own, now):  # what has not changed keeps its fingerprint
                    own.copy_(now)
        return self._whole
