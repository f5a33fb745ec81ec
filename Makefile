# copyledger: build, check, install. `make help` lists the targets.
.DEFAULT_GOAL := all
SHELL := /bin/bash
BUILD ?= build
PREFIX ?= /usr
DESTDIR ?=
CC ?= gcc
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool) bpftool)
VERSION := 0.1.0
ARCH := x86

# SAN=asan|tsan builds into a folder of its own with that sanitizer.
SAN ?=
SAN_asan := -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
SAN_tsan := -fsanitize=thread -fno-omit-frame-pointer
SAN_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
O := $(BUILD)$(if $(SAN),/$(SAN))

# V=1 shows the commands.
Q := $(if $(V),,@)
say = @$(if $(V),:,printf '  %-5s %s\n')

CFLAGS ?= -O2 -g
CFLAGS_ALL := -std=gnu11 -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wno-unused-parameter -fstack-protector-strong -D_GNU_SOURCE \
	$(if $(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),,-D_FORTIFY_SOURCE=2) \
	-DCOPYLEDGER_VERSION='"$(VERSION)"' $(CPPFLAGS) $(CFLAGS) $(SAN_$(SAN))
LDFLAGS_ALL := $(LDFLAGS) $(SAN_$(SAN)) -pthread

# Who may include whom: the include path of each folder says it.
INC_common := -iquote common
INC_loadgen := -iquote common -iquote loadgen
JSON_CFLAGS := $(shell pkg-config --cflags json-c 2>/dev/null || echo -I/usr/include/json-c)
INC_daemon = $(JSON_CFLAGS) -iquote common -iquote loadgen -iquote bpf -iquote daemon -iquote $(BUILD)/bpf -iquote $(BUILD)/gen
INC_client := $(JSON_CFLAGS) -iquote common -iquote client
INC_cli := $(JSON_CFLAGS) -iquote common -iquote client -iquote cli -iquote $(BUILD)/gen
INC_exporter := $(JSON_CFLAGS) -iquote common -iquote client -iquote exporter

