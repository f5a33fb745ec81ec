#!/bin/bash
# SPDX-License-Identifier: MIT
# Boots Debian's own kernels in a VM and runs guest.sh there: run.sh [ROW...], rows as in kernel.sh, default 6.1.
# COPYLEDGER_VM_CACHE: where kernels are kept; COPYLEDGER_VM_TIMEOUT: seconds a guest may take; BUILD: the build's folder.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
build=$(cd "$top" && realpath -m "${BUILD:-build}")
timeout_s=${COPYLEDGER_VM_TIMEOUT:-900}
emulator=qemu-system-x86_64
passed=0 failed=0 skipped=0

broken() { # row, why
	echo "not ok - $1: $2"
	failed=$((failed + 1))
}

# One thread emulates both CPUs: with thread=multi the kernel's own text patching races with them ("Oops: int3").
boot() { # kernel folder, work folder
	timeout --foreground -k 5 "$timeout_s" "$emulator" -accel tcg,thread=single -cpu max -smp 2 -m 1G \
		-nodefaults -display none -no-reboot \
		-netdev hubport,id=left,hubid=0 -device e1000,netdev=left -netdev hubport,id=right,hubid=0 -device e1000,netdev=right \
		-kernel "$1/vmlinuz" -initrd "$2/initramfs" \
		-serial "file:$2/console" -serial stdio \
		-append "console=ttyS0 quiet panic=-1 mitigations=off" </dev/null | tr -d '\r' | tee "$2/tap"
}

count() { # tap file
	passed=$((passed + $(grep -v '# SKIP' "$1" | grep -c '^ok ' || :)))
	skipped=$((skipped + $(grep -c '^ok .*# SKIP' "$1" || :)))
	failed=$((failed + $(grep -c '^not ok ' "$1" || :)))
}

run_row() {
	local row=$1 work=$build/vm/$1 kernel start=$SECONDS status=0
	mkdir -p "$work"
	rm -f "$work"/{tap,console,initramfs}
	kernel=$("$here/kernel.sh" "$row") || { broken "$row" "no kernel" && return; }
	"$here/image.sh" "$kernel" "$build" "$work/initramfs" || { broken "$row" "no image" && return; }
	echo "# $row: ${kernel##*/}"
	boot "$kernel" "$work" || status=$?
	count "$work/tap"
	echo "# $row: $((SECONDS - start)) s"
	grep -q '^RESULT ' "$work/tap" && return
	tail -20 "$work/console" | tr -d '\r' | sed 's/^/# console: /'
	broken "$row" "the guest gave no result ($emulator ended with $status, limit $timeout_s s)"
}

main() {
	local row
	if ! "$top/tools/deps.sh" build vm; then
		broken "$*" "packages are missing"
	elif ! command -v "$emulator" >/dev/null; then
		broken "$*" "no $emulator (package qemu-system-x86)"
	elif ! make -s -C "$top" BUILD="$build" all; then
		broken "$*" "the programs do not build"
	else
		for row; do
			run_row "$row"
		done
	fi
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

[ $# -gt 0 ] || set -- 6.1
main "$@"
