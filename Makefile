# Everything starts here. `make serve` and `make test` need Python 3.11, make and a C++ compiler, nothing else.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8080
export HOST PORT
comma := ,

VENV := .venv
BIN := $(VENV)/bin
ENGINE_SOURCES := CMakeLists.txt pyproject.toml $(wildcard kernels/*.cc kernels/*.h kernels/*/*.cc kernels/*/*.h kernels/build_ffi.py)
CLIENTS := tests/service/clients
SCHEMAS := tests/kubernetes
LINTERS := tests/service/linters

.PHONY: help serve install test lint clang-tidy format test-native test-arm report bench bench-quick model swap-campaign \
  image image-train sbom lock test-deploy clean

# Narrower and wider planes beside those that answer, for Compare on the page; their files are mapped, and read when asked for.
serve: export SUB3_LOADED_CONFIGURATIONS ?= best-1,flat-4
serve: install  ## serve the models of models/store on HOST:PORT (127.0.0.1:8080)
	$(BIN)/python -m service

help:  ## this list
	@awk -F ':.*## ' '/^[a-z#].*:.*## / { sub(/^# /, "", $$1); printf "  %-20s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/installed  ## set up .venv and build the engine

# The engine is built into the environment; it is built again when its sources change.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(ENGINE_SOURCES) | $(BIN)/python
	$(BIN)/pip install --quiet --editable .
	touch $@

# Not after the above, which would build the engine twice. Of 15,000 modules the tests import a sixth, so bytecode is left to
# what is imported.
$(VENV)/installed-extras: $(ENGINE_SOURCES) | $(BIN)/python
	$(BIN)/pip install --quiet --no-compile --editable '.[train,test,load,lint]'
	touch $(VENV)/installed $@

# Files of tests are shared out among processes, one more than there are cores: for a third of its time each waits for servers
# and programs that it started. Torch has one thread in each: several would wait for one another on busy cores.
NPM := $(CLIENTS) $(SCHEMAS) $(LINTERS)
test: lint test-native $(NPM:%=%/node_modules/installed)  ## lint, and pass every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $$(($$(nproc) < 4 ? $$(nproc) + 1 : 4)) --dist loadfile

# The npm clients that the tests drive, schemas of Kubernetes' operators, and linters of the OpenAPI document. Without npm
# (or a registry) their tests are skipped and say so.
$(NPM:%=%/node_modules/installed): %/node_modules/installed: %/package-lock.json
	mkdir -p $(@D)
	if command -v npm > /dev/null && npm ci --prefix $* --no-audit --no-fund --silent; then touch $@; fi

CPP_FILES := $(wildcard kernels/*.cc kernels/*.h kernels/*/*.cc kernels/*/*.h tests/kernels/*.cc tests/kernels/*.h tests/fuzz/*.cc tests/fuzz/*.h)
lint: clang-tidy  ## ruff, mypy, clang-format, clang-tidy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CPP_FILES)

.PHONY: configure-native
# It reads each file as it is compiled for this machine, once for each instruction set, and the fuzz targets, which only `make
# fuzz` compiles. Half a minute.
clang-tidy: configure-native  ## faults and slow spots in the C++; a part of lint
	$(BIN)/run-clang-tidy.py -clang-tidy-binary $(BIN)/clang-tidy -p $(NATIVE_BUILD) -quiet '\.cc$$' > build/clang-tidy.log 2>&1 || \
	  { cat build/clang-tidy.log; exit 1; }
	$(BIN)/clang-tidy --quiet tests/fuzz/*_fuzz.cc -- -std=c++20 -I. -DSUB3_SMALL_MODEL > build/clang-tidy.log 2>&1 || \
	  { cat build/clang-tidy.log; exit 1; }

format: $(VENV)/installed-extras  ## format Python and C++
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_FILES)

# The engine without Python, with every instruction set of this CPU. SANITIZE=1 builds with AddressSanitizer and
# UndefinedBehaviorSanitizer, SANITIZE=thread with ThreadSanitizer.
SANITIZE ?= 0
SANITIZERS := $(if $(filter 1,$(SANITIZE)),address$(comma)undefined,$(filter thread,$(SANITIZE)))
NATIVE_BUILD := build/native$(if $(SANITIZERS),-$(SANITIZE))
CONFIGURE_NATIVE = $(BIN)/cmake --no-warn-unused-cli -S . -B $(1) -DCMAKE_BUILD_TYPE=Release -DSUB3_NATIVE_TESTS=ON $(2) > /dev/null
BUILD_NATIVE = $(BIN)/cmake --build $(1) --parallel 2 > /dev/null
configure-native: $(VENV)/installed-extras
	$(call CONFIGURE_NATIVE,$(NATIVE_BUILD),-DSUB3_SANITIZE=$(SANITIZERS))

test-native: configure-native  ## the engine without Python; SANITIZE=1 or thread adds sanitizers
	$(call BUILD_NATIVE,$(NATIVE_BUILD))
	rm -f $(NATIVE_BUILD)/golden
	tests/kernels/run_native.sh $(NATIVE_BUILD) $(NATIVE_BUILD)/golden

# The same for aarch64, cross-compiled and run under qemu as a CPU with every extension, then kernels and networks as one
# with none: the same bits as here. About three minutes.
ARM_BUILD := build/native-aarch64
ARM_TOOLS := aarch64-linux-gnu-g++ qemu-aarch64
test-arm: test-native  ## the engine for aarch64, under qemu: the same bits
	@for tool in $(ARM_TOOLS); do command -v $$tool > /dev/null || \
	  { echo "make test-arm needs $$tool: apt-get install g++-aarch64-linux-gnu qemu-user"; exit 1; }; done
	$(call CONFIGURE_NATIVE,$(ARM_BUILD),-DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake)
	$(call BUILD_NATIVE,$(ARM_BUILD))
	tests/kernels/run_native.sh $(ARM_BUILD) $(NATIVE_BUILD)/golden qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu
	qemu-aarch64 -cpu cortex-a53 -L /usr/aarch64-linux-gnu $(ARM_BUILD)/isa_test | tee $(ARM_BUILD)/a53 | grep -v golden
	grep golden $(ARM_BUILD)/a53 | diff $(NATIVE_BUILD)/golden -

# New examples for every property, TIMES times; `make test` tries the same ones each time. 18 s a time.
TIMES := 20
.PHONY: test-properties
test-properties: $(VENV)/installed-extras  ## new examples for every property, TIMES times
	for time in $$(seq $(TIMES)); do OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m hypothesis \
	  --hypothesis-profile search -n logical --maxprocesses 4 --dist loadfile || exit 1; done

# Each mutant breaks the code in one place, in a copy under build/, and must fail a test (tests/mutants). ARGS="C1 W6" runs
# some of them; all take about an hour and write docs/results/mutants.json.
.PHONY: mutants
mutants: $(VENV)/installed-extras  ## break the code in a hundred places, each of which must fail a test
	$(BIN)/python -m tests.mutants.run $(ARGS)

# Processor time over hostile texts, every unit by every step of a text's way; some minutes.
.PHONY: test-linear
test-linear: $(VENV)/installed-extras  ## hostile texts take time that is linear in their length
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/service/text/test_linear.py -m campaign

# Requests made from the OpenAPI, with every check and phase, to an open server and to one with keys and /admin. EXAMPLES are
# those of each operation; some minutes.
.PHONY: schemathesis
EXAMPLES := 50
schemathesis: $(VENV)/installed-extras  ## requests made from the OpenAPI: every answer is as it says
	EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/service/api/test_schemathesis.py -m campaign

# Files of others, of every format; FILES names folders or bare repositories: FILES="jgm/pandoc=../pandoc.git ...".
.PHONY: real-files
real-files: $(VENV)/installed-extras  ## files of others come back to the byte; writes docs/results/real-files.json
	$(BIN)/python -m tests.bench.real_files $(ARGS) $(FILES)

# The tests of DeepL's own clients, from clones of them; five minutes.
.PHONY: deepl-suites
deepl-suites: $(VENV)/installed-extras  ## DeepL's suites: make deepl-suites DEEPL_PYTHON=FOLDER DEEPL_NODE=FOLDER
	$(BIN)/python -m tests.bench.deepl_suites $(if $(DEEPL_PYTHON),--python $(DEEPL_PYTHON)) $(if $(DEEPL_NODE),--node $(DEEPL_NODE))

# Clients whose packages can't stand beside the server's: Weblate's machinery and KServe's SDK, in environments under build/ (half
# a GB). A minute, the first time some.
.PHONY: test-clients
test-clients: $(VENV)/installed-extras  ## Weblate's machinery and KServe's SDK against the server
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/service/api/test_weblate.py tests/service/api/test_kserve_sdk.py -m campaign

# What runs on Ray, on a local one: corpora and replicas, with workers that are killed. A few minutes.
.PHONY: test-ray
test-ray: $(VENV)/installed-extras  ## corpora and replicas on a local Ray
	$(BIN)/pip install --quiet --editable '.[train,test,load,lint,ray]'
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m pytest tests/ray -s

# Measures every configuration on the corpus test sets; needs ../shared, takes about half an hour. CHECKPOINT is the fp32
# model to compare with.
report: $(VENV)/installed-extras  ## measure every configuration of en-de; needs ../shared
	$(BIN)/python -m models report $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT))

# The small shared checkpoint at two bits, by an hour of compress; stop whatever else computes first.
.PHONY: compress-campaign
compress-campaign: $(VENV)/installed-extras  ## the shared checkpoint at two bits, an hour; needs ../shared
	$(BIN)/python -m models compress $(SHARED)/checkpoint/en-de-small $(RUNS)/compressed --bits 2 --minutes 60 --overwrite \
	  --text $(TRAIN)/tatoeba.tsv.xz --json docs/results/compress.json

# Numbers, placeholders and names of the engine alone, 200 sentences of two sets and 500 names each; needs ../shared. CHECKPOINT is
# the fp32 model to measure beside en-de.
.PHONY: fidelity
FIDELITY := docs/results/fidelity
fidelity_of = $(BIN)/python -m models evaluate models/store/$(1)-$(2) --config $(3) --source $(SHARED)/corpus/test/$(4).$(1) \
  --reference $(SHARED)/corpus/test/$(4).$(2) --limit 200 --json $(FIDELITY)/$(1)-$(2)-$(3)-$(4).json $(5)
fidelity: $(VENV)/installed-extras  ## numbers, placeholders and names that arrive; needs ../shared
	mkdir -p $(FIDELITY)
	$(call fidelity_of,en,de,best-2,newstest2014,--names $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT)))
	$(call fidelity_of,en,de,best-2,software_po,$(if $(CHECKPOINT),--checkpoint $(CHECKPOINT)))
	$(call fidelity_of,en,de,best-1,newstest2014,--names)
	$(call fidelity_of,en,de,best-1,software_po,)
	$(call fidelity_of,de,en,best-2,newstest2014,--names)
	$(call fidelity_of,de,en,best-2,software_po,)

# The paper's tables beside ours, from what was recorded in docs/paper; paper-measure records them anew, which takes an hour
# and needs ../shared. RETRAINED names what was retrained: "ste=runs/best-2/model ste=runs/best-1/model".
.PHONY: paper paper-measure
paper: $(VENV)/installed-extras  ## the paper's tables beside ours, from docs/paper
	$(BIN)/python -m models paper

PAPER_CONFIGS := flat-4 flat-3 flat-2 paper-2.5 paper-1.3 paper-1.1
paper-measure: $(VENV)/installed-extras  ## record docs/paper anew; an hour, needs ../shared
	$(BIN)/python -m models paper --measure sensitivity $(ARGS)
	$(BIN)/python -m models paper --measure embedding $(ARGS)
	$(BIN)/python -m models paper --measure models --configs $(PAPER_CONFIGS) --retrained $(RETRAINED) $(ARGS)
	$(BIN)/python -m models paper --measure blocks --configs balanced paper-2.5 $(ARGS)

# Speed against CTranslate2, interleaved on this machine; stop whatever else computes first. Needs ../shared.
bench bench-quick: $(VENV)/installed-bench  ## speed against CTranslate2; needs ../shared
	$(BIN)/python -m tests.bench.bench $(if $(filter bench-quick,$@),--quick) $(ARGS)

.PHONY: shapes
shapes: $(VENV)/installed-bench  ## what compressing each shape of model takes, and its speed; docs/results/shapes.json
	$(BIN)/python -m tests.bench.shapes build/shapes $(TRAIN)/tatoeba.tsv.xz docs/results/shapes.json $(ARGS)

# Some hours of a processor; ARGS="--methods rotated --bits 2 3" measures some. Needs ../shared.
.PHONY: methods
methods: $(VENV)/installed-extras  ## other systems' ways to code a model, in the same bits; docs/methods.md
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.methods $(ARGS)

$(VENV)/installed-bench: $(VENV)/installed-extras
	$(BIN)/pip install --quiet --editable '.[train,test,load,bench]'
	touch $@

# Load on a real server process; results in docs/results/load-*.json. SECONDS lengthens a profile, or each single run of
# the curve and the comparison; ARGS adds options, such as ARGS='--configuration paper-2.5' (see --help of the modules).
LOAD_PROFILES := load-smoke load-load load-stress load-soak load-spike load-breakpoint load-swap
LOAD_OPTIONS = $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)
# load-NAME:  ## load on a real server: smoke, load, stress, soak, spike, breakpoint or swap
.PHONY: $(LOAD_PROFILES) load-curve load-versus capacity
$(LOAD_PROFILES): load-%: $(VENV)/installed-load
	$(BIN)/python -m tests.load.profiles $* $(LOAD_OPTIONS)

load-curve: $(VENV)/installed-load  ## latency against arrival rate, with a plot
	$(BIN)/python -m tests.load.open_loop $(LOAD_OPTIONS)

# Service times of this machine, and what replicas built of them would do; also rewrites the tables of docs/scaling.md.
# Stop whatever else computes first. A minute; nginx and redis-server are measured where they are.
capacity: $(VENV)/installed-extras  ## what a request costs, and how many replicas; writes docs/scaling.md
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m tests.load.capacity $(LOAD_OPTIONS)

# Files of every format and of doubling size, friendly, dense and hostile, in the process that the service has for them; then
# a server in a control group of 256 MB (as root). Ten minutes.
.PHONY: file-costs
file-costs: $(VENV)/installed-extras  ## what files take of time and memory; docs/results/file-costs.json
	$(BIN)/python -m tests.bench.file_costs $(ARGS)

# h11, httptools, ours and granian: what a request costs, and attacks. granian takes part where it is installed.
.PHONY: http-servers
http-servers: $(VENV)/installed-extras  ## HTTP servers compared; docs/results/http-servers.json
	$(BIN)/python -m tests.bench.http_servers

# Known vulnerabilities of what docker/requirements and the npm locks name. ADVISORIES: a clone of PyPA's advisory database.
.PHONY: audit
audit: $(VENV)/installed-extras  ## known vulnerabilities of the locked packages; docs/results/audit.json
	$(BIN)/python -m tests.bench.audit $(if $(ADVISORIES),--advisories $(ADVISORIES)) $(ARGS)

# Texts, streams, files, cancels, attacks and two administrators, while Redis, the disk and the clock fail in turn; SIGTERM
# ends it. Needs redis-server, and to be root for a disk of its own. An hour, MINUTES another time.
.PHONY: soak
soak: $(VENV)/installed-extras  ## an hour of mixed load with faults; docs/results/soak.json
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m tests.load.soak --minutes $(MINUTES) $(ARGS)

# Writers of each store are killed at random instants; the next reader must find the old or the new. Needs redis-server for
# those in Redis. A minute.
.PHONY: kills
kills: $(VENV)/installed-extras  ## kill -9 during 500 writes; docs/results/kills.json
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m tests.load.kills $(ARGS)

# Against CTranslate2's int8 behind FastAPI; stop whatever else computes first. Needs ../shared.
load-versus: $(VENV)/installed-bench  ## against CTranslate2 behind FastAPI; needs ../shared
	$(BIN)/python -m tests.load.versus $(LOAD_OPTIONS)

$(VENV)/installed-load: $(VENV)/installed pyproject.toml
	$(BIN)/pip install --quiet --editable '.[load]'
	touch $@

# The default model, put together from the runs of docs/training.md; needs ../shared. `make report CHECKPOINT=...` then measures
# it. BASE is what `nested` and `paper-2.5` are codes of: the values of `best-2`.
SHARED := $(or $(SUB3_SHARED),../shared)
TRAIN := $(SHARED)/corpus/train
RUNS := runs
BASE := $(SHARED)/checkpoint/en-de-2026-11
COUNTED := tatoeba software_po libreoffice_help
CALIBRATION := tatoeba games_po software_po libreoffice_help mlqe_wiki_pe ms_dynamics_bc_docs
RETRAINED_RUNS := best-2 best-1 paper-2.5
model: $(VENV)/installed-extras  ## make the default model from runs/; needs ../shared
	rm -rf models/store/en-de
	cp -r $(RUNS)/nested/model models/store/en-de
	$(BIN)/python -m models assemble models/store/en-de $(RETRAINED_RUNS:%=$(RUNS)/%/model) --default best-2 --without flat-1 flat-2 --beam 2

# What the recipe `nested` begins with; four minutes of a core.
.PHONY: calibrated
calibrated: $(RUNS)/calibrated/nested  ## codes to retrain, calibrated without training
$(RUNS)/calibrated/nested: | $(VENV)/installed-extras
	$(BIN)/python -m models quantize $(BASE) $@ --name en-de --config flat-4 --max-planes 4 --calibration-pairs 3000 \
	  --text $(COUNTED:%=$(TRAIN)/%.tsv.xz) --calibrate $(CALIBRATION:%=$(TRAIN)/%.tsv.xz)

# Sentence pairs with numbers, dates, amounts and names for the mix `general`.
.PHONY: generated
generated: $(RUNS)/generated.tsv  ## text to train on, with numbers, dates, amounts and names
$(RUNS)/generated.tsv: models/text/frames.py $(wildcard models/configs/frames/*) | $(VENV)/installed-extras
	$(BIN)/python -m models generate $@

# Text for the recipes best-2 and best-1 (sequence-level distillation): the beam search of the fp32 model, in eight planes,
# where that is near its reference and as long.
.PHONY: distilled
DISTILLED := $(RUNS)/distilled
DRAWN := tatoeba=46000 games_po=5000 software_po=8000 libreoffice_help=5000 manpages=6000
# The run of the fp32 model, the folder of the sample, the pairs to write.
define BY_BEAMS
$(BIN)/python -m models quantize $(RUNS)/$(1)/model $(2)/teacher --config full-8 --overwrite
$(BIN)/sub3 corpus --input '$(2)/in/*.jsonl' --output $(2)/out --model $(2)/teacher --beam-size 4
$(BIN)/python -m models select $(2)/out $(3)
endef
distilled: $(DISTILLED)/in  ## text to train on, translated by the fp32 model
	$(call BY_BEAMS,base-decay,$(DISTILLED),$(DISTILLED).tsv)

$(DISTILLED)/in: | $(VENV)/installed-extras
	$(BIN)/python -m models sample $@ $(DRAWN) --shared $(SHARED)

# Pairs of monolingual German and what the German-English model makes of it, for the mix `back-translated`. `sub3 corpus` goes
# on where it was stopped.
.PHONY: back-translated
BACK := $(RUNS)/back-translated
MONOLINGUAL := bundestag_speeches wikipedia_klexikon klexikon_simple german_laws
back-translated: $(MONOLINGUAL:%=$(BACK)/%.tsv)  ## text to train on, back-translated; needs ../shared

$(BACK)/%/in: | $(VENV)/installed-extras
	$(BIN)/python -m models backtranslate shards $(SHARED)/corpus/mono/$*.de.xz --out $@

$(BACK)/%.tsv: $(BACK)/%/in
	$(BIN)/sub3 corpus --input '$</*.jsonl' --output $(BACK)/$*/out --model models/store/de-en
	$(BIN)/python -m models backtranslate pairs $(BACK)/$*/out $@ --source en --target de

# The German-English model, from `train base-de-en` and `retrain best-2-de-en`. `make report-de-en` measures it.
.PHONY: model-de-en report-de-en
model-de-en: $(RUNS)/best-2-de-en/model  ## make the German-English model from runs/
	rm -rf models/store/de-en
	cp -r $< models/store/de-en
	$(BIN)/python -m models assemble models/store/de-en --beam 2

# Text for best-2-de-en, made as that of `distilled` is from the same corpus turned round; turned back, English comes first.
.PHONY: distilled-de-en
TURNED := $(RUNS)/turned
TURN := awk -F '\t' -v OFS='\t' '{ print $$2, $$1 }'
distilled-de-en: $(DISTILLED)-de-en/in  ## the same for German-English
	$(call BY_BEAMS,base-de-en,$(DISTILLED)-de-en,$(DISTILLED)-de-en/selected.tsv)
	$(TURN) $(DISTILLED)-de-en/selected.tsv > $(DISTILLED)-de-en.tsv

$(DISTILLED)-de-en/in: $(foreach drawn,$(DRAWN),$(TURNED)/$(firstword $(subst =, ,$(drawn))).tsv) | $(VENV)/installed-extras
	$(BIN)/python -m models sample $@ $(foreach drawn,$(DRAWN),$(TURNED)/$(subst =,.tsv=,$(drawn)))

$(TURNED)/%.tsv: $(TRAIN)/%.tsv.xz
	mkdir -p $(@D)
	xz --decompress --stdout $< | $(TURN) > $@

report-de-en: $(VENV)/installed-extras  ## measure de-en; needs ../shared
	$(BIN)/python -m models report models/store/de-en --checkpoint $(RUNS)/base-de-en/model --out docs/results/de-en \
	  --readme models/store/de-en/README.md

# A swap every second under load on a real server, five minutes; stop whatever else computes first.
SECONDS_OF_SWAPS ?= 300
swap-campaign: $(VENV)/installed-extras  ## a swap every second under load, five minutes
	$(BIN)/python -m tests.load.swap --seconds $(SECONDS_OF_SWAPS)

# Images (docs/deployment.md). DOCKER_OPTIONS has more for `docker build`, such as --network host or a package index.
IMAGE ?= sub3
BUILD_IMAGE := docker build --file docker/Dockerfile $(DOCKER_OPTIONS)
image:  ## the server's image
	$(BUILD_IMAGE) --target server --tag $(IMAGE) .

image-train:  ## the image of the offline half
	$(BUILD_IMAGE) --target train --tag $(IMAGE):train .

# What the server's image holds: build/sbom.json (CycloneDX) and the packages' licences in build/licences.md. With a key,
# SIGNING_KEY=key.pem, build/sbom.intoto.json is the former signed together with the digest of the image IMAGE.
DIGEST = $(shell docker image inspect --format '{{with .RepoDigests}}{{index . 0}}{{else}}{{$$.Id}}{{end}}' $(IMAGE))
sbom:  ## what the image holds, and its licences; SIGNING_KEY=key.pem signs it
	$(BUILD_IMAGE) --target sbom --tag $(IMAGE):sbom .
	mkdir -p build
	docker run --rm $(IMAGE):sbom > build/sbom.json
	docker run --rm $(IMAGE):sbom pip-licenses --python /opt/sub3/bin/python --format markdown --with-urls > build/licences.md
	$(if $(SIGNING_KEY),docker/attest sign build/sbom.json $(IMAGE) $(DIGEST) $(SIGNING_KEY) > build/sbom.intoto.json)

# The versions and hashes that images are built from, renewed to the newest that pyproject.toml allows. torch for CPUs is
# not on PyPI: UV_FIND_LINKS names a place that has it.
LOCK := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-header --python-version 3.11
REQUIREMENTS := docker/requirements
lock: $(VENV)/installed-extras  ## renew docker/requirements
	$(LOCK) --universal $(REQUIREMENTS)/build.in --output-file $(REQUIREMENTS)/build.txt
	$(LOCK) --universal $(REQUIREMENTS)/sbom.in --output-file $(REQUIREMENTS)/sbom.txt
	$(LOCK) --universal --extra redis pyproject.toml --output-file $(REQUIREMENTS)/serve.txt
	$(LOCK) --universal --extra redis --extra otel --constraint $(REQUIREMENTS)/serve.txt pyproject.toml \
	  --output-file $(REQUIREMENTS)/serve-otel.txt
	$(LOCK) --python-platform x86_64-manylinux_2_28 --extra train --constraint $(REQUIREMENTS)/serve.txt pyproject.toml \
	  --output-file $(REQUIREMENTS)/train.txt

# Images, compose and swarm on a real Docker engine; about ten minutes, the first time longer.
test-deploy: $(VENV)/installed-extras  ## images, compose and Swarm on a Docker engine
	docker info > /dev/null 2>&1 || { echo "make test-deploy needs a Docker engine that answers"; exit 1; }
	SUB3_TEST_DEPLOY=1 $(BIN)/python -m pytest tests/deploy -s $(ARGS)

# The wheel, built here and installed into a fresh environment: the command and the server in an empty folder. Some minutes.
.PHONY: wheel test-wheel
wheel: $(VENV)/installed  ## dist/sub3-*.whl, with the engine and the models
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

test-wheel: $(VENV)/installed-extras  ## the wheel in a fresh environment
	$(BIN)/python -m pytest tests/test_wheel.py -m wheel

# libFuzzer over the C ABI under ASan and UBSan, with clang++: an hour of each target, MINUTES another time.
MINUTES ?= 60
FUZZ_CXX ?= clang++-14
.PHONY: fuzz
fuzz: $(VENV)/installed-extras  ## fuzz the engine's C ABI under sanitizers
	CC=$(FUZZ_CXX:clang++%=clang%) CXX=$(FUZZ_CXX) $(BIN)/cmake -S . -B build/fuzz -DCMAKE_BUILD_TYPE=Release -DSUB3_FUZZ=ON \
	  -DSUB3_SANITIZE=address,undefined,fuzzer-no-link
	$(BIN)/cmake --build build/fuzz --parallel
	$(BIN)/python -m tests.fuzz.run --minutes $(MINUTES) $(ARGS)

clean:  ## remove build/ and .venv
	rm -rf build $(VENV)
