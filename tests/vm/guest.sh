#!/usr/bin/dash
# SPDX-License-Identifier: MIT
# Process 1 of a guest: brings the system up, runs the checks of one part, prints TAP on the second serial port, powers off.
# shellcheck disable=SC2119,SC2120 # check() passes arguments on
set -u

export PATH=/usr/bin:/bin
socket=/run/copyledger.sock
state=/var/lib/copyledger
export COPYLEDGER_SOCKET=$socket
doc=/tmp/result.json
part=   # of the checks: see the end
tries=3 # of a run in which the kernel skipped programs
lanes=4
thin=true  # but on one kernel
modes=''   # that this kernel has
lacking='' # that it has not
daemon=

. /tap.sh

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
	# With more lanes than that a preemptible kernel skips programs in most runs: that is check_oversubscribed's.
	! grep -qE '\((full|lazy)\)' /sys/kernel/debug/sched/preempt || lanes=1
	part=$(sed -nE 's/.*part=(\w+).*/\1/p' /proc/cmdline)
	! grep -qw matrix=full /proc/cmdline || thin=false
	: >/tmp/facts
	echo "# fact|kernel|$(uname -r)|preemption $(sed -E 's/.*\((.*)\).*/\1/' /sys/kernel/debug/sched/preempt)"
	echo "# kernel $(uname -r), preemption $(cat /sys/kernel/debug/sched/preempt), up after $(cut -d' ' -f1 /proc/uptime) s"
}

# --- the daemon

answers() {
	copyledger list --json >/dev/null 2>&1
}

start_daemon() { # a command to start it by, if any
	"$@" copyledgerd --socket $socket --state-dir $state >>/tmp/daemon.log 2>&1 &
	daemon=$!
	within 90 answers && return
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
	within 30 clean || echo "left: $(programs) BPF programs, children $(pidof copyledger-loadgen), $(namespaces) namespaces"
	ip -o link show | grep -v -e ': lo:' -e ': dummy' -e ': eth' -e ': wire' -e ': virtio' -e ': dev'
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

judge() { # path, exit status, whether any honest answer will do
	local line=
	echo "{\"path\": \"$1\", \"status\": $2, \"honest\": $3}" | cat - $doc >&3
	while read -r line <&4 && [ "$line" != . ]; do
		case $line in
		fact* | note*) echo "# $line" >/tmp/facts ;;
		*) echo "$line" ;;
		esac
	done
	[ "$line" = . ] || echo "jq has ended"
}

# How each path is asked for. "wire" and "tap" are the same two NICs.
path_option() { # path
	case $1 in
	loopback | veth) echo "--path $1" ;;
	tap) echo "--path netns:wire-a,wire-b" ;;
	*) echo "--path netns:$1-a,$1-b" ;;
	esac
}

# Runs, and prints what is wrong with status and result.
run_once() { # whether any honest answer will do, path, arguments of run
	local honest=$1 path=$2 status=0
	shift 2
	# shellcheck disable=SC2046 # two words
	timeout 120 copyledger run --json --warmup 20ms $(path_option "$path") "$@" >$doc 2>/tmp/err || status=$?
	if [ -s $doc ]; then
		judge "$path" $status "$honest"
	else
		echo "no result document, exit status $status: $(tail -3 /tmp/err)"
	fi
}

# A run in which the kernel skipped programs shows nothing: another one may.
run_wrong() { # path, arguments of run
	local left=$tries first=SKIP
	while [ "${first#SKIP}" != "$first" ] && [ "$left" -gt 0 ]; do
		left=$((left - 1))
		run_once false "$@" >/tmp/tried
		first=
		read -r first </tmp/tried
	done
	[ ! -s /tmp/tried ] || cat /tmp/tried
}

check_run() { # path, mode, further arguments of run
	local path=$1 mode=$2
	shift 2
	check "${note:-}$mode, $path $*" run_wrong "$path" --mode "$mode" --duration 100ms "$@"
}

check_core() { # path, arguments of run
	local path=$1 mode
	shift
	for mode in two-copy one-copy zero-copy; do
		check_run "$path" $mode "$@"
	done
}

# --- the paths that are no mode of copyledger: two devices, each in a namespace of its own

nic_of() { # driver
	local dev
	for dev in /sys/class/net/*/device/driver; do
		case $(readlink "$dev") in
		*/"$1")
			dev=${dev#/sys/class/net/}
			echo "${dev%%/*}"
			return
			;;
		esac
	done
	echo "no-nic-of-$1"
}

reaches() { # path
	ip netns exec "$1-a" ping -c 1 -W 1 10.9.0.2 >/dev/null 2>&1
}

# NICs that are joined outside of the machine, or a veth pair.
lay_devices() { # path
	case $1 in
	wire) set -- "$1" e1000 ;;
	virtio) set -- "$1" virtio_net ;;
	*)
		ip -n "$1-a" link add "$1" type veth peer name "$1" netns "$1-b"
		return
		;;
	esac
	ip link set "$(nic_of "$2")" netns "$1-a" name "$1"
	ip link set "$(nic_of "$2")" netns "$1-b" name "$1"
}

