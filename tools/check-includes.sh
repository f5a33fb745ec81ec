#!/bin/bash
# SPDX-License-Identifier: MIT
# Checks who includes whom, and how each source file opens: tools/check-includes.sh [ROOT]; exit status 1 with a line a finding.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

# What a folder may include of the project, as patterns of paths; generated/ stands for what the build makes.
declare -A may=(
	[common]="common/*"
	[loadgen]="common/* loadgen/*"
	[client]="common/* client/*"
	[cli]="common/* client/* cli/* generated/report_html.h"
	[exporter]="common/* client/* exporter/*"
	[daemon]="common/* daemon/* loadgen/wire.h loadgen/peer.h loadgen/mode.h bpf/shared.h bpf/*.def generated/*"
	[bpf]="bpf/* generated/vmlinux.h"
)
# Headers of the system that a folder must do without.
declare -A must_not=(
	[common]="json* bpf/* systemd/* sqlite3.h libmnl/*"
	[loadgen]="json* bpf/* systemd/* sqlite3.h"
	[client]="bpf/* systemd/* sqlite3.h libmnl/*"
	[cli]="bpf/* systemd/* sqlite3.h libmnl/*"
	[exporter]="bpf/* sqlite3.h libmnl/*"
	[daemon]=""
	[bpf]="std* json* systemd/* sqlite3.h"
)
generated="ledger.skel.h ledger_nocast.skel.h varlink_text.h vmlinux.h report_html.h"
findings=0

finding() {
	printf '%s\n' "$*"
	findings=$((findings + 1))
}

# matches NAME PATTERN...
matches() {
	local name=$1 pattern
	shift
	for pattern in "$@"; do
		# shellcheck disable=SC2053 # the right side is a pattern
		[[ $name == $pattern ]] && return 0
	done
	return 1
}

# The file that a quoted include of $1 names, as the compiler finds it: beside the file, then in the folders in order.
resolve() {
	local file=$1 header=$2 dir
	for dir in "$(dirname "$file")" common loadgen bpf daemon client cli exporter; do
		if [ -f "$dir/$header" ]; then
			realpath --relative-to=. "$dir/$header"
			return
		fi
	done
	# shellcheck disable=SC2086 # a list of names
	matches "$header" $generated && echo "generated/$header"
	return 0
}

check_includes() {
	local file=$1 folder=${1%%/*} line header target patterns
	while IFS=: read -r line header; do
		if [[ $header == '"'* ]]; then
			header=${header//\"/}
			target=$(resolve "$file" "$header")
			read -ra patterns <<<"${may[$folder]}"
			if [ -z "$target" ]; then
				finding "$file:$line: no such header: $header"
			elif ! matches "$target" "${patterns[@]}"; then
				finding "$file:$line: $folder/ may not include $target"
			fi
		else
			header=${header//[<>]/}
			read -ra patterns <<<"${must_not[$folder]}"
			if matches "$header" "${patterns[@]}" && ! { [ "$folder" = bpf ] && matches "$header" 'bpf/*'; }; then
				finding "$file:$line: $folder/ must do without <$header>"
			fi
		fi
	done < <(sed -nE '/^[ \t]*#[ \t]*include[ \t]*(["<][^">]*[">]).*/{s//\1/;=;p}' "$file" | paste -d: - -)
}

check_bpf_ifdef() {
	local hit
	[ "$1" != bpf/shared.h ] || return 0
	while IFS=: read -r hit _; do
		finding "$1:$hit: __bpf__ is asked only in bpf/shared.h"
	done < <(grep -nE '^[ \t]*#[ \t]*(if|elif).*\b__bpf__\b' "$1" || true)
}

# The licence in the first line (after #!), then a comment that is a sentence.
check_opening() {
	local file=$1 head first comment
	local opens='^(#|""")' sentence='[])}"`[:alnum:]][.:;]'
	[[ $file != *.[ch] && $file != *.def ]] || opens='^(/\*|//)'
	head=$(head -n 16 "$file" | sed '/^#!/d')
	first=${head%%$'\n'*}
	if [[ $first != *"SPDX-License-Identifier: "* ]]; then
		finding "$file:1: the first line is no SPDX-License-Identifier"
	elif [[ $file == bpf/* && $first != *GPL-2.0-only* ]]; then
		finding "$file:1: bpf/ is GPL-2.0-only"
	elif [[ $file != bpf/* && $first != *MIT* ]]; then
		finding "$file:1: the licence here is MIT"
	fi
	comment=$(tail -n +2 <<<"$head" | sed -E '/^(#|\/\*|\/\/| \*|""")/!q')
	if ! [[ $comment =~ $opens && $comment =~ $sentence ]]; then
		finding "$file:2: the file does not open with a sentence that says what it is"
	fi
}

shopt -s nullglob globstar
for file in {common,loadgen,client,cli,exporter,daemon,bpf}/*.{c,h,def}; do
	check_includes "$file"
	check_bpf_ifdef "$file"
done
for file in {common,loadgen,client,cli,exporter,daemon,bpf}/*.{c,h,def} tests/**/*.{c,h,py,sh} tools/* tools/*/*.py; do
	[ -f "$file" ] && check_opening "$file"
done
[ $findings -eq 0 ] || {
	echo "check-includes: $findings findings"
	exit 1
}
echo "check-includes: no finding"
