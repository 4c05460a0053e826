# The front: `make` builds build/vexfs, and every target first installs what is missing (tools/deps.sh). The build itself is Meson's.
BUILD ?= build
DESTDIR ?=
PREFIX ?= /usr/local
CC ?= cc
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: all build demo check bench bench-index bench-fs bench-life bench-open bench-churn bench-mount bench-recall bench-text torture cross soak install deb stack neon tsan format clean help torture-alloc report

all: build

help:
	@echo 'make               build $(BUILD)/vexfs'
	@echo 'make demo [DIR=…]  mount a directory of text, search it in several ways, unmount'
	@echo 'make check         every check and test (about ten minutes on two cores)'
	@echo 'make bench-recall  import 60,000 images as vectors; recall@10 against exact search, through the mount'
	@echo 'make bench-index   the index beside hnswlib and FAISS on the same data (half an hour; ARGS="--peers hnswlib" for a third)'
	@echo 'make bench-fs      file jobs: native, this mount on each transport, other FUSE file systems (root; ARGS=--quick)'
	@echo 'make bench-life    what permissions and vectors cost: search by others, rename of a large directory (root)'
	@echo 'make bench-open    how long a store takes to open, 10 thousand to a million vectors'
	@echo 'make bench-churn   every vector of a collection replaced ten times under searches: disk, memory, descriptors, recall'
	@echo 'make bench-mount   round trips, searches and puts through the mount beside in-process (root; ARGS=--quick)'
	@echo 'make bench-text    Cranfield by words, meaning and both, through the mount; the model beside onnxruntime, its memory'
	@echo 'make bench         all benchmarks'
	@echo 'make torture       the store under power cuts, kills, errors and rot, at length (hours); ARGS=… as tests/fault/torture.py'
	@echo 'make report [DIR=…] the report of stack, memory, latency, throughput (docs/REPORT.md), measured here'
	@echo 'make torture-alloc every allocation of a script and of an opening fails once, on a real mount'
	@echo 'make soak          mixed work on one mount, clients killed, the store failing; verdict and curves (ARGS="--minutes 120 --cpu 15")'
	@echo 'make cross         numbers, golden stores and exact search on i386, arm64 and s390x under qemu-user'
	@echo 'make stack         worst-case stack from the call graph'
	@echo 'make tsan          searches beside a writer under ThreadSanitizer (minutes)'
	@echo 'make neon          the kernels of aarch64, cross-compiled, under qemu-user (minutes)'
	@echo 'make install       to $$DESTDIR$$PREFIX (default /usr/local)'
	@echo 'make deb           a Debian package'
	@echo 'make format        clang-format over all sources'

build:
	@tools/deps.sh build
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) --prefix=$(PREFIX) >$(BUILD).log || { cat $(BUILD).log; rm -f $(BUILD).log; exit 1; }; rm -f $(BUILD).log
	@ninja -C $(BUILD) program
	@ln -sfn src/cli/vexfs $(BUILD)/vexfs

demo: build
	@tools/demo.sh $(BUILD)/vexfs $(DIR)

check:
	@tools/deps.sh check
	@python3 tests/run.py

bench: bench-recall bench-fs bench-mount

bench-fs: build
	@tools/deps.sh bench-fs
	@python3 bench/fs/run.py $(BUILD)/vexfs $(ARGS)

bench-life: build
	@python3 bench/life/run.py $(BUILD)/vexfs $(ARGS)

bench-open: build
	@python3 bench/open/run.py $(BUILD)/vexfs $(ARGS)

bench-churn: build
	@python3 bench/churn/run.py $(BUILD)/vexfs $(ARGS)

bench-mount: build
	@tools/deps.sh bench-fs
	@python3 bench/mount/run.py $(BUILD)/vexfs $(BUILD) $(ARGS)

bench-index:
	@tools/deps.sh bench-index
	@python3 bench/index/run.py $(ARGS)

bench-text: build
	@tools/deps.sh bench-text
	@ninja -C $(BUILD) tests/unit/embed/embed_tool >/dev/null
	@python3 bench/text/run.py $(BUILD)/vexfs $(ARGS)

bench-recall: build
	@tools/deps.sh bench
	@python3 bench/recall.py $(BUILD)/vexfs

torture:
	@tools/deps.sh check
	@BUILD=$(BUILD) python3 tests/fault/run.py $(ARGS)

report: build
	@$(BUILD)/vexfs profile $(or $(DIR),/var/tmp) $(ARGS)
	@$(MAKE) -s stack

torture-alloc: build
	@VEXFS_ALL=1 VEXFS=$(BUILD)/vexfs TMPDIR=/var/tmp python3 tests/mount/test_alloc.py

soak: build
	@VEXFS=$(BUILD)/vexfs python3 tests/soak/soak.py $(ARGS)

cross:
	@tools/deps.sh cross
	@tests/cross/run.sh $(ARGS)

stack:
	@tools/deps.sh build
	@test -f build-stack/build.ninja || CC=gcc meson setup build-stack -Dcallgraph=true >/dev/null
	@ninja -C build-stack src/cli/vexfs
	@tools/stack.sh build-stack

tsan:
	@tools/deps.sh check
	@test -f build-tsan/build.ninja || CC=clang meson setup build-tsan -Db_sanitize=thread -Db_lundef=false >/dev/null
	@ninja -C build-tsan tests/unit/index/test_concurrent tests/unit/index/test_parts >/dev/null
	@build-tsan/tests/unit/index/test_concurrent
	@build-tsan/tests/unit/index/test_parts

neon:
	@tools/deps.sh neon
	@tools/neon.sh max
	@tools/neon.sh cortex-a57

install: build
	@ninja -C $(BUILD) >/dev/null
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

deb: build
	@tools/deb.sh

format:
	@clang-format-14 -i $$(find src include tests -name '*.[ch]')

clean:
	@rm -rf $(BUILD) build-check-* build-stack build-deb
