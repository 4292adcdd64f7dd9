"""The kernel against three nested loops in float64, the paper's numbers, gradients, padding, precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from tvrkit.core.features import TextFeatures, VideoFeatures
from tvrkit.core.interaction import Interaction, TokenWeights, nearest_frames, pooling_weights
from tvrkit.core.late_interaction import late_interaction


def ragged_mask(rows, width, generator, prefix=False):
    """Random masks with at least one True a row; the first row has one only."""
    mask = torch.rand(rows, width, generator=generator) < 0.6
    mask[torch.arange(rows), torch.randint(width, (rows,), generator=generator)] = True
    mask[0] = False
    mask[0, -1] = True
    return mask.sort(dim=1, descending=True).values if prefix else mask


def random_case(seed=0, texts=7, videos=6, words=5, frames=4, dim=6, dtype=torch.float64, shift=0.0):
    """Ragged texts and videos; a negative shift along one axis makes most similarities negative."""
    generator = torch.Generator().manual_seed(seed)
    offset = torch.zeros(dim, dtype=dtype)
    offset[0] = shift
    word = normalize(torch.randn(texts, words, dim, generator=generator, dtype=dtype) + offset, dim=-1)
    frame = normalize(torch.randn(videos, frames, dim, generator=generator, dtype=dtype) - offset, dim=-1)
    sentence = normalize(torch.randn(texts, dim, generator=generator, dtype=dtype) + offset, dim=-1)
    word_mask, frame_mask = (
        ragged_mask(texts, words, generator),
        ragged_mask(videos, frames, generator),
    )
    weights = torch.randint(1, 3, (texts, words), generator=generator).to(dtype) * word_mask
    return TextFeatures(sentence, word, word_mask, weights), VideoFeatures(frame, frame_mask)


def naive_pair(words, a, frames, b, visual_attention):
    """One pair, real tokens only, plain Python numbers: method section 4 and 5."""
    similarity = [[sum(x * y for x, y in zip(w, f, strict=True)) for f in frames] for w in words]
    by_word = 0.0
    for row, weight in zip(similarity, a, strict=True):
        best = max(range(len(frames)), key=lambda f: row[f])
        score = row[best]
        if visual_attention:
            others = [
                (sum(x * y for x, y in zip(frames[best], frames[u], strict=True)), u)
                for u in range(len(frames))
                if u != best
            ]
            gain, neighbour = max(others, default=(0.0, best))
            if gain > 0:
                score += 0.5 * gain * row[neighbour]
        by_word += weight * score
    by_frame = sum(weight * max(similarity[w][f] for w in range(len(words))) for f, weight in enumerate(b))
    return 0.5 * (by_word + by_frame)


def naive_similarity(words, word_mask, word_pool, frames, frame_mask, frame_pool, visual_attention):
    result = torch.zeros(len(words), len(frames), dtype=torch.float64)
    for t in range(len(words)):
        for v in range(len(frames)):
            w, f = word_mask[t], frame_mask[v]
            result[t, v] = naive_pair(
                words[t][w].double().tolist(),
                word_pool[t][w].double().tolist(),
                frames[v][f].double().tolist(),
                frame_pool[v][f].double().tolist(),
                visual_attention,
            )
    return result


def pools(text, video):
    return (
        pooling_weights(text.word_mask, text.word_weights),
        pooling_weights(video.frame_mask, video.frame_mask.double()),
    )


@pytest.mark.parametrize("visual_attention", [False, True])
@pytest.mark.parametrize("shift", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("chunk", [1, 50, 333, None])
def test_kernel_equals_three_loops(visual_attention, shift, chunk):
    text, video = random_case(seed=3, shift=shift)
    a, b = pools(text, video)
    nearest = nearest_frames(video.frame_features, video.frame_mask) if visual_attention else None
    arguments = (text.word_features, text.word_mask, a, video.frame_features, video.frame_mask, b)
    expected = naive_similarity(*arguments, visual_attention)
    if shift == 20.0:
        assert expected.max() < 0  # so that a pad competing at 0 would win every maximum
    got = late_interaction(*arguments, nearest=nearest, chunk=chunk)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    leaf = arguments[0].clone().requires_grad_()
    trained = late_interaction(leaf, *arguments[1:], nearest=nearest, chunk=chunk)
    torch.testing.assert_close(trained.detach(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("visual_attention", [False, True])
def test_single_frame_and_single_word(visual_attention):
    text, video = random_case(seed=5, texts=3, videos=4, words=1, frames=1, shift=2.0)
    a, b = pools(text, video)
    nearest = nearest_frames(video.frame_features, video.frame_mask) if visual_attention else None
    got = late_interaction(
        text.word_features, text.word_mask, a, video.frame_features, video.frame_mask, b, nearest=nearest
    )
    torch.testing.assert_close(got, text.word_features[:, 0] @ video.frame_features[:, 0].T)


@pytest.mark.parametrize("visual_attention", [False, True])
@pytest.mark.parametrize("chunk", [17, None])
def test_gradients_of_every_input(visual_attention, chunk):
    text, video = random_case(seed=1, texts=4, videos=5, words=4, frames=3)
    a, b = (pool.clone().requires_grad_() for pool in pools(text, video))
    words = text.word_features.clone().requires_grad_()
    frames = video.frame_features.clone().requires_grad_()

    def scores(words, frames, a, b):
        nearest = nearest_frames(frames, video.frame_mask) if visual_attention else None
        return late_interaction(words, text.word_mask, a, frames, video.frame_mask, b, nearest=nearest, chunk=chunk)

    assert torch.autograd.gradcheck(scores, (words, frames, a, b))


@pytest.mark.parametrize("frozen", ["words", "frames"])
def test_gradient_of_one_side_does_not_need_the_other(frozen):
    text, video = random_case(seed=2)
    a, b = pools(text, video)
    both = []
    for only_one in (False, True):
        words = text.word_features.clone().requires_grad_(not (only_one and frozen == "words"))
        frames = video.frame_features.clone().requires_grad_(not (only_one and frozen == "frames"))
        late_interaction(words, text.word_mask, a, frames, video.frame_mask, b).square().sum().backward()
        both.append(frames.grad if frozen == "words" else words.grad)
    assert both[0].abs().max() > 0
    torch.testing.assert_close(both[0], both[1])


def dense_similarity(words, word_mask, a, frames, frame_mask, b, nearest):
    """The same on the whole (T, V, W, F) tensor with autograd's own gradients."""
    raw = torch.einsum("twd,vfd->tvwf", words, frames)
    scores = raw.masked_fill(~(word_mask[:, None, :, None] & frame_mask[None, :, None, :]), -torch.inf)
    best, at = scores.max(dim=3)
    if nearest is not None:
        gain, neighbour = (x.expand(len(words), -1, -1).gather(2, at) for x in nearest)
        best = best + 0.5 * gain * raw.gather(3, neighbour.unsqueeze(3)).squeeze(3)
    best = best.masked_fill(~word_mask[:, None], 0.0)
    column = scores.amax(dim=2).masked_fill(~frame_mask[None], 0.0)
    return 0.5 * (torch.einsum("tw,tvw->tv", a, best) + torch.einsum("vf,tvf->tv", b, column))


