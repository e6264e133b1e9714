# Everything starts here; needs only make and python3 (3.11 or newer, with venv).
#
#   make demo         install and run the demo
#   make test         install and run the tests
#   make explorer     build the explorer's page anew from explorer/ (needs Node.js 20.19 and npm 11)
#   make check        lint, format, types, import direction
#   make format       rewrite the sources in the format that `make check` expects
#   make constraints  raise the pins of constraints.txt to the newest that pyproject.toml allows
#   make clean        remove the environment and caches

PYTHON ?= python3
TORCH := 2.13.0
BIN := .venv/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test explorer browser check format constraints clean
# an environment half made must not pass for a finished one
.DELETE_ON_ERROR:

demo: .venv/.installed-demo
	$(BIN)/vecspeak demo

test: .venv/.installed-dev explorer/node_modules/.package-lock.json browser
	$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile

explorer: explorer/node_modules/.package-lock.json
	cd explorer && npm run build

check: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pytest tests/test_import_direction.py

format: .venv/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Stamp files: a second run installs nothing, a changed requirement installs again.
.venv/.installed-%: pyproject.toml constraints.txt | .venv/pyvenv.cfg
	@echo "Installing vecspeak[$*] into .venv; the first time takes minutes"
	@$(BIN)/pip install --quiet -c constraints.txt -e ".[$*]"
	@touch $@

.venv/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"vecspeak needs Python 3.11 or newer, $(PYTHON) is {v[0]}.{v[1]}; choose another: make PYTHON=python3.12 ...")'
	@echo "Creating .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv

# The explorer's tests want its npm packages and a browser. Where they cannot be had, those tests are skipped and say so.
explorer/node_modules/.package-lock.json: explorer/package-lock.json
	@if command -v npm > /dev/null; then \
		echo "Installing the explorer's packages"; cd explorer && npm ci --silent && touch node_modules/.package-lock.json; \
	else echo "npm is missing: the explorer's tests will be skipped"; fi

browser:
	@command -v chromium > /dev/null || command -v chromium-browser > /dev/null || command -v google-chrome > /dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing Chromium"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium > /dev/null; \
	else echo "Chromium is missing: the explorer's tests will be skipped. Install it, as with: apt-get install chromium"; fi

# Resolves [dev], which holds every other extra, without installing it. torch stays: its releases differ in size by GBs.
constraints: .venv/.installed-dev
	@echo "Resolving the newest versions"
	@$(BIN)/pip install --quiet --dry-run --ignore-installed --report .venv/resolved.json torch==$(TORCH) -e ".[dev]"
	@grep '^#' constraints.txt > .venv/constraints.txt
	@$(BIN)/python -c 'import json; \
	packages = [entry["metadata"] for entry in json.load(open(".venv/resolved.json"))["install"]]; \
	pins = [p["name"] + "==" + p["version"].split("+")[0] for p in packages if p["name"] != "vecspeak"]; \
	print(*sorted(pins, key=str.lower), sep="\n")' >> .venv/constraints.txt
	@mv .venv/constraints.txt constraints.txt
	@git --no-pager diff --stat constraints.txt

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
