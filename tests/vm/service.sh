#!/bin/bash
# SPDX-License-Identifier: MIT
# The test of a guest with systemd: installs the packages, uses the service as an administrator and as users, purges it.
# TAP on standard output; runs as root once basic.target is there.
set -u

export SYSTEMD_COLORS=0 SYSTEMD_PAGER= LC_ALL=C
# shellcheck source=tests/vm/tap.sh
. /tap.sh

unit=copyledgerd.service
config=/etc/copyledger/copyledgerd.conf
doc=/tmp/result.json
run=()

# --- words of the checks

as() { # user, command
	runuser -u "$1" -- "${@:2}"
}

main_pid() {
	systemctl show -P MainPID $unit
}

restarts() {
	systemctl show -P NRestarts $unit
}

is() { # what, is, should be
	[ "$2" = "$3" ] || echo "$1: '$2', not '$3'"
}


ours_in_kernel() { # programs of the daemon; systemd has some of its own
	bpftool -j prog show | jq '[.[] | select(.pids[]?.comm | startswith("copyledgerd"))] | length'
}

gone_from_kernel() {
	[ "$(ours_in_kernel)" = 0 ] && ! pgrep -x copyledger-load >/dev/null
}

answers() {
	copyledger list --json >/dev/null 2>&1
}

answers_anew() { # pid of the daemon before
	local now
	now=$(main_pid)
	[ "$now" != 0 ] && [ "$now" != "$1" ] && answers
}

# A run whose books balance. A preemptible kernel skips a program that preempts another one, the more often the less CPU time
# the emulator gets: then the result names the program, and the run is tried again, eight times in all.
balanced_run() { # command that prints the document
	local i status=0
	for i in 1 2 3 4 5 6 7 8; do
		status=0
		"$@" >$doc 2>/tmp/err || status=$?
		[ $status = 4 ] || break # done, but the books do not balance
		[ "$(fact '[.. | objects | .misses? | arrays | .[].misses] | add // 0')" -gt 0 ] || echo "off without a skipped program"
	done
	[ $status = 0 ] || { echo "try $i ended with $status" && cat /tmp/err && fact '[.. | objects | .error? | objects] | unique[] | tojson'; }
}

fact() { # jq expression over the last document
	jq -r "$1" $doc
}

# --- install

