# Needs python3 (3.11 to 3.13) and git; everything else is installed below this directory, as locked.
#   make demo ARGS="--scenario delivered --exit"

VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools
UV := $(TOOLS)/bin/uv
ARGS ?=

export UV_PYTHON_DOWNLOADS := never
# Byte code is what makes the second start quick; another environment's variables are not ours.
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME VIRTUAL_ENV UV_PROJECT_ENVIRONMENT

.DEFAULT_GOAL := help
.PHONY: help env helm-env helm-secrets backup restore demo test e2e-kubernetes check lint types audit docs reference screenshots fix bench install install-dev clean
.DELETE_ON_ERROR:

help:
	@echo "make demo     a feature goes to production before your eyes"
	@echo "make test     every test; make check: formatting, lint, types, imports; make fix: repairs what can be"
	@echo "make audit    known vulnerabilities of what is locked; the bill of materials in build/sbom.cdx.json"
	@echo "make docs     the docs site in build/site; make screenshots: its pictures; make reference: its reference pages"
	@echo "make bench    the figures; make install: only installs; make clean: removes what was installed"
	@echo "make env      secrets for docker-compose.yaml; make backup; make restore FROM=backups/..."
	@echo "make helm-env secrets for Kubernetes; make helm-secrets prints them for kubectl"

demo: $(VENV)/.installed
	@$(BIN)/feature-delivery demo $(ARGS)

# A module's servers are started once: its tests stay together. Tests wait more than they work, so that on two cores
# three of them fit beside each other, and two of those with a real Airflow.
test: $(VENV)/.installed-dev
	$(BIN)/pytest -n 3 --dist loadfile -m "not e2e" $(ARGS)
	$(BIN)/pytest -n 2 --dist loadfile -m e2e $(ARGS)

# On a cluster of yours: FEATURE_DELIVERY_TEST_KUBECONFIG names a kubeconfig with an administrator's rights.
e2e-kubernetes: $(VENV)/.installed-dev
	@test -f "$$FEATURE_DELIVERY_TEST_KUBECONFIG" || { echo "Set FEATURE_DELIVERY_TEST_KUBECONFIG to a kubeconfig."; exit 2; }
	$(BIN)/pytest -k real_cluster tests/contracts $(ARGS)
	$(BIN)/pytest tests/e2e/test_cluster.py $(ARGS)

# Parts of their own, so that `make -j2 check` does two at a time.
check: lint types docs
lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
types: $(VENV)/.installed-dev
	$(BIN)/mypy

# Known vulnerabilities of what is locked, and build/sbom.cdx.json; pip-audit has an environment of its own.
audit: $(UV)
	@UV_PROJECT_ENVIRONMENT=$(TOOLS)/audit $(UV) sync --quiet --locked --only-group audit --python $(TOOLS)/python
	@$(TOOLS)/audit/bin/python scripts/audit.py $(UV) $(TOOLS)/audit/bin/python build

# The site in build/site; a warning, a dead link, or something loaded from elsewhere ends it.
docs: $(VENV)/.installed-dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@$(BIN)/python scripts/check_site.py build/site

# docs/reference and the picture of the process, from the code.
reference: $(VENV)/.installed-dev
	@$(BIN)/python scripts/reference.py
	@$(BIN)/python scripts/picture.py

# The pictures in docs/images, from features that are really delivered: look at each before you commit it.
screenshots: $(VENV)/.installed-dev
	$(BIN)/pytest -q tests/e2e/screenshots.py $(ARGS)

fix: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	@$(MAKE) --no-print-directory reference

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/run.py $(ARGS)

# A server needs nothing installed for these; docs/production.md.
env:
	@python3 scripts/make_env.py
backup:
	@scripts/backup.sh
restore:
	@scripts/restore.sh "$(FROM)"

# Nor for these; docs/helm.md.
helm-env:
	@python3 -m scripts.helm_secrets env
helm-secrets:
	@python3 -m scripts.helm_secrets print

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

# The demo's packages only; --inexact keeps those of `make test`, where they are.
$(VENV)/.installed: $(UV) uv.lock pyproject.toml
	@$(UV) sync --locked --inexact --no-dev --compile-bytecode --python $(TOOLS)/python
	@touch $@

$(VENV)/.installed-dev: $(UV) uv.lock pyproject.toml
	@$(UV) sync --locked --compile-bytecode --python $(TOOLS)/python
	@touch $@ $(VENV)/.installed

$(UV): scripts/bootstrap.sh
	@sh scripts/bootstrap.sh $(TOOLS)

clean:
	rm -rf $(VENV) $(TOOLS) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
