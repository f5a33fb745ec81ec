#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs the Debian packages of the sets that are named, as far as they are missing: tools/deps.sh build check vm bench
# With everything installed it needs neither root nor network.
set -euo pipefail

declare -A sets=(
	[build]="gcc make clang llvm bpftool libbpf-dev libelf-dev zlib1g-dev libjson-c-dev libsystemd-dev libsqlite3-dev
		libmnl-dev liburing-dev libmicrohttpd-dev pkg-config"
	[check]="libcmocka-dev python3 python3-pytest python3-pytest-xdist python3-jsonschema python3-scipy gnuplot-nox iperf3 bpftrace
		strace sqlite3 systemd scdoc mandoc man-db groff-base zsh clang-format iproute2 util-linux curl openssl"
	[programs]="nginx-light redis-server redis-tools prometheus chromium chromium-driver python3-selenium
		python3-prometheus-client
		openssh-server openssh-client"
	[deb]="debhelper dpkg-dev python3 scdoc"
	[deb-check]="lintian mmdebstrap systemd-container debian-archive-keyring python3 python3-pytest python3-jsonschema"
	[vm]="qemu-system-x86 busybox-static cpio xz-utils zstd kmod jq iproute2 util-linux dash iperf3 ethtool
		tcpdump python3 debian-archive-keyring mmdebstrap"
	[bench]="iperf3 bpftrace bpftool gnuplot-nox python3 python3-jsonschema util-linux"
)

die() {
	printf 'deps: %s\n' "$*" >&2
	exit 1
}

apt() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}

installed() {
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Whether apt's lists name the package at all: they are empty on a fresh image.
known() {
	apt-cache show --no-all-versions "$1" >/dev/null 2>&1
}

[ $# -gt 0 ] || die "which sets? usage: tools/deps.sh SET..., of: $(printf '%s\n' "${!sets[@]}" | sort | paste -sd ' ')"
wanted=()
for name in "$@"; do
	[ -n "${sets[$name]:-}" ] || die "no set '$name'; there are: $(printf '%s\n' "${!sets[@]}" | sort | paste -sd ' ')"
	read -ra packages -d '' <<<"${sets[$name]}" || true
	wanted+=("${packages[@]}")
done
mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sort -u)

command -v dpkg-query >/dev/null || die "this system has no dpkg: install what Debian calls ${wanted[*]} by hand"
missing=()
for package in "${wanted[@]}"; do
	installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
	echo "deps: all ${#wanted[@]} packages of $* are installed"
	exit 0
fi
[ "$(id -u)" -eq 0 ] || die "missing: ${missing[*]}
  as root: apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"

# The tests need programs, not services: Debian's packages would start theirs at once.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] && [ -w "${policy%/*}" ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

echo "deps: installing ${#missing[@]} of ${#wanted[@]} packages of $*: ${missing[*]}"
updated=
for package in "${missing[@]}"; do
	if ! known "$package"; then
		apt update || die "apt-get update failed (no network, or no package source?); still missing: ${missing[*]}"
		updated=1
		break
	fi
done
# Old lists can name versions that the archive no longer has: then once more with new ones.
if ! apt install -y --no-install-recommends "${missing[@]}"; then
	[ -z "$updated" ] || die "apt-get could not install: ${missing[*]}"
	apt update || die "apt-get update failed (no network, or no package source?); still missing: ${missing[*]}"
	apt install -y --no-install-recommends "${missing[@]}" || die "apt-get could not install: ${missing[*]}"
fi
