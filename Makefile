# spgraph's tasks. `make help` lists them; `make check` is what continuous integration runs.

CARGO ?= cargo
PYTHON ?= python3
PYTHON311 ?= python3.11
PYTEST_ARGS ?= -q
# Python tests at a time.
PYTEST_JOBS ?= 2
VENV := .venv
BINARY := target/release/spgraph
export SPGRAPH ?= $(CURDIR)/$(BINARY)

.DEFAULT_GOAL := help
.PHONY: deny sbom compare-bundles coverage wheel test-wheel test-node test-web test-openvino test-rust test-flower test-torch test-tensorboard ops eval eval-data eval-real help build setup runtime test rust-test python-test check sanitize format lint docs demo models penalty-plot bench plot bench-penalties bench-peers clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the binary (release profile)
	$(CARGO) build --release

setup: $(VENV)/.installed ## Make .venv with the pinned packages of the Python tests

$(VENV)/.installed: tests/python/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make setup: $(PYTHON) must be Python 3.11 or newer; name another with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "make setup: $(PYTHON) has no venv module. Install it (Debian, Ubuntu: apt-get install python3-venv), or name another with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

runtime: build ## Install the pinned ONNX Runtime library into spgraph's cache (does nothing when it is there)
	$(BINARY) runtime install --python $(PYTHON)

test: rust-test python-test ## Run all tests: Rust, then the emitted graphs in Python

rust-test: setup build ## Run the Rust tests, with the ONNX Runtime of .venv
	@library=$$(ls $(CURDIR)/$(VENV)/lib/python*/site-packages/onnxruntime/capi/libonnxruntime.* | head -n 1) && \
	echo "ORT_DYLIB_PATH=$$library $(CARGO) test --release --no-fail-fast" && \
	ORT_DYLIB_PATH="$$library" $(CARGO) test --release --no-fail-fast

python-test: setup build ## Run the Python tests, with the ONNX Runtime of .venv (PYTEST_ARGS="-q -k NAME" chooses)
	@library=$$(ls $(CURDIR)/$(VENV)/lib/python*/site-packages/onnxruntime/capi/libonnxruntime.* | head -n 1) && \
	echo "ORT_DYLIB_PATH=$$library $(VENV)/bin/python -m pytest tests/python -n $(PYTEST_JOBS) $(PYTEST_ARGS)" && \
	ORT_DYLIB_PATH="$$library" $(VENV)/bin/python -m pytest tests/python -n $(PYTEST_JOBS) $(PYTEST_ARGS)

check: format lint docs guides-check test sanitize ## Everything that has to pass: format, lints, documentation, tests

.PHONY: guides guides-check

guides: setup build ## Follow the guides for adding something from their beginning, in a copy, and run the tests that they tell to run
	@library=$$(ls $(CURDIR)/$(VENV)/lib/python*/site-packages/onnxruntime/capi/libonnxruntime.* | head -n 1) && \
	ORT_DYLIB_PATH="$$library" CARGO=$(CARGO) $(VENV)/bin/python tests/guides/follow.py

guides-check: setup ## Whether every step of the guides can still be done, and what they lead to passes the lints
	@CARGO=$(CARGO) $(VENV)/bin/python tests/guides/follow.py --check

wheel: ## Build the Python wheel, target/wheels: the program and the module (fetches maturin)
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir target/wheels .

WHEEL_VENV := .venv-wheel

test-wheel: wheel ## Install the wheel in a fresh environment and train with it, without SPGRAPH (fetches its dependencies)
	rm -rf $(WHEEL_VENV)
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location "$$(ls -t target/wheels/spgraph-*.whl | head -n 1)[images]"
	env -u SPGRAPH -u PYTHONPATH $(WHEEL_VENV)/bin/python tests/wheel.py models/resnet20-source.onnx

test-node: runtime ## Fine-tune in Node and compare with finetune (needs Node 20; fetches onnxruntime-node and sharp)
	cd examples/node && npm install --ignore-scripts --no-audit --no-fund --silent && npm test

test-web: runtime ## Drive the page of examples/web in Chromium (needs Node 20; CHROMIUM names it; SHOTS=FOLDER keeps screenshots; WEBGPU=swiftshader)
	cd examples/web && npm install --ignore-scripts --no-audit --no-fund --silent && npm test

# runtime_test NAME PACKAGES: tests/runtimes/NAME_test.py in an environment of its own.
define runtime_test
	test -x .venv-$(1)/bin/python || $(PYTHON) -m venv .venv-$(1)
	.venv-$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2)
	.venv-$(1)/bin/python tests/runtimes/$(1)_test.py
