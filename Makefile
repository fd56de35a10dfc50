# The only interface: `make` alone lists everything.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

# The first Python that the embedded Redis has a wheel for; PYTHON=/path/to/python3 names another.
PYTHONS := python3 python3.13 python3.12 python3.11
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for python in $(PYTHONS); do \
  $$python -c '$(FITS)' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
RUN_DIR := $(or $(TWINUP_RUN_DIR),.run)
# Tests run in this many processes.
WORKERS ?= auto

BIN := $(VENV)/bin
PY := $(BIN)/python
LOCAL := $(PY) -m sensor_local
STAMP := $(VENV)/.set-up
PROTO := $(sort $(wildcard proto/twinup/alert/v1/*.proto))
FUNC_EXTRAS := clickhouse grpc kafka mqtt readings redis rest
SOURCES := shared functions eventing load infra tests

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## "; print "usage: make TARGET" } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z][a-z-]*:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ The system on this machine
.PHONY: run up down status health-check audit logs clean
run: setup ## Run everything with a live view, until Ctrl-C
	@$(LOCAL) run

up: setup ## Start everything in the background, return when it is ready
	@$(LOCAL) up

down: setup ## Stop it: the producer first, then what is drained, with an account of all readings
	@$(LOCAL) down

status: setup ## Show the processes: state, restarts, CPU, memory, address
	@$(LOCAL) status

health-check: setup ## Ask every service whether it can do its work
	@$(LOCAL) health

audit: setup ## Account for every reading; it fails when one is lost or doubled (JSON=1, ALL=1: earlier runs too)
	@$(LOCAL) audit $(if $(JSON),--json) $(if $(ALL),--all)

logs: ## Follow the logs (NAME=consumer for one of them)
	@tail -n 20 -F $(RUN_DIR)/logs/$(or $(NAME),*).log

clean: ## Remove all state (.run); refuses while it runs
	@if test -x $(PY); then $(LOCAL) clean; else rm -rf "$(RUN_DIR)"; fi

##@ Looking into the parts
.PHONY: kafka-topics kafka-create-topic clickhouse-client clickhouse-ddl redis-cli run-producer
kafka-topics: setup ## List the topics
	@$(PY) -m sensor_local.topics --list

kafka-create-topic: setup ## Create a topic: TOPIC=name, PARTITIONS=4
	@$(PY) -m sensor_local.topics --topic "$(or $(TOPIC),$(error TOPIC=name is missing))" \
	  --partitions $(or $(PARTITIONS),4)

clickhouse-client: setup ## Open an SQL prompt
	@$(PY) -m sensor_local.clickhouse.client --endpoints $(RUN_DIR)/endpoints.json

clickhouse-ddl: setup ## Print the DDL for one server (CLUSTER=name: for a cluster)
	@$(PY) -m sensor_shared.adapters.migrations infra/clickhouse/migrations --print \
	  $(if $(CLUSTER),--cluster '$(CLUSTER)')

redis-cli: setup ## Open a Redis prompt
	@$(PY) -m sensor_local.redis_cli

run-producer: setup ## Run a producer by itself, by its configuration and TWINUP_* variables
	@$(PY) -m sensor_producer configs/producer-config.yaml

##@ Dead letters and replay (TWINUP_KAFKA_BROKERS names a cluster's Kafka)
.PHONY: dlq dlq-replay replay
LETTERS := $(PY) -m sensor_local.letters
CHOSEN = $(if $(SOURCE),--source '$(SOURCE)') $(if $(TOPIC),--topic '$(TOPIC)')
dlq: setup ## Count the dead letters by source and reason (SHOW=0-17 or an event's id: one; JSON=1)
	@$(LETTERS) $(if $(SHOW),show '$(SHOW)',list) $(if $(JSON),--json) $(CHOSEN)

dlq-replay: setup ## Put them back, each once (SOURCE=glob, TOPIC=name, LETTER=0-17, DRY_RUN=1, AGAIN=1)
	@$(LETTERS) put-back $(CHOSEN) $(if $(LETTER),--letter '$(LETTER)') \
	  $(if $(DRY_RUN),--dry-run) $(if $(AGAIN),--again)

replay: setup ## Deliver sensor-data once more, adding what is missing: FROM=2026-11-24T10:00:00Z, TO=…
	@$(PY) -m sensor_local.replay --from "$(or $(FROM),$(error FROM=2026-11-24T10:00:00Z is missing))" \
	  $(if $(TO),--to '$(TO)')

NOTIFICATIONS := $(PY) -m sensor_local.notifications
SOME = $(if $(CHANNEL),--channel '$(CHANNEL)') $(if $(TARGET),--target '$(TARGET)') $(if $(ID),--id '$(ID)')
.PHONY: notifications notifications-put-back
notifications: setup ## Count the notifications that were given up (CHANNEL=email, TARGET=…, ID=…, JSON=1)
	@$(NOTIFICATIONS) list $(SOME) $(if $(JSON),--json)

notifications-put-back: setup ## Queue them again (CHANNEL=email, TARGET=address, endpoint or topic, ID=one)
	@$(NOTIFICATIONS) put-back $(SOME)

##@ Backup (TWINUP_CLICKHOUSE_HOST and its neighbours name a server)
.PHONY: backup restore backup-show
BACKUP := $(PY) -m sensor_local.backup
backup: setup ## Save ClickHouse's database while it runs (TO=name or S3(…), BASE=earlier one, SUMS=1)
	@$(BACKUP) save $(if $(TO),--to "$(TO)") $(if $(BASE),--base "$(BASE)") $(if $(SUMS),--sums)

restore: setup ## Read it back and bring the schema up to date: FROM=name (DATABASE=its name there, SUMS=1)
	@$(BACKUP) restore --from "$(or $(FROM),$(error FROM=name is missing))" \
	  $(if $(DATABASE),--database "$(DATABASE)") $(if $(SUMS),--sums)

backup-show: setup ## Count and checksum every table, to compare two databases
	@$(BACKUP) show

##@ Keys and accounts (TWINUP_* variables name a server's)
.PHONY: signing-key reset-password
signing-key: setup ## Replace the key of the tokens: DO=add, minutes later sign, a day later retire (NOW=1); show
	@TWINUP_AUTH_SIGNING_KEY_FILE="$${TWINUP_AUTH_SIGNING_KEY_FILE:-$(RUN_DIR)/secrets/jwt-signing-key.pem}" \
	  TWINUP_AUTH_KEYS_DIR="$${TWINUP_AUTH_KEYS_DIR:-$(RUN_DIR)/secrets}" \
	  $(PY) -m sensor_auth.rotation $(or $(DO),show) $(if $(NOW),--now)

reset-password: setup ## Give a user a new password, shown once, and the role admin: NAME=admin
	@$(PY) -m sensor_local.account "$(or $(NAME),$(error NAME=admin is missing))"

##@ Deployment
.PHONY: manifests
manifests: ## Print what a cluster would be given: OVERLAY=dev, production or func
	@if command -v kustomize >/dev/null; then build='kustomize build'; else build='kubectl kustomize'; fi; \
	  $$build infra/knative/overlays/$(or $(OVERLAY),dev)

##@ In containers (docker compose; infra/compose/README.md)
.PHONY: docker-build docker-secrets docker-up docker-up-infra docker-logs docker-down docker-down-volumes
COMPOSE := docker compose -f infra/compose/docker-compose.yml
docker-build: docker-secrets ## Build both images
	@$(COMPOSE) build

docker-secrets: ## Make the passwords and keys that are missing, random (infra/compose/secrets, .env)
	@infra/compose/secrets.sh

docker-up: docker-secrets ## Build and start the whole system (SCALE=consumer=3)
	@$(COMPOSE) up --detach --build --wait $(if $(SCALE),--scale $(SCALE))

docker-up-infra: docker-secrets ## Start Kafka, ClickHouse, Redis, Mosquitto and Mailpit alone
	@docker compose -f infra/compose/docker-compose.infra.yml up --detach --wait

docker-logs: ## Follow the logs (NAME=consumer for one of them)
	@$(COMPOSE) logs --follow --tail 20 $(NAME)

docker-down: ## Stop it; what is stored stays
	@$(COMPOSE) down

docker-down-volumes: ## Stop it and delete what is stored
	@$(COMPOSE) down --volumes

##@ Tests and checks
.PHONY: test test-unit test-coverage test-faults test-images test-kn-func test-bench
.PHONY: bench bench-alerts bench-live load capacity check fmt fmt-check lint vet qa
test: setup ## Run all tests on the real parts, with coverage
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup --cov --cov-report=

test-unit: setup ## Run the tests that need no part, in seconds
	@$(BIN)/pytest -n $(WORKERS) -m "not integration and not e2e"

test-coverage: setup ## Run all tests and write a report to htmlcov/
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup --cov --cov-report=term --cov-report=html

test-kn-func: setup vendor ## Build and serve each function as func's host builder does, beside functions-framework
	@$(BIN)/pytest -q -p no:xdist tests/kn_func

test-faults: setup ## Kill, pause and cut every part under load; nothing may be lost or doubled
	@$(BIN)/pytest -s -x -q -p no:xdist --session-timeout=880 tests/faults

test-images: setup ## Run what the images hold, installed by their locks, outside a container
	@$(BIN)/pytest -p no:xdist --session-timeout=400 tests/deploy/images

test-bench: setup ## Measure what the stages of one event cost, with ratios to a baseline
	@$(PY) load/bench/stages.py

# Only a whole run is written down.
bench: setup ## Measure the whole flow and the API: SECONDS=60 of steady, HOLD=30 of max, ONLY="steady max api", FORMS="single" of max
	@$(PY) -m load.bench.flow --seconds $(or $(SECONDS),60) --hold-seconds $(or $(HOLD),30) \
	  $(if $(ONLY),--only $(ONLY)) $(if $(FORMS),--forms $(FORMS)) \
	  $(if $(ONLY)$(FORMS),,--output load/results/latest.json)

bench-alerts: setup ## Measure alerts: from a breach to its row, sweeps over 100,000 devices: SECONDS=20
	@$(PY) -m load.bench.alerts --seconds $(or $(SECONDS),20)

bench-live: setup ## Measure what the live streams cost, and how soon a change of an alert is there
	@$(PY) -m load.bench.live

load: setup ## Play people and attackers over HTTP against what `make up` has started: SECONDS=60, USERS=20
	@$(PY) -m load.locust $(if $(SECONDS),--seconds $(SECONDS)) $(if $(USERS),--users $(USERS))

capacity: setup ## Say what a fleet takes, from the results: DEVICES=1000000 INTERVAL=1 (seconds; ARGS=--help tells all, DOC=1 writes docs/scaling.md)
	@$(PY) -m load.capacity $(if $(DEVICES),--devices $(DEVICES)) $(if $(INTERVAL),--interval $(INTERVAL)) \
	  $(if $(DOC),--document) $(ARGS)

check: fmt-check lint vet test ## What CI runs first

fmt: setup ## Format the code and fix what can be fixed
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

fmt-check: setup
	@$(BIN)/ruff format --check .

lint: setup ## Look for mistakes (ruff)
	@$(BIN)/ruff check .

vet: setup ## Check the types (mypy, strict)
	@$(BIN)/mypy $(SOURCES)

qa: fmt lint vet test-unit ## Format, lint, types and unit tests: before each commit

##@ Set-up
.PHONY: setup dev-setup deps vendor proto
setup: $(STAMP) ## Make the virtual environment and fetch Kafka, if that is not done

dev-setup: setup ## The same, and say what comes next
	@echo "ready: 'make run' starts the system, 'make qa' checks a change"

$(STAMP): requirements.lock pyproject.toml infra/local/kafka.lock
	@$(or $(PYTHON),false) -c '$(FITS)' || \
	  { echo "Python 3.11, 3.12 or 3.13 with venv is needed (Debian and Ubuntu: apt install" \
	    "python3-venv); PYTHON=/path/to/python3 names one"; exit 1; }
	@test -x $(PY) || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing the packages of requirements.lock (about 1 GB the first time)"
	@# The lock is complete. Left to resolve, pip before 23.3 takes a newer release for an extra (pip issue 9644).
	@$(PY) -m pip install --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@echo "fetching Kafka's jars"
	@$(PY) -m sensor_local.jars
	@touch $@

deps: setup ## Bring requirements.lock and the images' locks up to date with pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --extra local --extra dev pyproject.toml -o requirements.lock
	@for image in functions tools; do $(BIN)/uv pip compile --quiet --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --constraints requirements.lock \
	  infra/images/$$image.in -o infra/images/$$image.lock || exit 1; done
	@# Under func: the same versions, but for cloudevents.
	@sed -n '/^cloudevents==/d; s/^\([a-z0-9].*==.*\) \\$$/\1/p' requirements.lock > $(VENV)/constraints.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate $(FUNC_EXTRAS:%=--extra %) -c $(VENV)/constraints.txt \
	  shared/pyproject.toml functions/requirements-func.in -o functions/requirements-func.lock

vendor: setup ## Put what `func build` needs into each function: the wheel of shared/, and versions
	@rm -rf functions/*/vendor
	@cd shared && $(abspath $(PY)) -m hatchling build -t wheel -d ../functions/consumer/vendor
	@sed -n 's/^\([a-z0-9].*==.*\) \\$$/\1/p' functions/requirements-func.lock \
	  > functions/consumer/vendor/constraints.txt
	@for name in analytics alerts auth gateway; do cp -r functions/consumer/vendor functions/$$name/; done

proto: setup ## Generate the gRPC code from proto/
	@$(PY) -m grpc_tools.protoc -I proto --python_out=shared/src --grpc_python_out=shared/src \
	  --mypy_out=shared/src --mypy_grpc_out=shared/src --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc $(PROTO)