install_packages() {
	dpkg -i /packages/*.deb >/tmp/dpkg 2>&1 || cat /tmp/dpkg
	is "the socket" "$(systemctl is-active copyledgerd.socket)" active
	is "the service before its first client" "$(systemctl is-active $unit)" inactive
	is "the socket's rights" "$(stat -c '%a %U:%G' /run/copyledger/control.sock)" "660 root:copyledger"
	getent passwd copyledger >/dev/null || echo "no user copyledger"
}

add_users() {
	cat >/tmp/users.conf <<-EOT
		u member - "in the group" / /bin/sh
		m member copyledger
		u other - "not in it" / /bin/sh
	EOT
	systemd-sysusers /tmp/users.conf 2>&1 | grep -v Creating
	is "the member's groups" "$(id -Gn member)" "member copyledger"
}

exposure() {
	systemd-analyze security --threshold=22 $unit >/tmp/security 2>&1 || tail -n 1 /tmp/security
	tail -n 1 /tmp/security | sed 's/.*: /note exposure /' >/dev/null
}

# --- use

refuses_others() {
	local out status=0
	out=$(as other copyledger list 2>&1) || status=$?
	is "exit status" $status 3
	grep -q "members of group copyledger" <<<"$out" || echo "$out"
	is "the service" "$(systemctl is-active $unit)" inactive
}

run_starts_the_service() {
	balanced_run as member copyledger run --mode zero-copy --size 64K --threads 2 --duration 300ms --warmup 0ms --json
	is "the service" "$(systemctl is-active $unit)" active
	is state "$(fact .state)" "done"
	is "balanced, difference" "$(fact '"\(.ledger.balanced), \([.ledger.balance[].difference // 0] | add)"')" "true, 0"
	is tier "$(fact .ledger.tier)" fentry
	is verdict "$(fact '.zerocopy.verdict')" copied
	is "its user" "$(ps -o user= -p "$(main_pid)")" copyledger
	is "its capabilities" "$(grep CapBnd /proc/"$(main_pid)"/status | cut -f2)" "000000c000000000"
}

run_over_veth() {
	balanced_run as member copyledger run --mode one-copy --path veth --duration 300ms --warmup 0ms --json
	is "state, balanced" "$(fact '"\(.state) \(.ledger.balanced)"')" "done true"
	is "namespaces left" "$(ip netns list | wc -l)" 0
}

senders_give_way() {
	# the kernel may skip a program for so many: that is not what is asked here
	as member copyledger run --mode one-copy --threads 24 --duration 300ms --warmup 0ms --json >$doc 2>/tmp/err || true
	is "state, nicer than the receivers" "$(fact '"\(.state) \(.app.sender_nice > 0)"')" "done true"
}

run_of_a_minute() {
	as member copyledger run --mode one-copy --duration 60s --warmup 0ms >/dev/null 2>&1 &
	run=($!)
	within 60 measures || echo "it does not measure: $(copyledger list | head -n 3)"
}

measures() {
	[ "$(copyledger list --json 2>/dev/null | jq -r '.runs[0].state' 2>/dev/null)" = measuring ]
}

trace_while_it_runs() {
	local first second
	run_of_a_minute
	as member copyledger trace --json --interval 500ms 2>/tmp/err | head -n 2 >/tmp/trace
	{ read -r first && read -r second; } < <(jq '[.sites[].bytes] | add' /tmp/trace) || cat /tmp/err
	[ "${second:-0}" -gt "${first:-0}" ] || echo "copies: $first, then $second"
	systemctl status $unit | grep -q 'Status: "run 2.*one-copy over loopback' || systemctl status $unit
	as member copyledger cancel last >/dev/null || echo "not cancelled"
	wait "${run[0]}"
	within 30 gone_from_kernel || echo "left: $(ours_in_kernel) programs"
}

watch_own_process() {
	local loader
	as member bash -c 'exec sleep 4' &
	loader=$!
	sleep 0.5
	as member copyledger watch --pid "$(pgrep -u member -x sleep)" --once --duration 200ms --json >$doc 2>/tmp/err || cat /tmp/err
	is "rows" "$(fact '.views | length')" 0
	as member copyledger watch --pid 1 --once --duration 100ms --json >/dev/null 2>/tmp/err && echo "a member watched process 1"
	grep -q "uid 0" /tmp/err || cat /tmp/err
	wait $loader
}

watch_all() {
	copyledger watch --all --once --duration 1500ms --json >$doc 2>/tmp/err &
	sleep 0.5
	curl -s -o /dev/null --max-time 1 http://127.0.0.1:22/ # whoever answers, or nobody
	wait $! || cat /tmp/err
	is "balanced, or off by skipped programs" "$(fact '.ledger.balanced or ([.ledger.misses[].misses] | add // 0) > 0')" true
}

counters_need_the_sysctl() {
	sysctl -qw kernel.perf_event_paranoid=3 # Debian's default
	as member copyledger run --mode one-copy --duration 50ms --warmup 0ms --json >$doc
	[[ $(fact '.perf.sender.task_clock_ns.reason') == *paranoid* ]] || fact .perf.sender.task_clock_ns
	cp /usr/share/copyledger/sysctl/60-copyledger-perf.conf /etc/sysctl.d/ && sysctl -q --system >/dev/null
	as member copyledger run --mode one-copy --duration 50ms --warmup 0ms --json >$doc
	rm /etc/sysctl.d/60-copyledger-perf.conf
	[ "$(fact '.perf.sender.task_clock_ns | if type == "object" then .value else . end // 0')" -gt 0 ] || fact .perf.sender.task_clock_ns
}

reload() {
	echo "threads_max = 2" >>$config
	systemctl reload $unit || echo "reload failed"
	as member copyledger run --mode one-copy --threads 3 --duration 50ms 2>&1 | grep -q threads_max || echo "three threads ran"
	echo "nonsense" >>$config
	systemctl reload $unit 2>/dev/null && echo "a bad file was taken"
	is "the service" "$(systemctl is-active $unit)" active
	as member copyledger run --mode one-copy --threads 3 --duration 50ms 2>&1 | grep -q threads_max || echo "three threads ran"
	sed -i '/^nonsense/d; /^threads_max = 2/d' $config
	systemctl reload $unit || echo "reload failed"
	balanced_run as member copyledger run --mode one-copy --threads 3 --duration 50ms --warmup 0ms --json
	is "threads" "$(fact .spec.threads)" 3
}

journal() {
	local id
	id=$(copyledger list --json --state done | jq -r '.runs[0].id')
	journalctl --sync
	is "lines of the run" "$(journalctl -q -u $unit "COPYLEDGER_RUN=$id" -o json | jq -r .MESSAGE | tail -n 1)" "run $id: done"
}

# --- faults

survives_sigkill() {
	local before
	run_of_a_minute
	before=$(main_pid)
	kill -KILL "$before"
	within 60 answers_anew "$before" || echo "it does not come back: $(systemctl is-active $unit)"
	wait "${run[0]}" && echo "the client was told that its run is done"
	within 30 gone_from_kernel || echo "left: $(ours_in_kernel) programs, $(pgrep -c copyledger-load) children"
	is "the run" "$(copyledger show last --json | jq -r '.state + " " + .error.code')" "failed daemon_ended"
}

survives_sigstop() {
	local before
	mkdir -p /run/systemd/system/$unit.d
	printf '[Service]\nWatchdogSec=3\n' >/run/systemd/system/$unit.d/watchdog.conf
	systemctl daemon-reload
	systemctl restart $unit
	within 30 answers || echo "no answer after a restart"
	before=$(main_pid)
	kill -STOP "$before"
	within 60 answers_anew "$before" || echo "it does not come back: $(systemctl is-active $unit)"
	journalctl -q -u $unit | grep -qi "watchdog timeout" || echo "it was not the watchdog"
	rm -r /run/systemd/system/$unit.d
	systemctl daemon-reload
}

survives_many_crashes() {
	local before i
	for i in 1 2 3 4 5 6 7; do
		within 30 answers || echo "no answer before crash $i"
		before=$(main_pid)
		kill -KILL "$before"
		within 30 answers_anew "$before" || echo "it does not come back after crash $i"
	done
	is "the socket" "$(systemctl is-active copyledgerd.socket)" active
}

clean_stop() {
	systemctl stop $unit 2>/dev/null # it warns that the socket will start it again
	is "result" "$(systemctl show -P Result $unit)" success
	is "programs" "$(ours_in_kernel)" 0
	is "the socket" "$(systemctl is-active copyledgerd.socket)" active
	[ "$(as member copyledger list --json | jq '.runs | length')" -gt 5 ] || echo "the results are gone, or the socket starts nothing"
}

# --- the exporter

exporter() {
	systemctl start copyledger-exporter.socket || echo "no exporter"
	curl -s --max-time 60 http://127.0.0.1:"$(systemctl show -P Listen copyledger-exporter.socket | grep -oE '[0-9]+ ' | tail -n 1 | tr -d ' ')"/metrics >/tmp/metrics
	grep -q '^copyledger_up 1' /tmp/metrics || head -n 5 /tmp/metrics
	[ "$(ps -o user= -p "$(systemctl show -P MainPID copyledger-exporter.service)")" != root ] || echo "it runs as root"
	systemd-analyze security --threshold=22 copyledger-exporter.service >/tmp/security 2>&1 || tail -n 1 /tmp/security
}

# --- two hosts: two e1000 NICs joined outside of this machine, a daemon on each side, the control through a real sshd

lay_hosts() {
	local side
	modprobe e1000
	for side in 0 1; do
		ip netns add host$side
		ip link set "$(nic $side)" netns host$side name wire
		ip -n host$side addr add 10.91.0.$((side + 1))/24 dev wire
		ip -n host$side link set wire up
		ip -n host$side link set lo up
	done
	mkdir -p /run/sshd ~/.ssh
	ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519
	cp ~/.ssh/id_ed25519.pub ~/.ssh/authorized_keys
	ip netns exec host1 /usr/sbin/sshd -o UsePAM=no -o PermitRootLogin=yes -o 'SetEnv=COPYLEDGER_SOCKET=/run/host1.sock'
	printf 'StrictHostKeyChecking no\nLogLevel ERROR\n' >~/.ssh/config
	for side in 0 1; do
		ip netns exec host$side copyledgerd --socket /run/host$side.sock --state-dir /run/host$side 2>/run/host$side.log &
	done
	within 60 test -S /run/host0.sock -a -S /run/host1.sock || echo "the daemons of the two hosts do not start"
	within 30 ip netns exec host0 ssh 10.91.0.2 true || echo "no sshd on the other host"
}

nic() { # 0 or 1: the e1000 ones, in the order of their slots
	local dev found=()
	for dev in /sys/class/net/*; do
		[ "$(basename "$(readlink "$dev/device/driver")" 2>/dev/null)" != e1000 ] || found+=("${dev##*/}")
	done
	echo "${found[0]}"
}

