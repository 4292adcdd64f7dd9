"""Words against frames: each cell worked out another way, from the tokens of each word alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from indexing import make_meta, make_moments, open_new
from searching import make_model

from tvrkit.core import RetrievalModel
from tvrkit.encode.moments import VideoMoments
from tvrkit.errors import ConfigError, ModelError
from tvrkit.index.answer_json import explanation_json
from tvrkit.index.engine import Engine, MomentRef
from tvrkit.index.explain import explain
from tvrkit.index.video_index import FileRow

SECOND = MomentRef("video", 1)


@pytest.fixture(scope="module")
def stored(model: RetrievalModel) -> VideoMoments:
    return make_moments(4, moments=3, frames=4, dim=model.backbone.dim)


@pytest.fixture(scope="module")
def engine(model: RetrievalModel, stored: VideoMoments, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    index = open_new(tmp_path_factory.mktemp("index") / "i", make_meta(dim=model.backbone.dim, num_frames=4))
    with index:
        index.put({"video": stored})
        index.put_files([FileRow("/v.mp4", "stamp", 1.0, "video")])
        return index.engine()


def count(model: RetrievalModel, word: str) -> int:
    """Tokens of a word alone, without start and end."""
    return int(model.tokenize([word]).word_mask.sum()) - 2


def by_hand(model: RetrievalModel, pieces: list[str], stored: VideoMoments) -> dict[str, list[float]]:
    """For each piece of a text the best cosine of its tokens with each frame of the second moment, by plain loops."""
    tokens = model.tokenize([" ".join(pieces)])
    with torch.no_grad():
        words = model.encode_text(tokens).word_features[0]
    frames = stored.frame_features[4:8].float()
    found, at = {}, 1
    for piece in pieces:
        rows = range(at, at + count(model, piece))
        found[piece] = [max(float(words[row] @ frame) for row in rows) for frame in frames]
        at = rows.stop
    return found


def test_each_word_meets_each_frame(model: RetrievalModel, engine: Engine, stored: VideoMoments) -> None:
    pieces = ["a", "surfing", ",", "incomprehensible", "dog", "!"]
    expected = by_hand(model, pieces, stored)
    assert count(model, "incomprehensible") > 1  # or nothing would be merged
    found = explain(model, engine, "A  surfing, incomprehensible dog!", SECOND)
    assert found.words == ("A", "surfing", "incomprehensible", "dog")
    for word, row in zip(found.words, found.similarity.tolist(), strict=True):
        assert row == pytest.approx(expected[word.lower()], abs=1e-5), word
    assert found.weights.tolist() == [1, 2, 2, 2]
    assert torch.equal(found.pts_seconds, stored.pts_seconds[4:8])
    assert found.best_frame.tolist() == [max(range(4), key=row.__getitem__) for row in found.similarity.tolist()]


def test_a_long_question_loses_its_end(model: RetrievalModel, engine: Engine) -> None:
    words = explain(model, engine, "dog " * 200 + "cat", SECOND).words
    assert set(words) == {"dog"} and len(words) == 14  # 16 tokens with start and end
    assert len(explain(model, engine, "a dog", SECOND).words) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("¿un perro?", ("un", "perro")),
        ("it's a man-made «wave»", ("it's", "a", "man-made", "wave")),
        ("狗在跑", ("狗", "在", "跑")),
        ("犬 dog", ("犬", "dog")),
        ("?!", ("?!",)),
        ("a \udcff dog", ("a", "dog")),
        ("caf&eacute; &amp; bar", ("caf&eacute", "amp", "bar")),
    ],
)
def test_words_are_as_they_were_typed(model: RetrievalModel, engine: Engine, text: str, words: tuple[str, ...]) -> None:
    found = explain(model, engine, text, SECOND)
    assert tuple(word for word in found.words if re.search(r"\w", word) or len(words) == 1) == words
    assert found.similarity.shape == (len(found.words), 4)


@pytest.mark.parametrize("settings", [{"interaction": "dot_product"}, {"text_side": "sentence"}])
def test_a_model_that_compares_sentences_has_one_row(
    model: RetrievalModel, engine: Engine, stored: VideoMoments, tmp_path: Path, settings: dict[str, str]
) -> None:
    whole = make_model(tmp_path / "m", **settings)
    found = explain(whole, engine, " a dog\nsurfing ", SECOND)
    with torch.no_grad():
        sentence = whole.encode_text(whole.tokenize([" a dog\nsurfing "])).text_features[0]
    expected = [float(sentence @ frame) for frame in stored.frame_features[4:8].float()]
    assert found.words == ("a dog surfing",) and found.similarity[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_nothing_to_explain(model: RetrievalModel, engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only words"):
        explain(model, engine, " ", SECOND)
    broken = make_model(tmp_path / "m")
    broken.backbone.clip.text_projection.data.fill_(torch.nan)
    with pytest.raises(ModelError, match="no number"):
        explain(broken, engine, "a dog", SECOND)


def test_as_json_it_is_plain_values(model: RetrievalModel, engine: Engine) -> None:
    found = explain(model, engine, "a dog", SECOND)
    plain = explanation_json(found)
    assert set(plain) == {"words", "weights", "pts_seconds", "similarity", "best_frame"}
    assert plain["words"] == ["a", "dog"] and len(plain["similarity"]) == 2 and len(plain["similarity"][0]) == 4
    assert plain["best_frame"] == found.best_frame.tolist()