lay_path() { # path
	local side i=0
	ip netns add "$1-a"
	ip netns add "$1-b"
	lay_devices "$1"
	for side in a b; do
		i=$((i + 1))
		[ "$1" != veth-no-sg ] || ip netns exec "$1-$side" ethtool -K "$1" sg off >/dev/null
		ip -n "$1-$side" addr add 10.9.0.$i/24 dev "$1"
		ip -n "$1-$side" addr add fd09::$i/64 dev "$1" nodad
		ip -n "$1-$side" link set "$1" up
	done
	within 60 reaches "$1" || echo "the two ends of $1 do not reach each other"
}

capture() {
	: >/tmp/tcpdump # the one in the background may come later than grep
	ip netns exec wire-a tcpdump -Z root -i wire -s 64 -w /dev/null >/dev/null 2>/tmp/tcpdump &
	tap=$!
	within 60 grep -q 'listening on' /tmp/tcpdump || cat /tmp/tcpdump
}

end_capture() {
	kill "$tap"
	wait "$tap" || echo "tcpdump ended with $?: $(tail -3 /tmp/tcpdump)"
}

# --- the matrix

# Of the modes that copy or splice as another does, a thin matrix has one run, the one or the other in turn.
both_runs() { # mode
	! $thin && return
	case $1 in two-copy | splice | uring-send) false ;; esac
}

# Each way to send on each path, in two runs: few large messages of several lanes, many small ones of one, over IPv6.
check_path() { # path
	local mode small=4096
	for mode in $modes; do
		if [ $small = 4096 ] || both_runs "$mode"; then
			check_run "$1" "$mode" --size 65536 --threads "$lanes"
		fi
		if [ $small != 4096 ] || both_runs "$mode"; then
			check_run "$1" "$mode" --size $small --ipv6
		fi
		small=$((4096 + 16384 - small)) # 4 KiB and 16 KiB in turn
	done
	for mode in $lacking; do
		echo "# fact|run|$1|$mode|recv|not in this kernel"
	done
}

check_laid_path() { # path
	check "path $1 is there" lay_path "$1"
	check_path "$1"
}

tear_path() { # path
	ip netns del "$1-a"
	ip netns del "$1-b"
}

check_tap() {
	check "a capture begins" capture
	check_path tap
	check "the capture ends" end_capture
}

# The sizes that check_path() leaves out, in one lane and in several.
check_sizes() {
	local size
	for size in 64 1024 1048576; do
		check_core loopback --size $size --threads 4
		check_core veth --size $size
	done
	check_core loopback --size 1024
	check_core veth --size 1048576 --threads 4
}

check_receivers() {
	local path
	for path in loopback veth; do
		check_run $path one-copy --receive recv-trunc
		check_run $path zero-copy --receive recv-trunc --ipv6
		check_run $path zero-copy --receive mmap --size 1048576 --fields 1
	done
}

check_variants() {
	check_core loopback --size 4096 --workload rr
	check_run veth zero-copy --size 4096 --workload rr --ipv6
	check_run loopback zero-copy --size 4096 --rcvbuf 131072
}

# Somebody else's bytes on the same loopback are in nobody's books.
check_beside_foreign_load() {
	local note='foreign load beside: ' server client
	iperf3 -s >/dev/null 2>&1 &
	server=$!
	usleep 500000
	iperf3 -c 127.0.0.1 -t 600 >/dev/null 2>&1 &
	client=$!
	check_core loopback --size 65536
	check "the foreign load ran all the time" kill $client
	kill $server
	wait $client $server
}

# Segments that the qdisc drops, and those sent again for them: the books must balance all the same.
check_with_loss() {
	local note='1 % loss: '
	tc qdisc add dev lo root netem loss 1%
	check_core loopback --size 65536
	tc qdisc del dev lo root
}

left_both() {
	[ "$(tail -n 1 $doc | jq '.ledger.counters.sockets_left')" = 2 ]
}

# From when kernel TLS has a connection, a watch leaves it out, and says so: what was before stays in the books.
watched_ktls() {
	local client watch
	mkfifo /tmp/go
	ktls </tmp/go >/tmp/ktls 2>/tmp/err &
	client=$!
	exec 5>/tmp/go
	within 60 test -s /tmp/ktls || echo "ktls does not begin"
	: >$doc
	copyledger watch --pid "$(head -n 1 /tmp/ktls)" --json --interval 200ms >$doc 2>&1 &
	watch=$!
	within 60 test -s $doc || echo "the watch shows nothing"
	echo go >&5
	exec 5>&-
	wait $client || echo "ktls ended with $?: $(cat /tmp/err)"
	within 30 left_both || echo "the sockets are not left out: $(tail -n 1 $doc)"
	kill -INT $watch
	wait $watch
	grep -q '^plain 10000 ciphered 100000$' /tmp/ktls || echo "ktls: $(tail -n 1 /tmp/ktls), $(cat /tmp/err)"
	echo "# ktls: $(tail -n 1 /tmp/ktls) $(cat /tmp/err)" >/tmp/facts
	tail -n 1 $doc | jq -r '.ledger | if .balanced and (.exact | not) and any(.doubts[]; contains("kernel TLS"))
		and .counters.accepted_bytes == 10000 and .counters.received_bytes == 10000 then empty else . end'
}

