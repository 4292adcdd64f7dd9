"""Captions to token ids, exactly as open_clip's tokenizers give them, with the weight of each token beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tvrkit.core.features import Tokens
from tvrkit.core.offsets import carry_spans
from tvrkit.errors import DataError, ModelError
from tvrkit.keywords import tag_key_words
from tvrkit.manifest import Span

_KEY_WORD_WEIGHT = 2.0


@dataclass(frozen=True)
class _Encoded:
    """One text: its ids with start and end, and the characters of the cleaned text behind each (none for those two)."""

    ids: list[int]
    spans: list[Span]
    cleaned: str


class Tokenizer:
    """Tokenizes captions for one backbone.

    Args:
        encoder: open_clip's SimpleTokenizer or HFTokenizer.
        context_length: positions the text tower has.
        max_words: W; a longer text loses its end, and keeps its end token.
        pad_to_context: whether the tower must see every position, as one that attends to pads must.
        key_words: whether the tokens of key words weigh 2 (arXiv 2309.11082, textual attention) and not 1.
    """

    def __init__(
        self, encoder: Any, *, context_length: int, max_words: int, pad_to_context: bool, key_words: bool
    ) -> None:
        self.encoder = encoder
        self.max_words = min(max_words, context_length)
        self.length = context_length if pad_to_context else self.max_words
        self.key_words = key_words
        self._hugging_face = hasattr(encoder, "tokenizer")
        if self._hugging_face:
            self._check_hugging_face()
        stripped = self._hugging_face and encoder.strip_sep_token
        self.pad_id = int(encoder.tokenizer.pad_token_id) if self._hugging_face and not stripped else 0

    def __call__(self, captions: Sequence[str], key_words: Sequence[Sequence[Span]] | None = None) -> Tokens:
        """Tokenize captions.

        Args:
            captions: T texts; an empty one has start and end tokens only.
            key_words: for each caption the character spans of its key words, as the manifest caches them; they are
                tagged here when None. Not looked at when the model does not weigh key words.

        Returns:
            ids (T, L), and word_mask and word_weights (T, W).

        Raises:
            DataError: there are not as many rows of key words as captions.
        """
        captions = [_without_surrogates(caption) for caption in captions]
        encoded = self._encode(captions)
        if not self.key_words:
            key_words = [()] * len(captions)
        elif key_words is None:
            key_words = tag_key_words(captions)
        if len(key_words) != len(captions):
            raise DataError(f"{len(key_words)} rows of key words were given for {len(captions)} captions.")
        ids = torch.full((len(captions), self.length), self.pad_id, dtype=torch.long)
        mask = torch.zeros(len(captions), self.max_words, dtype=torch.bool)
        weights = torch.zeros(len(captions), self.max_words)
        for row, (text, caption, spans) in enumerate(zip(encoded, captions, key_words, strict=True)):
            count = len(text.ids)
            ids[row, :count] = torch.tensor(text.ids, dtype=torch.long)
            mask[row, :count] = True
            carried = carry_spans(spans, caption, text.cleaned) if spans else []
            weights[row, :count] = torch.tensor([_weight(span, carried) for span in text.spans])
        return Tokens(ids, mask, weights)

    def tokens_of(self, caption: str, spans: Sequence[Span]) -> list[list[int]]:
        """Positions of the tokens that stand for each of some character spans of a caption.

        None where it was cut off, or the tokenizer does not say which characters a token stands for.
        """
        caption = _without_surrogates(caption)
        (text,) = self._encode([caption])
        found: list[list[int]] = []
        for span in spans:
            # One by one: a span of which cleaning leaves nothing is dropped, and the others must keep their places. No
            # more than there are tokens, for a caption may be of any length.
            carried = carry_spans([span], caption, text.cleaned) if len(found) < self.max_words else []
            found.append([i for i, token in enumerate(text.spans) if any(_overlap(token, part) for part in carried)])
        return found

    def _encode(self, captions: list[str]) -> list[_Encoded]:
        if self._hugging_face:
            return self._encode_hugging_face(captions) if captions else []
        return [self._encode_simple(caption) for caption in captions]

    def _encode_simple(self, caption: str) -> _Encoded:
        encoder = self.encoder
        cleaned = encoder.clean_fn(caption)
        ids, spans = [encoder.sot_token_id], [(0, 0)]
        for match in encoder.pat.finditer(cleaned):
            # Each symbol of the byte-level vocabulary is one byte of UTF-8; several bytes may make one character.
            character = [i for i, c in enumerate(match.group(), match.start()) for _ in c.encode("utf-8")]
            word = "".join(encoder.byte_encoder[byte] for byte in match.group().encode("utf-8"))
            done = 0
            for piece in encoder.bpe(word).split(" "):
                size = len(piece.removesuffix("</w>"))
                ids.append(encoder.encoder[piece])
                spans.append((character[done], character[done + size - 1] + 1))
                done += size
        ids, spans = ids[: self.max_words - 1], spans[: self.max_words - 1]
        return _Encoded([*ids, encoder.eot_token_id], [*spans, (0, 0)], cleaned)

    def _encode_hugging_face(self, captions: list[str]) -> list[_Encoded]:
        tokenizer = self.encoder.tokenizer
        cleaned = [self.encoder.clean_fn(caption) for caption in captions]
        batch = tokenizer(
            cleaned,
            max_length=self.max_words,
            truncation=True,
            padding=False,
            return_offsets_mapping=bool(tokenizer.is_fast),
        )
        encoded = []
        for row, (text, ids) in enumerate(zip(cleaned, batch["input_ids"], strict=True)):
            spans = batch["offset_mapping"][row] if tokenizer.is_fast else [(0, 0)] * len(ids)
            pairs = [(int(token), (int(start), int(end))) for token, (start, end) in zip(ids, spans, strict=True)]
            if self.encoder.strip_sep_token:  # open_clip puts 0 there, which is also what follows
                pairs = [pair for pair in pairs if pair[0] != tokenizer.sep_token_id]
            encoded.append(_Encoded([token for token, _ in pairs], [span for _, span in pairs], text))
        return encoded

    def _check_hugging_face(self) -> None:
        tokenizer = self.encoder.tokenizer
        if getattr(self.encoder, "tokenizer_mode", "") or tokenizer.padding_side != "right":
            raise ModelError("this backbone's tokenizer does not pad on the right, which tvrkit needs.")
        if tokenizer.pad_token_id is None:
            raise ModelError("this backbone's tokenizer has no padding token.")
        if self.key_words and not tokenizer.is_fast:
            raise ModelError(
                "this backbone's tokenizer does not say which characters a token stands for, so key words cannot be"
                " weighed: set model.key_words=false."
            )


def _weight(token: Span, key_words: list[Span]) -> float:
    return _KEY_WORD_WEIGHT if any(_overlap(token, span) for span in key_words) else 1.0


def _overlap(token: Span, other: Span) -> bool:
    return token[0] < other[1] and other[0] < token[1]


def _without_surrogates(caption: str) -> str:
    # Half of a UTF-16 pair (from a file name, or broken JSON) cannot be encoded; a "?" keeps all offsets.
    return caption.encode("utf-8", "replace").decode("utf-8")
