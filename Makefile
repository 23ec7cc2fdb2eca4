# `make demo` and `make test` are the README's two commands; each sets up what it needs in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NATIVE := $(shell find custom_ops -name '*.c' -o -name '*.cc' -o -name '*.h' -o -name CMakeLists.txt)

.PHONY: demo test test-recipes docs figures notebooks lint lock native native-arm no-native-arm count-arm count-sme sanitize sanitize-python valgrind fuzz coverage wheels release-check test-arm count-arm-nets musl clean
.DEFAULT_GOAL := test
# Tests start hundreds of processes, each of which would compile the package's modules anew.
unexport PYTHONDONTWRITEBYTECODE

# What a stamp's install needs to be redone for; the Python sources are linked, not copied.
INSTALL := pyproject.toml setup.py nq_tflite/version.py $(NATIVE)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/demo.stamp: $(INSTALL) | $(BIN)/python
	@echo "Installing nq-tflite with tensorflow into $(VENV) and compiling its plugin: about 3 minutes, mostly downloads."
	$(BIN)/pip install --disable-pip-version-check -e '.[demo]'
	@touch $@

# Versions and hashes of everything for development, on the Python and machine that they are known for.
LOCK := $(wildcard requirements/$(shell $(PYTHON) -c \
          'import sys, platform; print("cp%d%d-%s.txt" % (*sys.version_info[:2], platform.machine()))'))

$(VENV)/dev.stamp: $(INSTALL) $(LOCK) | $(BIN)/python
	@echo "Installing what development needs into $(VENV) and compiling the plugin: about 4 minutes, mostly downloads."
	$(if $(LOCK),$(BIN)/pip install --disable-pip-version-check --require-hashes --no-deps -r $(LOCK))
	$(BIN)/pip install --disable-pip-version-check $(if $(LOCK),--no-build-isolation) -e '.[dev]'
	@touch $@ $(VENV)/demo.stamp

## Converts a real MobileNetV2, classifies real photos at two precisions, prints one table.
demo: $(VENV)/demo.stamp
	$(BIN)/nq-tflite demo

# What native-arm needs and this system lacks.
ARM_MISSING = $(strip $(foreach tool,aarch64-linux-gnu-g++ arm-linux-gnueabihf-g++ qemu-aarch64 qemu-arm,\
                $(if $(shell command -v $(tool)),,$(tool))))

## Runs the tests. CI also runs the slow ones, the linters, the sanitizers, a little fuzzing, and native tests for Arm where it can.
test: $(VENV)/dev.stamp $(if $(CI),lint sanitize sanitize-python $(if $(shell command -v valgrind),valgrind) fuzz $(if $(ARM_MISSING),no-)native-arm) native
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m '$(if $(CI),not recipe,not slow and not network and not recipe)'

## Runs docs/models.md's recipes for JAX and PyTorch, in environments of their own: gigabytes of downloads.
test-recipes: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m recipe

## Builds the documentation site into build/docs; any warning fails it. The slow tests do the same.
docs: $(VENV)/dev.stamp
	$(BIN)/python -m sphinx -W --keep-going -n -q docs build/docs
	@echo "build/docs/index.html"

## Draws the documentation's figures anew.
figures: $(VENV)/dev.stamp
	$(BIN)/python docs/figures/draw.py

## Runs the notebooks and keeps what they show: about six minutes. NOTEBOOKS="1 4" runs these alone.
notebooks: $(VENV)/dev.stamp
	$(BIN)/python tests/tools/run_notebooks.py $(NOTEBOOKS)

PROSE := $(filter %.md,$(shell git ls-files '*.md' 2>/dev/null || find . -name '*.md' -not -path './.venv/*' -not -path './build/*'))

## Checks code and prose: rules of the second are in .proselintrc.json; tests/house/test_docs.py has its width.
lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/proselint --config .proselintrc.json check $(PROSE)
	$(BIN)/clang-format --dry-run --Werror $(filter %.c %.cc %.h,$(NATIVE))

