# shellcheck shell=bash
# Completion for bash. It asks the program for its flags, so it knows those of
# the version that is installed.

_pico_tracker() {
	local current=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]}
	local line word names flags='' kind=''

	# -flag=value comes as three words.
	if [[ $current == = ]]; then
		current=''
	elif [[ $flag == = ]]; then
		flag=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	flag=${flag/#--/-}

	# Lines as "  -port, -p PORT    what it means".
	while read -r line; do
		names=' '
		for word in $line; do
			case $word in
			-*) names+="${word%,} " ;;
			*) break ;;
			esac
		done
		flags+=$names
		# In capitals: what kind of value it has.
		if [[ $names == *" $flag "* && $word != *[!A-Z]* ]]; then
			kind=$word
		fi
	done < <("$1" -help 2>/dev/null | grep '^  -')

	case $kind in
	'') mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current") ;;
	FILE)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		;;
	NAMES) mapfile -t COMPREPLY < <(cd /sys/class/net 2>/dev/null && compgen -G "$current*") ;;
	MODE) mapfile -t COMPREPLY < <(compgen -W 'auto off' -- "$current") ;;
	SIZE) mapfile -t COMPREPLY < <(compgen -W 'auto 8M 16M 32M 64M 128M 256M 1G' -- "$current") ;;
	TIME) mapfile -t COMPREPLY < <(compgen -W '15s 1m 5m 15m 30m 1h 2h' -- "$current") ;;
	esac
}

complete -F _pico_tracker pico-tracker
