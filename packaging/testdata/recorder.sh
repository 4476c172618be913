#!/bin/sh
# recorder.sh SCRIPT CONFIG SCRATCH ACTION [ARGUMENT...]: runs an action of an
# init script of OpenWrt with recorders in place of procd, uci and logger. Each
# call is a line on standard output, a JSON array of the words. CONFIG is in
# UCI's own form. Files go to SCRATCH.
#
# The functions are for the script, which shellcheck doesn't follow.
# shellcheck shell=dash disable=SC2317
set -u

script=$1 config=$2 scratch=$3 action=$4
shift 4

record() {
	local line='' word
	for word in "$@"; do
		word=$(printf '%s' "$word" | sed 's/\\/\\\\/g; s/"/\\"/g')
		line="$line${line:+, }\"$word\""
	done
	printf '[%s]\n' "$line"
}

# Recorded, and nothing more.
for name in procd_open_instance procd_close_instance procd_set_param \
	procd_append_param procd_add_jail procd_add_jail_mount procd_add_jail_mount_rw procd_open_data \
	procd_close_data procd_set_config_changed procd_add_reload_trigger \
	procd_add_interface_trigger procd_add_validation procd_send_signal json_add_array json_add_object \
	json_add_string json_close_array json_close_object logger; do
	eval "$name() { record $name \"\$@\"; }"
done

extra_command() {
	record extra_command "$1"
}

start() {
	start_service "$@"
	service_started
}

# Sections and their options, as variables: value_SECTION_OPTION.
sections=''
config_load() {
	local kind rest section=''
	while read -r kind rest; do
		case "$kind" in '' | '#'*) continue ;; esac
		eval "set -- $rest"
		case "$kind" in
		config)
			section=$2
			sections="$sections $1=$section"
			;;
		option) eval "value_${section}_$1=\$2" ;;
		list) eval "value_${section}_$1=\"\${value_${section}_$1:-}\${value_${section}_$1:+ }\$2\"" ;;
		esac
	done <"$config"
}

config_foreach() {
	local function=$1 type=$2 entry
	shift 2
	for entry in $sections; do
		[ "${entry%%=*}" = "$type" ] && "$function" "${entry#*=}" "$@"
	done
}

config_list_foreach() {
	local section=$1 option=$2 function=$3 item
	eval "set -- \${value_${section}_$option:-}"
	for item in "$@"; do
		"$function" "$item"
	done
}

# Of the networks lan is up, as is wan, over PPPoE.
network_get_device() {
	case "$2" in
	lan) eval "$1=br-lan" ;;
	wan) eval "$1=pppoe-wan" ;;
	*) return 1 ;;
	esac
}

# lan has a public prefix of IPv6, too.
network_get_subnets() {
	case "$2" in
	lan) eval "$1=192.168.1.1/24" ;;
	wan) eval "$1=203.0.113.9/24" ;;
	*) return 1 ;;
	esac
}

network_get_subnets6() {
	[ "$2" = lan ] && eval "$1='2001:db8:1::1/64 fd00:1::1/64'"
}

# The firewall has a zone with two devices, and one whose network is down.
fw4() {
	case "$3" in
	lan) echo br-lan ;;
	wan) printf 'pppoe-wan\neth1\n' ;;
	guest) ;;
	*) return 1 ;;
	esac
}

# valid TYPE VALUE: prints the value as the type has it, or fails.
valid() {
	local type=$1 value=$2 item
	case "$type" in
	bool)
		case "$value" in
		1 | on | true | yes | enabled) echo 1 ;;
		0 | off | false | no | disabled) echo 0 ;;
		*) return 1 ;;
		esac
		return
		;;
	range*)
		type=${type#range(}
		type=${type%)}
		case "$value" in '' | *[!0-9]*) return 1 ;; esac
		[ "$value" -ge "${type%,*}" ] && [ "$value" -le "${type#*,}" ] || return 1
		;;
	'list(ipaddr)')
		for item in $value; do
			case "$item" in *[!0-9a-fA-F.:]*) return 1 ;; *.*.*.* | *:*:*) ;; *) return 1 ;; esac
		done
		;;
	esac
	echo "$value"
}

# As OpenWrt's: the variables are seen by the function that is called.
uci_load_validate() {
	local _section=$3 _function=$4 _spec _name _type _default _value _result=0
	shift 4
	for _spec in "$@"; do
		eval "local ${_spec%%:*}"
	done
	for _spec in "$@"; do
		_name=${_spec%%:*}
		_type=${_spec#*:}
		_default=''
		case "$_type" in *:*)
			_default=${_type#*:}
			_type=${_type%%:*}
			;;
		esac
		eval "_value=\${value_${_section}_$_name:-}"
		if [ -z "$_value" ]; then
			_value=$_default
		elif ! _value=$(valid "$_type" "$_value"); then
			_result=1
			_value=''
		fi
		eval "$_name=\$_value"
	done
	"$_function" "$_section" "$_result"
}

# What the real one says of an option that is not valid.
validate_data() {
	local _spec _name _type _value _section=$3
	shift 3
	for _spec in "$@"; do
		_name=${_spec%%:*}
		_type=${_spec#*:}
		_type=${_type%%:*}
		eval "_value=\${value_${_section}_$_name:-}"
		if [ -n "$_value" ] && ! valid "$_type" "$_value"; then
			echo "pico-tracker.$_section.$_name=$_value validates as $_type with false" >&2
		fi
	done
}

# shellcheck source=/dev/null
. "$script"

# shellcheck disable=SC2034 # the script reads them
ETC=$scratch/etc RUN=$scratch/run VALIDATE=validate_data NETWORK=/dev/null CHECKER=${TRACKER:-}
if [ "$action" = make_secret ]; then
	# shellcheck disable=SC2034
	OWNER=$(id -u)
else
	make_secret() { record make_secret "$@"; }
	make_directory() { record make_directory "$@"; }
fi

"$action" "$@"
code=$?
for file in "$RUN"/*; do
	if [ -L "$file" ]; then
		record link "${file##*/}" "$(readlink "$file")"
		continue
	fi
	[ ! -f "$file" ] || record file "${file##*/}" "$(cat "$file")"
done
exit "$code"
