"""The file of a sweep: which settings are compared, with which seeds.

base: tiny                                  # a preset, or a YAML file beside this one
always: {loss.name: neg_nce}                # what every case has
settings: {loss.partial_margin: [0.1, 0.2]} # all combinations; or
cases: [{loss.partial_margin: 0.1}]         # these
seeds: [0, 1, 2]
ladder: [plain, with a margin]              # only of cases that build on one another: what to call each, the base
                                            # first; {title: another margin, over: plain} builds on an earlier rung
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tvrkit.coerce import nearest
from tvrkit.config import PRESETS, Config, config_to_dict, load_config
from tvrkit.errors import ConfigError

SWEEPS = PRESETS / "sweeps"
KEYS = ("base", "always", "settings", "cases", "seeds", "ladder")
BASE = "base"
LONGEST_NAME = 180
SAME = ("data.dataset", "data.val_split", "train.select_by")


@dataclass(frozen=True)
class Case:
    """One of the settings that are compared.

    Attributes:
        settings: what is different from the base case, `section.key` -> value; nothing for the base case itself.
        config: the whole, with the seed of nobody.
    """

    settings: Mapping[str, Any]
    config: Config

    @property
    def name(self) -> str:
        """`base`, or its settings; a folder can be called so."""
        if not self.settings:
            return BASE
        words = ",".join(f"{key.partition('.')[2]}={_word(value)}" for key, value in self.settings.items())
        plain = re.sub(r"[^\w.,=+-]+", "_", words)
        if plain == words and len(plain) <= LONGEST_NAME:
            return plain
        digest = hashlib.sha256(json.dumps(dict(self.settings), sort_keys=True).encode()).hexdigest()[:8]
        return f"{plain[:LONGEST_NAME]}-{digest}"


@dataclass(frozen=True)
class Sweep:
    """What is compared: `cases`, of which the first is the base case, each with every seed.

    Of a ladder, where each case builds on another, `titles` has a name for each and `over` the place of the case that
    it builds on (None for the base); else they are empty.
    """

    name: str
    cases: tuple[Case, ...]
    seeds: tuple[int, ...]
    titles: tuple[str, ...] = ()
    over: tuple[int | None, ...] = ()

    @property
    def keys(self) -> list[str]:
        """Settings that the cases name, in the order of the file."""
        return list(dict.fromkeys(key for case in self.cases for key in case.settings))

    def runs(self) -> Iterator[tuple[Case, int]]:
        """Every run; all cases have their first seed before any has its second."""
        for seed in self.seeds:
            for case in self.cases:
                yield case, seed


def load_sweep(file: str, overrides: Sequence[str] = (), data: str | None = None) -> Sweep:
    """Read a sweep: a YAML file, or the name of one that tvrkit brings.

    Args:
        file: its path, or its name.
        overrides: `section.key=value`, for every case.
        data: data set of every case, if not what the base says.

    Raises:
        ConfigError: it has a key that means nothing, a case that contradicts itself, or cases that cannot be compared.
    """
    path = Path(file) if file.endswith((".yaml", ".yml")) else SWEEPS / f"{file}.yaml"
    if not path.is_file():
        raise ConfigError(f"there is no sweep {file!r}{nearest(file, sweep_names())}")
    tree = _read(path)
    base, fixed = str(tree.get("base")), tree.get("always", {})
    if base.endswith((".yaml", ".yml")):
        base = str(path.parent / base)
    seeds = tree.get("seeds", [0])
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)):
        raise ConfigError(f"{path}: seeds is a list of whole numbers, as [0, 1, 2], not {seeds!r}.")
    chosen = [*_overrides(path, fixed), *overrides]
    if data is not None:
        chosen.append(f"data.dataset={json.dumps(data)}")

    def config(settings: Mapping[str, Any]) -> Config:
        try:
            return load_config(base, [*chosen, *_overrides(path, settings), "train.seed=0"])
        except ConfigError as error:
            raise ConfigError(f"{path}, {_words(settings)}: {error}") from None

    root = config({})
    cases = [Case({}, root)]
    for settings in _cases(path, tree):
        made = config(settings)
        if all(made != case.config for case in cases):  # the base case may be listed, or one come twice
            cases.append(Case(settings, made))
    for case in cases:
        _require_comparable(path, root, case)
    titles, over = _rungs(path, tree, len(cases))
    return Sweep(path.stem, tuple(cases), tuple(dict.fromkeys(seeds)), titles, over)


def sweep_names() -> list[str]:
    """The sweeps that tvrkit brings."""
    return sorted(path.stem for path in SWEEPS.glob("*.yaml"))


def flat(config: Config) -> dict[str, Any]:
    """Every setting as `section.key` -> value."""
    return {f"{name}.{key}": v for name, section in config_to_dict(config).items() for key, v in section.items()}


def _require_comparable(path: Path, base: Config, case: Case) -> None:
    own, other = flat(case.config), flat(base)
    for key in SAME:
        if own[key] != other[key]:
            raise ConfigError(f"{path}: cases with another {key} cannot be compared; set it for all under `always`.")
    if "train.seed" in case.settings:
        raise ConfigError(f"{path}: train.seed is no setting to compare; name the seeds under `seeds`.")


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("base"), str):
        raise ConfigError(f"{path} is no sweep: it needs `base`, with `settings` or `cases`, and `seeds`.")
    for key in tree:
        if key not in KEYS:
            raise ConfigError(f"{path}: a sweep has no key {key}{nearest(str(key), KEYS)}")
    return tree


def _cases(path: Path, tree: Mapping[str, Any]) -> list[dict[str, Any]]:
    settings, cases = tree.get("settings"), tree.get("cases")
    if (settings is None) == (cases is None):
        raise ConfigError(f"{path}: a sweep has either `settings` (all combinations) or `cases` (a list).")
    if cases is not None:
        if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
            raise ConfigError(f"{path}: cases is a list of settings, as [{{loss.partial_margin: 0.1}}].")
        return cases
    if not isinstance(settings, dict) or not all(isinstance(v, list) and v for v in settings.values()):
        raise ConfigError(f"{path}: settings gives each key a list of values, as {{loss.partial_margin: [0.1, 0.2]}}.")
    return [dict(zip(settings, values, strict=True)) for values in itertools.product(*settings.values())]


def _rungs(path: Path, tree: Mapping[str, Any], cases: int) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """Titles, and which case each builds on: the one before, if `over` names no other."""
    rungs = tree.get("ladder", [])
    if not isinstance(rungs, list):
        raise ConfigError(f"{path}: ladder is a list of names, one a case.")
    if rungs and len(rungs) != cases:
        raise ConfigError(f"{path}: ladder has {len(rungs)} names for {cases} cases (the base is the first).")
    titles: list[str] = []
    over: list[int | None] = []
    for rung in rungs:
        whole = {"title": rung} if isinstance(rung, str) else rung
        if not isinstance(whole, dict) or not all(isinstance(word, str) for word in whole.values()):
            raise ConfigError(f"{path}: a rung is a name, or {{title: NAME, over: NAME}}, not {rung!r}.")
        if "title" not in whole or whole.keys() - {"title", "over"}:
            raise ConfigError(f"{path}: a rung is a name, or {{title: NAME, over: NAME}}, not {rung!r}.")
        below = whole.get("over", titles[-1] if titles else None)
        if below is not None and below not in titles:
            raise ConfigError(
                f"{path}: {whole['title']!r} is to build on {below!r}, and no rung before it is called so."
            )
        over.append(None if below is None else titles.index(below))
        titles.append(whole["title"])
    return tuple(titles), tuple(over)


def _overrides(path: Path, settings: Any) -> list[str]:
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: settings are section.key: value, not {settings!r}.")
    try:
        return [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    except TypeError:
        raise ConfigError(f"{path}: {_words(settings)} has a value that no setting takes.") from None


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items()) or "base"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
