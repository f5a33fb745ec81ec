#!/usr/bin/dash
# SPDX-License-Identifier: MIT
# Process 1 of the guest: brings the system up, runs the checks, prints TAP on the second serial port, powers off.
# shellcheck disable=SC2119,SC2120 # check() passes arguments on
set -u

export PATH=/usr/bin:/bin
socket=/run/copyledger.sock
state=/var/lib/copyledger
export COPYLEDGER_SOCKET=$socket
doc=/tmp/result.json
verdict=copied # of a run that asks for zero-copy, on the path that is being checked
daemon=
n=0 failures=0

# --- TAP

# A check is a function that prints what is wrong, or "SKIP reason", or nothing.
check() { # description, function, arguments
	local what=$1
	shift
	"$@" >/tmp/wrong 2>&1
	n=$((n + 1))
	if grep -q '^SKIP ' /tmp/wrong && [ "$(wc -l </tmp/wrong)" = 1 ]; then
		echo "ok $n - $what # $(cat /tmp/wrong)"
	elif [ -s /tmp/wrong ]; then
		failures=$((failures + 1))
		echo "not ok $n - $what"
		sed 's/^/# /' /tmp/wrong
	else
		echo "ok $n - $what"
	fi
}

# --- the system

set_up() {
	local module
	mount -t proc proc /proc
	mount -t sysfs sys /sys
	mount -t devtmpfs dev /dev
	mount -t tmpfs tmp /tmp
	mount -t tmpfs run /run
	mount -t tracefs trace /sys/kernel/tracing
	mount -t bpf bpf /sys/fs/bpf
	mount -t securityfs security /sys/kernel/security
	mount -t cgroup2 cgroup /sys/fs/cgroup
	mount -t debugfs debug /sys/kernel/debug
	exec >/dev/ttyS1 2>&1 </dev/null
	while read -r module; do
		insmod "/modules/$module"
	done </modules/order
	ip link set lo up
	hostname vm
	preemptible=false
	! grep -qE '\((full|lazy)\)' /sys/kernel/debug/sched/preempt || preemptible=true
	echo "# kernel $(uname -r), preemption $(cat /sys/kernel/debug/sched/preempt), up after $(cut -d' ' -f1 /proc/uptime) s"
}

# Polls a condition ten times a second; fails after so many seconds.
within() { # seconds, command
	local left=$(($1 * 10))
	shift
	until "$@"; do
		[ $left -gt 0 ] || return 1
		left=$((left - 1))
		usleep 100000
	done
}

# --- the daemon

answers() {
	copyledger list --json >/dev/null 2>&1
}

start_daemon() { # a command to start it by, if any
	"$@" copyledgerd --socket $socket --state-dir $state >>/tmp/daemon.log 2>&1 &
	daemon=$!
	within 20 answers && return
	echo "the daemon does not answer"
	tail -5 /tmp/daemon.log
}

stop_daemon() {
	local status=0
	kill "$daemon"
	wait "$daemon" || status=$?
	[ $status = 0 ] || echo "the daemon ended with $status"
}

# --- what a run may leave behind

programs() {
	bpftool prog show | grep -c '^[0-9]'
}

namespaces() {
	stat -L -c %i /proc/[0-9]*/ns/net /proc/[0-9]*/ns/user 2>/dev/null | sort -u | wc -l
}

clean() {
	[ "$(programs)" = 0 ] && ! pidof copyledger-loadgen >/dev/null && [ "$(namespaces)" = 2 ]
}

nothing_left() {
	within 3 clean || echo "left: $(programs) BPF programs, children $(pidof copyledger-loadgen), $(namespaces) namespaces"
	ip -o link show | grep -v -e ': lo:' -e ': dummy' -e ': eth' -e ': wire' -e ': dev'
	ip netns list
}

# --- the checks

# One jq for all documents: in an emulated CPU its start alone takes seconds.
start_judge() {
	trap '' PIPE
	mkfifo /tmp/ask /tmp/answer
	jq --unbuffered -nr -f /judge.jq </tmp/ask >/tmp/answer 2>&1 &
	exec 3>/tmp/ask 4</tmp/answer
}