@pytest.mark.parametrize("visual_attention", [False, True])
@pytest.mark.parametrize("chunk", [1, 2**13, None])
@pytest.mark.parametrize("frames", [3, 40])
def test_many_tiles_equal_the_whole_tensor_with_all_gradients(visual_attention, chunk, frames):
    text, video = random_case(seed=7, texts=37, videos=75, words=9, frames=frames, shift=0.5)
    a, b = (pool.clone().requires_grad_() for pool in pools(text, video))
    words = text.word_features.clone().requires_grad_()
    frame_features = video.frame_features.clone().requires_grad_()
    inputs = (words, text.word_mask, a, frame_features, video.frame_mask, b)
    upstream = torch.randn(37, 75, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = []
    for function in (late_interaction, dense_similarity):
        nearest = nearest_frames(frame_features, video.frame_mask) if visual_attention else None
        extra = {"chunk": chunk} if function is late_interaction else {}
        scores = function(*inputs, nearest=nearest, **extra)
        learned = torch.autograd.grad((scores * upstream).sum(), (words, frame_features, a, b))
        # A pad's weight is no parameter of anything.
        real = (..., ..., text.word_mask, video.frame_mask)
        results.append([scores.detach()] + [g[m] for g, m in zip(learned, real, strict=True)])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("width", [256, 257, 300])
def test_more_tokens_than_a_byte_counts(width):
    text, video = random_case(seed=13, texts=2, videos=3, words=width, frames=2)
    a, b = pools(text, video)
    words = text.word_features.clone().requires_grad_()
    inputs = (words, text.word_mask, a, video.frame_features, video.frame_mask, b)
    (got,) = torch.autograd.grad(late_interaction(*inputs).square().sum(), words)
    (expected,) = torch.autograd.grad(dense_similarity(*inputs, None).square().sum(), words)
    torch.testing.assert_close(got, expected)


def test_a_broken_feature_reaches_the_loss():
    text, video = random_case(seed=14)
    a, b = pools(text, video)
    frames = video.frame_features.clone()
    frames[2, video.frame_mask[2].nonzero()[0, 0]] = math.nan
    words = text.word_features.clone().requires_grad_()
    nearest = nearest_frames(frames, video.frame_mask)
    scores = late_interaction(words, text.word_mask, a, frames, video.frame_mask, b, nearest=nearest)
    assert scores[:, 2].isnan().all() and scores[:, [0, 1, 3, 4, 5]].isfinite().all()
    scores.sum().backward()
    assert words.grad.isnan().any()


# The paper's numbers: sentence ∝ (1, 1), frames (1, 0), (1, 1)/sqrt 2, (0, 1).
HALF = 1 / math.sqrt(2)


def golden(words, weights, text_side, nearest_frame):
    text = TextFeatures(
        torch.tensor([[HALF, HALF]]),
        torch.tensor([words]),
        torch.ones(1, 2, dtype=torch.bool),
        torch.tensor([weights]),
    )
    video = VideoFeatures(torch.tensor([[[1.0, 0.0], [HALF, HALF], [0.0, 1.0]]]), torch.ones(1, 3, dtype=torch.bool))
    model = Interaction(2, interaction="token_wise", text_side=text_side, nearest_frame=nearest_frame)
    return model(text, video).item()


@pytest.mark.parametrize(
    ("words", "weights", "text_side", "nearest_frame", "expected"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0], "sentence", False, 0.902369),
        ([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0], "sentence", True, 1.027369),
        ([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0], "both", False, 0.926777),
        ([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0], "both", True, 1.051777),
        ([[1.0, 0.0], [HALF, -HALF]], [1.0, 1.0], "both", True, 0.900582),
        ([[1.0, 0.0], [HALF, -HALF]], [1.0, 2.0], "both", True, 0.877961),
        ([[1.0, 0.0], [HALF, -HALF]], [2.0, 1.0], "both", True, 0.923202),
    ],
)
def test_golden_numbers(words, weights, text_side, nearest_frame, expected):
    assert golden(words, weights, text_side, nearest_frame) == pytest.approx(expected, abs=1e-6)


