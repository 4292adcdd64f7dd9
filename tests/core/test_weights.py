from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from backbones import write_backbone
from safetensors.torch import save_file

from tvrkit.core import load_model
from tvrkit.core.backbone import Backbone, build_backbone
from tvrkit.core.torchscript import is_archive
from tvrkit.core.weights import read_weights
from tvrkit.errors import ModelError


def fresh(tmp_path: Path, kind: str = "clip", pretrained: str | Path | None = None, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    path = write_backbone(tmp_path / kind, kind)
    return build_backbone(str(path), None if pretrained is None else str(pretrained), max_words=8)


def same(first: Backbone, second: Backbone) -> bool:
    one, other = first.clip.state_dict(), second.clip.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def openai_archive(backbone: Backbone, path: Path, *, half: bool = True) -> Path:
    """A TorchScript archive as OpenAI published: traced, half precision, three numbers beside the weights."""
    model = backbone.clip
    model.register_buffer("input_resolution", torch.tensor(32))
    # Names that the class uses for plain numbers have to make way for tensors.
    for name in ("context_length", "vocab_size"):
        number = getattr(model, name)
        delattr(model, name)
        model.register_buffer(name, torch.tensor(number))
    if half:
        model.half()
        for name in ("input_resolution", "context_length", "vocab_size"):
            assert getattr(model, name).dtype == torch.int64
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated; the published files stay what they are
        pixels, ids = torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long)
        traced = torch.jit.trace_module(
            model.float() if half else model, {"encode_image": (pixels,), "encode_text": (ids,)}, check_trace=False
        )
        if half:
            traced.half()
        torch.jit.save(traced, str(path))
    return path


@pytest.mark.parametrize("half", [True, False])
def test_an_openai_archive(tmp_path: Path, half: bool) -> None:
    first = fresh(tmp_path)
    expected = {name: tensor.clone() for name, tensor in first.clip.state_dict().items()}
    path = openai_archive(first, tmp_path / "ViT.pt", half=half)
    assert is_archive(path)
    loaded = fresh(tmp_path, pretrained=path, seed=1)
    state = loaded.clip.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor.half().float() if half else tensor), name
    # All of OpenAI's were trained with QuickGELU, which the config did not ask for.
    assert loaded.spec.model_cfg["quick_gelu"] is True
    assert any(type(module).__name__ == "QuickGELU" for module in loaded.clip.modules())


def test_an_openai_archive_makes_a_zero_shot_model(tmp_path: Path) -> None:
    path = openai_archive(fresh(tmp_path), tmp_path / "ViT.pt")
    model = load_model(f"{write_backbone(tmp_path / 'own')}={path}")
    assert same(model.backbone, fresh(tmp_path, pretrained=path, seed=1))
    assert model.backbone.spec.model_cfg["quick_gelu"] is True


def test_an_openai_archive_fits_a_text_tower_apart(tmp_path: Path) -> None:
    clip = fresh(tmp_path, "clip")
    ids = clip.tokenizer(["a dog", "two cats"])
    expected = clip.encode_text(ids)[0].detach()
    path = openai_archive(clip, tmp_path / "ViT.pt", half=False)
    config = write_backbone(tmp_path / "apart", "clip")
    import json

    tree = json.loads(config.read_text())
    tree["model_cfg"]["custom_text"] = True
    config.write_text(json.dumps(tree))
    apart = build_backbone(str(config), str(path), max_words=8)
    assert apart.kind == "CustomTextCLIP"
    # QuickGELU comes with the archive, so the features are those of the same tower with it.
    quick = fresh(tmp_path, "clip_quickgelu", seed=0)
    torch.testing.assert_close(apart.encode_text(ids)[0], quick.encode_text(ids)[0])
    assert not torch.allclose(apart.encode_text(ids)[0], expected)


@pytest.mark.parametrize("form", ["safetensors", "state dict", "under state_dict", "distributed", "legacy"])
def test_forms_of_state_dicts(tmp_path: Path, form: str) -> None:
    first = fresh(tmp_path)
    state = first.clip.state_dict()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form == "state dict":
        torch.save(state, path)
    elif form == "under state_dict":
        torch.save({"epoch": 3, "state_dict": state}, path)
    elif form == "distributed":
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=False)
    assert same(first, fresh(tmp_path, pretrained=path, seed=1))


def test_a_weights_file_beside_the_config(tmp_path: Path) -> None:
    first = fresh(tmp_path)
    save_file(first.clip.state_dict(), tmp_path / "clip" / "weights.safetensors")
    assert same(first, fresh(tmp_path, pretrained="weights.safetensors", seed=1))


class _Evil:
    def __reduce__(self) -> tuple:
        return os.system, (f"touch {os.environ['TVRKIT_CACHE']}.owned",)


