from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from tvrkit.core.offsets import carry_spans
from tvrkit.core.text import Tokenizer
from tvrkit.errors import DataError

START, END = 49406, 49407
ENCODER = SimpleTokenizer()
CANONICAL = SimpleTokenizer(clean="canonicalize")


def tokenizer(max_words: int = 32, *, pad: bool = False, key_words: bool = True, encoder=ENCODER) -> Tokenizer:
    return Tokenizer(encoder, context_length=77, max_words=max_words, pad_to_context=pad, key_words=key_words)


def weighed(caption: str, key_words=None, **options) -> list[str]:
    """The tokens that weigh 2, as text."""
    tokens = tokenizer(**options)(
        [caption], None if key_words is None else [[(caption.index(w), caption.index(w) + len(w)) for w in key_words]]
    )
    rows = (tokens.word_weights[0] == 2).nonzero().flatten().tolist()
    return [ENCODER.decoder[int(tokens.ids[0, i])].removesuffix("</w>") for i in rows]


AWKWARD = [
    "",
    "a dog",
    "A  Dog\n\truns! It's 3 o'clock; they'll won't",
    "caf&eacute; &amp; bar &lt;b&gt;",
    "schÃ¶n mojibake â€” dash",
    "naïve façade 👶🏽 日本語 مرد",
    "<start_of_text> a <end_of_text> b",
    "ﬁne ligature and Ⅷ and İstanbul",
    "word " * 100,
    "supercalifragilisticexpialidocious " * 8,
]


@pytest.mark.parametrize("caption", AWKWARD)
@pytest.mark.parametrize("max_words", [3, 12, 77])
def test_ids_are_open_clips(caption: str, max_words: int) -> None:
    tokens = tokenizer(max_words)([caption])
    assert torch.equal(tokens.ids, ENCODER([caption], context_length=max_words))


@given(st.lists(st.text(max_size=40), max_size=3))
def test_ids_are_open_clips_for_any_text(captions: list[str]) -> None:
    captions = [c.encode("utf-8", "replace").decode() for c in captions]
    tokens = tokenizer(20)(captions)
    expected = ENCODER(captions, context_length=20) if captions else torch.zeros(0, 20)
    assert torch.equal(tokens.ids, expected.long())
    assert torch.equal(tokens.word_mask, tokens.ids.new_tensor(range(20)) <= expected.argmax(1, keepdim=True)) or any(
        "<" in c for c in captions
    )
    assert torch.equal(tokens.word_weights > 0, tokens.word_mask)


def test_shapes_and_what_is_real() -> None:
    tokens = tokenizer(8)(["a dog", ""])
    assert tokens.ids.tolist() == [[START, 320, 1929, END, 0, 0, 0, 0], [START, END, 0, 0, 0, 0, 0, 0]]
    assert tokens.word_mask.sum(1).tolist() == [4, 2]
    # Start and end weigh 1, "dog" 2, pads 0.
    assert tokens.word_weights.tolist() == [[1, 1, 2, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0]]
    assert tokens.word_weights.dtype == torch.float32


def test_towers_that_see_pads_get_every_position() -> None:
    tokens = tokenizer(8, pad=True)(["a dog", "word " * 50])
    assert tokens.ids.shape == (2, 77)
    assert tokens.word_mask.shape == (2, 8)
    # The long text is cut to 8 tokens all the same, and keeps its end.
    assert tokens.ids[1, 7:].tolist() == [END] + [0] * 69


def test_max_words_beyond_the_context_is_the_context() -> None:
    assert tokenizer(500)(["a"]).word_mask.shape == (1, 77)


def test_no_captions() -> None:
    assert tokenizer(8)([]).ids.shape == (0, 8)


@pytest.mark.parametrize(
    ("caption", "key_words", "expected"),
    [
        # One word, several BPE pieces: each of them weighs.
        ("a kayaker paddles", ["kayaker"], ["kay", "aker"]),
        ("the dog's bone", ["dog", "bone"], ["dog", "bone"]),
        ("a t-shirt", ["t-shirt"], ["t", "-", "shirt"]),
        ("LOUD   Dog", ["Dog"], ["dog"]),
        # Cleaning shortens or lengthens what stands before the word.
        ("&lt;i&gt; caf&eacute; &amp; a dog", ["dog"], ["dog"]),
        ("&amp;&amp;&amp; caf&eacute;", ["caf&eacute;"], ["cafÃ©"]),
        ("   \n\n a   dog", ["dog"], ["dog"]),
        ("â€œschÃ¶nâ€\x9d dog", ["dog"], ["dog"]),
        ("İİİ dog", ["dog"], ["dog"]),
        ("👶🏽👶🏽 dog 👶🏽", ["dog"], ["dog"]),
    ],
)
def test_key_words_find_their_tokens(caption: str, key_words: list[str], expected: list[str]) -> None:
    assert weighed(caption, key_words) == expected


def test_canonical_cleaning_moves_offsets_too() -> None:
    assert weighed("A (very) well-lit, room: dog!", ["well-lit", "dog"], encoder=CANONICAL) == [
        "welllit"[:4],
        "lit",
        "dog",
    ]


def test_it_tags_captions_itself() -> None:
    assert weighed("a man is playing the guitar") == ["man", "playing", "guitar"]


def test_without_weighing_every_token_is_one() -> None:
    tokens = tokenizer(8, key_words=False)(["a dog"], [[(2, 5)]])
    assert tokens.word_weights[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_a_lone_surrogate_is_no_crash_and_moves_nothing() -> None:
    assert weighed("bad \ud83d name dog", ["dog"]) == ["dog"]


def test_a_truncated_key_word_is_dropped() -> None:
    tokens = tokenizer(5)(["a b c d e dog"], [[(10, 13)]])
    assert tokens.word_weights[0].tolist() == [1, 1, 1, 1, 1]


def test_rows_of_key_words_must_match() -> None:
    with pytest.raises(DataError, match="2 rows of key words were given for 1 captions"):
        tokenizer()(["a dog"], [[(2, 5)], []])


@given(st.text(max_size=60), st.data())
def test_carried_spans_lie_inside_and_in_order(caption: str, data: st.DataObject) -> None:
    caption = caption.encode("utf-8", "replace").decode()
    cleaned = ENCODER.clean_fn(caption)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(caption)), max_size=6)))
    spans = [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False) if a < b]
    carried = carry_spans(spans, caption, cleaned)
    position = 0
    for start, end in carried:
        assert 0 <= start < end <= len(cleaned)
        assert start >= position
        position = start


def test_long_captions_are_carried_fast() -> None:
    caption = "the &amp; dog " * 2000
    start = caption.rindex("dog")
    cleaned = ENCODER.clean_fn(caption)
    ((a, b),) = carry_spans([(start, start + 3)], caption, cleaned)
    assert (cleaned[a:b], a) == ("dog", cleaned.rindex("dog"))
