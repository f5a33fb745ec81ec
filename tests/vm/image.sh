#!/bin/bash
# SPDX-License-Identifier: MIT
# Packs the guest's initramfs: image.sh KERNEL-FOLDER PROGRAMS-FOLDER OUTPUT. Tools, our programs, their libraries, modules.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
kernel=${1:?} programs=${2:?} output=${3:?}
tools=(dash ip tc jq bpftool setpriv iperf3 ethtool tcpdump)
ours=(copyledgerd copyledger copyledger-loadgen ktls)
modules=(veth dummy sch_netem sch_fq e1000 virtio_pci virtio_net af_packet)
optional=(tls gcm ctr ghash-generic) # the ciphers are built in or named otherwise in some kernels; ktls says what it lacks

fail() {
	echo "image.sh: $*" >&2
	exit 1
}

# Copies a program and the shared libraries that the loader would map, each to the path where the loader looks for it.
add_program() {
	local from=$1 lib
	install -D "$from" "$root/usr/bin/${from##*/}"
	{ ldd "$from" 2>/dev/null || :; } | sed -nE 's:^[^/]*(/[^ ]+) \(0x.*:\1:p' | while read -r lib; do
		[ -e "$root$lib" ] || install -D "$(readlink -f "$lib")" "$root$lib"
	done
}

add_busybox() {
	local busybox name
	busybox=$(command -v busybox) || fail "no busybox (package busybox-static)"
	! ldd "$busybox" >/dev/null 2>&1 || fail "busybox is not static (package busybox-static)"
	install -D "$busybox" "$root/bin/busybox"
	for name in $(busybox --list | grep -vx busybox); do
		[ -e "$root/usr/bin/$name" ] || ln -s busybox "$root/bin/$name"
	done
}

module_file() {
	find "$kernel/lib/modules" -name "$1.ko*" | head -1
}

builtin_module() {
	grep -q "/$1\.ko$" "$kernel"/lib/modules/*/modules.builtin
}

unpacked() {
	case $1 in
	*.xz) xz -dc "$1" ;;
	*.zst) zstd -dcq "$1" ;;
	*) cat "$1" ;;
	esac
}

# modules.dep lists a module's needs so that the last one has to be loaded first.
add_module() {
	local file release line dep name
	builtin_module "$1" && return
	file=$(module_file "$1")
	[ -n "$file" ] || [[ " ${optional[*]} " != *" $1 "* ]] || return 0
	[ -n "$file" ] || fail "no module $1 in ${kernel##*/}"
	release=$(ls "$kernel/lib/modules")
	line=$(grep "^[^:]*/${file##*/}:" "$kernel/lib/modules/$release/modules.dep")
	for dep in $(tr ' ' '\n' <<<"${line/:/ }" | tac); do
		name=${dep##*/}
		name=${name%.ko*}.ko
		[ -e "$root/modules/$name" ] && continue
		unpacked "$kernel/lib/modules/$release/$dep" >"$root/modules/$name"
		echo "$name" >>"$root/modules/order"
	done
}

main() {
	local name
	root=$(mktemp -d)
	trap 'rm -rf "$root"' EXIT
	mkdir -p "$root"/{bin,proc,sys,dev,tmp,run,etc,modules,var/lib}
	: >"$root/modules/order"
	for name in "${tools[@]}"; do
		add_program "$(command -v "$name" || ls "/usr/sbin/$name" 2>/dev/null || fail "no $name")"
	done
	for name in "${ours[@]}"; do
		[ -x "$programs/$name" ] || fail "no $programs/$name: not built"
		add_program "$programs/$name"
	done
	add_busybox
	for name in "${modules[@]}" "${optional[@]}"; do
		add_module "$name"
	done
	echo 'root:x:0:0::/:/bin/sh' >"$root/etc/passwd"
	echo 'root:x:0:' >"$root/etc/group"
	install -m 755 "$here/guest.sh" "$root/init"
	install -m 644 "$here/judge.jq" "$here/tap.sh" "$root/"
	(cd "$root" && find . -mindepth 1 -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc --quiet -R +0:+0) >"$output"
}

main
