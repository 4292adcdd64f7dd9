from __future__ import annotations

import csv
import json
import math
import shutil

import pytest
import yaml
from tiny import make_data, tiny_config, write_clip

from tvrkit.config import config_to_dict, load_config
from tvrkit.errors import ConfigError, DataError
from tvrkit.reporting import Silent
from tvrkit.train.cases import load_sweep, sweep_names
from tvrkit.train.comparison import compare, write_comparison
from tvrkit.train.loop import train
from tvrkit.train.seeds import paired, summary, t_quantile
from tvrkit.train.sweep import RESULT_FILE, Result, progress_of, run_of, run_sweep


@pytest.mark.parametrize(
    ("freedom", "quantile"),  # from any table of Student's t, two-sided 95 %
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (30, 2.042), (1000, 1.962)],
)
def test_quantiles_of_students_t(freedom, quantile):
    assert t_quantile(freedom) == pytest.approx(quantile, abs=6e-4)


def test_an_interval_over_seeds_and_differences_of_the_same_seed():
    # Mean 3, standard deviation 1, three values: 4.3027 / sqrt(3).
    found = summary([2.0, 3.0, 4.0])
    assert (found.mean, found.number) == (3.0, 3)
    assert found.high - found.mean == pytest.approx(4.3027 / math.sqrt(3), abs=1e-3)
    assert summary([5.0]) == summary([5.0]) and summary([5.0]).low is None
    # Seeds differ by tens, the settings by one in each of them: the paired interval has no width.
    difference = paired({0: 11.0, 1: 31.0, 2: 51.0, 7: 1.0}, {0: 10.0, 1: 30.0, 2: 50.0})
    assert (difference.mean, difference.low, difference.high, difference.number) == (1.0, 1.0, 1.0, 3)
    assert paired({0: 1.0}, {1: 1.0}) is None


def write(path, text):
    path.write_text(text)
    return str(path)


def test_all_combinations_with_the_base_case_first(tmp_path):
    file = write(
        tmp_path / "mine.yaml",
        "base: tiny\nalways: {train.max_steps: 5}\nseeds: [3, 1]\n"
        "settings: {loss.partial_weight: [1, 0], loss.partial_margin: [0.1, 0.2]}\n",
    )
    sweep = load_sweep(file, ["train.lr=1e-3"])
    # tiny has weight 0 and margin 0.1: that combination is the base case.
    assert [dict(case.settings) for case in sweep.cases] == [
        {},
        {"loss.partial_weight": 1, "loss.partial_margin": 0.1},
        {"loss.partial_weight": 1, "loss.partial_margin": 0.2},
        {"loss.partial_weight": 0, "loss.partial_margin": 0.2},
    ]
    assert [case.name for case in sweep.cases][:2] == ["base", "partial_weight=1,partial_margin=0.1"]
    assert all(case.config.train.max_steps == 5 and case.config.train.lr == 1e-3 for case in sweep.cases)
    assert [seed for _, seed in sweep.runs()] == [3] * 4 + [1] * 4
    assert sweep.keys == ["loss.partial_weight", "loss.partial_margin"]


