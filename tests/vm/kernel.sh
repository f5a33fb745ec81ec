#!/bin/bash
# SPDX-License-Identifier: MIT
# Finds a Debian kernel for a row of the table, in the cache or else in the archive: prints a folder with vmlinuz and modules.
# shellcheck disable=SC2016 # $(CODENAME) and the like are apt's own
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${COPYLEDGER_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/copyledger/vm}
apt_max_age_min=1440 # lists of a foreign suite are fetched again after a day

# row, suite of the archive that the system's own apt sources name, package that depends on the current kernel
kernels() {
	cat <<-EOT
	6.1 bookworm linux-image-amd64
	6.12 bookworm-backports linux-image-amd64
	newest trixie-backports linux-image-amd64
	sid sid linux-image-amd64
	EOT
}

# What a guest may load and what that may need; paths below kernel/ in the modules' folder.
module_paths=(net lib crypto drivers/virtio drivers/net/veth.ko drivers/net/dummy.ko drivers/net/net_failover.ko
	drivers/net/virtio_net.ko drivers/net/ethernet/intel/e1000)

fail() {
	echo "kernel.sh: $*" >&2
	exit 1
}

served_by_system() {
	apt-get indextargets --format '$(CODENAME)' 'Created-By: Packages' 'Origin: Debian' | grep -qx "$1"
}

# A private apt: its own sources and lists, so that the system's apt never hears of the foreign suite.
private_apt() {
	local suite=$1 dir=$cache/apt/$1 keyring=/usr/share/keyrings/debian-archive-keyring.gpg uri
	uri=$("$here/../../tools/mirror.sh") || exit 1
	[ -r "$keyring" ] || fail "no $keyring (package debian-archive-keyring)"
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	echo "deb [signed-by=$keyring] $uri $suite main" >"$dir/sources.list"
	cat >"$dir/apt.conf" <<-EOT
	Dir::Etc::SourceList "$dir/sources.list";
	Dir::Etc::SourceParts "/dev/null";
	Dir::State "$dir";
	Dir::State::Lists "$dir/lists";
	Dir::Cache "$dir/cache";
	Acquire::Languages "none";
	APT::Sandbox::User "root";
	EOT
	export APT_CONFIG=$dir/apt.conf
	if [ -z "$(find "$dir/updated" -mmin "-$apt_max_age_min" 2>/dev/null)" ]; then
		apt-get -qq update >&2 && touch "$dir/updated" || echo "# kernel.sh: apt cannot update suite $suite" >&2
	fi
}

# Packages that hold the kernel and its modules: one up to 6.x, later linux-image-R depends on linux-{base,binary,modules}-R.
packages() {
	local image
	image=$(apt-cache depends "$1" | awk '/ Depends: linux-image-[0-9]/ { print $2; exit }')
	[ -n "$image" ] || return 1
	echo "$image"
	apt-cache depends "$image" | awk '/ Depends: linux-(base|binary|modules)-[0-9]/ { print $2 }'
}

candidate() {
	apt-cache policy "$1" | awk '/ Candidate: / { print $2 }'
}

unpack() {
	local deb=$1 dir=$2 path
	local -a want=('*/vmlinuz*' '*/modules.builtin*' '*/modules.order')
	for path in "${module_paths[@]}"; do
		want+=("*/kernel/$path" "*/kernel/$path.xz" "*/kernel/$path.zst" "*/kernel/$path/*")
	done
	dpkg-deb --fsys-tarfile "$deb" | tar -C "$dir" -x --wildcards "${want[@]}" 2>/dev/null || : # a pattern without a match
}

# Makes DIR/vmlinuz and DIR/lib/modules/RELEASE with modules.dep (the package leaves that to its postinst).
arrange() {
	local dir=$1 release
	[ -d "$dir/lib" ] || mv "$dir/usr/lib" "$dir/lib"
	find "$dir" -mindepth 2 -name 'vmlinuz*' -exec mv {} "$dir/vmlinuz" \;
	release=$(ls "$dir/lib/modules")
	[ -s "$dir/vmlinuz" ] && [ -n "$release" ] || return 1
	depmod -b "$dir" "$release" 2>/dev/null
}

fetch() {
	local dir=$1 deb
	shift
	tmp=$(mktemp -d "$cache/kernel/.fetch.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	(cd "$tmp" && apt-get -qq -o APT::Sandbox::User=root download "$@" >&2) || fail "apt cannot download $*"
	mkdir "$tmp/tree"
	for deb in "$tmp"/*.deb; do
		unpack "$deb" "$tmp/tree"
	done
	arrange "$tmp/tree" || fail "no kernel or no modules in $*"
	mv "$tmp/tree" "$dir"
}

main() {
	local row=$1 suite meta dir names
	local -a debs
	read -r suite meta < <(kernels | awk -v row="$row" '$1 == row { print $2, $3 }') ||
		fail "no kernel '$row'; known: $(kernels | awk '{ printf "%s ", $1 }')"
	mkdir -p "$cache/kernel"
	served_by_system "$suite" || private_apt "$suite"
	names=$(packages "$meta") || fail "apt knows no kernel in suite $suite (apt-get update?)"
	mapfile -t debs <<<"$names"
	# What is unpacked is part of the name: a cache of before a module was wanted does not serve.
	dir=$cache/kernel/${debs[0]}_$(candidate "${debs[0]}")_$(cksum <<<"${module_paths[*]}" | cut -d' ' -f1)
	[ -d "$dir" ] || fetch "$dir" "${debs[@]}"
	echo "$dir"
}

main "${1:?usage: kernel.sh ROW}"