def test_weighted_token_wise_is_the_formula():
    text, video = random_case(seed=11)
    model = Interaction(6, interaction="weighted_token_wise", text_side="both", nearest_frame=True).double()
    a = model.word_weights(text.word_features, text.word_mask) * text.word_weights
    b = model.frame_weights(video.frame_features, video.frame_mask)
    one = torch.ones(len(text), 1, dtype=torch.bool)
    frames, mask = video.frame_features, video.frame_mask
    words_half = naive_similarity(text.word_features, text.word_mask, a, frames, mask, b, True)
    sentence_half = naive_similarity(text.text_features[:, None], one, one.double(), frames, mask, b, True)
    torch.testing.assert_close(model(text, video).detach(), 0.5 * (words_half + sentence_half))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_token_weights_are_a_masked_softmax_and_learn(layers):
    text, _ = random_case(seed=4, dtype=torch.float32)
    weigh = TokenWeights(6, layers)
    weights = weigh(text.word_features, text.word_mask)
    assert (weights[~text.word_mask] == 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(len(text)))
    linear = [m for m in weigh.modules() if isinstance(m, torch.nn.Linear)]
    assert len(linear) == layers
    (weights * torch.randn(weights.shape)).sum().backward()
    assert all(m.weight.grad.abs().max() > 0 for m in linear)