run_of_two_hosts() { # mode, verdict
	balanced_run ip netns exec host0 copyledger --socket /run/host0.sock run --peer 10.91.0.2 --mode "$1" --size 16K \
		--duration 500ms --warmup 0ms --json
	is "the books of both" "$(fact '"\(.sender.ledger.balanced) \(.receiver.ledger.balanced)"')" "true true"
	is "differences" "$(fact '[.merged.balance[].difference // 0] | map(fabs) | add')" 0
	[ "$(fact '.sender.app.whole_life.bytes_sent')" -gt 0 ] || echo "no byte was sent"
	is "sent = received" "$(fact '.sender.app.whole_life.bytes_sent')" "$(fact '.receiver.app.whole_life.bytes_received')"
	[ -z "${2:-}" ] || is verdict "$(fact .sender.zerocopy.verdict)" "$2"
}

two_hosts_end() {
	pkill -f 'copyledgerd --socket /run/host'
	pkill -x sshd
	within 30 gone_from_kernel || echo "left: $(ours_in_kernel) programs"
	ip netns del host0
	ip netns del host1
}

# --- the end

purge() {
	dpkg -P copyledger-exporter copyledger >/tmp/dpkg 2>&1 || cat /tmp/dpkg
	is "the socket's unit" "$(systemctl is-active copyledgerd.socket)" inactive
	find / -xdev \( -path /proc -o -path /sys -o -path /packages -o -path /var/lib/dpkg -o -path /run/host\* -o -path /var/log \) \
		-prune -o -name '*copyledger*' -print
	is "programs" "$(ours_in_kernel)" 0
}

