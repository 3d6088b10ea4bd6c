PYTHON ?= python3
BIN := .venv/bin
BOOK := $(CURDIR)/_build/html/index.html
SOURCES := $(wildcard _config.yml _toc.yml *.md chapters/*.ipynb tinyddpm/*.py tools/*.py _static/*)

.PHONY: help book test chapters wheel clean

help:  ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /make \1|/p' $(MAKEFILE_LIST) | column -t -s '|'

book: $(BOOK)  ## the book as HTML, in _build/html
	@echo "The book is ready: $(BOOK)"

test: .venv/.installed  ## every test: the package, the chapters, the book
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg

chapters: .venv/.installed  ## run the chapters again and store their outputs
	$(BIN)/python tools/run_chapters.py chapters/*.ipynb

wheel: .venv/.installed  ## the package, in dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:  ## remove what was built, the environment too
	rm -rf .venv _build dist

# -n and -W: a dangling reference or any other warning fails the build, and leaves no page that looks finished.
$(BOOK): .venv/.installed $(SOURCES)
	$(BIN)/jupyter-book build . -n -W --keep-going
	@touch $(BOOK)

.venv/.installed: requirements.txt pyproject.toml hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "tinyddpm needs Python 3.10 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