endef

test-openvino: runtime ## Fine-tune with OpenVINO and compare with finetune (fetches it: 60 MB)
	$(call runtime_test,openvino,openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 safetensors blake3 pillow)

test-rust: runtime ## The examples in Rust, on tract and on ONNX Runtime, beside finetune, and what they refuse (builds tract: minutes)
	cd examples/rust && $(CARGO) fmt --check && $(CARGO) clippy --release -- -D warnings && $(CARGO) build --release
	$(call runtime_test,rust,onnxruntime==1.32.0 onnx==1.23.2 safetensors pillow)

test-flower: runtime ## Two rounds of four clients in Flower, FedAvg and FedProx, beside a loop of numpy (fetches Flower and Ray: 500 MB)
	$(call runtime_test,flower,"flwr[simulation]==1.42.0" onnxruntime==1.32.0 safetensors pillow)

test-torch: build ## The examples of PyTorch's people: torchvision's loader, and a timm model to a tuned file (fetches torch, torchvision, timm: gigabytes where torch comes with CUDA; TORCH_PIP="--index-url …" names an index of builds for the CPU)
	$(call runtime_test,torch,$(TORCH_PIP) torch==2.11.0 torchvision==0.26.0 timm==1.0.31 onnx==1.23.2 onnxruntime==1.32.0 safetensors pillow)

test-tensorboard: build ## TensorBoard shows a run's numbers as metrics.jsonl has them, by its reader and by its server (fetches it: 60 MB)
	$(call runtime_test,tensorboard,tensorboard==2.20.0)

.PHONY: operator-table
operator-table: build ## Which operators of a step TensorFlow Lite and Core ML have, by their own lists; the table of docs/runtimes.md (fetches both: 20 MB)
	test -x .venv-operators/bin/python || $(PYTHON) -m venv .venv-operators
	.venv-operators/bin/python -m pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 safetensors
	.venv-operators/bin/python -m pip install --quiet --disable-pip-version-check --no-deps tflite==2.18.0 coremltools==9.0
	.venv-operators/bin/python tests/runtimes/operators.py

RUNTIMES_PYTHON ?= .venv-runtimes/bin/python

.PHONY: runtimes
runtimes: runtime ops ## Train the same bundle in every runtime that can be had here, in turn with finetune; the table of docs/runtimes.md (RUNTIMES="python node" RUNTIMES_ARGS="--quick" or "--rounds 9")
	test -x $(RUNTIMES_PYTHON) || { $(PYTHON) -m venv .venv-runtimes && .venv-runtimes/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 safetensors pillow; }
	@test -x .venv-openvino/bin/python || { $(PYTHON) -m venv .venv-openvino && .venv-openvino/bin/python -m pip install --quiet --disable-pip-version-check openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 safetensors blake3 pillow; } || echo "runtimes: OpenVINO is left out" >&2
	@test -x .venv-ort-training/bin/python || { $(PYTHON311) -m venv .venv-ort-training && .venv-ort-training/bin/python -m pip install --quiet --disable-pip-version-check -r tests/ort_training/requirements.txt; } || echo "runtimes: the training API is left out; it needs Python 3.11 (PYTHON311=python3.11)" >&2
	@for example in node web; do (cd examples/$$example && npm install --ignore-scripts --no-audit --no-fund --silent) || echo "runtimes: examples/$$example is left out" >&2; done
	@$(CARGO) build --release --manifest-path examples/rust/Cargo.toml || echo "runtimes: the examples in Rust are left out" >&2
	$(RUNTIMES_PYTHON) tests/runtimes/measure.py $(RUNTIMES) $(RUNTIMES_ARGS)

CUDA_WHEEL_DIR ?= .venv-cuda-wheel
CUDA_WHEEL := $(CUDA_WHEEL_DIR)/wheel/onnxruntime_gpu-1.31.1-cp312-cp312-manylinux_2_28_x86_64.whl
CUDA_PYTHON ?= $(CUDA_WHEEL_DIR)/python/bin/python
GPU_CHECK_MINUTES ?= 5
GPU_CHECK_PYTHON ?= $(PYTHON)

.PHONY: gpu-check bundle-cuda test-cuda-wheel

gpu-check: build ## Everything that has to be seen on a machine with a GPU, in GPU_CHECK_MINUTES (5); a table and bench/results/gpu-*.json (GPU_CHECK_ARGS="--device cpu --quick")
	$(GPU_CHECK_PYTHON) bench/gpu_check.py --program $(BINARY) --minutes $(GPU_CHECK_MINUTES) $(GPU_CHECK_ARGS)