kernel_complaints() {
	dmesg | grep -E 'BUG|Oops|WARNING|Call Trace|refcount' | head -n 5
}

: >/tmp/facts
echo "# kernel $(uname -r), systemd $(systemctl --version | awk 'NR == 1 { print $2 }'), up after $(cut -d' ' -f1 /proc/uptime) s"
modprobe -a veth 2>/dev/null
ip link set lo up
check "the packages install" install_packages
[ $failures = 0 ] || { echo "RESULT $failures" && exit; }
check "users in the group and not" add_users
check "systemd-analyze security: 2.2 at most" exposure
check "a user who is not in the group is refused" refuses_others
check "a member's run starts the service by its socket" run_starts_the_service
check "a member's run over veth" run_over_veth
check "the senders of many lanes give way to the receivers" senders_give_way
check "trace reads the copies while a run goes on; status names it" trace_while_it_runs
check "a member watches own processes, not others'" watch_own_process
check "root watches all" watch_all
check "perf counters: the reason at paranoid 3, values with the drop-in" counters_need_the_sysctl
check "reload takes a good configuration and no bad one" reload
check "the journal has the run's id as a field" journal
check "SIGKILL of the daemon in the middle of a run" survives_sigkill
check "SIGSTOP of the daemon: the watchdog" survives_sigstop
check "seven crashes in a row leave the socket" survives_many_crashes
check "a clean stop" clean_stop
check "the exporter" exporter
check "two hosts: laid" lay_hosts
check "two hosts: one-copy, control by ssh" run_of_two_hosts one-copy
check "two hosts: zero-copy is one" run_of_two_hosts zero-copy zero-copied
check "two hosts: the end" two_hosts_end
check "a purge leaves nothing" purge
check "the kernel's log is clean" kernel_complaints
echo "1..$n"
echo "# up for $(cut -d' ' -f1 /proc/uptime) s"
echo "RESULT $failures"
