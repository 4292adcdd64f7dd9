"""A backbone of which each process holds a part: of the weights, the gradients and the optimiser's state (FSDP2).

A block's weights are gathered while it runs and let go afterwards, so that what a GPU holds at once is its part, one
block and the activations. What is small or frozen is whole on every process: heads, objective, logit scale.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tvrkit.core import towers
from tvrkit.core.model import RetrievalModel
from tvrkit.distributed import Team
from tvrkit.errors import InstallError
from tvrkit.train.parallel import Parallel, average_gradients, is_sharded, trained
from tvrkit.train.towers import tower_blocks

T = TypeVar("T")


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
        fully_shard, register_fsdp_forward_method = _engine()
        from torch.distributed.device_mesh import DeviceMesh

        self._team, self._device = team, device
        # To evaluate and save with. Between steps, when gradients and activations are gone, the device has room for it.
        self._whole = copy.deepcopy(model).requires_grad_(False).eval().cpu()
        for tensor in (*model.parameters(), *model.buffers(), *objective.parameters()):
            dist.broadcast(tensor.detach(), src=0)
        # A group of its own, as its collectives come between those of `Team.rows`.
        group: Any = dist.new_group()
        mesh = DeviceMesh.from_group(group, device.type)
        backbone = model.backbone
        # Single numbers cannot be cut. What is frozen has no gradient and no state, and may run unevenly often.
        kept_whole = {p for p in backbone.parameters() if p.ndim == 0 or not p.requires_grad}
        for block in tower_blocks(backbone.clip):
            if not kept_whole.issuperset(block.parameters()):
                fully_shard(block, mesh=mesh, ignored_params=kept_whole)
        fully_shard(backbone, mesh=mesh, ignored_params=kept_whole)
        head = towers.image_head(backbone.clip)  # where there is none, gathering weights for it would be in vain
        for method in ("encode_text", "image_states", *(["project_images"] if head is not None else [])):
            register_fsdp_forward_method(backbone, method)
        self._by_hand = [parameter for parameter in trained([model, objective]) if not is_sharded(parameter)]

    def last(self, function: Callable[[], T]) -> T:
        """See `Parallel`; what the last evaluation had on the device makes room first."""
        if self._whole.device.type != "cpu":
            self._whole.cpu()
        return function()

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
        self._whole.to(self._device)
        with torch.no_grad():
            for own, tensor in zip(self._whole.state_dict().values(), model.state_dict().values(), strict=True):
                now = self.whole(tensor)
                if not torch.equal(own, now):  # what has not changed keeps its fingerprint
                    own.copy_(now)
        return self._whole


def _engine() -> tuple[Any, Any]:
    """FSDP2's `fully_shard` and `register_fsdp_forward_method`."""
    import torch.distributed.fsdp as fsdp

    fully_shard: Any = getattr(fsdp, "fully_shard", None)
    if fully_shard is None or "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise InstallError(
            f"train.parallel=fsdp needs torch 2.7 or newer, and this is {torch.__version__}:"
            " `pip install --upgrade torch`, or set train.parallel=ddp."
        )
    return fully_shard, fsdp.register_fsdp_forward_method