def test_a_list_of_cases_on_a_base_beside_the_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: tiny\ntrain: {epochs: 2}\n")
    file = write(
        tmp_path / "some.yaml",
        "base: mine.yaml\ncases:\n  - {}\n  - {train.lr: 1e-4}\n"
        "  - {train.freeze_parameters: ['backbone.clip.*', x/y]}\n",
    )
    sweep = load_sweep(file, data="/a/b c")
    assert len(sweep.cases) == 3 and sweep.seeds == (0,)
    assert sweep.cases[2].config.train.freeze_parameters == ("backbone.clip.*", "x/y")
    assert "/" not in sweep.cases[2].name and sweep.cases[1].name == "lr=1e-4"
    assert {case.config.data.dataset for case in sweep.cases} == {"/a/b c"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: [0]", "is no sweep: it needs `base`"),
        ("base: tiny", "either `settings` (all combinations) or `cases`"),
        ("base: tiny\ncases: []\nsettings: {}", "either `settings` (all combinations) or `cases`"),
        ("base: tinny\ncases: []", "did you mean tiny?"),
        ("base: tiny\nsettings: {loss.partial_weight: 1}", "gives each key a list of values"),
        ("base: tiny\nsetings: {}\n", "did you mean settings?"),
        ("base: tiny\ncases: [{loss.partial_wait: 1}]", "did you mean loss.partial_weight?"),
        ("base: tiny\ncases: [{loss.partial_weight: 2020-01-01}]", "has a value that no setting takes"),
        ("base: tiny\ncases: [3]", "cases is a list of settings"),
        ("base: tiny\nalways: 3\ncases: []", "settings are section.key: value"),
        ("base: tiny\ncases: []\nseeds: [0, no]", "seeds is a list of whole numbers"),
        ("base: tiny\ncases: []\nseeds: 3", "seeds is a list of whole numbers"),
        ("base: tiny\ncases: [{data.dataset: other}]", "cases with another data.dataset cannot be compared"),
        ("base: tiny\ncases: [{train.select_by: t2v/R@5}]", "cases with another train.select_by cannot be compared"),
        ("base: tiny\ncases: [{model.interaction: dot_product, model.key_words: true}]", "dot_product has none"),
        ("base: {", "is no valid YAML"),
    ],
)
def test_a_wrong_sweep_is_one_sentence(tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        load_sweep(write(tmp_path / "wrong.yaml", text))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_sweeps_that_come_with_tvrkit_can_be_read():
    assert "partial-margins" in sweep_names()
    sweep = load_sweep("partial-margins")
    assert len(sweep.cases) == 13 and len(sweep.seeds) == 3
    margins = {case.config.loss.partial_margin for case in sweep.cases if case.config.loss.partial_weight}
    assert margins == {0.05, 0.1, 0.2, 0.6}  # those of method, section 7
    assert {case.config.loss.negative_weight for case in sweep.cases} == {0.0, 0.1, 0.5, 1.0, 2.0}
    for name in sweep_names():
        sweep = load_sweep(name)
        assert len(sweep.seeds) == 3 and len(sweep.titles) == (len(sweep.cases) if name.startswith("ladder-") else 0)
    with pytest.raises(ConfigError, match="did you mean partial-margins"):
        load_sweep("partial-margin")


def results_of(sweep, out, values):
    """Results with R@1 as given, `case -> seed -> value`; None failed."""
    found = []
    for case, seed in sweep.runs():
        value = values[case.name][seed]
        metrics = None if value is None else {"t2v": {"R@1": value, "R@1_low": value - 5, "R@1_high": value + 5}}
        found.append(Result(case, seed, run_of(out, case, seed), metrics, 1.0, "it broke" if value is None else None))
    return found


def test_the_table_says_what_is_known_and_no_more(tmp_path):
    file = write(tmp_path / "two.yaml", "base: tiny\ncases: [{loss.partial_weight: 1}]\nseeds: [0, 1, 2]\n")
    sweep = load_sweep(file)
    name = sweep.cases[1].name
    results = results_of(sweep, tmp_path, {"base": [40.0, 60.0, 99.0], name: [41.0, None, 100.0]})
    base, other = compare(sweep, results)
    assert base.difference is None and (base.done, base.total) == (3, 3)
    # 199/3 and t * s / sqrt(3), which reaches beyond what a recall can be: the interval ends there.
    assert base.value.mean == pytest.approx(199 / 3) and base.value.high == 100.0 and base.value.low == 0.0
    assert (other.done, other.total, other.failures) == (2, 3, {1: "it broke"})
    assert (other.difference.mean, other.difference.low, other.difference.high) == (1.0, 1.0, 1.0)
    write_comparison(sweep, results, tmp_path)
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [row["t2v/R@1"] for row in rows] == ["40.0", "41.0", "60.0", "", "99.0", "100.0"]
    assert rows[3]["failure"] == "it broke" and rows[1]["loss.partial_weight"] == "1.0"
    tree = json.loads((tmp_path / "results.json").read_text())
    assert tree["metric"] == "t2v/R@1" and tree["split"] == "val"
    assert tree["cases"][1]["difference"]["mean"] == 1.0 and tree["cases"][1]["runs"][1]["failure"] == "it broke"
    markdown = (tmp_path / "results.md").read_text()
    assert "| base | 0.0 | 3 | 66.3 | 0.0 to 100.0 | - | - |" in markdown
    assert "|  | 1.0 | 2 of 3 | 70.5 | 0.0 to 100.0 | +1.0 | 1.0 to 1.0 |" in markdown


def test_one_seed_has_the_interval_of_its_queries(tmp_path):
    sweep = load_sweep(write(tmp_path / "one.yaml", "base: tiny\ncases: [{loss.partial_weight: 1}]\n"))
    base, other = compare(sweep, results_of(sweep, tmp_path, {"base": [40.0], sweep.cases[1].name: [43.0]}))
    assert (base.value.low, base.value.high) == (35.0, 45.0)
    assert other.difference.mean == 3.0 and other.difference.low is None


@pytest.fixture
def world(tmp_path):
    """A base preset on a small data set."""
    manifest = make_data(tmp_path / "squares", train=8, val=4, test=0)
    config = tiny_config(write_clip(tmp_path), manifest, train={"max_steps": 3, "save_every_steps": 1, "trackers": []})
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config_to_dict(config)))
    return tmp_path