## Builds and runs the native tests.
native: $(VENV)/dev.stamp
	$(BIN)/cmake -S custom_ops -B build/native -G Ninja -DNQ_BUILD_TESTS=ON -DNQ_WERROR=ON
	$(BIN)/cmake --build build/native -j 2
	$(BIN)/ctest --test-dir build/native --output-on-failure -j 2
	@grep -h ' outputs compared' build/native/Testing/Temporary/LastTest.log

# qemu-user 7 ends a child of fork() that starts a thread.
NOT_IN_QEMU := *.a_child_process_starts_threads_of_its_own:*.a_fork_amid_a_call_leaves_a_pool_that_works

# $(1): target, $(2): CPUs.
define run_native_arm
$(BIN)/cmake -S custom_ops -B build/$(1) -G Ninja -DNQ_BUILD_TESTS=ON -DNQ_WERROR=ON \
  -DCMAKE_TOOLCHAIN_FILE=toolchains/$(1).cmake
$(BIN)/cmake --build build/$(1) -j 2
for cpu in $(2); do \
  QEMU_CPU=$$cpu GTEST_FILTER='-$(NOT_IN_QEMU)' $(BIN)/ctest --test-dir build/$(1) --output-on-failure -j 2 -LE paging || exit 1; \
  echo "on $$cpu:"; grep -h ' outputs compared' build/$(1)/Testing/Temporary/LastTest.log; \
done
endef

## Renews the lock file and docs/dependencies.md from what is installed.
lock: $(VENV)/dev.stamp
	$(BIN)/python tests/tools/dependencies.py

# What emulation has of CPUs that multiply 8-bit matrices, as in tests/tools/arm64.py.
I8MM := max,sme=off,sve=off

## Builds the native tests for Arm and runs them in emulation: 64 bits without dot products, with them and with matrix
## products, and 32 bits. Needs apt install g++-aarch64-linux-gnu g++-arm-linux-gnueabihf qemu-user; tests of paging, which qemu lacks, are left out.
native-arm: $(VENV)/dev.stamp
	$(call run_native_arm,aarch64-linux-gnu,cortex-a72 cortex-a76 $(I8MM))
	$(call run_native_arm,arm-linux-gnueabihf,cortex-a15)

no-native-arm:
	@echo "NOT RUN: native tests for Arm, for want of $(ARM_MISSING) (make native-arm says which packages have them)"

## Counts the instructions that Arm kernels execute in emulation; needs what native-arm needs.
count-arm: $(VENV)/dev.stamp
	$(BIN)/cmake -S custom_ops -B build/count-arm -G Ninja -DNQ_BUILD_BENCHMARK=ON \
	  -DCMAKE_TOOLCHAIN_FILE=toolchains/aarch64-linux-gnu.cmake
	$(BIN)/cmake --build build/count-arm -j 2 --target gemm_bench
	$(CXX) -shared -fPIC -O2 -o build/count-arm/libqemu_blocks.so custom_ops/bench/qemu_blocks.cc
	$(BIN)/python custom_ops/bench/count_arm.py build/count-arm

## Counts those of a study for a kernel with SME (docs/sme.md); needs qemu-user and g++-aarch64-linux-gnu.
count-sme: $(VENV)/dev.stamp
	mkdir -p build/count-sme
	$(CXX) -shared -fPIC -O2 -o build/count-sme/libqemu_count.so custom_ops/bench/qemu_count.cc
	$(BIN)/python custom_ops/bench/count_sme.py build/count-sme

# $(1): the sanitizers, $(2): options of ctest.
define run_sanitized
$(BIN)/cmake -S custom_ops -B build/$(1) -G Ninja -DNQ_BUILD_TESTS=ON -DNQ_WERROR=ON -DNQ_SANITIZE=$(1)
$(BIN)/cmake --build build/$(1) -j 2
$(BIN)/ctest --test-dir build/$(1) --output-on-failure -j 2 $(2)
endef
comma := ,

## The same under AddressSanitizer with UBSan, and, but for tests of one thread alone, under ThreadSanitizer.
sanitize: $(VENV)/dev.stamp
	$(call run_sanitized,address$(comma)undefined,)
	$(call run_sanitized,thread,-LE one_thread)