SRC_common := $(wildcard common/*.c)
SRC_loadgen := $(wildcard loadgen/*.c)
SRC_daemon := $(wildcard daemon/*.c)
SRC_client := $(wildcard client/*.c)
SRC_cli := $(wildcard cli/*.c)
SRC_exporter := $(wildcard exporter/*.c)
obj = $(patsubst %.c,$(O)/%.o,$(1))
MAINS := loadgen/main.c daemon/main.c cli/main.c exporter/main.c

LIBS_loadgen := -lmnl -luring -lm
LIBS_daemon := -lbpf -lelf -lz -ljson-c -lsystemd -lsqlite3 -lmnl -luring -lm
LIBS_cli := -ljson-c -lm
LIBS_exporter := -lmicrohttpd -ljson-c -lsystemd -lm

PROGRAMS := $(O)/copyledgerd $(O)/copyledger $(O)/copyledger-loadgen $(O)/copyledger-exporter

all: $(PROGRAMS) ## Build the daemon, the command, the load generator and the exporter

help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

deps: ## Install the Debian packages that are missing
	@tools/deps.sh build check

$(O)/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(CFLAGS_ALL) $(INC_$(firstword $(subst /, ,$<))) -MMD -MP -c $< -o $@

$(call obj,$(SRC_daemon)): $(BUILD)/bpf/ledger.skel.h $(BUILD)/bpf/ledger_nocast.skel.h $(BUILD)/gen/varlink_text.h

# The lines of its source are in the object: without the folder, so that it is the same wherever it is built.
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Werror -D__TARGET_ARCH_$(ARCH) -Ivmlinux/$(ARCH) -Ibpf \
	-ffile-prefix-map=$(CURDIR)=.

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h bpf/*.def) vmlinux/$(ARCH)/vmlinux.h Makefile
	@mkdir -p $(@D)
	$(say) BPF $@
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

# The same source for kernels before 6.2: see there.
$(BUILD)/bpf/ledger_nocast.bpf.o: bpf/ledger.bpf.c $(wildcard bpf/*.h bpf/*.def) vmlinux/$(ARCH)/vmlinux.h Makefile
	@mkdir -p $(@D)
	$(say) BPF $@
	$(Q)$(CLANG) $(BPF_CFLAGS) -DNO_RDONLY_CAST -c $< -o $@

$(BUILD)/bpf/%.skel.h: $(BUILD)/bpf/%.bpf.o
	$(say) SKEL $@
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf > $@.tmp && mv $@.tmp $@

$(call obj,cli/report.c): $(BUILD)/gen/report_html.h

# A text as a C string: the interface, so that the daemon serves the very file of schemas/, and the report's template.
QUOTE = sed -e 's/[\\"]/\\&/g' -e 's/^/"/' -e 's/$$/\\n"/'
$(BUILD)/gen/varlink_text.h: schemas/io.copyledger.varlink
	@mkdir -p $(@D)
	$(say) GEN $@
	$(Q)$(QUOTE) $< > $@.tmp && mv $@.tmp $@
$(BUILD)/gen/report_html.h: cli/report.html
	@mkdir -p $(@D)
	$(say) GEN $@
	$(Q)(echo 'static const char report_html[] ='; $(QUOTE) $<; echo ';') > $@.tmp && mv $@.tmp $@

$(O)/copyledger-loadgen: $(call obj,$(SRC_loadgen) $(SRC_common))
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) $^ -o $@ $(LIBS_loadgen)
$(O)/copyledgerd: $(call obj,$(SRC_daemon) $(filter-out loadgen/main.c,$(SRC_loadgen)) $(SRC_common))
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) $^ -o $@ $(LIBS_daemon)
$(O)/copyledger: $(call obj,$(SRC_cli) $(SRC_client) $(SRC_common))
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) $^ -o $@ $(LIBS_cli)

$(O)/copyledger-exporter: $(call obj,$(SRC_exporter) $(SRC_client) $(SRC_common))
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) $^ -o $@ $(LIBS_exporter)

# Unit tests: tests/unit/<folder>/test_<module>.c links everything of the daemon but main.
UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN := $(patsubst tests/unit/%.c,$(O)/unit/%,$(UNIT_SRC))
UNIT_LIB := $(call obj,$(filter-out $(MAINS),$(SRC_daemon) $(SRC_loadgen) $(SRC_common)))
CLI_LIB := $(call obj,$(filter-out $(MAINS),$(SRC_cli) $(SRC_client) $(SRC_common)))
$(O)/unit/cli/%: tests/unit/cli/%.c $(CLI_LIB)
	@mkdir -p $(@D)
	$(say) TEST $@
	$(Q)$(CC) $(CFLAGS_ALL) $(INC_cli) -MMD -MP $< $(CLI_LIB) -o $@ $(LDFLAGS_ALL) $(LIBS_cli) -lcmocka
EXPORTER_LIB := $(call obj,$(filter-out $(MAINS),$(SRC_exporter) $(SRC_client) $(SRC_common)))
$(O)/unit/exporter/%: tests/unit/exporter/%.c $(EXPORTER_LIB)
	@mkdir -p $(@D)
	$(say) TEST $@
	$(Q)$(CC) $(CFLAGS_ALL) $(INC_exporter) -MMD -MP $< $(EXPORTER_LIB) -o $@ $(LDFLAGS_ALL) $(LIBS_exporter) -lcmocka
$(O)/unit/%: tests/unit/%.c $(UNIT_LIB)
	@mkdir -p $(@D)
	$(say) TEST $@
	$(Q)$(CC) $(CFLAGS_ALL) $(INC_daemon) -MMD -MP $< $(UNIT_LIB) -o $@ $(LDFLAGS_ALL) $(LIBS_daemon) -lcmocka
# It counts the calls.
$(O)/unit/daemon/test_sweep: LDFLAGS_ALL += -Wl,--wrap=stats_bootstrap_median_interval,--wrap=sweep_count
unit-programs: $(UNIT_BIN)

# Fuzzers: what the daemon reads with all of the daemon, what the command reads with all of the command; built by clang.
FUZZ_LINK = $(CC) $(CFLAGS_ALL) -fsanitize=fuzzer $< $(filter %.o,$^) -o $@ -pthread
$(O)/fuzz_result: tests/fuzz/fuzz_result.c $(CLI_LIB)
	@mkdir -p $(@D)
	$(say) FUZZ $@
	$(Q)$(FUZZ_LINK) $(INC_cli) $(LIBS_cli)
$(O)/fuzz_%: tests/fuzz/fuzz_%.c $(UNIT_LIB)
	@mkdir -p $(@D)
	$(say) FUZZ $@
	$(Q)$(FUZZ_LINK) $(INC_daemon) $(LIBS_daemon) -lcmocka
fuzz-programs: $(O)/fuzz_frames $(O)/fuzz_parameters $(O)/fuzz_result

quickstart: ## Install what is missing, build, run the three modes on both paths, show their ledgers
	@tools/quickstart.sh
check: ## Install what is missing, build, run every test of the modules and the daemon that this machine can run
	@tools/check.sh
asan: ## The tests under AddressSanitizer and UBSan
	@SAN=asan tools/check.sh
tsan: ## The tests under ThreadSanitizer
	@SAN=tsan tools/check.sh
$(O)/ktls: tests/vm/ktls.c
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS_ALL) $< -o $@ $(LDFLAGS_ALL)
vm-programs: all $(O)/ktls
vm: ## The full tier on Debian's own kernels, in a VM under software emulation
	@tests/vm/run.sh
vm-doc: ## Write doc/kernels.md from what the last make vm saw
	@tests/vm/kernels.py --update $(BUILD)/vm doc/kernels.md
SECONDS_EACH ?= 60
fuzz: all ## The fuzzers of framing, parameters and results, SECONDS_EACH=60 a target
	@tools/deps.sh build check
	@$(MAKE) -s SAN=fuzz CC=$(CLANG) fuzz-programs
	@tools/fuzz.sh $(BUILD) $(SECONDS_EACH)
$(O)/inject.so: tests/fault/inject.c
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS_ALL) -shared -fPIC $< -o $@
torture: all $(O)/inject.so ## The table of attacks and faults, row by row, to its bars; TORTURE_SCALE=1 SOAK_S=20
	@tools/torture.sh
soak: all ## Runs and watches for SOAK_S=7200 seconds: nothing grows
	@SOAK_S=$${SOAK_S:-7200} tools/torture.sh tests/torture -k soak
# Of make bench: see tools/bench/floor.c.
$(BUILD)/bench/floor.bpf.o: tools/bench/floor.bpf.c
	@mkdir -p $(@D)
	$(say) BPF $@
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@
$(BUILD)/bench/floor: tools/bench/floor.c $(BUILD)/bench/floor.bpf.o
	$(say) CC $@
	$(Q)$(CC) $(CFLAGS_ALL) $< -o $@ $(LDFLAGS_ALL) -lbpf
bench-programs: $(BUILD)/bench/floor
bench: ## Throughput against iperf3 and PEERS="NAME=PATH ...", ledger on and off, in interleaved pairs; BENCH="OPTIONS"
	@tools/bench.sh $(BENCH)
bench-doc: ## Write doc/performance.md from what the last make bench measured
	@tools/bench/document.py results/bench.json doc/performance.md doc/performance.svg

# Manual pages: prose of doc/man/ with what the programs, the configuration and the interface say of themselves.
man: $(patsubst doc/man/%.scd,$(O)/man/%,$(wildcard doc/man/*.scd)) ## Write the manual pages (wants scdoc)
$(O)/man/%: doc/man/%.scd tools/manpage schemas/io.copyledger.varlink $(PROGRAMS)
	@mkdir -p $(@D)
	$(say) MAN $@
	$(Q)tools/manpage $< $(O) >$@.tmp && mv $@.tmp $@

install: all man ## Install programs, units, manual pages and completions below DESTDIR
	@tools/install.sh "$(O)" "$(DESTDIR)" "$(PREFIX)"
deb: ## Build the Debian package
	@tools/deb.sh "$(BUILD)"
deb-check: deb ## lintian, then the life of the package in a chroot and under systemd
	@tools/deb-check.sh "$(BUILD)"
clean: ## Remove what was built
	rm -rf $(BUILD)

.PHONY: all bench-programs help deps quickstart check asan tsan fuzz fuzz-programs torture soak vm vm-doc bench bench-doc man install deb deb-check clean unit-programs
.DELETE_ON_ERROR:
-include $(shell [ -d $(O) ] && find $(O) -name '*.d')
