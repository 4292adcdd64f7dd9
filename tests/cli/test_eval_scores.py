"""`tvrkit eval --similarity`: real files, numbers worked out by hand."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tvrkit.cli.eval import command
from tvrkit.errors import ConfigError, DataError

# Own scores on the diagonal. t2v ranks 1, 3, 1; v2t ranks 1, 1, 1.
SQUARE = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.4], [0.1, 0.2, 0.5]], dtype=np.float32)
# Two captions a video. t2v places 1, 2, 1.5 (a tie), 1. v2t by best caption: .9 over .5, .6 over .4. Over all captions
# the right ones of video 0 stand at 1 and 3, AP (1 + 2/3) / 2; those of video 1 at 1 and 2, AP 1.
PAIRS = np.array([[0.9, 0.2], [0.3, 0.4], [0.5, 0.5], [0.1, 0.6]])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("square.npy", SQUARE)
    np.save("pairs.npy", PAIRS)


def run(*arguments):
    result = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False, env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result


def measure(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


def test_one_caption_a_video():
    found = measure("--similarity", "square.npy")
    assert (found["similarity"], found["dataset"], found["split"], found["protocol"]) == (
        "square.npy", "square", "test", None,
    )  # fmt: skip
    t2v, v2t = found["t2v"], found["v2t"]
    assert t2v["R@1"] == pytest.approx(200 / 3) and t2v["R@5"] == 100
    assert t2v["MdR"] == 1 and t2v["MnR"] == pytest.approx(5 / 3) and t2v["ties"] == 0
    assert v2t["R@1"] == 100 and "mAP" not in v2t
    assert measure("--similarity", "square.npy", "--transposed")["t2v"]["R@1"] == 100


@pytest.mark.parametrize("groups", ["2", "g.npy", "g.json", "g.txt"])
def test_several_captions_a_video(groups):
    np.save("g.npy", [0, 0, 1, 1])
    Path("g.json").write_text('["a", "a", "b", "b"]')
    Path("g.txt").write_text("0\n0\n1\n1\n")
    found = measure("--similarity", "pairs.npy", "--groups", groups)
    assert found["t2v"] | {"R@1_low": 0, "R@1_high": 0} == {
        "R@1": 62.5, "R@5": 100, "R@10": 100, "R@50": 100, "MdR": 1.25, "MnR": 1.375,
        "queries": 4, "gallery": 2, "ties": 1, "R@1_low": 0, "R@1_high": 0,
    }  # fmt: skip
    assert found["v2t"]["R@1"] == 100 and found["v2t"]["mAP"] == pytest.approx(100 * (5 / 6 + 1) / 2)
    np.save("turned.npy", PAIRS.T)
    assert measure("--similarity", "turned.npy", "--groups", groups, "--transposed")["t2v"] == found["t2v"]


def test_the_protocol_is_counted():
    np.save("a.npy", np.eye(1000, dtype=np.float16))
    result = run("--similarity", "a.npy", "--protocol", "msrvtt-1ka")
    first = " ".join(result.stdout.partition("t2v:")[0].split())
    assert first == "a, test, protocol msrvtt-1ka: 1,000 of 1,000 videos and 1,000 of 1,000 captions"
    np.save("b.npy", np.eye(884))
    with pytest.raises(
        DataError, match="884 of 1,000 videos and 884 of 1,000 captions .* labelled, by --allow-missing"
    ):
        run("--similarity", "b.npy", "--protocol", "msrvtt-1ka")
    result = run("--similarity", "b.npy", "--protocol", "msrvtt-1ka", "--allow-missing")
    assert "captions: INCOMPLETE" in " ".join(result.stdout.split()) and "cannot be compared" in result.stderr
    np.save("turned.npy", np.zeros((670, 27763), np.float16))
    np.save("g.npy", np.zeros(670, int))
    with pytest.raises(DataError, match="its rows seem to be the videos: say so by --transposed"):
        run("--similarity", "turned.npy", "--protocol", "msvd", "--groups", "g.npy")
    with pytest.raises(
        ConfigError, match="no protocol 'msrvt': did you mean one of msrvtt-1ka, msrvtt-7k, msrvtt-full"
    ):
        run("--similarity", "a.npy", "--protocol", "msrvt")


def test_two_matrices_are_compared():
    right = np.eye(20)
    np.save("wrong.npy", -right)
    np.savez("all.npz", right=right, other=right)
    result = run("--similarity", "wrong.npy", "--similarity", "all.npz:right")
    assert "  A  wrong.npy\n  B  all.npz:right\n" in result.stdout
    assert "t2v: B finds 100.0 points more at R@1, 95 % 100.0 to 100.0, p < 0.001.\n" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    result = run("--similarity", "all.npz:right", "--similarity", "wrong.npy")
    assert "v2t: B finds 100.0 points fewer at R@1, 95 % 100.0 to 100.0, p < 0.001.\n" in result.stdout
    (pair,) = measure("--similarity", "all.npz:right", "--similarity", "all.npz:other")["comparisons"]
    assert (pair["a"], pair["b"]) == ("all.npz:right", "all.npz:other")
    # All ranks rise from 1 to 20, or do not change at all.
    assert pair["t2v"]["MnR"] == {"a": 1, "b": 1, "difference": 0, "low": 0, "high": 0, "p_value": 1}
    with pytest.raises(DataError, match=r"square\.npy is 3 x 3 and wrong\.npy 20 x 20: only scores of one test set"):
        run("--similarity", "square.npy", "--similarity", "wrong.npy")


def test_names_beside_one_of_two_files_are_those_of_both():
    names = {"rows": [{"video_id": "b"}, {"video_id": "a"}], "columns": ["a", "b"], "dataset": "mine", "split": "val"}
    np.save("a.npy", np.array([[0.1, 0.9], [0.8, 0.2]]))
    np.save("b.npy", np.array([[0.1, 0.9], [0.2, 0.8]]))
    Path("b.json").write_text(json.dumps(names))
    result = run("--similarity", "a.npy", "--similarity", "b.npy", "--json")
    found = json.loads(result.stdout)
    assert (found["dataset"], found["split"]) == ("mine", "val")
    assert [one["t2v"]["R@1"] for one in found["models"]] == [100, 50]
    assert "with captions and videos as beside b.npy" in result.stderr
    # Also where the groups are ids: read alone, a.npy would have them in the order in which they first appear.
    Path("ids.txt").write_text("b\na\n")
    grouped = measure("--similarity", "a.npy", "--similarity", "b.npy", "--groups", "ids.txt")
    assert [one["t2v"] for one in grouped["models"]] == [one["t2v"] for one in found["models"]]


def test_dual_softmax_says_what_it_changed():
    # A video that every caption likes: .5 in column 0. Each caption's own is next best, so only caption 0 finds its
    # own. Along the query axis column 0 gives each caption a third of its .5, and each finds its own.
    hub = np.array([[0.5, 0.1, 0.1], [0.5, 0.4, 0.1], [0.5, 0.1, 0.4]])
    np.save("hub.npy", hub)
    found = measure("--similarity", "hub.npy", "--dual-softmax")
    (dsl,) = found["normalised"]
    assert dsl["normalisation"] == "dual softmax, temperature 100"
    assert found["t2v"]["R@1"] == pytest.approx(100 / 3) and dsl["t2v"]["R@1"] == 100
    assert dsl["changed"]["t2v"] == 2
    result = run("--similarity", "square.npy", "--dual-softmax", "--temperature", "1e-12")
    for direction in ("t2v", "v2t"):
        assert f"dual softmax, temperature 1e-12 changed the rank of no query of {direction}." in result.stderr
    np.save("scaled.npy", 1000 * np.random.default_rng(0).normal(size=(50, 50)).astype(np.float32))
    warned = run("--similarity", "scaled.npy", "--dual-softmax").stderr
    assert "queries of t2v tie, 0 did before" in warned and "--temperature 1" in warned


def test_a_page_of_scores():
    run("--similarity", "pairs.npy", "--groups", 2, "--dual-softmax", "--report", "out/page.html")
    page = Path("out/page.html").read_text(encoding="utf-8")
    assert "pairs.npy" in page and "62.5" in page and "dual softmax" in page


def test_the_widest_table_fits_eighty_columns():
    np.save("wide.npy", np.zeros((1400, 700), np.float32))
    result = run("--similarity", "wide.npy", "--groups", 2, "--dual-softmax")
    assert max(map(len, result.stdout.splitlines())) <= 80
    # Guessing: R@1 1 / 700, mean place 350.5, every query a tie.
    assert result.stdout.count("1400") == 2 and result.stdout.count("350.5") == 8
    assert "R@1 95 % R@5 R@10 R@50 MdR MnR mAP ties" in " ".join(result.stdout.split())


def test_wrong_use_is_one_sentence():
    np.save("three.npy", np.zeros((2, 2, 2)))
    np.save("nan.npy", np.array([[1, np.nan], [0, 1]]))
    Path("evil.npy").write_bytes(pickle.dumps({"a": 1}))
    scores = ("--similarity", "square.npy")
    for arguments, kind, words in (
        (
            ("--similarity", "pairs.npy"),
            DataError,
            r"4 rows \(captions\) and 2 columns .* give --groups N .* caption\.$",
        ),
        (("--similarity", "pairs.npy", "--transposed"), DataError, "if its rows are the videos, --transposed"),
        (("--similarity", "pairs.npy", "--groups", "3"), DataError, "3 captions for each of 2 videos are not the 4"),
        (("--similarity", "three.npy"), DataError, "its shape is 2 x 2 x 2"),
        (("--similarity", "nan.npy"), DataError, "1 of 4 similarity scores are NaN or infinite"),
        (("--similarity", "evil.npy"), DataError, "holds a pickle"),
        (("--similarity", "nothing.npy"), DataError, "cannot be read: No such file"),
        ((*scores, "RUN"), ConfigError, "a RUN has no part in it"),
        ((*scores, "--model", "x"), ConfigError, "--model has no part in it"),
        ((*scores, "--data", "x"), ConfigError, "--data has no part in it"),
        ((*scores, "--zero-shot"), ConfigError, "--zero-shot has no part in it"),
        ((*scores, "--query-bank", "5"), ConfigError, "--query-bank needs a model"),
        ((*scores, "--save-similarity", "x.npy"), ConfigError, "has them in a file already"),
        ((*scores, "--temperature", "5"), ConfigError, "--temperature belongs to --dual-softmax"),
        (("--groups", "5"), ConfigError, "--groups says how to read the scores of --similarity"),
        (("--transposed",), ConfigError, "--transposed says how"),
        (
            ("--protocol", "msvd"),
            ConfigError,
            r"--protocol says how .* \(a data set's protocol stands in its manifest\)",
        ),
        (("a", "b", "--save-similarity", "x.npy"), ConfigError, "the scores of one model"),
    ):
        with pytest.raises(kind, match=words):
            run(*arguments)


def test_as_a_program_it_loads_no_model_and_prints_no_traceback():
    code = (
        "import sys; from tvrkit.cli import main\n"
        "try: main(['eval', '--similarity', 'square.npy', '--dual-softmax'])\n"
        "except SystemExit as done: assert not done.code\n"
        "assert 'torch' in sys.modules and 'open_clip' not in sys.modules and 'torchvision' not in sys.modules\n"
        "main(['eval', '--similarity', 'pairs.npy'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "scores 66.7" in " ".join(done.stdout.split())
    words, error = done.stderr.splitlines()
    assert words == "Scores: square.npy (3, 3)" and error.startswith("Error: pairs.npy has 4 rows (captions)")