# Clang has libFuzzer; without it, what `sanitize` has built is taken, with fuzz/driver.cc.
FUZZ_CLANG := $(shell command -v clang++-19 || command -v clang++)
FUZZ_BUILD := build/$(if $(FUZZ_CLANG),fuzz,address,undefined)
SECONDS    := 9
# Prints what the extra `fuzz` needs: installing the package with it would compile the library once more.
FUZZ_NEEDS := from importlib.metadata import requires; \
              print(*(each.partition(" and extra == ")[0] for each in requires("nq-tflite") if "\"fuzz\"" in each))

## Fuzzes what reads files, each native target for SECONDS and each Python reader for a third of that: docs/fuzzing.md.
fuzz: $(VENV)/dev.stamp
	$(BIN)/python -c '$(FUZZ_NEEDS)' | $(BIN)/pip install --quiet -r /dev/stdin
	$(BIN)/cmake -S custom_ops -B $(FUZZ_BUILD) -G Ninja -DNQ_BUILD_FUZZERS=ON -DNQ_SANITIZE=address,undefined \
	  $(if $(FUZZ_CLANG),-DCMAKE_CXX_COMPILER=$(FUZZ_CLANG))
	$(BIN)/cmake --build $(FUZZ_BUILD) -j 2
	$(BIN)/python tests/fuzz/run.py $(FUZZ_BUILD)/fuzz --seconds $(SECONDS) $(addprefix --target ,$(TARGET))

## Prints how many lines of each native folder the native tests and the kept inputs of fuzzing run; tests of the kernels,
## which are others', take long and are left out.
coverage: $(VENV)/dev.stamp
	rm -rf build/coverage
	$(BIN)/cmake -S custom_ops -B build/coverage -G Ninja -DNQ_BUILD_TESTS=ON -DNQ_BUILD_FUZZERS=ON -DNQ_COVERAGE=ON \
	  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER=g++ -DCMAKE_CXX_FLAGS=-O1
	$(BIN)/cmake --build build/coverage -j 2
	$(BIN)/ctest --test-dir build/coverage --output-on-failure -E 'gemm|depthwise|unpack|quantize|dynamic_layer'
	$(BIN)/python tests/fuzz/run.py build/coverage/fuzz --native --replay
	$(BIN)/python tests/fuzz/coverage_table.py build/coverage

# Those that drive the native library through stock runtimes, with every kind of graph.
SANITIZED := house/test_sanitized.py $(patsubst %,device/test_%.py,interpreter compiled_model delegation loops lookups \
               archive transposed)

## Runs Python tests whose interpreters load the library with AddressSanitizer and UBSan in it; g++'s alone.
sanitize-python: $(VENV)/dev.stamp
	$(BIN)/cmake -S custom_ops -B build/address,undefined -G Ninja -DNQ_BUILD_TESTS=ON -DNQ_WERROR=ON \
	  -DNQ_SANITIZE=address,undefined
	$(BIN)/cmake --build build/address,undefined -j 2 --target nq_tflite
	$(BIN)/python -m pytest -n 2 --dist loadgroup --quiet -m 'not slow and not network' \
	  --library build/address,undefined/libnq_tflite.so $(addprefix tests/,$(SANITIZED))

