# Every target does its own set-up. PYTHON may be any of 3.10 to 3.13: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
CODE := tvrkit tests benchmarks examples docs
# Tests of different files run side by side, a process a core. For a debugger: make test TOGETHER=
TOGETHER ?= --numprocesses logical --maxprocesses 8 --dist loadfile

.PHONY: help demo test test-slow check bench docs fix clean apt-ffmpeg apt-chromium apt-g++
help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime  ## from nothing to an answered question, on this machine's CPU
	$(VENV)/bin/tvrkit demo $(ARGS)

test: $(VENV)/.dev apt-ffmpeg  ## the fast tests
	$(PY) -m pytest -m "not slow" $(TOGETHER) $(ARGS)

test-slow: $(VENV)/.dev apt-ffmpeg apt-chromium apt-g++  ## kills, several processes, the browser, the demo
	$(PY) -m pytest -m slow --durations=25 $(TOGETHER) $(ARGS)

check: $(VENV)/.dev  ## lint, format, types, floors
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.dev  ## everything under benchmarks/ against its rivals, at small sizes: benchmarks/RESULTS.md
	$(PY) benchmarks/results.py --small $(ARGS)

docs: $(VENV)/.dev  ## the pages as a site, in site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

fix: $(VENV)/.dev  ## mend what lint and format can; write docs/cli.md anew
	$(PY) -m ruff check --fix $(CODE)
	$(PY) -m ruff format $(CODE)
	$(PY) docs/generate.py

clean:  ## remove the environment, caches and builds; data/ and runs/ stay
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A virtual environment, also where Python comes without ensurepip (Debian without python3-venv).
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo >&2 \
		"tvrkit needs Python 3.10 or newer, and $(PYTHON) is not: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { $(PYTHON) -m venv --clear --without-pip $(VENV) \
		&& $(PYTHON) -m pip --python $(PY) install --quiet pip; }
	@touch $@

# uv installs several times faster than pip; pip does where uv cannot be had or fails.
define install
	@echo "Installing tvrkit$(1) into $(VENV) (a few GB with torch; once) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check uv >/dev/null 2>&1 || true
	@UV_COMPILE_BYTECODE=1 $(PY) -m uv pip install --quiet --python $(PY) -e ".$(1)" \
		|| $(PY) -m pip install --quiet --disable-pip-version-check -e ".$(1)"
	@touch $@
endef

$(VENV)/.runtime: pyproject.toml | $(VENV)/.made
	$(call install,)

$(VENV)/.dev: pyproject.toml | $(VENV)/.made
	$(call install,[dev])
	@touch $(VENV)/.runtime

# Programs that some tests compare with or look through. Where they cannot be installed those tests skip and say so.
apt-ffmpeg apt-chromium apt-g++: apt-%:
	@command -v $* >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "Installing $* ..." \
		&& { $(APT) $* || { apt-get update -qq && $(APT) $*; }; } >/dev/null 2>&1 </dev/null; } \
		|| echo "No $* here: the tests that need it skip."
APT := DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120