def test_dot_product_is_the_cosine_with_the_mean_frame():
    text, video = random_case(seed=6)
    means = torch.stack([f[m].mean(0) for f, m in zip(video.frame_features, video.frame_mask, strict=True)])
    expected = text.text_features @ normalize(means, dim=-1).T
    torch.testing.assert_close(Interaction(6, interaction="dot_product")(text, video), expected)


def test_nearest_frames_by_hand():
    frames = normalize(
        torch.tensor([[[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]], [[0.0, 1.0], [0.0, -1.0], [0.0, 1.0]]]),
        dim=-1,
    )
    mask = torch.tensor([[True, True, True], [True, True, False]])
    gain, neighbour = nearest_frames(frames, mask)
    near = 1 / math.sqrt(1.01)
    # The third frame of the first video has only opposite neighbours; the masked twin of the second is no neighbour.
    torch.testing.assert_close(gain, torch.tensor([[near, near, 0.0], [0.0, 0.0, 0.0]]))
    assert neighbour[0, :2].tolist() == [1, 0]
    lone = nearest_frames(frames[:, :1], mask[:, :1])
    assert lone[0].tolist() == [[0.0], [0.0]]


KINDS = [
    {"interaction": "dot_product"},
    {"interaction": "token_wise", "text_side": "words"},
    {"interaction": "token_wise", "text_side": "both", "nearest_frame": True},
    {"interaction": "weighted_token_wise", "text_side": "both", "nearest_frame": True, "weight_layers": 3},
]


def pad(text, video, extra, value):
    """The same with `extra` masked tokens of `value` in front of and behind the real ones."""

    def wide(x, fill):
        side = torch.full((len(x), extra, *x.shape[2:]), fill, dtype=x.dtype)
        return torch.cat([side, x, side], dim=1)

    return (
        TextFeatures(
            text.text_features,
            wide(text.word_features, value),
            wide(text.word_mask, False),
            wide(text.word_weights, 0.0),
        ),
        VideoFeatures(wide(video.frame_features, value), wide(video.frame_mask, False)),
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: "-".join(map(str, k.values())))
@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    extra=st.integers(1, 4),
    value=st.sampled_from([0.0, 1e6, -1e6, math.nan, math.inf]),
    shift=st.sampled_from([0.0, 3.0]),
)
def test_padding_changes_neither_scores_nor_gradients(kind, seed, extra, value, shift):
    text, video = random_case(seed=seed, shift=shift)
    torch.manual_seed(seed)
    model = Interaction(6, **kind).double()
    results = []
    for amount in (0, extra):
        words = text.word_features.clone().requires_grad_()
        frames = video.frame_features.clone().requires_grad_()
        model.zero_grad()
        one, other = pad(
            TextFeatures(text.text_features, words, text.word_mask, text.word_weights),
            VideoFeatures(frames, video.frame_mask),
            amount,
            value,
        )
        scores = model(one, other)
        scores.square().sum().backward()
        gradients = [p.grad for p in (words, frames, *model.parameters()) if p.grad is not None]
        results.append((scores.detach(), gradients))
    (scores, gradients), (padded, padded_gradients) = results
    torch.testing.assert_close(padded, scores)
    for got, expected in zip(padded_gradients, gradients, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: "-".join(map(str, k.values())))
def test_blocks_without_gradients_equal_one_piece(kind, monkeypatch):
    text, video = random_case(seed=8, texts=9, videos=11)
    model = Interaction(6, **kind).double()
    whole = model(text, video)
    monkeypatch.setattr("tvrkit.core.interaction._TEXTS_AT_ONCE", 4)
    monkeypatch.setattr("tvrkit.core.interaction._VIDEOS_AT_ONCE", 3)
    with torch.no_grad():
        torch.testing.assert_close(model(text, video), whole.detach())
        nearest = nearest_frames(video.frame_features, video.frame_mask)
        torch.testing.assert_close(model(text, video, nearest), whole.detach())


