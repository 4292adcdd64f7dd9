"""`tvrkit ablate`: a ladder of small runs, its table, its plot, and the test split."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from support import run_tvrkit
from tiny import make_data, tiny_config, write_clip

from tvrkit.config import config_to_dict
from tvrkit.train.seeds import paired

LADDER = """base: small.yaml
always: {model.interaction: dot_product, model.text_side: both, loss.name: info_nce, loss.partial_weight: 0}
cases:
  - {model.interaction: token_wise}
  - {model.interaction: token_wise, loss.name: neg_nce}
  - {model.interaction: token_wise, loss.partial_weight: 0.5}
seeds: [0, 1, 2]
ladder: [mean pooling, + token-wise, + NegNCE, {title: TPM-CL, over: + token-wise}]
"""


@pytest.fixture
def world(tmp_path):
    make_data(tmp_path / "data" / "squares", train=8, val=4, test=4, hard=True)
    keys = {"max_steps": 2, "trackers": [], "epochs": 1, "select_by": "t2v/R@1"}
    model = {"key_words": False, "nearest_frame": False}
    config = tiny_config(write_clip(tmp_path), tmp_path, model=model, data={"dataset": "squares"}, train=keys)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config_to_dict(config)))
    (tmp_path / "mine.yaml").write_text(LADDER)
    return tmp_path


def test_what_is_no_ladder_is_one_sentence(world):
    (world / "plain.yaml").write_text(LADDER[: LADDER.index("ladder:")])
    (world / "short.yaml").write_text(LADDER.replace(", + NegNCE,", ","))
    (world / "over.yaml").write_text(LADDER.replace("over: + token-wise", "over: + tokens"))
    (world / "odd.yaml").write_text(LADDER.replace("over: +", "under: +"))
    for file, sentence in (
        ("over.yaml", "'TPM-CL' is to build on '+ tokens', and no rung before it is called so"),
        ("odd.yaml", "a rung is a name, or {title: NAME, over: NAME}"),
        ("plain.yaml", "names no rungs under `ladder`"),
        ("short.yaml", "ladder has 3 names for 4 cases"),
        ("gone", "there is no sweep 'ladder-gone'"),
    ):
        done = run_tvrkit("ablate", file, cwd=world)
        assert done.code == 2 and sentence in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert not (world / "runs").exists()


@pytest.mark.slow
def test_a_ladder(world):
    done = run_tvrkit("ablate", "mine.yaml", "--plot", "--test", "--device", "cpu", cwd=world, timeout=600)
    assert done.code == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    out = world / "runs/mine"
    for split in ("val", "test"):
        table = (out / f"ladder-{split}.md").read_text()
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
        assert [row[0] for row in rows[2:]] == [
            "mean pooling", "+ token-wise", "+ NegNCE", "TPM-CL (over + token-wise)"
        ]  # fmt: skip
        assert ("hard" in rows[0]) == (split == "test")
        plot = (out / f"ladder-{split}.svg").read_text()
        assert plot.startswith("<?xml") and "<svg" in plot

    # The gain is over the rung below, seed by seed.
    def recall(case, seed):
        run = out / f"{case}-seed{seed}"
        name = "result.json" if split == "val" else "test.json"
        tree = json.loads((run / name).read_text())
        return tree.get("metrics", tree)["t2v"]["R@1"]

    names = [case["case"] for case in json.loads((out / "results.json").read_text())["cases"]]
    below, above, beside = ({seed: recall(name, seed) for seed in range(3)} for name in names[1:])
    assert rows[4][3] == f"{paired(above, below).mean:+.1f}"
    assert rows[5][3] == f"{paired(beside, below).mean:+.1f}"
    # The hard gallery's column is the mean over seeds of what `tvrkit eval` calls caption chosen.
    hard = [json.loads((out / f"{names[1]}-seed{s}/test.json").read_text())["hard"]["caption_chosen"] for s in range(3)]
    assert rows[3][rows[0].index("hard")] == f"{sum(hard) / 3:.1f}"
    # Again: nothing is trained or measured anew.
    again = run_tvrkit("ablate", "mine.yaml", "--test", "--device", "cpu", cwd=world, timeout=600)
    assert again.code == 0 and "Training" not in again.stderr
    assert re.sub(r"\s+", " ", again.stdout) == re.sub(r"\s+", " ", done.stdout)