judge() { # total copies per byte, exit status
	local line=
	echo "{\"total\": $1, \"status\": $2, \"preemptible\": $preemptible, \"verdict\": \"$verdict\"}" | cat - $doc >&3
	while read -r line <&4 && [ "$line" != . ]; do
		echo "$line"
	done
	[ "$line" = . ] || echo "jq has ended"
}

# Runs, and prints what is wrong with status and result.
run_wrong() { # total copies per byte, arguments of run
	local total=$1 status=0
	shift
	timeout 60 copyledger run --json --warmup 50ms "$@" >$doc 2>/tmp/err || status=$?
	if [ -s $doc ]; then
		judge "$total" $status
	else
		echo "no result document, exit status $status: $(tail -3 /tmp/err)"
	fi
}

total_of() { # mode
	case $1 in
	two-copy) echo 3.00 ;;
	*) echo 2.00 ;;
	esac
}

check_run() { # mode, further arguments of run
	local mode=$1
	shift
	check "${note:-}$mode $*" run_wrong "$(total_of "$mode")" --mode "$mode" --duration 200ms "$@"
}

check_modes() { # arguments of run
	local mode
	for mode in two-copy one-copy zero-copy; do
		check_run $mode "$@"
	done
}

check_matrix() {
	local path size threads
	for path in loopback veth; do
		for size in 64 1024 4096 65536 1048576; do
			for threads in 1 4; do
				check_modes --path $path --size $size --threads $threads
			done
		done
	done
}

check_variants() {
	check_modes --path loopback --size 4096 --ipv6
	check_modes --path veth --size 4096 --ipv6
	check_modes --path loopback --size 4096 --workload rr
	check_modes --path veth --size 4096 --workload rr
	check_modes --path loopback --size 4096 --rcvbuf 131072
}

# Somebody else's bytes on the same loopback are in nobody's books.
check_beside_foreign_load() {
	local note='foreign load beside: ' server client
	iperf3 -s >/dev/null 2>&1 &
	server=$!
	usleep 500000
	iperf3 -c 127.0.0.1 -t 120 >/dev/null 2>&1 &
	client=$!
	check_modes --path loopback --size 65536
	check "the foreign load ran all the time" kill $client
	kill $server
	wait $client $server
}

# Segments that the qdisc drops, and those sent again for them: the books must balance all the same.
check_with_loss() {
	local note='1 % loss: '
	tc qdisc add dev lo root netem loss 1%
	check_modes --path loopback --size 65536
	tc qdisc del dev lo root
}

# Without scatter-gather the stack linearises what was pinned: completions may say zero-copied, the ledger says copied.
linearised_wrong() { # arguments of run
	run_wrong 1.00 "$@"
	jq -r '.ledger | (if .copies_per_byte.skb_copy < 0.99 then "skb_copy is \(.copies_per_byte.skb_copy) a byte" else empty end),
		(.sites[] | select(.site == "skb_copy") | .callers[0].cause
			| if . == "device without scatter-gather" then empty else "the cause is \(.)" end)' $doc
}

# A path that is really zero-copy: two NICs joined outside of the machine, one in each namespace.
check_wire() {
	local note='two NICs joined outside: ' verdict=zero-copied side nic i=0
	for side in sender receiver; do
		i=$((i + 1))
		nic=$(ip -o link show | sed -nE 's/^[0-9]+: (e[^:@]*).*/\1/p' | head -1)
		ip netns add $side
		ip link set "$nic" netns $side name wire
		ip -n $side addr add 10.9.0.$i/24 dev wire
		ip -n $side link set wire up
	done
	within 10 ip netns exec sender ping -c 1 -W 1 10.9.0.2 >/dev/null || true
	check "${note}zero-copy" run_wrong 1.00 --mode zero-copy --path netns:sender,receiver --duration 500ms
	check "${note}uring-send-zc" run_wrong 1.00 --mode uring-send-zc --path netns:sender,receiver --duration 500ms
	check "${note}sendfile" run_wrong 1.00 --mode sendfile --path netns:sender,receiver --duration 500ms
	check_run one-copy --path netns:sender,receiver
	ip netns exec sender ethtool -K wire sg off >/dev/null
	verdict=copied
	check "${note}without scatter-gather" linearised_wrong --mode zero-copy --path netns:sender,receiver --duration 500ms
	ip netns del sender
	ip netns del receiver
}