## Runs the native tests under valgrind, whose CPU has AVX2 and no more, which cpu_test would hold against /proc/cpuinfo.
## It leaves alone the allocation functions of a test that lets them fail. Of the grids of shapes and of the places of a
## bit, which the sanitizers run whole, it takes every seventh case. The largest program, gemm_test, takes longest.
valgrind: native
	ls -S build/native/tests/*_test | grep -v /cpu_test | NQ_STRIDE=7 xargs -P 2 -n 1 valgrind --quiet --fair-sched=try --leak-check=full --error-exitcode=9 \
	  --soname-synonyms=somalloc=nouserintercepts

# Platform tag and zig's target; the glibc of 2014 is 2.17.
WHEELS := x86_64:x86_64-linux-gnu.2.17 aarch64:aarch64-linux-gnu.2.17 armv7l:arm-linux-gnueabihf.2.17

## Builds an sdist, and from it a wheel for each platform, into dist/, and checks them.
wheels: | $(BIN)/python
	$(BIN)/pip install --quiet 'build>=1.2' 'setuptools>=77' wheel cmake ninja ziglang==0.17.1 auditwheel
	rm -rf dist
	$(BIN)/python -m build --quiet --sdist --no-isolation --outdir dist
	for wheel in $(WHEELS); do \
	  CMAKE_TOOLCHAIN_FILE=$(CURDIR)/custom_ops/cmake/zig.cmake NQ_ZIG_PYTHON=$(CURDIR)/$(BIN)/python \
	  NQ_ZIG_TARGET=$${wheel#*:} PATH=$(CURDIR)/$(BIN):$$PATH \
	  $(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist \
	    --config-settings=--build-option=--plat-name=manylinux2014_$${wheel%%:*} dist/*.tar.gz || exit 1; \
	done
	for wheel in dist/*.whl; do \
	  $(BIN)/auditwheel show $$wheel | tr '\n' ' ' | grep -q 'tag: "manylinux_2_17_' || exit 1; \
	done
	$(BIN)/python tests/tools/distributions.py dist

## Says whether this tree can be released: linters, documentation, wheels, and one version everywhere.
release-check: lint docs wheels
	$(BIN)/python tests/tools/release_check.py

## Runs the tests' jobs in an emulated 64-bit Python with the wheel of `make wheels`, on a Raspberry Pi 4's CPU, on a
## Raspberry Pi 5's and on one with matrix products. Needs apt install qemu-user; downloads 45 MB, once.
test-arm: $(VENV)/dev.stamp
	$(BIN)/python tests/tools/arm64.py dist/*aarch64.whl
	for cpu in cortex-a72 cortex-a76 $(I8MM); do \
	  echo "on $$cpu:"; $(BIN)/python -m pytest --quiet --cpu $$cpu -m 'not slow and not network and not recipe' || exit 1; \
	done

## Counts the instructions of one inference there, nested and stock, by function, models their cycles, and fails if the
## wheel's compiler moves vectors to the stack. NETS="mobilenet_v2" counts these nets alone. Needs apt install llvm-19 too.
count-arm-nets: $(VENV)/dev.stamp
	$(BIN)/python tests/tools/arm64.py dist/*aarch64.whl
	$(CXX) -shared -fPIC -O2 -o build/arm64/libqemu_blocks.so custom_ops/bench/qemu_blocks.cc
	export NQ_ZIG_PYTHON=$(CURDIR)/$(BIN)/python NQ_ZIG_TARGET=aarch64-linux-gnu.2.17 && \
	$(BIN)/cmake -S custom_ops -B build/arm64/symbols -G Ninja -DCMAKE_SHARED_LINKER_FLAGS= \
	  -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/custom_ops/cmake/zig.cmake && \
	$(BIN)/cmake --build build/arm64/symbols -j 2 --target nq_tflite
	$(BIN)/python tests/tools/count_nets.py $(NETS)

MUSL := aarch64-linux-musl arm-linux-musleabihf x86_64-linux-musl

## Builds the library and Android's JNI layer without glibc: with musl, the C library of the package index that is the
## nearest to Android's. Needs a JDK, for its headers.
musl: | $(BIN)/python
	$(BIN)/pip install --quiet cmake ninja ziglang==0.17.1
	java=$$(readlink -f $$(command -v javac)) && for target in $(MUSL); do \
	  export NQ_ZIG_PYTHON=$(CURDIR)/$(BIN)/python NQ_ZIG_TARGET=$$target && \
	  $(BIN)/cmake -S custom_ops/android -B build/$$target -G Ninja -DNQ_WERROR=ON -DJAVA_HOME=$${java%/bin/javac} \
	    -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/custom_ops/cmake/zig.cmake && \
	  $(BIN)/cmake --build build/$$target -j 2 --target nq_tflite_jni || exit 1; \
	done

clean:
	rm -rf build dist $(VENV) *.egg-info nq_tflite/libnq_tflite.so