# Many lanes on two CPUs: where a kernel skips programs for that, the result has to know it.
check_oversubscribed() {
	check "8 lanes, zero-copy: exact, or it says what was missed" run_once true loopback --mode zero-copy --size 1024 \
		--threads 8 --duration 400ms
	check "12 lanes, one-copy: exact, or it says what was missed" run_once true veth --mode one-copy --size 64 \
		--threads 12 --duration 400ms
}

# What was skipped says so, but a matrix of skips would show nothing.
most_were_judged() {
	[ $((skips * 4)) -le $n ] || echo "of $n checks $skips were skipped"
}

kernel_complaints() {
	dmesg | grep -E 'BUG:|WARNING:|Oops|general protection|scheduling while atomic'
}

probes() {
	copyledger probe --json >$doc || echo "probe ended with $?"
	jq -r '(.sites[] | "fact|site|\(.site)|\(.evidence): \(.hook // .reason)"),
		(.sites[] | select(.evidence == "unavailable") | "\(.site) is unavailable: \(.reason)"),
		(.modes[] | "mode \(.name) \(.available)")' $doc >/tmp/probed
	sed -n 's/^fact/# &/p' /tmp/probed >/tmp/facts
	grep -v -e ^fact -e ^mode /tmp/probed
	modes=$(sed -nE 's/^mode (.*) true/\1/p' /tmp/probed)
	lacking=$(sed -nE 's/^mode (.*) false/\1/p' /tmp/probed)
	[ -n "$modes" ] || echo "the probe names no mode"
	[ "$part" != local ] || copyledger probe | sed 's/^/# /' >/tmp/probe
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
	within 60 measuring || echo "the run does not get going"
	usleep 300000
	kill -9 "$daemon"
	wait "$client" && echo "the client of a killed daemon ended with 0"
	nothing_left
	start_daemon
	[ "$(copyledger list --limit 1000 --json | jq '.runs | length')" = $((stored + 1)) ] ||
		echo "the store lost runs, or the killed one"
	run_wrong "$1" --mode zero-copy --duration 200ms
}

survives_child_kill() {
	local client status=0
	copyledger run --json --mode one-copy --duration 30s >$doc 2>/tmp/err &
	client=$!
	within 60 measuring || echo "the run does not get going"
	usleep 300000
	kill -9 "$(pidof copyledger-loadgen | cut -d' ' -f1)"
	wait $client || status=$?
	[ $status = 1 ] || echo "exit status $status instead of 1"
	jq -r 'if .state == "failed" then empty else "state is \(.state)" end' $doc
	grep -q SIGKILL $doc || echo "the result does not name SIGKILL"
	nothing_left
	run_wrong loopback --mode one-copy --duration 200ms
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
	check_core loopback --size 65536
	check_run veth zero-copy --size 65536 --ipv6
	check "the unprivileged daemon stops" stop_daemon
	check "nothing is left after it" nothing_left
}

# --- the parts, a guest each

check_local() {
	check_path loopback
	check_path veth
	check_laid_path veth-no-sg
	tear_path veth-no-sg
	check_receivers
	check_variants
	check_oversubscribed
}

check_outside() {
	check_laid_path virtio
	check_laid_path wire
	check_tap
	tear_path virtio
	tear_path wire
	check_with_loss
	check "a watch of a connection that kernel TLS takes over" watched_ktls
	check "nothing is left after the runs" nothing_left
	check "SIGKILL of the child" survives_child_kill
	check "SIGKILL of the daemon, veth" survives_daemon_kill veth
}

# One kernel does for all.
check_sizes_and_load() {
	check_sizes
	check_beside_foreign_load
	check "SIGKILL of the daemon, loopback" survives_daemon_kill loopback
}

main() {
	start_judge
	check "the daemon starts" start_daemon
	check "idle: no BPF program" nothing_left
	check "probe: every site is served" probes
	[ ! -e /tmp/probe ] || cat /tmp/probe
	case $part in
	local) check_local ;;
	outside) check_outside ;;
	sizes) check_sizes_and_load ;;
	esac
	check "nothing is left after all runs" nothing_left
	check "the daemon stops" stop_daemon
	check "nothing is left after the daemon" nothing_left
	[ "$part" != outside ] || check_unprivileged
	check "not too many checks were skipped" most_were_judged
	check "the kernel's log is clean" kernel_complaints
	echo "1..$n"
	echo "# up for $(cut -d' ' -f1 /proc/uptime) s"
	echo "RESULT $failures"
}

set_up
main
poweroff -f
