# `make` shows what there is. Needs Python 3.11 or newer and nothing else.
.DEFAULT_GOAL := help
.PHONY: help install clients brokers demo test unit lint fix sdk bench pictures dashboard lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO_OPTIONS := $(if $(ONCE),--once)
# STREAM=kafka and STREAM=kinesis start a broker beside the demo.
WITH_BROKER := $(if $(STREAM),$(BIN)/python tests/brokers/run.py $(STREAM))

help: ## Show the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Create the environment in .venv

$(INSTALLED): requirements/dev.txt requirements/build.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Wakeline needs Python 3.11 or newer; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --progress-bar on --require-hashes -r requirements/build.txt -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# Tests of JavaScript are skipped where there is no npm.
clients: $(if $(shell command -v npm),tests/clients/node_modules sdk/browser/node_modules) ## Install the JavaScript clients that tests run

%/node_modules: %/package-lock.json
	npm ci --prefix $* --ignore-scripts --no-fund --no-audit --loglevel=error
	touch $@

# Tests of Kafka are skipped where there is no Maven, tests of resharding and of SMTP where there is no npm.
brokers: $(if $(shell command -v mvn),tests/brokers/kafka/target/lib) $(if $(shell command -v npm),tests/brokers/kinesis/node_modules tests/brokers/mail/node_modules) ## Install the brokers and mail servers that tests run

tests/brokers/kafka/target/lib: tests/brokers/kafka/pom.xml
	rm -rf $@
	mvn -B -q -C -f $< dependency:copy-dependencies
	touch $@

sdk: sdk/browser/node_modules ## Build the browser SDK into the collector's static files
	npm run --prefix sdk/browser build

demo: install $(if $(STREAM),brokers) ## Start everything and play shopper traffic; ONCE=1 ends by itself, STREAM=kafka or kinesis adds a broker
	$(WITH_BROKER) $(BIN)/wakeline demo $(DEMO_OPTIONS)

# One whole stack after the other: each takes both cores.
test: unit lint ## Run all tests
	$(BIN)/pytest -n 2 --dist loadfile -m stack
	$(BIN)/pytest -m whole_stack

unit: install clients brokers ## Run the tests that need no server
	$(BIN)/pytest -n 2 --dist loadfile -m "not stack and not whole_stack"

lint: install ## Check style, types and SQL
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint --processes 2 dbt_project/models dbt_project/tests

fix: install ## Format Python and SQL
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix --processes 2 dbt_project/models dbt_project/tests

bench: install ## Measure latency and throughput of all, the collector, sends, rebuilding and the browser SDK; writes benchmarks/results
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/collector.py
	$(BIN)/python benchmarks/sends.py
	$(BIN)/python benchmarks/rebuild.py
	$(BIN)/python benchmarks/sdk.py

pictures: install ## Take the pictures of the campaigns in docs/pictures; needs Chromium
	PYTHONPATH=.:tests $(BIN)/python -m support.pictures

dashboard: install ## Write the Grafana dashboard in deploy/grafana
	$(BIN)/python deploy/grafana/dashboard.py

lock: ## Pin the dependencies again
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --generate-hashes --universal --no-strip-extras --python-version 3.11 --extra dev --extra msk pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --generate-hashes --universal --no-strip-extras --python-version 3.11 pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	$(BIN)/uv pip compile --quiet --generate-hashes --python-version 3.11 requirements/build.in -o requirements/build.txt

clean: ## Remove the environment and all local state
	rm -rf $(VENV) .wakeline tests/brokers/kafka/target tests/brokers/kinesis/node_modules tests/brokers/mail/node_modules tests/clients/node_modules sdk/browser/node_modules dbt_project/target dbt_project/logs
