# SPDX-License-Identifier: MIT
# Completion of copyledger(1) for bash. Commands, options and their values come from the program's own help, so that they
# cannot differ; runs and sweeps come from the daemon.

# A line an option, letter|name|argument|text, of the help of a command or of all.
_copyledger_options()
{
	"$_copyledger_program" ${1:+"$1"} --help 2>/dev/null |
		sed -nE 's/^ +(-(.), )?--([a-z0-9-]+)( ([^ ]+))?( {2,}(.*))?$/\2|\3|\5|\7/p'
}

# Its names, as far as a text is a list of them: "auto (the default), fentry or off", perhaps with a sentence and a colon before.
_copyledger_values()
{
	local text=${1##*: } name names=()
	while [[ $text =~ ^(.*)\([^\(\)]*\)(.*)$ ]]; do
		text=${BASH_REMATCH[1]}${BASH_REMATCH[2]}
	done
	text=${text// or /, }
	while IFS= read -r name; do
		name=${name#"${name%%[! ]*}"} name=${name%"${name##*[! ]}"} name=${name% ...}
		[[ $name == ... ]] && continue
		[[ $name =~ ^[a-z0-9][a-z0-9_-]*(:[A-Z,]+)?$ ]] || return 0
		names+=("${name/%:*/:}")
	done <<<"${text//, /$'\n'}"
	[ ${#names[@]} -lt 2 ] || printf '%s\n' "${names[@]}"
}

# The values of an option of a command; if that does not name them, of the like one of run: list --mode, sweep --modes.
_copyledger_named()
{
	local where letter name arg text values
	for where in "$1 $2" "run $2" "run ${2%s}"; do
		while IFS='|' read -r letter name arg text; do
			[[ $name == "${where#* }" ]] || continue
			values=$(_copyledger_values "$text")
			[ -z "$values" ] || { printf '%s\n' "$values"; return; }
		done < <(_copyledger_options "${where%% *}")
	done
}

# The ids of runs, --sweeps, or both, newest first; "open": of what has not ended.
_copyledger_ids()
{
	local kind ask=("$_copyledger_program" ${_copyledger_socket:+--socket "$_copyledger_socket"} list)
	for kind in $1; do
		[[ $kind != --sweeps ]] || ask+=("$kind")
		"${ask[@]}" 2>/dev/null |
			awk -v open="${2:-}" '$1 ~ /^s?[0-9]+-[0-9]+-/ && !(open && $3 ~ /^(done|failed|cancelled|interrupted)$/) { print $1 }'
	done
}

_copyledger_words()
{
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
	[[ ${COMPREPLY[*]} != *: ]] || compopt -o nospace 2>/dev/null
}

# The value of an option: command name argument cur.
_copyledger_value()
{
	local cur=$4 before='' dir=/sys/fs/cgroup
	case $2:$3 in
	congestion:*) _copyledger_words "$(cat /proc/sys/net/ipv4/tcp_available_congestion_control 2>/dev/null)" "$cur" ;;
	netns:*) _copyledger_words "$(ls /run/netns 2>/dev/null)" "$cur" ;;
	cgroup:*)
		mapfile -t COMPREPLY < <(compgen -d -- "$dir/${cur#/}")
		COMPREPLY=("${COMPREPLY[@]#"$dir"}")
		;;
	pid:*) _copyledger_words "$(ps -eo pid= 2>/dev/null || :)" "$cur" ;;
	peer:*) mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur") ;;
	via:*) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
	*:PATH | *:FILE) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	*:DIR) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	*:ID) _copyledger_words "$(_copyledger_ids --sweeps)" "$cur" ;;
	*:LIST)
		[[ $cur != *,* ]] || before=${cur%,*},
		_copyledger_words "$(_copyledger_named "$1" "$2")" "${cur#"$before"}"
		COMPREPLY=("${COMPREPLY[@]/#/$before}")
		compopt -o nospace 2>/dev/null
		;;
	*) _copyledger_words "$(_copyledger_named "$1" "$2")" "$cur" ;;
	esac
}

# What stands behind the options of a command: its usage line says it.
_copyledger_operand()
{
	local usage cur=$2
	usage=$("$_copyledger_program" "$1" --help 2>/dev/null | sed -n '1s/.*\[OPTION\]\.\.\.//p')
	compopt -o nosort 2>/dev/null
	case $1:$usage in
	cancel:*ID*) _copyledger_words "last $(_copyledger_ids 'runs --sweeps' open)" "$cur" ;;
	trace:*ID*) _copyledger_words "last $(_copyledger_ids runs)" "$cur" ;;
	*:*ID*) _copyledger_words "last $(_copyledger_ids 'runs --sweeps')" "$cur" ;;
	*:*COMMAND*) _copyledger_words "$(_copyledger_commands)" "$cur" ;;
	*:*SOURCE* | *:*A\ B*)
		_copyledger_words "last label: $(_copyledger_ids 'runs --sweeps')" "$cur"
		mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$cur")
		;;
	esac
}

_copyledger_commands()
{
	"$_copyledger_program" --help 2>/dev/null | sed -nE 's/^  ([a-z]+) +.*/\1/p'
}

_copyledger()
{
	local _copyledger_program=${1/#\~\//$HOME/} _copyledger_socket='' cur=${COMP_WORDS[COMP_CWORD]} command='' pending='' word i
	local letter name arg text options

	COMPREPLY=()
	[[ $cur == = ]] && cur=''
	options=$(_copyledger_options)
	# The command, and the option whose value is completed, if one waits for it: NAME|ARGUMENT.
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ $word == = ]]; then
			continue
		elif [[ -n $pending ]]; then
			[[ $pending != socket\|* ]] || _copyledger_socket=${word/#\~\//$HOME/}
			pending=''
		elif [[ $word == -* ]]; then
			while IFS='|' read -r letter name arg text; do
				[[ $word == "--$name" || -n $letter && $word == "-$letter" ]] && [[ -n $arg ]] && pending="$name|$arg"
			done <<<"$options"
		elif [[ -z $command && $word == [a-z]* ]]; then
			command=$word
			options=$(_copyledger_options "$command")
		fi
	done
	if [[ -n $pending ]]; then
		_copyledger_value "$command" "${pending%|*}" "${pending#*|}" "$cur"
	elif [[ $cur == -* ]]; then
		_copyledger_words "$(while IFS='|' read -r letter name arg text; do
			echo "--$name"
		done <<<"$options")" "$cur"
	elif [[ -z $command ]]; then
		_copyledger_words "$(_copyledger_commands)" "$cur"
	else
		_copyledger_operand "$command" "$cur"
	fi
}
complete -F _copyledger copyledger
