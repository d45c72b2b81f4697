# Everything this project does, by name. `make` alone lists it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PORT ?= 3000

SERVE := .venv-serve
DEV := .venv
# What the inner loop runs: no server, no training, no browser.
FAST := tests/artifacts tests/test_imports.py tests/test_deploy.py tests/serving/pictures \
  tests/serving/inspection/test_sparsity.py tests/serving/inspection/test_feature_maps.py
EXTRAS := serve,quantize,tracing,postgresql,openvino,s3,train,tensorboard,analyse,dev
export BENTOML_DO_NOT_TRACK := True
DEVICE ?= gpu
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Images often forbid it. But then each process would compile anew what it imports.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run setup test check coverage test-workers bounds hostile fuzz lint bento train-all results report constraints clean

help:  ## List the targets
	@echo "usage: make TARGET [PYTHON=…]"
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

run: $(SERVE)/.installed  ## Serve the models in artifacts/models [PORT=3000]
	@exec $(SERVE)/bin/vitrine serve --port $(PORT)

setup: $(DEV)/.installed  ## Install everything into .venv: training, serving, analysis, tools

test: $(DEV)/.installed $(SERVE)/.installed  ## Run all tests
	# one process more than two cores: tests wait for servers; the order is that of tests/conftest.py
	OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-workers: $(DEV)/.installed  ## Run all tests that ask a server, with four workers
	VITRINE_TEST_WORKERS=4 OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest tests/serving tests/hostile

hostile: $(DEV)/.installed  ## Send a server the whole hostile corpus (some minutes)
	VITRINE_HOSTILE=full OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest tests/hostile

fuzz: $(DEV)/.installed  ## Fuzz the decoder of pictures [SECONDS=3600]
	mkdir -p runs/fuzz
	cd runs/fuzz && PYTHONPATH=$(CURDIR) $(CURDIR)/$(DEV)/bin/python \
	  $(CURDIR)/tests/hostile/fuzz_pictures.py -max_total_time=$(or $(SECONDS),3600) .

check: $(DEV)/.installed  ## Lint, and the tests that need no server: the inner loop
	$(MAKE) lint
	OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest -n 2 --dist loadfile $(FAST)

coverage: $(DEV)/.installed  ## Report the lines of serving and artifacts that their tests run
	OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest -n 2 --dist loadfile \
	  --cov=serving --cov=artifacts --cov-report=term:skip-covered tests/serving tests/artifacts

# Training is left out: torch is large, and pinned by constraints.txt.
BOUNDED := tests/artifacts/test_artifact.py tests/artifacts/test_manifest.py \
  tests/artifacts/test_graph.py tests/artifacts/test_adapt.py tests/artifacts/test_runtime.py \
  tests/serving/pictures tests/serving/inspection/test_sparsity.py tests/serving/client/test_client.py \
  tests/analysis/test_tsne_map.py
bounds: $(DEV)/.installed  ## Test with the lowest and the latest versions that pyproject.toml allows
	for versions in lowest-direct highest; do \
	  env=build/bounds-$$versions; \
	  rm -rf $$env && $(PYTHON) -m venv $$env && \
	  $(DEV)/bin/uv pip install --python $$env/bin/python --resolution $$versions \
	    '.[serve,quantize,postgresql,analyse]' && \
	  $(DEV)/bin/uv pip install --python $$env/bin/python pytest pytest-timeout psutil && \
	  OMP_NUM_THREADS=1 $$env/bin/python -m pytest $(BOUNDED) || exit 1; \
	done

lint: $(DEV)/.installed  ## Check style, format, types and dependencies
	$(DEV)/bin/ruff check
	$(DEV)/bin/ruff format --check
	git ls-files -z | xargs -0 $(DEV)/bin/codespell
	$(DEV)/bin/mypy
	$(DEV)/bin/deptry .

# onnxruntime-gpu with its CUDA libraries, or the plain one, which is a tenth of the size.
bento: $(SERVE)/.installed  ## Build the deployable bento with the models [DEVICE=gpu|cpu]
	@mkdir -p build
	sed $(if $(filter cpu,$(DEVICE)),-e '/onnxruntime-gpu/d' -e 's/"onnxruntime;.*"/"onnxruntime"/') \
	  -e '' bentofile.yaml > build/bentofile.yaml
	$(SERVE)/bin/bentoml build --bentofile build/bentofile.yaml .

train-all: $(DEV)/.installed  ## Train every recipe that is out of date [PROFILE=full|cpu|smoke]
	$(DEV)/bin/python -m training all $(if $(PROFILE),--profile $(PROFILE))

results: $(DEV)/.installed  ## Write RESULTS.md from the tables of the studies
	$(DEV)/bin/python -m training results

report: $(DEV)/.installed  ## Look into every model; pages of the defaults go to docs/reports
	$(DEV)/bin/python -m analysis report
	$(DEV)/bin/python -m analysis report --model cifar10-fast \
	  --model mnist-relu-cross-entropy-sgd --limit 1000 --out reports/pages --pages docs/reports
	$(DEV)/bin/python -m analysis report --model cars-lite0-finetuned --dataset stanford_cars:test \
	  --limit 400 --out reports/pages --pages docs/reports

# onnxruntime stands in for onnxruntime-gpu where that has no wheel; both are pinned everywhere.
constraints:  ## Pin in constraints.txt what the ranges of pyproject.toml resolve to today
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install --quiet --dry-run --ignore-installed --report constraints.json \
	  '.[$(EXTRAS)]' onnxruntime
	echo '# Exact versions, so that a build repeats. Made by `make constraints`; not edited.' \
	  > constraints.txt
	$(DEV)/bin/python -c 'import json; print(*sorted(("{name}=={version}".format(**i["metadata"]) \
	  for i in json.load(open("constraints.json"))["install"] if not i["is_direct"]), \
	  key=str.lower), sep="\n")' >> constraints.txt
	rm constraints.json

clean:  ## Remove the environments and caches
	rm -rf $(DEV) $(SERVE) build *.egg-info .mypy_cache .ruff_cache

# The stamp says that the environment holds what these two files ask for.
$(DEV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	# Python compiles what it imports, and most of these 20,000 files never are
	$(DEV)/bin/pip install --no-compile -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

$(SERVE)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/pip install -c constraints.txt -e '.[serve]'
	touch $@