def test_code_hidden_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "x": _Evil()}, path)
    with pytest.raises(ModelError, match=r"evil\.pt holds more than tensors, and loading that could run code"):
        read_weights(path)
    path.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(ModelError, match="evil.pt"):
        read_weights(path)
    assert not Path(os.environ["TVRKIT_CACHE"] + ".owned").exists()


def rewritten(archive: Path, change: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """The same archive with some entries (by their last name) replaced."""
    out = archive.with_name("rewritten.pt")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change.get(name.partition("/")[2], old.read(name)))
    return out


def test_code_hidden_in_an_archive_does_not_run(tmp_path: Path) -> None:
    archive = openai_archive(fresh(tmp_path), tmp_path / "ViT.pt")
    for protocol in (0, 2, 4):
        evil = rewritten(archive, {"data.pkl": pickle.dumps(_Evil(), protocol)})
        with pytest.raises(ModelError, match=r"asks for (posix|nt)\.system, which no tensor needs"):
            read_weights(evil)
    assert not Path(os.environ["TVRKIT_CACHE"] + ".owned").exists()


def test_damaged_archives(tmp_path: Path) -> None:
    archive = openai_archive(fresh(tmp_path), tmp_path / "ViT.pt")
    with zipfile.ZipFile(archive) as file:
        listing = file.read(next(name for name in file.namelist() if name.endswith("/data.pkl")))
    broken = [
        rewritten(archive, {"data.pkl": listing[: len(listing) // 2]}),
        rewritten(archive, {"data.pkl": b"\x80\x02N."}).rename(tmp_path / "none.pt"),
        rewritten(archive, {"data/0": b""}).rename(tmp_path / "short.pt"),
        rewritten(archive, {}, zipfile.ZIP_DEFLATED).rename(tmp_path / "packed.pt"),
    ]
    rewritten(archive, {"data.pkl": listing[: len(listing) // 2]})
    for path in broken:
        with pytest.raises(ModelError, match="cannot be read as a TorchScript archive") as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)


def test_an_archive_cannot_unfold_a_small_file_to_a_large_tensor(tmp_path: Path) -> None:
    from tvrkit.core.torchscript import _view

    storage = torch.zeros(4)
    assert _view(storage, 1, (3,), (1,)).shape == (3,)
    for size, stride, offset in [((10**12,), (0,), 0), ((-1,), (1,), 0), ((4,), (1,), 1), ((2, 2), (4, 1), 0)]:
        with pytest.raises((pickle.UnpicklingError, RuntimeError)):
            _view(storage, offset, size, stride)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"", "cannot be read as safetensors"),
        ("a.safetensors", b"\xff" * 64, "cannot be read as safetensors"),
        ("a.pt", b"", "is no weights file, or a damaged one"),
        ("a.pt", b"hello", "is no weights file, or a damaged one"),
        ("a.pt", b"PK\x03\x04" + b"\0" * 64, "is no weights file, or a damaged one"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_file(tmp_path: Path) -> None:
    first = fresh(tmp_path)
    for name in ("w.pt", "w.safetensors"):
        whole = io.BytesIO()
        torch.save(first.clip.state_dict(), whole)
        save_file(first.clip.state_dict(), tmp_path / "w.safetensors")
        data = whole.getvalue() if name == "w.pt" else (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(ModelError):
            read_weights(tmp_path / name)


def test_not_a_state_dict(tmp_path: Path) -> None:
    for content in ([1, 2], {}, {"a": 3}, {"state_dict": {}}, torch.zeros(2)):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(ModelError, match="holds no state dict"):
            read_weights(tmp_path / "w.pt")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no weights file"):
        read_weights(tmp_path / "absent.pt")


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = fresh(tmp_path).clip.state_dict()
    del state["ln_final.weight"]
    state["extra.weight"] = torch.zeros(1)
    state["visual.proj"] = torch.zeros(3, 4)
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    with pytest.raises(ModelError) as caught:
        fresh(tmp_path, pretrained=path)
    assert str(caught.value) == (
        f"the weights in {path} do not fit this model: missing ln_final.weight; unexpected extra.weight;"
        " visual.proj is 3x4 instead of 64x32."
    )


def test_weights_of_another_make_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(fresh(tmp_path, "resnet").clip.state_dict(), path)
    with pytest.raises(ModelError, match=r"do not fit this model: missing visual\.\S+, \S+, \S+ and \d+ more"):
        fresh(tmp_path, "clip", pretrained=path)


def test_position_embeddings_of_another_grid_are_resized(tmp_path: Path) -> None:
    state = fresh(tmp_path).clip.state_dict()
    grid = state["visual.positional_embedding"]  # (1 + 2 x 2, 64)
    state["visual.positional_embedding"] = torch.cat([grid[:1], grid[1:2].expand(16, -1)])
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    loaded = fresh(tmp_path, pretrained=path).clip.state_dict()["visual.positional_embedding"]
    # A constant grid is the same constant at any size.
    torch.testing.assert_close(loaded, torch.cat([grid[:1], grid[1:2].expand(4, -1)]))
