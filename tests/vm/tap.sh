# SPDX-License-Identifier: MIT
# For the guests, by their shells: TAP on standard output, and waiting.
# shellcheck shell=dash
n=0 failures=0 skips=0

# A check is a function that prints what is wrong, or "SKIP reason", or nothing.
check() { # description, function, arguments
	local what=$1 first=
	shift
	"$@" >/tmp/wrong 2>&1
	n=$((n + 1))
	read -r first </tmp/wrong
	if [ ! -s /tmp/wrong ]; then
		echo "ok $n - $what"
	elif [ "${first#SKIP }" != "$first" ] && [ "$(wc -l </tmp/wrong)" = 1 ]; then
		skips=$((skips + 1))
		echo "ok $n - $what # $first"
	else
		failures=$((failures + 1))
		echo "not ok $n - $what"
		sed 's/^/# /' /tmp/wrong
	fi
	[ ! -s /tmp/facts ] || cat /tmp/facts
	: >/tmp/facts
}

# Polls a condition ten times a second; fails after so many seconds.
within() { # seconds, command
	local left=$(($1 * 10))
	shift
	until "$@"; do
		[ $left -gt 0 ] || return 1
		left=$((left - 1))
		sleep 0.1
	done
}
