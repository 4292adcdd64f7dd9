"""Pieces change nothing, and what is held does not grow with captions x videos x words x frames."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from memory import peak_bytes
from tiny import HERE

from tvrkit.encode import encode_texts
from tvrkit.evaluate import encode_split, evaluate_encoded, similarity_matrix
from tvrkit.evaluate.scoring import TEXT_BATCH, caption_similarity


@pytest.mark.parametrize("chunk", [1, 2, 5, 1000])
def test_the_result_does_not_depend_on_the_chunk(world, chunk):
    manifest, model, encoded = world
    whole = evaluate_encoded(model, manifest, "train", encoded["train"])
    pieces = evaluate_encoded(model, manifest, "train", encoded["train"], chunk=chunk)
    assert pieces.to_dict() == whole.to_dict()
    assert torch.equal(pieces.similarity, whole.similarity)


def test_a_video_that_is_twice_in_the_gallery_ties_with_itself_in_any_chunk(world):
    manifest, model, _ = world
    records = list(manifest.split("test"))
    records += [replace(record, video_id=f"{record.video_id} again") for record in records]
    double = manifest.with_records(records)
    encoded = encode_split(model, double, "test", reading=HERE)
    for chunk in (1, 4, 7, 100):
        t2v = evaluate_encoded(model, double, "test", encoded, chunk=chunk).t2v
        assert t2v.num_ties == t2v.num_queries == 18


WORDS = ("red", "green", "blue", "white", "square", "left", "right", "top", "bottom", "on", "the", "drifts", "slowly")


def sentences(number):
    """That many captions of one to nine words, all different."""
    return [" ".join([*(WORDS[(i * 7 + k * k) % len(WORDS)] for k in range(i % 8)), str(i)]) for i in range(number)]


@pytest.fixture
def many(world):
    """A model, 700 captions, and frames of 40 videos of which some are shorter."""
    _, model, _ = world
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(40, 4, 32, generator=generator)
    mask = torch.arange(4)[None] <= torch.randint(4, (40, 1), generator=generator)
    return model, sentences(700), frames, mask


def test_captions_in_pieces_score_the_same_to_the_last_bit(many):
    model, captions, frames, mask = many
    whole = similarity_matrix(model, encode_texts(model, captions), frames, mask)
    assert len(captions) > 2 * TEXT_BATCH
    for held, chunk in ((1, 1000), (1, 29), (2, 100), (16, 1000)):
        pieces = caption_similarity(model, captions, None, frames, mask, chunk, held)
        assert torch.equal(pieces, whole), (held, chunk)


def test_a_caption_that_stands_there_again_scores_the_same(many):
    model, captions, frames, mask = many
    order = torch.randint(600, (900,), generator=torch.Generator().manual_seed(1))
    again = caption_similarity(model, [captions[i] for i in order], None, frames, mask, held_batches=1)
    # Captions go through the tower in the order in which they appear first.
    first = list(dict.fromkeys(order.tolist()))
    once = caption_similarity(model, [captions[i] for i in first], None, frames, mask)
    assert torch.equal(again, once[[first.index(i) for i in order.tolist()]])


def test_key_words_stay_with_their_captions(many):
    model, captions, frames, mask = many
    spans = [((0, len(caption.split()[0])),) if i % 3 else () for i, caption in enumerate(captions)]
    order = [i % 650 for i in range(0, 7 * 650, 7)]
    scores = caption_similarity(model, [captions[i] for i in order], [spans[i] for i in order], frames, mask, 64, 1)
    for place in (0, 1, 299, 649):
        alone = encode_texts(model, [captions[order[place]]], [spans[order[place]]])
        torch.testing.assert_close(scores[place : place + 1], similarity_matrix(model, alone, frames, mask))
    plain = caption_similarity(model, [captions[i] for i in order], [()] * len(order), frames, mask)
    assert not torch.equal(plain, scores)


def test_what_is_held_does_not_grow_with_captions_times_videos_times_words_times_frames(world):
    _, model, _ = world
    generator = torch.Generator().manual_seed(0)
    held = {}
    for texts, videos in ((512, 64), (1024, 64), (1024, 256)):
        frames, mask = torch.randn(videos, 4, 32, generator=generator), torch.ones(videos, 4, dtype=torch.bool)
        captions = sentences(texts)
        peak = peak_bytes(lambda c=captions, f=frames, m=mask: caption_similarity(model, c, None, f, m, 64, 1))
        held[texts, videos] = peak - 4 * texts * videos  # beyond the result itself
    word_features = 512 * 16 * 32 * 4  # of the captions that the longer runs have more
    assert held[1024, 64] - held[512, 64] < word_features / 8, held
    block = TEXT_BATCH * 192 * 4  # scores of the captions held, with the videos that the widest run has more
    assert held[1024, 256] - held[1024, 64] < 3 * block, held
    whole_tensor = 1024 * 256 * 16 * 4 * 4
    assert held[1024, 256] < whole_tensor / 8, held
