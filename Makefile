# `make` lists what there is to make. Needs Python 3.11 or newer; all else goes into .venv.

PYTHON ?= python3
VENV   := .venv/bin/python
# import-linter: floors and circles, as pyproject.toml says. It has no `python -m`.
LINT_IMPORTS := .venv/bin/lint-imports --no-cache --no-logo

# The environment's own Jupyter kernel, not one that the user has installed elsewhere under the same name.
export JUPYTER_PREFER_ENV_PATH := 1

.PHONY: help train demo test test-slow test-newest coverage lab notebooks clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

# Settings for this once: make train OVERRIDES="train.num_epochs=20 model.n_temporal_aware_block=3"
train: .venv/.installed  ## train CkTIM-net: run notebook_train.ipynb, on EMOVO or else on the demo corpus
	$(VENV) -m utils.notebooks.run $(OVERRIDES)

demo: .venv/.installed  ## show a page that recognises emotions in voices, on this machine alone
	@$(VENV) -c 'import gradio' 2>/dev/null || $(VENV) -m pip install --disable-pip-version-check \
		-r requirements.txt -r requirements-live.txt
	$(VENV) -m testing.demo

# Two processes with a thread each; --dist loadfile: the tests of a file share its fixtures.
test: .venv/.installed-dev  ## run the linters and the tests
	$(VENV) -m ruff check .
	$(LINT_IMPORTS)
	$(VENV) -m mypy
	OMP_NUM_THREADS=1 $(VENV) -m pytest -n 2 --dist loadfile

test-slow: .venv/.installed-dev  ## run the tests that take minutes: faults, fuzzing, memory
	$(VENV) -m pytest -m slow

# Without upper limits, so that it shows which of them can be raised.
test-newest:  ## run the tests with the newest releases, in .venv-newest: make test-newest PYTHON=python3.13
	$(PYTHON) -m venv --clear .venv-newest
	sed -E '/^-r/d; s/,<[0-9.]+//' requirements.txt requirements-dev.txt requirements-export.txt requirements-live.txt requirements-corpus.txt > .venv-newest/all.txt
	.venv-newest/bin/python -m pip install --disable-pip-version-check -r .venv-newest/all.txt
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -n 2 --dist loadfile

coverage: .venv/.installed-dev  ## run the tests and show which lines they do not reach
	$(VENV) -m pytest --cov --cov-report=term-missing:skip-covered

lab: .venv/.installed  ## open the notebooks in JupyterLab
	$(VENV) -m jupyter lab notebook_train.ipynb

notebooks: .venv/.installed  ## run all notebooks and keep their outputs in them, to be committed
	CKTIM_AUDIO=0 $(VENV) -m utils.notebooks.run --in-place \
		notebook_train.ipynb notebook_test.ipynb notebook_results.ipynb

clean:  ## delete the environment and caches; corpora and runs stay
	rm -rf .venv .venv-newest .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is made once, and brought up to date when the requirements change. `.unfinished` lies in it while
# that goes on: where it is found, or pip is missing, an installation was interrupted and all is made anew.
.venv/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: Python 3.11 or newer is needed, and '$(PYTHON)' is not that." >&2; \
		echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@if [ -e .venv/.unfinished ] || ! $(VENV) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m venv --clear .venv || { rm -rf .venv; \
			echo "error: '$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	fi
	@rm -f $@ && touch .venv/.unfinished
	$(VENV) -m pip install --disable-pip-version-check -r requirements.txt
	@mv .venv/.unfinished $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt requirements-export.txt requirements-live.txt requirements-corpus.txt
	@mv .venv/.installed .venv/.unfinished
	$(VENV) -m pip install --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@mv .venv/.unfinished .venv/.installed && touch $@
