"""The temporal encoder: order matters, padding does not, CLIP's text layers fit in."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tvrkit.core.temporal import TemporalTransformer


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return TemporalTransformer(128, layers=2, max_frames=6)


def test_shape_and_heads(encoder):
    frames, mask = torch.randn(3, 5, 128), torch.ones(3, 5, dtype=torch.bool)
    assert encoder(frames, mask).shape == (3, 5, 128)
    assert encoder.blocks[0].attn.num_heads == 2
    assert TemporalTransformer(32).blocks[0].attn.num_heads == 1
    assert TemporalTransformer(512).blocks[3].attn.num_heads == 8


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("value", [0.0, 1e4, math.nan])
def test_padding_changes_nothing(encoder, training, value):
    encoder.train(training)
    frames, mask = torch.randn(2, 6, 128), torch.ones(2, 6, dtype=torch.bool)
    mask[0, 4:] = False
    frames[0, 4:] = value
    with torch.set_grad_enabled(training):
        padded = encoder(frames, mask)
        alone = encoder(frames[:1, :4], mask[:1, :4])
    torch.testing.assert_close(padded[:1, :4], alone, rtol=1e-4, atol=1e-5)
    assert (padded[0, 4:] == 0).all()


def test_order_matters(encoder):
    frames, mask = torch.randn(1, 4, 128), torch.ones(1, 4, dtype=torch.bool)
    forward, backward = encoder(frames, mask), encoder(frames.flip(1), mask).flip(1)
    assert (forward - backward).abs().max() > 1e-4


def test_input_is_added_to_the_output(encoder):
    """With all layers silenced the positions alone separate output from twice the input."""
    with torch.no_grad():
        for block in encoder.blocks:
            for parameter in (*block.attn.out_proj.parameters(), *block.mlp.c_proj.parameters()):
                parameter.zero_()
    frames, mask = torch.randn(2, 4, 128), torch.ones(2, 4, dtype=torch.bool)
    torch.testing.assert_close(encoder(frames, mask), 2 * frames + encoder.positional_embedding[:4])


def test_quick_gelu_block_equals_its_formula(encoder):
    """One layer written out: pre-norm attention and MLP, each added to its input."""
    x = torch.randn(2, 4, 128)
    pads = torch.zeros(2, 4, dtype=torch.bool)
    block = encoder.blocks[0]
    normed = nn.functional.layer_norm(x, (128,), block.ln_1.weight, block.ln_1.bias)
    q, k, v = (normed @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).chunk(3, dim=-1)
    heads = [z.view(2, 4, 2, 64).transpose(1, 2) for z in (q, k, v)]
    weights = (heads[0] @ heads[1].transpose(2, 3) / 8).softmax(-1)
    mixed = (weights @ heads[2]).transpose(1, 2).reshape(2, 4, 128)
    y = x + mixed @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
    hidden = block.mlp.c_fc(block.ln_2(y))
    expected = y + block.mlp.c_proj(hidden * (1.702 * hidden).sigmoid())
    torch.testing.assert_close(block(x, pads), expected, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns(encoder):
    frames, mask = torch.randn(3, 6, 128), torch.ones(3, 6, dtype=torch.bool)
    (encoder(frames, mask) * torch.randn(3, 6, 128)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def open_clip_layers(width, layers, context):
    transformer = pytest.importorskip("open_clip.transformer")
    tower = transformer.TextTransformer(
        context_length=context, vocab_size=50, width=width, heads=width // 64, layers=layers, output_dim=width
    )
    return tower.positional_embedding, tower.transformer.resblocks


def test_starts_from_a_clip_text_tower(encoder):
    positions, layers = open_clip_layers(128, layers=3, context=4)
    before = encoder.positional_embedding.detach().clone()
    encoder.init_from_text_tower(positions, list(layers))
    assert torch.equal(encoder.positional_embedding[:4], positions)
    # The tower knows 4 positions only: the others keep their start.
    assert torch.equal(encoder.positional_embedding[4:], before[4:])
    for own, theirs in zip(encoder.blocks, layers, strict=False):
        for name, tensor in theirs.state_dict().items():
            assert torch.equal(own.state_dict()[name], tensor)
    tensors = [p for p in encoder.parameters()]
    assert all(a.data_ptr() != b.data_ptr() for a in tensors for b in layers.parameters())


def test_unfit_towers_are_refused(encoder):
    positions, layers = open_clip_layers(128, layers=1, context=8)
    with pytest.raises(ValueError, match="1 layers of width 128.*wants 2"):
        encoder.init_from_text_tower(positions, list(layers))
    with pytest.raises(ValueError, match="width 64"):
        encoder.init_from_text_tower(torch.zeros(8, 64), list(layers) * 2)
    with pytest.raises(ValueError, match="do not fit"):
        encoder.init_from_text_tower(positions, [nn.Linear(128, 128)] * 2)


def test_too_many_or_no_frames_are_refused(encoder):
    with pytest.raises(ValueError, match="7 frames.*6 positions"):
        encoder(torch.zeros(1, 7, 128), torch.ones(1, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match="row 1"):
        encoder(torch.zeros(2, 2, 128), torch.tensor([[True, False], [False, False]]))