def test_nothing_in_gives_nothing_out():
    text, video = random_case(dtype=torch.float32)
    model = Interaction(6)
    assert model(text[:0], video).shape == (0, 6)
    assert model(text, video[:0]).shape == (7, 0)


def test_half_precision_features_are_scored_in_float32():
    text, video = random_case(seed=9, dim=64, dtype=torch.float32)
    narrow = TextFeatures(
        text.text_features.bfloat16(), text.word_features.bfloat16(), text.word_mask, text.word_weights
    )
    few = VideoFeatures(video.frame_features.bfloat16(), video.frame_mask)
    model = Interaction(64, nearest_frame=True)
    got = model(narrow, few)
    same = TextFeatures(narrow.text_features.double(), narrow.word_features.double(), text.word_mask, text.word_weights)
    expected = model(same, VideoFeatures(few.frame_features.double(), few.frame_mask))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: "-".join(map(str, k.values())))
def test_autocast_changes_no_score_and_no_gradient(kind):
    text, video = random_case(seed=10, dim=64, dtype=torch.float32)
    torch.manual_seed(0)
    model = Interaction(64, **kind)
    results = []
    for enabled in (False, True):
        frames = video.frame_features.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            scores = model(text, VideoFeatures(frames, video.frame_mask))
        assert scores.dtype == torch.float32
        scores.square().sum().backward()
        results.append((scores.detach(), frames.grad))
    # The weighing MLP alone may run in bfloat16.
    tolerance = 2e-2 if kind["interaction"] == "weighted_token_wise" else 1e-6
    for narrow, wide in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(narrow, wide, rtol=0, atol=tolerance)


def test_empty_rows_are_refused():
    text, video = random_case(dtype=torch.float32)
    no_word, no_frame = text.word_mask.clone(), video.frame_mask.clone()
    no_word[2] = False
    no_frame[1] = False
    model = Interaction(6)
    with pytest.raises(ValueError, match="row 2"):
        model(TextFeatures(text.text_features, text.word_features, no_word, text.word_weights), video)
    for kind in KINDS:
        with pytest.raises(ValueError, match="row 1"):
            Interaction(6, **kind)(text, VideoFeatures(video.frame_features, no_frame))
    with pytest.raises(ValueError, match="row 1"):
        model.best_frame(text, VideoFeatures(video.frame_features, no_frame))
    with pytest.raises(ValueError, match="add up to nothing"):
        pooling_weights(torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="dimensions"):
        one = torch.ones(1, 1)
        late_interaction(torch.ones(1, 1, 2), one.bool(), one, torch.ones(1, 1, 3), one.bool(), one)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: "-".join(map(str, k.values())))
def test_best_frame_is_the_one_that_scores_highest_alone(kind):
    text, video = random_case(seed=12, shift=1.0)
    model = Interaction(6, **kind).double()
    best = model.best_frame(text, video)
    for t in range(len(text)):
        for v in range(len(video)):
            scores = {}
            for f in video.frame_mask[v].nonzero().flatten().tolist():
                lone = VideoFeatures(video.frame_features[v : v + 1, f : f + 1], torch.ones(1, 1, dtype=torch.bool))
                scores[f] = model(text[t : t + 1], lone).item()
            assert best[t, v].item() == max(scores, key=scores.__getitem__)


def test_whole_tensor_is_never_built():
    """Peak memory of forward and backward stays far below the (T, V, W, F) tensor."""
    generator = torch.Generator().manual_seed(0)
    words = normalize(torch.randn(128, 16, 8, generator=generator), dim=-1).requires_grad_()
    frames = normalize(torch.randn(128, 16, 8, generator=generator), dim=-1).requires_grad_()
    mask, pool = torch.ones(128, 16, dtype=torch.bool), torch.full((128, 16), 1 / 16)
    whole = 128 * 128 * 16 * 16 * 4
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        nearest = nearest_frames(frames, mask)
        scores = late_interaction(words, mask, pool, frames, mask, pool, nearest=nearest, chunk=2**16)
        scores.square().sum().backward()
    held = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    assert whole / 64 < peak < whole / 3
