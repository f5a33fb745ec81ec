#!/bin/bash
# SPDX-License-Identifier: MIT
# Packs an initramfs with Debian's systemd, our packages to be installed in it, and service.sh as its test:
# system.sh KERNEL-FOLDER PACKAGES-FOLDER OUTPUT. The system without our packages is made once and kept in the cache.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
kernel=${1:?} packages=${2:?} output=${3:?}
cache=${COPYLEDGER_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/copyledger/vm}
suite=bookworm
# What a host has that takes our packages, and what the checks need.
include=(systemd systemd-sysv kmod iproute2 procps libcap2-bin jq curl bpftool openssh-server openssh-client
	libbpf1 libelf1 libjson-c5 libsqlite3-0 libmnl0 liburing2 libmicrohttpd12)
# No use in a guest of a minute, or slow to start there.
masked=(modprobe@.service systemd-{update-utmp,update-utmp-runlevel,journal-flush,pstore,random-seed,firstboot}.service
	systemd-{journal-catalog-update,update-done,binfmt,modules-load,remount-fs,machine-id-commit}.service ldconfig.service
	getty@tty1.service serial-getty@ttyS0.service ssh.service dev-hugepages.mount dev-mqueue.mount
	proc-sys-fs-binfmt_misc.automount systemd-tmpfiles-clean.timer apt-daily.timer apt-daily-upgrade.timer
	dpkg-db-backup.timer fstrim.timer)
left_out=(usr/share/{doc,man,locale,info,lintian} usr/lib/x86_64-linux-gnu/gconv var/lib/apt
	var/cache/apt boot dev)

fail() {
	echo "system.sh: $*" >&2
	exit 1
}

base() {
	local name
	name=$cache/system-$suite-$(cksum <<<"${include[*]}" | cut -d' ' -f1).tar
	if [ ! -s "$name" ]; then
		mkdir -p "$cache"
		mmdebstrap --quiet --format=tar --mode=root --variant=essential --include="$(IFS=, && echo "${include[*]}")" \
			--aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/doc/*' \
			--dpkgopt='path-exclude=/usr/share/locale/*' $suite "$name.$$" "$("$here/../../tools/mirror.sh")" >&2 ||
			fail "mmdebstrap cannot make a system of $suite"
		mv "$name.$$" "$name"
	fi
	echo "$name"
}

units() {
	local unit
	for unit in "${masked[@]}"; do
		ln -sf /dev/null "$root/etc/systemd/system/$unit"
	done
	cat >"$root/etc/systemd/system/check.service" <<-'EOT'
		[Unit]
		After=basic.target
		SuccessAction=poweroff-force
		FailureAction=poweroff-force
		[Service]
		Type=oneshot
		ExecStart=/bin/bash -c 'exec /service.sh >/dev/ttyS1 2>&1'
		TimeoutStartSec=infinity
	EOT
	cat >"$root/etc/systemd/system/check.target" <<-'EOT'
		[Unit]
		Requires=basic.target
		Wants=check.service
		After=basic.target
	EOT
}

main() {
	local tarball excluded=()
	local path
	root=$(mktemp -d)
	trap 'rm -rf "$root"' EXIT
	tarball=$(base)
	for path in "${left_out[@]}"; do
		excluded+=(--exclude="./$path/*")
	done
	tar -C "$root" -xf "$tarball" "${excluded[@]}"
	mkdir -p "$root/usr/lib/modules" "$root/packages"
	cp -a "$kernel"/lib/modules/* "$root/usr/lib/modules/"
	cp "$packages"/copyledger{,-exporter}_*.deb "$root/packages/" || fail "no packages in $packages"
	install -m 755 "$here/service.sh" "$root/service.sh"
	install -m 644 "$here/tap.sh" "$root/tap.sh"
	ln -sf /usr/lib/systemd/systemd "$root/init"
	: >"$root/etc/machine-id"
	: >"$root/etc/fstab"
	echo vm >"$root/etc/hostname"
	units
	(cd "$root" && find . -mindepth 1 -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc --quiet -R +0:+0) >"$output"
}

main
