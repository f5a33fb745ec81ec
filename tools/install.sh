#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs what was built: tools/install.sh BUILD DESTDIR PREFIX. The daemon finds its load generator in libexec.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
	printf 'install: %s\n' "$*" >&2
	exit 1
}

[ $# -eq 3 ] || die "usage: tools/install.sh BUILD DESTDIR PREFIX"
build=$1 prefix=$3 root=$2$3
[[ $prefix == /* ]] || die "PREFIX must be absolute, not '$prefix'"
for program in copyledgerd copyledger copyledger-loadgen copyledger-exporter; do
	[ -x "$build/$program" ] || die "$build/$program is missing: make it first"
done

install -D -m 0755 "$build/copyledgerd" "$root/sbin/copyledgerd"
install -D -m 0755 "$build/copyledger-exporter" "$root/sbin/copyledger-exporter"
install -D -m 0755 "$build/copyledger" "$root/bin/copyledger"
install -D -m 0755 "$build/copyledger-loadgen" "$root/libexec/copyledger/copyledger-loadgen"

# Where a file goes by its name's end; units name the program's path.
place() {
	case $1 in
	packaging/*.service | packaging/*.socket) echo lib/systemd/system ;;
	packaging/prometheus/*.yml) echo share/copyledger/prometheus ;;
	packaging/grafana/*.json) echo share/copyledger/grafana ;;
	packaging/*sysusers*.conf) echo lib/sysusers.d ;;
	packaging/*tmpfiles*.conf) echo lib/tmpfiles.d ;;
	packaging/*-perf.conf) echo share/copyledger/sysctl ;; # where it does nothing until it is copied
	packaging/completion/*.bash) echo share/bash-completion/completions ;;
	packaging/completion/_*) echo share/zsh/vendor-completions ;;
	schemas/*.json | schemas/*.varlink) echo share/copyledger/schemas ;;
	*/man/*.[1-8]) echo "share/man/man${1##*.}" ;;
	esac
}

shopt -s nullglob
for file in packaging/* packaging/{prometheus,grafana,completion}/* schemas/* "$build"/man/*; do
	dir=$(place "$file")
	[ -n "$dir" ] || continue
	# copyledger.sysusers.conf is installed as sysusers.d/copyledger.conf
	name=$(basename "$file")
	name=${name/.sysusers/}
	name=${name/.tmpfiles/}
	name=${name%.bash}
	install -d "$root/$dir"
	sed "s|/usr/sbin/copyledger|$prefix/sbin/copyledger|g" "$file" >"$root/$dir/$name"
	chmod 0644 "$root/$dir/$name"
done
echo "install: copyledger is in $root"
