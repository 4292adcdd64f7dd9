"""TPM-CL against plain loops over single pairs: predictors, selector, partial orders, gradients, padding."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import gelu, normalize

from tvrkit.core.cross_weights import AttentionCrossWeights, LinearCrossWeights, select_tokens
from tvrkit.core.features import TextFeatures, VideoFeatures
from tvrkit.core.partial import TripletPartial, sentence_similarity
from tvrkit.losses import triplet_partial_margin

DIM, FRAMES, WORDS = 16, 5, 6


def ragged(rows, width, generator):
    mask = torch.rand(rows, width, generator=generator) < 0.7
    mask[torch.arange(rows), torch.randint(width, (rows,), generator=generator)] = True
    mask[0] = False
    mask[0, width // 2] = True
    return mask


def batch(size=11, seed=0, dtype=torch.float64, frames=FRAMES, words=WORDS):
    """Matched pairs with ragged masks; row 0 has one word and one frame, so nothing can be removed from it."""
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape):
        return normalize(torch.randn(*shape, generator=generator, dtype=dtype), dim=-1)

    word_mask, frame_mask = ragged(size, words, generator), ragged(size, frames, generator)
    return (
        TextFeatures(unit(size, DIM), unit(size, words, DIM), word_mask, word_mask.to(dtype)),
        VideoFeatures(unit(size, frames, DIM), frame_mask),
    )


def model(predictor="linear", seed=0, threshold=0.6):
    torch.manual_seed(seed)
    module = TripletPartial(DIM, FRAMES, WORDS, predictor, threshold).double()
    # Away from the symmetric start, so that weights differ clearly between tokens.
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


# --- predictors, one pair at a time, on real tokens only ---


def naive_linear(weigh, queries, query_slots, keys, key_slots):
    matrix = weigh.along_tokens.weight[key_slots][:, query_slots]
    block = torch.cat([matrix @ queries, keys], dim=1)
    block = (block - block.mean()) / (block.var(unbiased=False) + 1e-5).sqrt()
    block = block * weigh.gain[key_slots] + weigh.shift[key_slots]
    scores = torch.sigmoid(gelu(block @ weigh.hidden.weight.T) @ weigh.out.weight.T)[:, 0]
    return scores / scores.sum()


def naive_attention(weigh, queries, query_slots, keys, key_slots):
    total = torch.zeros(len(queries), len(keys), dtype=keys.dtype)
    size = DIM // 8
    for head in range(8):
        part = slice(head * size, (head + 1) * size)
        total += (queries[:, part] @ keys[:, part].T / math.sqrt(size)).softmax(dim=1)
    return (weigh.mix.weight[0, query_slots] @ total).softmax(dim=0)


NAIVE = {"linear": naive_linear, "attention": naive_attention}


@pytest.mark.parametrize("predictor", ["linear", "attention"])
def test_predictors_equal_one_pair_at_a_time(predictor):
    text, video = batch()
    weigh = model(predictor).word_weights
    got = weigh(video.frame_features, video.frame_mask, text.word_features, text.word_mask)
    assert (got[~text.word_mask] == 0).all()
    torch.testing.assert_close(got.sum(1), torch.ones(len(text), dtype=torch.float64))
    for i in range(len(text)):
        frames, words = video.frame_mask[i].nonzero()[:, 0], text.word_mask[i].nonzero()[:, 0]
        expected = NAIVE[predictor](weigh, video.frame_features[i, frames], frames, text.word_features[i, words], words)
        torch.testing.assert_close(got[i, words], expected)


def test_linear_predictor_without_pads_uses_layer_norm_over_the_block():
    weigh = LinearCrossWeights(DIM, FRAMES, WORDS)
    norm = nn.LayerNorm([WORDS, 2 * DIM])
    queries, keys = torch.randn(3, FRAMES, DIM), torch.randn(3, WORDS, DIM)
    with torch.no_grad():
        norm.weight.normal_(), norm.bias.normal_()
        weigh.gain.copy_(norm.weight), weigh.shift.copy_(norm.bias)
    block = norm(torch.cat([weigh.along_tokens.weight @ queries, keys], dim=-1))
    scores = weigh.out(gelu(weigh.hidden(block))).sigmoid().squeeze(-1)
    got = weigh(queries, torch.ones(3, FRAMES).bool(), keys, torch.ones(3, WORDS).bool())
    torch.testing.assert_close(got, scores / scores.sum(1, keepdim=True))


def test_attention_heads_divide_the_width():
    assert AttentionCrossWeights(512, 1, 4).heads == 8
    assert AttentionCrossWeights(12, 1, 4).heads == 4


# --- selector ---


@pytest.mark.parametrize(
    ("weights", "kept"),
    [
        ([0.3, 0.25, 0.2, 0.15, 0.1], [0, 0, 1, 1, 1]),
        ([0.1, 0.3, 0.15, 0.25, 0.2], [1, 0, 1, 0, 1]),
        ([0.6, 0.2, 0.1, 0.05, 0.05], [1, 1, 1, 1, 1]),
        ([0.7, 0.1, 0.1, 0.05, 0.05], [1, 1, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_selector_by_hand(weights, kept, dtype):
    got = select_tokens(torch.tensor([weights], dtype=dtype), torch.ones(1, 5, dtype=torch.bool), 0.6)
    assert got.int().tolist() == [kept]


@settings(deadline=None, max_examples=60)
@given(
    raw=st.lists(st.tuples(st.floats(0.01, 1.0), st.booleans()), min_size=1, max_size=12),
    threshold=st.floats(0.05, 1.0),
)
def test_selector_equals_a_loop(raw, threshold):
    real = [flag for _, flag in raw]
    if not any(real):
        real[0] = True
    total = sum(value for (value, _), flag in zip(raw, real, strict=True) if flag)
    weights = [value / total if flag else 0.0 for (value, _), flag in zip(raw, real, strict=True)]
    got = select_tokens(torch.tensor([weights], dtype=torch.float64), torch.tensor([real]), threshold)[0].tolist()
    kept, cumulative = list(real), 0.0
    ranking = sorted((i for i in range(len(real)) if real[i]), key=lambda i: -weights[i])
    for i in ranking[:-1]:
        cumulative += weights[i]
        if cumulative >= threshold:
            break
        kept[i] = False
    assert got == kept
    assert any(got)


def test_selector_never_removes_everything():
    """Ten float32 tenths add up to 1.0000001, seven sevenths to 0.9999999: below a threshold of 1."""
    for count in range(1, 40):
        weights, mask = torch.full((1, count), 1 / count), torch.ones(1, count, dtype=torch.bool)
        assert select_tokens(weights, mask, 1.0).sum() == 1


# --- partial orders ---


def naive_score(vector, frames):
    scores = frames @ vector
    return 0.5 * (scores.max() + scores.mean())


def naive_selected(weights, threshold):
    kept, cumulative = [True] * len(weights), 0.0
    for i in sorted(range(len(weights)), key=lambda i: -weights[i].item())[:-1]:
        cumulative += weights[i].item()
        if cumulative >= threshold:
            break
        kept[i] = False
    return torch.tensor(kept)


def naive_orders(module, predictor, text, video):
    rows = []
    for i in range(len(text)):
        frame_slots, word_slots = video.frame_mask[i].nonzero()[:, 0], text.word_mask[i].nonzero()[:, 0]
        sentence, words = text.text_features[i], text.word_features[i, word_slots]
        frames = video.frame_features[i, frame_slots]
        a = NAIVE[predictor](module.word_weights, frames, frame_slots, words, word_slots)
        first = torch.tensor([0])
        b = NAIVE[predictor](module.frame_weights, sentence[None], first, frames, frame_slots)
        kept_words, kept_frames = (
            naive_selected(a, module.threshold),
            naive_selected(b, module.threshold),
        )
        whole = normalize((a[:, None] * words).sum(0), dim=0)
        partial = normalize((a[:, None] * words)[kept_words].sum(0), dim=0)
        rows.append(
            (
                (naive_score(sentence, frames), naive_score(whole, frames), naive_score(whole, frames)),
                (
                    naive_score(sentence, frames[kept_frames]),
                    naive_score(whole, frames[kept_frames]),
                    naive_score(partial, frames),
                ),
                (not kept_frames.all(), not kept_frames.all(), not kept_words.all()),
            )
        )
    positive, negative, valid = (torch.tensor([row[k] for row in rows]).T for k in range(3))
    return positive, negative, valid.bool()


@pytest.mark.parametrize("predictor", ["linear", "attention"])
@pytest.mark.parametrize("size", [1, 8, 11, 20])
@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.97])
def test_orders_equal_one_pair_at_a_time(predictor, size, threshold):
    text, video = batch(size, seed=size)
    module = model(predictor, threshold=threshold)
    with torch.no_grad():
        orders = module(text, video)
        positive, negative, valid = naive_orders(module, predictor, text, video)
    torch.testing.assert_close(orders.positive, positive.double())
    torch.testing.assert_close(orders.negative, negative.double())
    assert torch.equal(orders.valid, valid)
    assert not orders.valid[:, 0].any()


def test_pairs_with_nothing_removed_leave_the_mean():
    text, video = batch(9, seed=2)
    orders = model()(text, video)
    assert orders.valid.any() and not orders.valid.all()
    expected = 0.0
    for k in range(3):
        costs = [
            max(0.0, 0.2 - (orders.positive[k, i] - orders.negative[k, i]).item())
            for i in range(9)
            if orders.valid[k, i]
        ]
        expected += sum(costs) / len(costs)
    loss = triplet_partial_margin(orders.positive, orders.negative, orders.valid, 0.2)
    assert loss.item() == pytest.approx(expected)


def test_a_pair_does_not_depend_on_its_batch():
    """More than 8 pairs in one batch: no text's words enter another pair's orders."""
    text, video = batch(20, seed=4)
    module = model()
    whole = module(text, video)
    for i in (0, 7, 8, 13, 19):
        alone = module(text[i : i + 1], video[i : i + 1])
        torch.testing.assert_close(alone.positive[:, 0], whole.positive[:, i])
        torch.testing.assert_close(alone.negative[:, 0], whole.negative[:, i])
        assert torch.equal(alone.valid[:, 0], whole.valid[:, i])


@pytest.mark.parametrize("predictor", ["linear", "attention"])
@pytest.mark.parametrize("value", [0.0, 1e6, math.nan])
def test_what_stands_on_pads_changes_nothing(predictor, value):
    text, video = batch(7, seed=1)
    module = model(predictor)
    results = []
    for fill in (0.5, value):
        words = text.word_features.masked_fill(~text.word_mask[..., None], fill).requires_grad_()
        frames = video.frame_features.masked_fill(~video.frame_mask[..., None], fill).requires_grad_()
        module.zero_grad()
        orders = module(
            TextFeatures(text.text_features, words, text.word_mask, text.word_weights),
            VideoFeatures(frames, video.frame_mask),
        )
        triplet_partial_margin(orders.positive, orders.negative, orders.valid, 0.5).backward()
        learned = [p.grad for p in (words, frames, *module.word_weights.parameters())]
        results.append([orders.positive.detach(), orders.negative.detach(), *learned])
    for got, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, expected)


def test_shorter_batches_need_no_padding_to_full_length():
    text, video = batch(5, seed=3)
    text_mask, frame_mask = text.word_mask.clone(), video.frame_mask.clone()
    text_mask[:, 4:], frame_mask[:, 3:] = False, False
    text_mask[:, 0], frame_mask[:, 0] = True, True
    module = model()
    full = module(
        TextFeatures(text.text_features, text.word_features, text_mask, text.word_weights),
        VideoFeatures(video.frame_features, frame_mask),
    )
    short = module(
        TextFeatures(text.text_features, text.word_features[:, :4], text_mask[:, :4], text.word_weights[:, :4]),
        VideoFeatures(video.frame_features[:, :3], frame_mask[:, :3]),
    )
    torch.testing.assert_close(short.positive, full.positive)
    torch.testing.assert_close(short.negative, full.negative)


@pytest.mark.parametrize("predictor", ["linear", "attention"])
def test_gradients(predictor):
    text, video = batch(4, seed=6)
    module = model(predictor)
    sentence, words, frames = (
        x.clone().requires_grad_() for x in (text.text_features, text.word_features, video.frame_features)
    )

    def loss(sentence, words, frames):
        orders = module(
            TextFeatures(sentence, words, text.word_mask, text.word_weights),
            VideoFeatures(frames, video.frame_mask),
        )
        return triplet_partial_margin(orders.positive, orders.negative, orders.valid, 0.6)

    assert torch.autograd.gradcheck(loss, (sentence, words, frames), fast_mode=True)
    loss(sentence, words, frames).backward()
    for name, parameter in module.word_weights.named_parameters():
        assert parameter.grad.abs().max() > 0, name
    # Choosing frames has no slope: what chooses them is frozen and says so.
    assert not any(p.requires_grad for p in module.frame_weights.parameters())


@pytest.mark.parametrize("predictor", ["linear", "attention"])
def test_float32_under_autocast(predictor):
    text, video = batch(6, dtype=torch.float32)
    module = model(predictor).float()
    plain = module(text, video)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = module(text, video)
    assert lowered.positive.dtype == lowered.negative.dtype == torch.float32
    torch.testing.assert_close(lowered.positive, plain.positive, rtol=0, atol=1e-6)
    torch.testing.assert_close(lowered.negative, plain.negative, rtol=0, atol=1e-6)


def test_memory_grows_with_the_batch_not_its_square():
    def peak(size):
        text, video = batch(size, dtype=torch.float32)
        module = model().float()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            orders = module(text, video)
            (orders.positive - orders.negative).sum().backward()
        held = highest = 0
        for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
            if event.name() == "[memory]":
                held += event.nbytes()
                highest = max(highest, held)
        return highest

    small, large = peak(32), peak(128)
    assert 3 < large / small < 5


def test_sentence_similarity_by_hand():
    frames = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]])
    mask = torch.tensor([[True, True, False]])
    # Similarities 0.6 and 0.8: best 0.8, mean 0.7.
    got = sentence_similarity(torch.tensor([[0.6, 0.8]]), frames, mask)
    assert got.item() == pytest.approx(0.75)


def test_bad_input_is_refused():
    text, video = batch(3)
    module = model()
    with pytest.raises(ValueError, match="3 texts and 2 videos"):
        module(text, video[:2])
    with pytest.raises(ValueError, match="6 words and 5 frames, built for at most 4 and 5"):
        TripletPartial(DIM, 5, 4)(text, video)
    empty = text.word_mask.clone()
    empty[1] = False
    with pytest.raises(ValueError, match="word_mask.*row 1"):
        module(TextFeatures(text.text_features, text.word_features, empty, text.word_weights), video)