def test_data_without_a_validation_split_are_refused_before_anything_is_trained(world, tmp_path):
    manifest = make_data(tmp_path / "without", train=2, val=0, test=1)
    file = write(world / "sweep.yaml", f"base: small.yaml\nalways: {{data.dataset: {manifest}}}\ncases: []\n")
    with pytest.raises(ConfigError, match="has no split 'val'"):
        run_sweep(load_sweep(file), world / "out", report=Silent())
    with pytest.raises(DataError, match="no prepared data set 'gone'"):
        run_sweep(load_sweep(file, data="gone"), world / "out", report=Silent())
    assert not (world / "out").exists()


@pytest.mark.slow
def test_each_run_is_a_plain_one_and_a_failing_case_is_a_row(world):
    gone = world / "gone.pt"
    file = write(
        world / "sweep.yaml",
        "base: small.yaml\nseeds: [0, 1]\n"
        f"cases: [{{loss.partial_weight: 0}}, {{model.pretrained: {gone}}}, {{loss.negative_weight: 2}}]\n",
    )
    sweep, out, seen = load_sweep(file), world / "out", []
    results = run_sweep(sweep, out, report=Silent(), on_result=lambda found: seen.append(len(found)))
    assert seen == list(range(1, 9)) and len(results) == 8
    failed = [result for result in results if result.failure]
    assert len(failed) == 2 and all("gone.pt" in result.failure for result in failed)
    # A run of the sweep is what `tvrkit train` makes of the same settings.
    case = sweep.cases[1]
    config = load_config(str(world / "small.yaml"), ["loss.partial_weight=0", "train.seed=1"])
    plain = train(config, world / "plain")
    metrics = json.loads((plain / "checkpoints" / "best" / "metrics.json").read_text())
    own = next(result for result in results if result.case == case and result.seed == 1)
    assert own.metrics == metrics
    weights = [run / "checkpoints" / "best" / "model.safetensors" for run in (own.run, plain)]
    assert weights[0].read_bytes() == weights[1].read_bytes()

    # Again: finished runs are as they were, a half-done one goes on, the failing one is tried once more.
    half = run_of(out, sweep.cases[3], 0)
    (half / RESULT_FILE).unlink()
    early = run_of(out, sweep.cases[3], 1)  # killed while it wrote its first checkpoint
    (early / RESULT_FILE).unlink()
    shutil.rmtree(early / "checkpoints")
    (early / "checkpoints" / ".last.abc.tmp").mkdir(parents=True)
    stamps = {path: path.stat().st_mtime_ns for path in own.run.rglob("*")}
    shutil.rmtree(run_of(out, case, 0))
    assert [progress_of(out, c, s) for c, s in sweep.runs()] == ["done", "to do", "to do", "begun"] + [
        "done",
        "done",
        "to do",
        "begun",
    ]
    again = run_sweep(sweep, out, report=Silent())
    assert {path: path.stat().st_mtime_ns for path in own.run.rglob("*")} == stamps
    assert [result.metrics for result in again] == [result.metrics for result in results]

    # A folder with other settings is not taken for ours.
    other = load_sweep(file, ["train.lr=0.01"])
    with pytest.raises(ConfigError, match=r"a run with other settings \(train.lr is 0.001, not 0.01\)"):
        run_sweep(other, out, report=Silent())
