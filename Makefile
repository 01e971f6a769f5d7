# The template's commands. Each is one `uv run`.

# uv: the one that called make, or the one on the PATH, else one of the repository's own.
UV ?= $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN = $(UV) run --quiet

# Another project's activated environment is not ours.
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help demo test bench docs chaos lint format

help: ## Show these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(UV) ## Generate a project, ask it a question, kill it half-way, resume it
	@$(RUN) python tests/run/demo.py

test: lint ## Lint, types, and generated projects: rendered, updated, run
	$(RUN) pytest -n 2

bench: $(UV) ## Compare the checkpointers on a real PostgreSQL, into docs/performance.md (a quarter of an hour)
	@mkdir -p .build && ln -sfn '../template/src/{{ package_name }}' .build/acme_agent
	@PYTHONPATH=.build:tests $(RUN) --group bench python -m bench$(if $(BACKEND),.backends $(BACKEND))

docs: $(UV) ## Write the standard's page from the checks' own texts, into template/docs/standard.md
	@mkdir -p .build && ln -sfn '../template/src/{{ package_name }}' .build/acme_agent
	@PYTHONPATH=.build $(RUN) python -m acme_agent.readiness.engine.page > template/docs/standard.md

chaos: $(UV) ## Five minutes of runs on workers that are killed, frozen and stopped at random
	@mkdir -p .build && ln -sfn '../template/src/{{ package_name }}' .build/acme_agent
	@PYTHONPATH=.build:tests $(RUN) python -m chaos $(if $(BACKEND),--backend $(BACKEND))

lint: $(UV) ## Style and types of the template's own source
	$(RUN) ruff check
	$(RUN) ruff format --check
	@mkdir -p .build && ln -sfn '../template/src/{{ package_name }}' .build/acme_agent
	$(RUN) mypy

format: $(UV) ## Mend style in place
	$(RUN) ruff check --fix
	$(RUN) ruff format

.tools/bin/uv:
	@python3 -m venv --clear .tools && .tools/bin/python -m pip install --quiet uv || { \
		echo "uv is missing and could not be installed here. Install it (pip install uv), or Python's venv module" \
		"(Debian: apt install python3-venv), and run make again." >&2; exit 1; }
