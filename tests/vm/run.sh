#!/bin/bash
# SPDX-License-Identifier: MIT
# Boots Debian's own kernels in VMs and runs guest.sh there, a guest a part of it: run.sh [ROW...], rows as in kernel.sh,
# default all of doc/kernels.md. What the guests saw is written to build/vm/kernels.md and compared with that document.
# COPYLEDGER_VM_CACHE: where kernels are kept; COPYLEDGER_VM_TIMEOUT: seconds a guest may take; BUILD: the build's folder;
# JOBS: guests at a time, by default two a CPU: they often wait, for their kernel to attach and detach programs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
build=$(cd "$top" && realpath -m "${BUILD:-build}")
timeout_s=${COPYLEDGER_VM_TIMEOUT:-900}
jobs=${JOBS:-$((2 * $(nproc)))}
emulator=qemu-system-x86_64
full_row=6.1 # has the whole matrix of sizes and threads, the others a thin one
passed=0 failed=0 skipped=0 guests=()

broken() { # row, why
	echo "not ok - $1: $2"
}

# One thread emulates both CPUs: with thread=multi the kernel's own text patching races with them ("Oops: int3").
# Two pairs of NICs, each joined outside of the guest: e1000 has all offloads, virtio on a hub has none.
boot() { # work folder of the row, of the part, initramfs, words for the guest
	local -a nics=()
	local nic emulation i=0
	for nic in e1000 e1000 virtio-net-pci virtio-net-pci; do
		nics+=(-netdev "hubport,id=n$i,hubid=$((i / 2))" -device "$nic,netdev=n$i")
		i=$((i + 1))
	done
	timeout -k 5 "$timeout_s" "$emulator" -accel tcg,thread=single,tb-size=256 -cpu max -smp 2 -m 1G \
		-nodefaults -display none -no-reboot "${nics[@]}" \
		-kernel "$1/kernel/vmlinuz" -initrd "$3" \
		-serial "file:$2/console" -serial "file:$2/serial" \
		-append "console=ttyS0 quiet panic=-1 mitigations=off $4" </dev/null 2>"$2/emulator" &
	emulation=$!
	trap 'kill $emulation; exit 1' TERM
	wait $emulation
}

# The guest's lines say which row and part they are of; what they tell the table of kernels goes there.
sort_out() { # name, work folder
	tr -d '\r' <"$2/serial" >"$2/lines"
	sed -n 's/^# fact|//p' "$2/lines" >"$2/facts"
	sed -E "/^# fact\|/d; /^RESULT /d; s/^((not )?ok [0-9]+ - )/\1$1: /; s/^# /# $1: /" "$2/lines"
}

run_part() { # row, part
	local name="$1 $2" work=$build/vm/$1/$2 start=$SECONDS status=0 image=$build/vm/$1/initramfs
	local words="part=$2 matrix=$([ "$1" = "$full_row" ] && echo full || echo thin)"
	mkdir "$work"
	if [ "$2" = service ]; then
		image=$build/vm/$1/initramfs-service
		words="systemd.unit=check.target systemd.show_status=0"
	fi
	boot "$build/vm/$1" "$work" "$image" "$words" || status=$?
	sort_out "$name" "$work"
	echo "# $name: $((SECONDS - start)) s"
	grep -q '^RESULT ' "$work/lines" && return
	tail -n 20 "$work/emulator" "$work/console" | tr -d '\r' | sed 's/^/# /'
	broken "$name" "the guest gave no result ($emulator ended with $status, limit $timeout_s s)"
}

# The kernel and the initramfs of all parts of a row.
prepare() { # row
	local work=$build/vm/$1 kernel
	rm -rf "$work"
	mkdir -p "$work"
	kernel=$("$here/kernel.sh" "$1") || { broken "$1" "no kernel" && return 1; }
	"$here/image.sh" "$kernel" "$build" "$work/initramfs" || { broken "$1" "no image" && return 1; }
	"$here/system.sh" "$kernel" "$build" "$work/initramfs-service" || { broken "$1" "no image with systemd" && return 1; }
	ln -s "$kernel" "$work/kernel"
	echo "# $1: ${kernel##*/}"
}

count() { # tap file
	passed=$((passed + $(grep -v '# SKIP' "$1" | grep -c '^ok ' || :)))
	skipped=$((skipped + $(grep -c '^ok .*# SKIP' "$1" || :)))
	failed=$((failed + $(grep -c '^not ok ' "$1" || :)))
}

parts() { # row
	echo service local outside
	[ "$1" != "$full_row" ] || echo sizes
}

# A few guests at a time; each one's lines are printed together, when it has ended.
run_rows() {
	local row part
	for row; do
		prepare "$row" || continue
		for part in $(parts "$row"); do
			while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
				wait -n || :
			done
			{
				run_part "$row" "$part" >"$build/vm/$row/$part.tap" 2>&1
				cat "$build/vm/$row/$part.tap"
			} &
			guests+=($!)
		done
	done
	[ ${#guests[@]} -eq 0 ] || wait "${guests[@]}" || :
	for row; do
		cat "$build/vm/$row"/*/facts >"$build/vm/$row/facts" 2>/dev/null || :
	done
}

compare() { # rows
	local status=ok
	"$here/kernels.py" "$build/vm" "$top/doc/kernels.md" "$@" >"$build/vm/differences" 2>&1 || status="not ok"
	sed 's/^/# /' "$build/vm/kernels.md"
	echo "$status - doc/kernels.md says what was seen"
	sed 's/^/# /' "$build/vm/differences"
}

main() {
	if ! "$top/tools/deps.sh" build vm; then
		broken "$*" "packages are missing"
	elif ! command -v "$emulator" >/dev/null; then
		broken "$*" "no $emulator (package qemu-system-x86)"
	elif ! make -s -j"$(nproc)" -C "$top" BUILD="$build" vm-programs; then
		broken "$*" "the programs do not build"
	elif ! "$top/tools/deb.sh" "$build"; then
		broken "$*" "the package does not build"
	else
		run_rows "$@"
		compare "$@"
	fi
}

[ $# -gt 0 ] || set -- 6.1 6.12 newest
mkdir -p "$build/vm"
trap 'kill "${guests[@]}" 2>/dev/null; exit 1' INT TERM
exec 3>&1 > >(tee "$build/vm/tap")
tee=$!
main "$@"
exec >&3
wait $tee
count "$build/vm/tap"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
