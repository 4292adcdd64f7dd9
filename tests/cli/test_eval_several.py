"""`tvrkit eval` of several models, of a part of a protocol, and with rows over other queries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support import REPO

from tvrkit.cli.eval import command
from tvrkit.errors import ConfigError, DataError, WeightsUnavailableError
from tvrkit.protocols import PROTOCOLS

RUN = "20260101-000000-squares-small"


def run(*arguments, columns="80"):
    words = ["--device", "cpu", "--workers", "0", *map(str, arguments)]
    result = CliRunner().invoke(command, words, catch_exceptions=False, env={"COLUMNS": columns})
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments):
    CliRunner().invoke(command, ["--device", "cpu", "--workers", "0", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def other(world):
    """A second run: the first one's, on a copy of its data under another name."""
    shutil.copytree(world / "data" / "squares", world / "data" / "copies")
    folder = world / "runs" / "20260102-000000-a-name-of-a-run-that-no-table-of-eighty-columns-could-hold"
    shutil.copytree(world / "runs" / RUN, folder)
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace("data/squares/", "data/copies/").replace('"squares"', '"copies"'))
    return folder.name


def test_two_models_stand_under_letters_and_are_compared(world):
    models = ("--model", f"runs/{RUN}", "--model", "shapes/shapes")
    result = run(*models, "--data", "squares")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert f"  A  runs/{RUN}\n  B  shapes/shapes\n" in result.stdout
    words = " ".join(result.stdout.split())
    assert "B against A, query by query" in words and "A B B - A 95 % p" in words
    for row in ("t2v R@1", "t2v MnR", "v2t R@10"):
        assert f" {row} " in words
    numbers = json.loads(run(*models, "--data", "squares", "--json").stdout)
    a, b = numbers["models"]
    assert (a["model"], b["model"]) == (f"runs/{RUN}", "shapes/shapes") and "zero_shot" not in a
    (pair,) = numbers["comparisons"]
    assert (pair["a"], pair["b"]) == (a["model"], b["model"])
    for direction in ("t2v", "v2t"):
        assert list(pair[direction]) == ["R@1", "R@5", "R@10", "MnR"]
        for name, found in pair[direction].items():
            assert found["a"] == pytest.approx(a[direction][name])
            assert found["b"] == pytest.approx(b[direction][name])
            assert found["difference"] == pytest.approx(found["b"] - found["a"])
            assert found["low"] <= found["difference"] <= found["high"] and 0 < found["p_value"] <= 1


def test_a_model_does_not_differ_from_itself(world):
    result = run(RUN, RUN)
    assert "t2v: at R@1 no difference that these 5 queries can show (p = 1.000)." in result.stdout
    # What a run measured is kept as if it had been measured alone.
    kept = json.loads((world / "runs" / RUN / "evaluations" / "squares-test.json").read_text())
    alone = json.loads(run(RUN, "--json", "--no-zero-shot").stdout)
    assert kept == alone


def test_runs_on_different_data_need_to_be_told_which(world, other):
    with pytest.raises(ConfigError, match=r"different data sets \(.* on squares, .* on copies\): .* with --data"):
        refused(RUN, other)
    result = run(RUN, other, "--data", "squares", "--zero-shot")
    table = result.stdout.partition("t2v: ")[2]
    assert other not in table and max(map(len, table.splitlines())) <= 80
    assert "A 0-shot" in table and "B 0-shot" not in table  # one backbone: one row


def test_rows_over_other_queries_are_labelled_and_not_kept(world):
    extra = ("--dual-softmax", "--temperature", "50", "--query-bank", "10")
    result = run("--no-zero-shot", *extra)
    words = " ".join(result.stdout.split())
    assert "+ DSL: dual softmax, temperature 50. It looks at all queries of the test set at once: not to be" in words
    assert "+ QB-Norm: query bank norm, beta 20, 10 captions and" in words
    assert "It changed the ranks of trained: " in words
    assert max(map(len, result.stdout.splitlines())) <= 80
    numbers = json.loads(run("--no-zero-shot", *extra, "--json").stdout)
    assert [row["normalisation"].partition(",")[0] for row in numbers["normalised"]] == [
        "dual softmax",
        "query bank norm",
    ]
    assert set(numbers["normalised"][0]["changed"]) == {"t2v", "v2t"}
    kept = json.loads((world / "runs" / RUN / "evaluations" / "squares-test.json").read_text())
    assert "normalised" not in kept and kept["t2v"] == numbers["t2v"]
    with pytest.raises(ConfigError, match="takes captions of 'train', which is what is measured"):
        refused("--query-bank", 3, "--split", "train")


def test_a_part_of_a_protocol_is_refused_or_labelled(world):
    manifest = world / "data" / "squares" / "manifest.jsonl"
    head, _, rest = manifest.read_text().partition("\n")
    manifest.write_text(json.dumps(json.loads(head) | {"protocol": "msrvtt-1ka"}) + "\n" + rest)
    with pytest.raises(DataError, match="5 of 1,000 videos and 5 of 1,000 captions of msrvtt-1ka: .*--allow-missing"):
        refused("--no-zero-shot")
    result = run("--allow-missing", "--no-zero-shot")
    assert "protocol msrvtt-1ka: 5 of 1,000 videos and 5 of 1,000 captions: INCOMPLETE" in " ".join(
        result.stdout.split()
    )
    assert "cannot be compared" in result.stderr
    coverage = json.loads(run("--allow-missing", "--no-zero-shot", "--json").stdout)["coverage"]
    assert coverage["expected_videos"] == 1000 and coverage["complete"] is False


def test_scores_and_page_of_a_run(world):
    of_run = json.loads(
        run("--json", "--no-zero-shot", "--save-similarity", "s.npy", "--report", "page.html", "--dual-softmax").stdout
    )
    page = Path("page.html").read_text(encoding="utf-8")
    assert "squares" in page and "dual softmax" in page and RUN in page
    of_file = json.loads(run("--similarity", "s.npy", "--dual-softmax", "--json").stdout)
    assert of_file.pop("similarity") == "s.npy"
    for key in ("dataset", "split", "protocol", "coverage", "t2v", "v2t", "normalised"):
        assert of_file[key] == of_run[key]
    assert np.load("s.npy").dtype == np.float32


def test_a_published_model_is_measured_untrained_once_its_weights_are_there(world):
    with pytest.raises(WeightsUnavailableError, match="ViT-B-16/openai must be downloaded"):
        refused("--model", "ViT-B-16/openai", "--data", "squares")
    result = run("--model", "shapes/shapes", "--data", "squares")
    assert "  A  shapes/shapes\n" in result.stdout and "zero-shot" not in result.stdout


def test_the_page_tells_every_protocol_as_the_code_has_it():
    text = (REPO / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for protocol in PROTOCOLS.values():
        cells = []
        for split in ("train", "val", "test"):
            videos, captions = protocol.sizes.get(split, (None, None))
            size = "-" if captions is None else f"{captions:,}"
            cells.append("-" if videos is None else f"{videos:,} / {size}")
        assert f"| `{protocol.name}` | {' | '.join(cells)} | " in text
        assert f"- `{protocol.name}` ({protocol.title}): {protocol.source}\n" in text
