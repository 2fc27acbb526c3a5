# Every target sets up what it needs in a virtual environment, .venv: for `run` that is the project and
# Flask, which takes seconds; for all others it is the project and its tools, which takes minutes.

PYTHON ?= python3
# Whoever names another Python gets another environment, so that each has what was installed for it.
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(shell \
	$(PYTHON) -c 'import sys; print(sys.implementation.cache_tag)'))
BIN := $(VENV)/bin
# Two stamps for two amounts of what is installed; they are younger than pyproject.toml if it is.
SERVES := $(VENV)/.serves
STAMP := $(VENV)/.installed

.PHONY: run test lint format docs pictures bench bench-report bench-sse bench-parked bench-live bench-mounts bench-websockets bench-workers bench-hostile soak soak-workers storm conformance autobahn matrix programs clean

run: $(SERVES)  ## serve the Flask example on http://127.0.0.1:8000
	$(BIN)/asyncwsgi examples/flask_app.py:app

test: lint programs  ## everything that has to hold before a change lands
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## write the option table from the declarations
	$(BIN)/python docs/write_options.py

pictures: $(STAMP)  ## take the pictures of docs/inspecting.md anew, in Chromium
	INSPECT_PICTURES=$(CURDIR)/docs/pictures $(BIN)/pytest tests/inspection/test_film_strip.py

bench: $(STAMP)  ## measure against the peers, side by side
	$(BIN)/python bench/run.py

bench-report: $(STAMP)  ## measure, then write docs/performance.md and its plots
	$(BIN)/python bench/write_report.py

bench-sse: $(STAMP)  ## 10,000 event streams on 8 threads, and the peers
	$(BIN)/python bench/sse.py

bench-parked: $(STAMP)  ## 10,000 async views that wait at a time on 8 threads, and the peers
	$(BIN)/python bench/parked.py

bench-live: $(STAMP)  ## what a live server costs a test, beside the peers
	$(BIN)/python bench/live.py

bench-mounts: $(STAMP)  ## what a WSGI application costs inside uvicorn and aiohttp, by this bridge and others
	$(BIN)/python bench/mounts.py

bench-websockets: $(STAMP)  ## 10,000 idle and 2,000 talking WebSockets on 8 threads, and the peers
	$(BIN)/python bench/ws.py

bench-workers: $(STAMP)  ## a view that computes, by one process and by two, beside the peers
	$(BIN)/python bench/workers.py

bench-hostile: $(STAMP)  ## memory under 10,000 hostile connections of each kind
	$(BIN)/python bench/hostile.py

soak: $(STAMP)  ## ten minutes of mixed load; memory, threads and descriptors must stay
	$(BIN)/python bench/soak.py

soak-workers: $(STAMP)  ## ten minutes behind nginx; workers are replaced and killed, nothing is lost
	$(BIN)/python bench/soak_workers.py

storm: $(STAMP)  ## 250,000 requests at once, none of which may see anything of another
	STORM_REQUESTS=50000 $(BIN)/pytest tests/storm --timeout 900

conformance: $(STAMP)  ## the tests of Werkzeug, Flask and others, unmodified, against this server
	$(BIN)/python -m tests.conformance.run
	$(BIN)/python -m tests.conformance.projects
	$(BIN)/python -m tests.conformance.async_views

autobahn: $(STAMP)  ## Autobahn's fuzzing client against WebSockets on the loop; wants a Python 2.7
	$(BIN)/python -m tests.conformance.autobahn

matrix: $(STAMP)  ## the pytest plugin on releases of pytest, and in parallel; runserver on those of Django
	$(BIN)/python -m tests.matrix.run
	$(BIN)/python -m tests.matrix.django_releases

programs:  ## see to it that the tests find Chromium, its driver, git, nginx, HAProxy, Redis and systemd
	@if command -v chromium && command -v chromedriver && command -v git && \
	  PATH=$$PATH:/usr/sbin && command -v nginx && command -v haproxy && \
	  command -v redis-server && command -v systemd-socket-activate; then :; \
	elif command -v apt-get; then \
	  sudo=$$(test "$$(id -u)" = 0 || echo sudo); \
	  $$sudo apt-get update -q; \
	  $$sudo apt-get install -qy --no-install-recommends chromium chromium-driver git \
	    nginx haproxy redis-server systemd; \
	else \
	  echo "The tests want chromium, chromedriver, git, nginx, haproxy, redis-server and" \
	    "systemd-socket-activate on PATH: install them, try again." >&2; \
	  exit 1; \
	fi >/dev/null

define install
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	"$(PYTHON) is too old, Python 3.11 or later is wanted; name one: make PYTHON=python3.12")'
	@echo "Installing $(1) in $(VENV): $(2), and only this once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[$(3)]"
	@touch $@
endef

$(SERVES): pyproject.toml
	$(call install,asyncwsgi and Flask,some seconds,flask)

$(STAMP): pyproject.toml
	$(call install,asyncwsgi and all that its tests use,some minutes,dev)
	@touch $(SERVES)  # `dev` has what `run` wants

clean:
	rm -rf .venv .venv-* bench/.venv bench/.data build/autobahn build/conformance build/matrix .mypy_cache .pytest_cache .ruff_cache .hypothesis
