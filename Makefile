PYTHON ?= python3
BIN := .venv/bin
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg
BOOK := _config.yml _toc.yml index.md pages/*.md chapters/*.ipynb
SOURCES := $(wildcard $(BOOK) $(addprefix vi/,$(BOOK)) vi/locale/vi/*/*.[pj]* tinyddpm/*.py tinyddpm/weights/*/* tools/*.py tools/templates/* _static/* live/*)

.PHONY: help book pdf vi test chapters flakes lint mutation dist clean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

book: _build/.done  ## the book as HTML, in _build/html; the Vietnamese one is in its folder vi
	@printf 'The book is ready: %s\n' $(CURDIR)/_build/html/index.html $(CURDIR)/_build/html/vi/index.html

pdf: _build/pdf/tinyddpm.pdf _build/pdf/tinyddpm-vi.pdf  ## the book as one PDF for each language, in _build/pdf; needs a browser such as Debian's chromium
	@printf 'The book is ready: %s\n' $(addprefix $(CURDIR)/,$^)

vi: .venv/.done  ## bring the Vietnamese notebooks up to date, and say which texts are to be translated anew; NEW="FILE TEXT" marks one as done
	$(BIN)/python tools/vietnamese.py $(if $(NEW),"$(NEW)")

test: .venv/.done  ## every test: the package, the chapters, the book
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

chapters: .venv/.done  ## run the chapters again and store their outputs
	$(BIN)/python tools/run_chapters.py chapters/*.ipynb

# Two chapters at a time; threads that wait do not keep a core busy.
flakes: .venv/.done  ## every chapter against its stored outputs, ten times on one thread and ten times on two (more than an hour)
	for run in 1 2 3 4 5 6 7 8 9 10; do for threads in 1 2; do echo "run $$run on $$threads"; \
	OMP_NUM_THREADS=$$threads OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -q -n 2 --dist loadfile $(NBVAL) chapters || exit 1; done; done

lint: .venv/.done  ## style and types: ruff, mypy, and what makes a notebook safe to store
	$(BIN)/pre-commit run --all-files
	$(BIN)/python -m mypy

mutation: .venv/.mutmut  ## breaks the mathematics in some thousand places, one at a time, and counts what the tests notice
	$(BIN)/python tools/mutation.py

dist: .venv/.done  ## the package as it is published, wheel and source, in dist
	rm -rf dist
	$(BIN)/python -m build --no-isolation .
	$(BIN)/python -m twine check --strict dist/*

clean:  ## remove what was built, the environment too
	rm -rf .venv _build dist mutants

# The files .done and .installed are written last, so that what was interrupted or failed is made again.

_build/.done: .venv/.done $(SOURCES)
	$(BIN)/python tools/make_book.py
	@touch $@

_build/pdf/tinyddpm.pdf: _build/.done tools/print.css
	$(BIN)/python tools/make_pdf.py _build/html $@

_build/pdf/tinyddpm-vi.pdf: _build/.done tools/print.css
	$(BIN)/python tools/make_pdf.py _build/html/vi $@

.venv/.mutmut: .venv/.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check mutmut==3.8.1
	@touch $@

.venv/.done: .venv/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	|| { echo "tinyddpm needs Python 3.10 or newer. Name one, such as: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into .venv, once; this takes a few minutes."
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
