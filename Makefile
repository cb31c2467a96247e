# make demo   installs everything needed into .venv and runs the demo; the report is results/report.html
# make test   runs all tests; make check only the quick ones

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SNAKEMAKE := $(BIN)/snakemake --profile profiles/local
export PYTHONUNBUFFERED = 1

.PHONY: demo report install test check lint unit dag envs e2e faults slurm slurm-profile orphans lock dag-picture docs

# Two short jobs at a time on two cores: loading a model uses one core. It changes no result and nothing of a later run.
SHORT := resolve_model align_vocabularies initialize_model evaluate_alignment evaluate_perplexity answer_tasks answer_choices translate_segments generate_text
demo: install
	$(SNAKEMAKE) --set-threads $(SHORT:%=%=1)
	$(MAKE) --no-print-directory report
	@echo "The report is results/report.html, the adapted model is below results/adapted/."

# The report is made again only if the results are newer.
report: results/report.html
results/report.html: $(wildcard results/tables/*.csv results/figures/*.svg workflow/report/*.rst)
	$(SNAKEMAKE) --report $@ > logs/report.log 2>&1 || { cat logs/report.log; exit 1; }

install: $(VENV)/.complete
$(VENV)/.complete: envs/requirements.txt envs/requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Use: make PYTHON=/path/to/python3.11")'
	@echo "Installing into $(VENV) (about 2 GB with the CPU build of torch; a few minutes) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt -r envs/requirements-dev.txt
	@echo "$(CURDIR)/workflow/scripts" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tokalign.pth"
	@touch $@

test: check envs e2e faults slurm

check: lint unit dag

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile rules
	$(BIN)/snakemake --lint

# These tests do not interfere with each other, so two run at a time.
unit dag: install
	$(BIN)/python -m pytest tests/$@ --numprocesses 2 --dist worksteal

envs e2e faults slurm: install
	$(BIN)/python -m pytest tests/$@

# `snakemake --profile slurm` looks in ~/.config/snakemake.
slurm-profile:
	mkdir -p $(or $(XDG_CONFIG_HOME),$(HOME)/.config)/snakemake
	ln -sfn $(CURDIR)/profiles/slurm $(or $(XDG_CONFIG_HOME),$(HOME)/.config)/snakemake/slurm
	@echo "Now put your account and partitions into profiles/slurm/*.yaml, then: $(BIN)/snakemake --profile slurm"

# After snakemake was killed: cancels the Slurm jobs it left, waits until they have ended, and removes its lock.
orphans: install
	$(BIN)/python workflow/scripts/commands/cluster/cancel_orphans.py --cancel
	$(SNAKEMAKE) --unlock

# Writes the schema for editors and the tables of all keys in config/README.md from the types in workflow/scripts/tokalign/config.
docs: install
	$(BIN)/python workflow/scripts/commands/config/document_config.py --schema workflow/schemas/config.schema.yaml --readme config/README.md

dag-picture: install
	$(BIN)/snakemake --forceall --rulegraph 2>/dev/null | dot -Tsvg > docs/dag.svg

# Pins the newest versions that work together; run it with the oldest supported Python.
lock:
	$(PYTHON) -m venv .cache/lock
	.cache/lock/bin/python -m pip install --quiet -r envs/requirements.in
	.cache/lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu//' > envs/requirements.txt
	.cache/lock/bin/python -m pip install --quiet -r envs/requirements-dev.in -c envs/requirements.txt
	.cache/lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu//' | grep -vxFf envs/requirements.txt > envs/requirements-dev.txt
	rm -r .cache/lock
