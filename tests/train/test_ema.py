from __future__ import annotations

import pytest
import torch
from team import run_team
from torch import nn

from tvrkit.train.ema import Ema


def layers(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 7, bias=False))


def drift(model: nn.Module, step: int) -> None:
    """Other weights, as an optimiser step leaves them."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_the_average_is_the_recurrence_written_out():
    model = layers()
    ema = Ema(model.named_parameters(), decay=0.5)
    expected = {name: p.detach().double() for name, p in model.named_parameters()}
    decays = []
    for step in range(1, 30):
        drift(model, step)
        ema.update(step)
        decays.append(min(0.5, (1 + step) / (10 + step)))
        for name, p in model.named_parameters():
            expected[name] = decays[-1] * expected[name] + (1 - decays[-1]) * p.detach().double()
    assert decays[0] == 2 / 11 and decays[-1] == 0.5
    for name, average in ema.tensors().items():
        torch.testing.assert_close(average.double(), expected[name], rtol=1e-5, atol=1e-5)


def test_weights_that_stand_still_are_their_own_average():
    model = layers()
    ema = Ema(model.named_parameters(), decay=0.9)
    for step in range(1, 5):
        ema.update(step)
    assert all(torch.equal(ema.tensors()[name], p) for name, p in model.named_parameters())


def test_swapped_puts_the_average_in_place_and_the_weights_back_to_the_bit():
    model = layers()
    places = [p.data_ptr() for p in model.parameters()]
    ema = Ema(model.named_parameters(), decay=0.9)
    drift(model, 1)
    ema.update(1)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    averages = {name: t.clone() for name, t in ema.tensors().items()}
    with pytest.raises(KeyboardInterrupt), ema.swapped():
        assert all(torch.equal(p, averages[name]) for name, p in model.named_parameters())
        assert all(p.requires_grad for p in model.parameters())
        with pytest.raises(RuntimeError, match="in the model's place"):
            ema.update(2)
        raise KeyboardInterrupt
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())
    assert all(torch.equal(ema.tensors()[name], averages[name]) for name in averages)
    assert places == [p.data_ptr() for p in model.parameters()]  # FSDP and compiled code know them by that


def test_what_is_loaded_goes_on_as_if_never_saved():
    model, other = layers(), layers(seed=9)
    ema = Ema(model.named_parameters(), decay=0.99)
    for step in (1, 2):
        drift(model, step)
        ema.update(step)
    resumed = Ema(other.named_parameters(), decay=0.99)
    resumed.load({name: tensor.clone() for name, tensor in ema.tensors().items()})
    other.load_state_dict(model.state_dict())
    for each, average in ((model, ema), (other, resumed)):
        drift(each, 3)
        average.update(3)
    assert all(torch.equal(ema.tensors()[name], resumed.tensors()[name]) for name in ema.tensors())


def test_averages_of_another_model_are_refused():
    ema = Ema(layers().named_parameters(), decay=0.99)
    tensors = ema.tensors()
    with pytest.raises(KeyError, match=r"0\.bias"):
        ema.load({name: tensor for name, tensor in tensors.items() if name != "0.bias"})
    with pytest.raises(KeyError, match="odd"):
        ema.load(tensors | {"odd": torch.zeros(1)})
    with pytest.raises(RuntimeError, match=r"0\.bias is \(1,\), not \(3,\)"):
        ema.load(tensors | {"0.bias": torch.zeros(1)})
    with pytest.raises(ValueError, match="bfloat16 would stand still"):
        Ema(layers().to(torch.bfloat16).named_parameters(), decay=0.99)


def sharded(team) -> dict[str, torch.Tensor]:
    """Averages of a model whose parameters are DTensors, gathered after a swap, a save and a load."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (team.size,))
    model = layers()
    fully_shard(model, mesh=mesh)
    ema = Ema(model.named_parameters(), decay=0.9)
    for step in range(1, 6):
        loss = model(torch.full((2, 5), float(step))).square().sum()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(parameter.grad, alpha=1e-3)
                parameter.grad = None
        ema.update(step)
    with ema.swapped():
        from_model = {name: p.detach().full_tensor().clone() for name, p in model.named_parameters()}
    saved = ema.tensors(lambda tensor: tensor.full_tensor())
    assert all(torch.equal(saved[name], from_model[name]) for name in saved)
    again = Ema(model.named_parameters(), decay=0.9)

    def like(full, parameter):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(full, parameter.device_mesh, parameter.placements)

    again.load(saved, like)
    assert all(torch.equal(t.full_tensor(), saved[name]) for name, t in again.tensors().items())
    return saved


@pytest.mark.slow
def test_shards_have_the_average_of_the_whole():
    parts = run_team(sharded, 2)
    whole = run_team(sharded, 1)[0]
    for part in parts:
        for name in whole:
            torch.testing.assert_close(part[name], whole[name], rtol=1e-6, atol=1e-6)
