"""Text towers and tokenizers of transformers, which is an extra: real ones, made small and saved here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from backbones import KINDS, write_backbone

from tvrkit.config import ModelConfig
from tvrkit.core import build_model, load_model, save_model
from tvrkit.core.backbone import Backbone, build_backbone
from tvrkit.errors import InstallError, ModelError

CAPTIONS = ["a dog runs over the grass", "two cats, a red couch!", "one", "kayaking " * 20]
WORDS = "[PAD] [UNK] [CLS] [SEP] a dog runs over the grass two cats , red couch ! one kay ##ak ##ing".split()


def word_pieces(folder: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs tvrkit[hf]")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
    ).save_pretrained(folder)


def sentence_pieces(folder: Path) -> None:
    """As SigLIP's: pieces that begin with their space, no start token, and the end token pads too."""
    transformers = pytest.importorskip("transformers", reason="needs tvrkit[hf]")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((f"▁{word}", -2.0) for word in "a dog runs two cats red".split())]
    pieces += [("▁", -4.0), *((letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyz")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", pad_token="</s>"
    ).save_pretrained(folder)


def bert(tmp_path: Path, pooler: str = "mean_pooler", **text_cfg) -> Path:
    transformers = pytest.importorskip("transformers", reason="needs tvrkit[hf]")
    folder = tmp_path / "bert"
    path = write_backbone(folder)
    word_pieces(folder)
    transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=40, pad_token_id=0,
    ).save_pretrained(folder)  # fmt: skip
    config = {
        "embed_dim": 24,
        "vision_cfg": KINDS["clip"]["vision_cfg"],
        "text_cfg": {
            "hf_model_name": "someone/bert",
            "hf_tokenizer_name": "someone/bert",
            "hf_proj_type": "mlp",
            "hf_pooler_type": pooler,
            "context_length": 30,
            **text_cfg,
        },
    }
    path.write_text(json.dumps({"model_cfg": config}))
    return path


def built(path: Path, max_words: int = 12, *, key_words: bool = True) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(str(path), None, max_words=max_words, key_words=key_words)


@pytest.mark.parametrize("pooler", ["mean_pooler", "cls_pooler", "cls_last_hidden_state_pooler"])
@torch.no_grad()
def test_features_are_open_clips(tmp_path: Path, pooler: str) -> None:
    backbone = built(bert(tmp_path, pooler), max_words=30)
    ids = backbone.tokenizer.encoder(CAPTIONS)  # open_clip's own, padded to the whole context
    tokens = backbone.tokenizer(CAPTIONS)
    assert torch.equal(tokens.ids, ids)
    sentence, words = backbone.encode_text(tokens)
    torch.testing.assert_close(sentence, backbone.clip.encode_text(ids, normalize=False))
    states = backbone.clip.text.transformer(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state
    torch.testing.assert_close(words, backbone.clip.text.proj(states))


@torch.no_grad()
def test_trimming_changes_nothing(tmp_path: Path) -> None:
    path = bert(tmp_path)
    long, short = built(path, 30), built(path, 12)
    captions = CAPTIONS[:3]
    assert short.tokenizer(captions).ids.shape == (3, 12)
    whole, trimmed = long.encode_text(long.tokenizer(captions)), short.encode_text(short.tokenizer(captions))
    torch.testing.assert_close(trimmed[0], whole[0])
    mask = short.tokenizer(captions).word_mask
    torch.testing.assert_close(trimmed[1][mask], whole[1][:, :12][mask])


def test_key_words_and_truncation(tmp_path: Path) -> None:
    backbone = built(bert(tmp_path))
    tokens = backbone.tokenizer(["a  DOG runs", "kayaking " * 20])
    # [CLS] a dog runs [SEP]: nouns and verbs weigh 2.
    assert tokens.word_weights[0].tolist() == [1, 1, 2, 2, 1] + [0] * 7
    # [CLS] (kay ##ak ##ing) x 3, kay [SEP]: cut, and the end token kept.
    assert tokens.word_mask[1].all() and tokens.ids[1, -1] == WORDS.index("[SEP]")
    assert tokens.word_weights[1].tolist() == [1, *[2] * 10, 1]


def test_stripped_end_tokens(tmp_path: Path) -> None:
    backbone = built(bert(tmp_path, tokenizer_kwargs={"strip_sep_token": True}), max_words=30)
    tokens = backbone.tokenizer(CAPTIONS)
    assert torch.equal(tokens.ids, backbone.tokenizer.encoder(CAPTIONS))
    assert torch.equal(tokens.word_mask, tokens.ids != 0)


def test_saved_with_its_tokenizer_and_config(tmp_path: Path) -> None:
    path = bert(tmp_path)
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone=str(path), pretrained=None, max_words=12))
    save_model(model, tmp_path / "out")
    shutil.rmtree(path.parent)
    loaded = load_model(tmp_path / "out")
    tokens = loaded.tokenize(CAPTIONS)
    assert torch.equal(tokens.ids, model.tokenize(CAPTIONS).ids)
    with torch.no_grad():
        assert torch.equal(loaded.encode_text(tokens).word_features, model.encode_text(tokens).word_features)


def test_siglips_kind_of_tokenizer(tmp_path: Path) -> None:
    folder = tmp_path / "siglip"
    path = write_backbone(folder, "siglip")
    sentence_pieces(folder)
    tree = json.loads(path.read_text())
    tree["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "someone/siglip", "vocab_size": 64}
    path.write_text(json.dumps(tree))
    backbone = built(path, max_words=12)
    captions = ["a dog runs!", "two (red) cats"]
    tokens = backbone.tokenizer(captions)
    # Pads are attended to and pooled from, so the tower sees all 64 positions.
    assert tokens.ids.shape == (2, 64) and tokens.word_mask.shape == (2, 12)
    assert torch.equal(tokens.ids, backbone.tokenizer.encoder(captions))
    assert tokens.word_mask.sum(1).tolist() == [4, 4]
    assert tokens.word_weights[:, :5].tolist() == [[1, 2, 2, 1, 0], [1, 2, 2, 1, 0]]
    with torch.no_grad():
        expected = backbone.clip.encode_text(tokens.ids, normalize=False)
        torch.testing.assert_close(backbone.encode_text(tokens)[0], expected)


def test_without_transformers_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)  # what import then raises is ImportError
    path = write_backbone(tmp_path / "own")
    tree = json.loads(path.read_text())
    tree["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "someone/tokenizer"
    path.write_text(json.dumps(tree))
    with pytest.raises(InstallError, match=r"needs the package transformers: run `pip install 'tvrkit\[hf\]'`"):
        build_backbone(str(path), None, max_words=8)


def test_a_config_does_not_name_a_folder_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs tvrkit[hf]")
    path = write_backbone(tmp_path / "own")
    tree = json.loads(path.read_text())
    tree["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = str(tmp_path)
    path.write_text(json.dumps(tree))
    with pytest.raises(ModelError, match="put its files beside the config"):
        build_backbone(str(path), None, max_words=8)


@pytest.mark.parametrize(("name", "option"), [("someone/bert", "trust_remote_code"), (None, "reduction_mask")])
def test_a_config_chooses_no_option_that_runs_code(tmp_path: Path, name: str | None, option: str) -> None:
    path = write_backbone(tmp_path / "own")
    tree = json.loads(path.read_text())
    tree["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": name, "tokenizer_kwargs": {option: True}}
    path.write_text(json.dumps(tree))
    with pytest.raises(ModelError, match=rf"has the tokenizer option {option}, and tvrkit passes on only"):
        build_backbone(str(path), None, max_words=8)