kernel_complaints() {
	dmesg | grep -E 'BUG:|WARNING:|Oops|general protection|scheduling while atomic'
}

show_sites() {
	jq -r --arg kernel "$(uname -r)" '.ledger.sites[] |
		"# \($kernel) | \(.site) | \(.evidence) | \(.hook // .reason)"' $doc
}

probes() {
	copyledger probe --json >$doc || echo "probe ended with $?"
	jq -r '.sites[] | select(.evidence == "unavailable") | "\(.site) is unavailable: \(.reason)"' $doc
	copyledger probe | sed 's/^/# /' >/tmp/probe
}

measuring() {
	[ "$(programs)" -gt 0 ] && pidof copyledger-loadgen >/dev/null
}

# SIGKILL in the middle of a run, then a new daemon on the same socket and store.
survives_daemon_kill() { # path
	local stored client
	stored=$(copyledger list --limit 1000 --json | jq '.runs | length')
	copyledger run --json --mode zero-copy --path "$1" --threads 2 --duration 30s >/dev/null 2>&1 &
	client=$!
	within 20 measuring || echo "the run does not get going"
	usleep 300000
	kill -9 "$daemon"
	wait "$client" && echo "the client of a killed daemon ended with 0"
	nothing_left
	start_daemon
	[ "$(copyledger list --limit 1000 --json | jq '.runs | length')" = $((stored + 1)) ] || echo "the store lost runs, or the killed one"
	run_wrong 2.00 --mode zero-copy --path "$1" --duration 200ms
}

survives_child_kill() {
	local client status=0
	copyledger run --json --mode one-copy --duration 30s >$doc 2>/tmp/err &
	client=$!
	within 20 measuring || echo "the run does not get going"
	usleep 300000
	kill -9 "$(pidof copyledger-loadgen | cut -d' ' -f1)"
	wait $client || status=$?
	[ $status = 1 ] || echo "exit status $status instead of 1"
	jq -r 'if .state == "failed" then empty else "state is \(.state)" end' $doc
	grep -q SIGKILL $doc || echo "the result does not name SIGKILL"
	nothing_left
	run_wrong 2.00 --mode one-copy --duration 200ms
}

# As the packaged service runs: a user of its own with two capabilities and no other.
check_unprivileged() {
	local note='unprivileged daemon: ' state=/tmp/state
	mkdir /run/plain $state
	chown 1000:1000 /run/plain $state
	socket=/run/plain/socket
	export COPYLEDGER_SOCKET=$socket
	check "an unprivileged daemon starts" start_daemon setpriv --reuid 1000 --regid 1000 --clear-groups \
		--inh-caps=-all,+bpf,+perfmon --ambient-caps=-all,+bpf,+perfmon --bounding-set=-all,+bpf,+perfmon
	check_modes --path loopback --size 65536
	check_modes --path veth --size 65536
	check "the unprivileged daemon stops" stop_daemon
	check "nothing is left after it" nothing_left
}

main() {
	start_judge
	check "the daemon starts" start_daemon
	check "idle: no BPF program" nothing_left
	check "probe: every site is served" probes
	cat /tmp/probe
	check_matrix
	show_sites
	check_variants
	check_beside_foreign_load
	check_with_loss
	check_wire
	check "nothing is left after the runs" nothing_left
	check "SIGKILL of the child" survives_child_kill
	check "SIGKILL of the daemon, loopback" survives_daemon_kill loopback
	check "SIGKILL of the daemon, veth" survives_daemon_kill veth
	check "the daemon stops" stop_daemon
	check "nothing is left after the daemon" nothing_left
	check_unprivileged
	check "the kernel's log is clean" kernel_complaints
	echo "1..$n"
	echo "# up for $(cut -d' ' -f1 /proc/uptime) s"
	echo "RESULT $failures"
}

set_up
main
poweroff -f
