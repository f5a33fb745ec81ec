#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds the Debian packages: tools/deb.sh BUILD. The tree is copied to BUILD/deb and built there; BUILD gets the packages.
set -euo pipefail
cd -P "$(dirname "$0")/.."

die() {
	printf 'deb: %s\n' "$*" >&2
	exit 1
}

# What git would commit; without git, all but what the build and the tests make.
files() {
	if git rev-parse --show-prefix 2>/dev/null | grep -qx ''; then
		git ls-files -z --cached --others --exclude-standard
	else
		find . \( -name .git -o -path ./results -o -path ./build -o -name __pycache__ -o -name .pytest_cache \) -prune -o \
			! -type d -printf '%P\0'
	fi
}

# Without the build folder, wherever it is, and without files that git knows but that are gone.
copy() {
	local file
	while IFS= read -r -d '' file; do
		[[ -e $file && $PWD/$file != "$build"/* ]] || continue
		printf '%s\0' "$file"
	done < <(files) | tar --null --files-from=- --owner=0 --group=0 -cf - | tar -C "$1" --no-same-owner -xf -
}

[ $# -eq 1 ] || die "usage: tools/deb.sh BUILD"
tools/deps.sh build deb
umask 022
mkdir -p "$1"
build=$(realpath "$1")
version=$(dpkg-parsechangelog -S Version)
work=$build/deb tree=$build/deb/copyledger-$version log=$build/deb/build.log
exec {lock}>"$build/.deb.lock"
flock -n "$lock" || die "another make deb is at work in $build"
rm -rf "$work" "$build"/copyledger*.deb
mkdir -p "$tree"
copy "$tree" 2>"$log" || die "cannot copy the sources to $tree: $(grep -m 1 . "$log" || echo "$log, the log, is empty: a full disk?")"

# The flags are dpkg-buildflags', whatever this shell or an outer make has.
unset MAKEFLAGS MAKEOVERRIDES MFLAGS MAKELEVEL BUILD SAN CFLAGS CPPFLAGS LDFLAGS DEB_BUILD_OPTIONS
if ! (cd "$tree" && dpkg-buildpackage --build=full --jobs=auto --no-sign) >"$log" 2>&1; then
	tail -n 30 "$log" >&2
	die "the build failed; all of it is in $log"
fi
rm -rf "$tree"
cp "$work"/*.deb "$build"
printf 'deb: %s\n' "$build"/*.deb