$(CUDA_WHEEL):
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp --python-version 3.12 --abi cp312 --platform manylinux_2_28_x86_64 -d $(@D) onnxruntime-gpu==1.31.1

bundle-cuda: build $(CUDA_WHEEL) ## An archive of all that gpu-check needs, for a machine without a network, also in parts of 60 MB (out/cuda)
	$(PYTHON) bench/bundle_cuda.py $(BINARY) $(CUDA_WHEEL) out/cuda

test-cuda-wheel: build ## The tests on the CUDA build of ONNX Runtime, on its CPU provider; and where its CUDA provider places nodes, on a stand-in for CUDA (fetches 256 MB)
	@test -x $(CUDA_PYTHON) || { $(PYTHON) -m venv $(CUDA_WHEEL_DIR)/python && $(CUDA_PYTHON) -m pip install --quiet --disable-pip-version-check onnxruntime-gpu==1.31.1 onnx; }
	@site=$$($(CUDA_PYTHON) -c 'import sysconfig; print(sysconfig.get_path("platlib"))') && \
	$(CUDA_PYTHON) tests/cuda/stand_in/build.py $$site/onnxruntime/capi/libonnxruntime_providers_cuda.so $(CUDA_WHEEL_DIR)/stand-in && \
	LD_LIBRARY_PATH=$(CURDIR)/$(CUDA_WHEEL_DIR)/stand-in $(CUDA_PYTHON) tests/cuda/placement.py $(BINARY) $$site && \
	LD_LIBRARY_PATH=$(CURDIR)/$(CUDA_WHEEL_DIR)/stand-in $(CUDA_PYTHON) tests/cuda/steps.py $(BINARY) $$site && \
	LD_LIBRARY_PATH=$(CURDIR)/$(CUDA_WHEEL_DIR)/stand-in $(CUDA_PYTHON) tests/cuda/recording.py $(BINARY) && \
	ORT_DYLIB_PATH=$$site/onnxruntime/capi/libonnxruntime.so.1.31.1 $(CARGO) test --release --no-fail-fast

ops: ## Build spgraph's own operators as a library for ONNX Runtime in other programs
	$(CARGO) build --release --example spgraph_ops

SANITIZER_HOST := x86_64-unknown-linux-gnu

compare-bundles: setup build ## Compare the bundles of this build with those of another (BEFORE=path/to/spgraph)
	@test -n "$(BEFORE)" || { echo "make compare-bundles: name the other binary with BEFORE=path/to/spgraph" >&2; exit 2; }
	$(VENV)/bin/python tests/compare_bundles.py $(BEFORE) $(BINARY)

sanitize: neon-compiles ## Run the native kernels' tests under AddressSanitizer (x86-64 Linux)
ifeq ($(shell uname -sm),Linux x86_64)
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/sanitize \
		$(CARGO) test --manifest-path tests/sanitize/Cargo.toml --target $(SANITIZER_HOST)
else
	@echo "make sanitize: only for Linux on x86-64; skipped"
endif

NEON_HOST := aarch64-unknown-linux-gnu
.PHONY: neon-compiles

neon-compiles:
	@if test -d "$$(rustc --print target-libdir --target $(NEON_HOST))"; \
	then CARGO_TARGET_DIR=target/neon $(CARGO) check --quiet --tests --manifest-path tests/sanitize/Cargo.toml --target $(NEON_HOST); \
	else echo "make sanitize: the kernels for ARM are not compiled, for $(NEON_HOST) is not installed (rustup target add)"; fi

NEON_LINKER ?= aarch64-linux-gnu-gcc
NEON_RUNNER ?= qemu-aarch64 -L /usr/aarch64-linux-gnu
.PHONY: test-neon

test-neon: ## Run the native kernels' tests with NEON; where this is no 64-bit ARM, in an emulator (rustup target add aarch64-unknown-linux-gnu; Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)
ifneq ($(filter aarch64 arm64,$(shell uname -m)),)
	CARGO_TARGET_DIR=target/neon $(CARGO) test --manifest-path tests/sanitize/Cargo.toml
else
	@for program in $(NEON_LINKER) $(firstword $(NEON_RUNNER)); do command -v $$program > /dev/null || { echo "make test-neon: there is no $$program (Debian, Ubuntu: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user); NEON_LINKER and NEON_RUNNER name others" >&2; exit 1; }; done
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$(NEON_LINKER)" CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$(NEON_RUNNER)" CARGO_TARGET_DIR=target/neon \
		$(CARGO) test --manifest-path tests/sanitize/Cargo.toml --target $(NEON_HOST)
