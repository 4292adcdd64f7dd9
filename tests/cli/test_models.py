"""`tvrkit models`: a table that fits, the same as JSON, one model in full, and no torch for any of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from support import clean_environment

from tvrkit.cli.models import command
from tvrkit.core.catalogue import SHORTLIST
from tvrkit.errors import ModelError


def run(*arguments):
    return CliRunner().invoke(command, list(arguments), catch_exceptions=False)


def names(*arguments):
    return [model["name"] for model in json.loads(run(*arguments, "--json").stdout)["models"]]


def test_the_short_list_fits_a_terminal(run_cli):
    result = run_cli("models")
    assert result.code == 0, result.stderr
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["model", "M", "px", "VTT", "COCO", "licence", "note"]
    assert sorted(row.split()[0] for row in rows) == sorted(SHORTLIST)
    assert max(map(len, [header, *rows])) <= 80
    default = next(row for row in rows if row.startswith("PE-Core-S-16-384/meta")).split()
    assert default[1:] == ["24+63", "384", "39.3", "42.6", "Apache-2.0", "*"]
    said = " ".join(result.stderr.split())
    assert "not measured by tvrkit" in said and "*: what `tvrkit query` takes" in said
    assert "pip install 'tvrkit[hf]'" in said and "more: tvrkit models --all" in said


MEASURE = """
import sys
from tvrkit.cli import main
try:
    main(["models", *sys.argv[1:]])
except SystemExit as stop:
    assert stop.code == 0, stop.code
print("LOADED", *sorted(sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [(), ("PE-Core-S",), ("--all", "--json")])
def test_it_loads_no_torch(tmp_path, arguments):
    run = [sys.executable, "-c", MEASURE, *arguments]
    done = subprocess.run(run, env=clean_environment(tmp_path), capture_output=True, text=True, check=True)
    loaded = set(done.stderr.splitlines()[-1].split()[1:])
    assert not {"torch", "torchvision", "open_clip", "timm", "transformers"} & loaded


def test_all_of_them_and_those_of_a_word():
    everything = names("--all")
    assert len(everything) > 200 and set(SHORTLIST) < set(everything)
    assert names("siglip2") == [name for name in everything if "SigLIP2" in name] != []
    assert names("ViT-B/32/openai") == names("vit-b-32/OPENAI") == ["ViT-B-32/openai"]  # as papers write it
    assert len(run("--all").stdout.splitlines()) == len(everything) + 1
    assert "more: tvrkit" not in run("--all").stderr


def test_one_model_is_told_in_full_with_its_sources():
    told = run("PE-Core-S").stdout
    assert told.startswith("PE-Core-S-16-384/meta\n  parameters  23.8 million in the image tower, 63.4 million")
    assert "takes       384 px, 32 tokens; features of 512 numbers" in told
    assert "not here yet, about 349 MB in float32, from timm/PE-Core-S-16-384" in told
    assert "MSR-VTT 39.3: text-to-video R@1, 8 frames averaged (https://github.com/facebookresearch/" in told
    assert "default of  query, preset folder" in told
    assert "needs       pip install 'tvrkit[hf]'" in run("ViT-B-16-SigLIP2/webli").stdout
    assert "see https://huggingface.co/timm/resnet50_clip.cc12m" in run("RN50/cc12m").stdout
    assert "none published: train it, with --set model.backbone=ViT-S-16 " in run("ViT-S-16").stdout


def test_json_has_what_the_table_has_no_room_for():
    (model,) = json.loads(run("PE-Core-S", "--json").stdout)["models"]
    assert (model["backbone"], model["tag"]) == ("PE-Core-S-16-384", "meta")
    assert (model["image_size"], model["dim"], model["context_length"]) == (384, 512, 32)
    assert model["parameters"] == [23783168, 63405057]
    assert model["licence"]["name"] == "Apache-2.0" and model["licence"]["source"].startswith("https://")
    assert {figure["measure"]: figure["value"] for figure in model["figures"]} == {"MSR-VTT": 39.3, "COCO": 42.6}
    assert all(figure["source"].startswith("https://") for figure in model["figures"])
    assert model["cached"] is model["built_in"] is False and model["default_of"] == ["query", "preset folder"]


def test_what_is_cached_is_marked_and_chosen(run_cli, tmp_path):
    cache = tmp_path / "elsewhere"
    snapshot = cache / "models--timm--ViT-B-16-SigLIP2" / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "open_clip_pytorch_model.bin").write_bytes(b"")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("1" * 40)
    env = {"HF_HUB_CACHE": str(cache)}
    chosen = json.loads(run_cli("models", "--cached", "--json", env=env).stdout)["models"]
    assert [model["name"] for model in chosen] == ["shapes/shapes", "ViT-B-16-SigLIP2/webli"]
    rows = run_cli("models", env=env).stdout.splitlines()
    # Not of the short list, but here.
    assert [row.split()[-2:] for row in rows if row.startswith("ViT-B-16-SigLIP2/webli")] == [["here", "hf"]]
    nothing = run_cli("models", "PE-Core", "--cached", env=env)
    assert (nothing.code, nothing.stdout) == (0, "") and "No weights of that name are here" in nothing.stderr


def test_an_unknown_word_is_answered_with_the_nearest():
    with pytest.raises(ModelError, match=r"^no backbone's name holds 'ViT-B-33'; the nearest are .*ViT-B-32"):
        run("ViT-B-33")
    with pytest.raises(ModelError, match=r"^no backbone's name holds 'qqqqqq'\.$"):
        run("qqqqqq")