endif

STRESS_MINUTES ?= 10
.PHONY: fuzz

fuzz: ## Give every reader damaged files for STRESS_MINUTES (10), other ones each time (FUZZ_TARGET=NAME chooses; tests/fuzz/main.rs has more)
	STRESS_MINUTES=$(STRESS_MINUTES) $(CARGO) test --release --test fuzz -- --nocapture

format: ## Check the formatting
	$(CARGO) fmt --check

lint: ## Clippy, warnings are errors
	$(CARGO) clippy --release --all-targets -- -D warnings

docs: ## Build the API documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps

demo: runtime ## Fine-tune the model in models/ on few images, with L2-SP, with L2 and with none, and compare
	examples/demo.sh

models: runtime ## Make the demo's pretrained model again
	models/make.sh

PLOT_PYTHON ?= .venv-plot/bin/python

penalty-plot: runtime ## Fine-tune the demo with each penalty and draw docs/penalties.svg (PLOT_PYTHON names an environment with matplotlib)
	@test "$(PLOT_PYTHON)" != .venv-plot/bin/python || test -x $(PLOT_PYTHON) || { \
		$(PYTHON) -m venv .venv-plot && .venv-plot/bin/python -m pip install --quiet --disable-pip-version-check -r examples/requirements.txt; }
	$(PLOT_PYTHON) examples/penalty_plot.py

bench: setup runtime ## Measure rewriting, the training step and fine-tuning, and draw it (BENCH_ARGS="--quick")
	$(CARGO) build --release --example step_time
	$(VENV)/bin/python bench/run.py $(BENCH_ARGS)
	$(MAKE) plot

plot: setup ## Draw bench/results as bench/results/bench.svg
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	$(VENV)/bin/python bench/plot.py $(PLOT_ARGS)

bench-penalties: setup runtime ## Measure what penalties, regularizers and freezing cost in a step (PENALTIES_ARGS="--rounds 3 freezing")
	$(CARGO) build --release --example paired_steps
	$(VENV)/bin/python bench/penalties.py $(PENALTIES_ARGS)

PEERS_PYTHON ?= .venv-peers/bin/python
ORT_PYTHON ?= .venv-ort/bin/python

bench-peers: setup runtime ## Measure other programs and spgraph in turn (PEERS_ARGS="--rounds 5"; PEERS_PYTHON, ORT_PYTHON name environments)
	$(CARGO) build --release --example step_time
	@test "$(PEERS_PYTHON)" != .venv-peers/bin/python || test -x $(PEERS_PYTHON) || { \
		$(PYTHON) -m venv .venv-peers && .venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peers/requirements.txt; }
	@test "$(ORT_PYTHON)" != .venv-ort/bin/python || test -x $(ORT_PYTHON) || { \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' && $(PYTHON) -m venv .venv-ort && \
		.venv-ort/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peers/requirements-ort.txt; } || \
		echo "bench-peers: onnxruntime-training-cpu 1.19.2 is left out; it needs Python 3.11 (PYTHON=python3.11)" >&2
	$(VENV)/bin/python bench/peers.py --python $(PEERS_PYTHON) --ort-python $(ORT_PYTHON) $(PEERS_ARGS)

EVAL_OUT ?= out/evaluation
EVAL_JOBS ?= $(shell nproc 2>/dev/null || echo 2)
EVAL_DATA ?= $(EVAL_OUT)/data

# run_study STUDY NAME: each cell is a target of a makefile of its own, so that -j, interruption and going on are make's.
define run_study
	@mkdir -p $(EVAL_OUT)/$(2)
	$(BINARY) plan $(1) --out $(EVAL_OUT)/$(2) --make --program $(BINARY) --with "--threads 1" $(3) --to $(EVAL_OUT)/$(2)/cells.mk
	+$(MAKE) --no-print-directory --keep-going $(if $(findstring -j,$(MAKEFLAGS)),,-j $(EVAL_JOBS)) -f $(EVAL_OUT)/$(2)/cells.mk cells
	$(BINARY) report $(EVAL_OUT)/$(2) --study $(1)
endef

eval: runtime ## The paper's protocol on synthetic tasks: selection, final cells, report (EVAL_OUT=out/evaluation; -j N cells at a time)
	$(call run_study,evaluation/synthetic.toml,synthetic,)

eval-data: ## Networks and images for eval-real, from a folder of archives (DATA=../shared/data; FETCH=1 fetches what it lacks) or from where they are published
	@evaluation/data.sh $(EVAL_DATA) $(DATA)

eval-real: eval-data ## The same on real networks and photographs: hours (DATA=FOLDER as for eval-data)
	@+$(MAKE) --no-print-directory runtime
	$(call run_study,evaluation/real.toml,real,--base $(EVAL_DATA))

ORT_TRAINING_PYTHON ?= .venv-ort-training/bin/python
ORT_TRAINING_OUT ?= out/ort-training

.PHONY: test-ort-training
test-ort-training: build ## ONNX Runtime's training API trains the artifact made for it (Python 3.11: PYTHON311=python3.11; ORT_TRAINING_PYTHON names an environment)
	@test "$(ORT_TRAINING_PYTHON)" != .venv-ort-training/bin/python || test -x $(ORT_TRAINING_PYTHON) || { \
		$(PYTHON311) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "make test-ort-training: $(PYTHON311) must be Python 3.11; name another with PYTHON311=..." >&2; exit 1; }; \
		$(PYTHON311) -m venv .venv-ort-training && .venv-ort-training/bin/python -m pip install --quiet --disable-pip-version-check -r tests/ort_training/requirements.txt; }
	$(ORT_TRAINING_PYTHON) tests/ort_training/train.py $(BINARY) models/resnet20-source.onnx $(ORT_TRAINING_OUT)

COVERAGE_PYTHON ?= .venv-coverage/bin/python

coverage: build ## Compare networks of torchvision and timm with PyTorch; docs/networks.md (COVERAGE_ARGS="-j 4 'timm:conv*'"; COVERAGE_PYTHON names an environment)
	@test "$(COVERAGE_PYTHON)" != .venv-coverage/bin/python || test -x $(COVERAGE_PYTHON) || { \
		$(PYTHON) -m venv .venv-coverage && .venv-coverage/bin/python -m pip install --quiet --disable-pip-version-check -r tests/coverage/requirements.txt; }
	$(COVERAGE_PYTHON) tests/coverage/run.py $(COVERAGE_ARGS)

deny: ## Hold the dependencies to deny.toml with cargo-deny, known advisories included (needs the network; installs cargo-deny where it is missing)
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check

sbom: setup ## Write the list of what spgraph is built from, target/sbom.cdx.json
	@mkdir -p target
	$(VENV)/bin/python tests/sbom.py target/sbom.cdx.json

clean: ## Remove what was built, .venv too
	rm -rf target $(VENV) .venv-plot

.PHONY: stress flaky

stress: setup build ## Kills at random moments and faults at every system call for STRESS_MINUTES, then make fuzz, then every extreme of every operator and ONNX's own tests of operators (STRESS_SEED, STRESS_ONLY="finetune" choose)
	@library=$$(ls $(CURDIR)/$(VENV)/lib/python*/site-packages/onnxruntime/capi/libonnxruntime.* | head -n 1) && \
	ORT_DYLIB_PATH="$$library" STRESS_MINUTES=$(STRESS_MINUTES) $(CARGO) test --release --test faults -- --nocapture --test-threads 1
	$(MAKE) fuzz STRESS_MINUTES=$(STRESS_MINUTES)
	@library=$$(ls $(CURDIR)/$(VENV)/lib/python*/site-packages/onnxruntime/capi/libonnxruntime.* | head -n 1) && \
	ORT_DYLIB_PATH="$$library" STRESS_MINUTES=$(STRESS_MINUTES) $(CARGO) test --release --test hostile -- --nocapture
	NODE_MODELS=all $(VENV)/bin/python -m pytest -q tests/python/test_node_models.py

FLAKY_RUNS ?= 20
FLAKY_ARGS ?=

flaky: setup build ## The Rust tests FLAKY_RUNS times in a row, on one thread and on many in turn (FLAKY_ARGS="--lib" chooses)
	@library=$$(ls $(CURDIR)/$(VENV)/lib/python*/site-packages/onnxruntime/capi/libonnxruntime.* | head -n 1) && \
	for run in $$(seq $(FLAKY_RUNS)); do \
		threads=$$(test $$((run % 2)) -eq 0 && echo 1 || echo 16); \
		ORT_DYLIB_PATH="$$library" $(CARGO) test --release --quiet $(FLAKY_ARGS) -- --test-threads $$threads > target/flaky.log 2>&1 || { \
			cat target/flaky.log; echo "make flaky: run $$run of $(FLAKY_RUNS), on $$threads threads, failed" >&2; exit 1; }; \
		echo "run $$run of $(FLAKY_RUNS), on $$threads threads: $$(grep -c '^test result: ok' target/flaky.log) programs passed"; \
	done
