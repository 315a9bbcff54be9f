# shellcheck shell=bash
# What the download scripts share. A script declares its options and their defaults in `option`, reads the command
# line with parse_options, plans its files with plan_hub or plan_list (download_plan.sh), and calls fetch_plan
# (download_fetch.sh). Here: addresses, words to the user, options, requests.
set -euo pipefail
export LC_ALL=C

# Every address that the scripts know. Environment variables name mirrors.
hub=${HF_ENDPOINT:-https://huggingface.co}
hub=${hub%/}
mlcommons=${MLCOMMONS_ENDPOINT:-https://training.mlcommons-storage.org}
# shellcheck disable=SC2034  # read by the scripts
{
    mlcommons_lists=${mlcommons%/}/metadata      # NAME.uri and NAME.md5
    coco_list=$(dirname "$0")/coco2014.uri       # the same form; its server publishes no sums, but they are well known
}

script=$(basename "$0")
work=$(mktemp --directory)
child=  # what runs and ends when we do
guard=  # what ends the workers where we cannot
token=
declare -A option=() flag=([dry_run]="" [verify]="")

# --- words to the user ------------------------------------------------------------------------------------

clear_bar() { if [ -t 2 ]; then printf '\r\e[K' >&2; fi; }

say() {
    clear_bar
    echo "$script: $*" >&2
}

fail() {
    say "$@"
    exit 1
}

# Wrong use, or no room: nothing has been fetched.
fail_usage() {
    say "$@"
    exit 2
}

human() {
    local units=(B kB MB GB TB PB EB) value=$1 rest=0 unit=0
    while ((value >= 1000 && unit < 6)); do
        rest=$((value % 1000 / 100)) value=$((value / 1000)) unit=$((unit + 1))
    done
    if ((unit == 0)); then echo "$value B"; else echo "$value.$rest ${units[unit]}"; fi
}

clock() { # seconds -> 0:47, 1:01:11
    if (($1 < 3600)); then printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); else
        printf '%d:%02d:%02d' $(($1 / 3600)) $(($1 / 60 % 60)) $(($1 % 60))
    fi
}

clean_up() {
    local running
    trap '' INT TERM HUP  # a second one must not keep us from it
    running=$(jobs -p)
    # shellcheck disable=SC2086  # a list of process ids
    [ -z "$running" ] || kill $running 2>/dev/null || true
    [ -z "$child" ] || kill "$child" 2>/dev/null || true
    [ -z "$guard" ] || kill "$guard" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'clear_bar; exit 130' INT
trap 'clear_bar; exit 143' TERM HUP

# --- options ----------------------------------------------------------------------------------------------

# The script's first comment, then the options that all have.
usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    cat <<'TEXT'
  --jobs N             files at a time (8)
  --retries N          attempts in a row without a new byte before a file is given up (8)
  --retry_delay S      seconds before the first of them is repeated; doubles up to 60 (2)
  --dry-run            prints what would be fetched, with sizes; fetches and writes nothing
  --verify             also compares the checksums of files that are there already
From the environment: HF_ENDPOINT and MLCOMMONS_ENDPOINT name other servers; HF_TOKEN is the hub's access token;
PROGRESS_INTERVAL_S the seconds between lines of progress without a terminal (60).
Started again it goes on where it stopped. Ends with 0; 1 when something failed; 2 for wrong use or no room.
TEXT
}

parse_options() {
    local name value plain=0
    option[jobs]=8 option[retries]=8 option[retry_delay]=2
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) usage && exit 0 ;;
            --*=*) name=${1%%=*} value=${1#*=} ;;
            --*) name=$1 value= ;;
            -*) fail_usage "unknown option $1; --help lists them" ;;
            *) name=local_dir value=$1 plain=$((plain + 1)) ;;
        esac
        name=${name#--} name=${name//-/_}
        if [[ ! $name =~ ^[a-z_]+$ || ! -v option[$name] && ! -v flag[$name] ]]; then
            fail_usage "unknown option --$name; --help lists them"
        elif [ -v "flag[$name]" ]; then
            [[ $1 != *=* ]] || fail_usage "$1: takes no value"
            flag[$name]=1
        elif [[ $1 == --* && $1 != *=* ]]; then
            [ $# -ge 2 ] || fail_usage "$1 needs a value"
            option[$name]=$2
            shift
        else
            option[$name]=$value
        fi
        shift
    done
    ((plain <= 1)) || fail_usage "one folder, not $plain"
    check_number jobs 1 64
    check_number retries 1 1000
    check_number retry_delay 0 60
    [[ ${PROGRESS_INTERVAL_S:-60} =~ ^(0|[1-9][0-9]{0,4})$ ]] ||
        fail_usage "PROGRESS_INTERVAL_S=$PROGRESS_INTERVAL_S: must be a whole number of seconds, 0 to 99999"
    [[ -n ${option[local_dir]} && ${option[local_dir]} != *[[:cntrl:]]* ]] || fail_usage "--local_dir must name a folder"
    option[local_dir]=${option[local_dir]%/}
    option[local_dir]=${option[local_dir]:-/}  # "/" itself
    check_destination
    token=${option[hf_token]-}
    token=${token:-${HF_TOKEN:-}}
    [[ $token =~ ^[A-Za-z0-9_.=-]*$ ]] || fail_usage "the access token holds other signs than letters, digits, _ . = -"
}

# The deepest part of the path that is there: the rest is made when there is something to put into it.
existing_part() {
    local place=${option[local_dir]}
    until [ -e "$place" ]; do place=$(dirname "$place"); done
    echo "$place"
}

check_destination() {
    local place
    place=$(existing_part)
    [[ -d $place && -w $place ]] ||
        fail_usage "${option[local_dir]}: $place is no folder that can be written: name another with --local_dir"
}

check_number() {
    if [[ ! ${option[$1]} =~ ^(0|[1-9][0-9]{0,3})$ ]] || ((option[$1] < $2 || option[$1] > $3)); then
        fail_usage "--$1 ${option[$1]}: must be a number from $2 to $3"
    fi
}

check_choice() { # OPTION VALUE...
    local name=$1
    shift
    [[ " $* " == *" ${option[$name]} "* ]] || fail_usage "--$name ${option[$name]}: must be one of: $*"
}

# --- requests ---------------------------------------------------------------------------------------------

# The token is for the hub alone. It goes in through standard input, so that it does not show in the list of
# processes; curl keeps it to itself when it is redirected to another host.
login_for() { if [ -n "$token" ] && [[ $1 == "$hub"/* ]]; then echo "header = \"Authorization: Bearer $token\""; fi; }

# One attempt: transfer URL OPTION...; leaves http_status, answered (the address that a redirection led to) and
# transfer_error. In the background, so that a signal ends it at once.
transfer() {
    local url=$1 ended=0 place=$work/transfer.$BASHPID
    shift
    curl --silent --show-error --location --max-redirs 10 --proto '=http,https' --connect-timeout 30 \
        --speed-limit 1 --speed-time 60 --write-out '%{http_code} %{url_effective}' --config - "$@" "$url" \
        <<<"$(login_for "$url")" >"$place.status" 2>"$place.error" &
    child=$!
    wait "$child" || ended=$?
    child=
    read -r http_status answered <"$place.status" || true  # no line end
    transfer_error=$(tail -n 1 "$place.error")
    return "$ended"
}

# Says why an answer is final, if it is: asking again would not help. A token is the hub's matter, not that of the
# storage which it sends us to.
is_final() { # STATUS ADDRESS [ANSWERED]
    local repository=${2#"$hub"/} answered=${3:-$2}
    repository=${repository%%/resolve/*}
    case $1 in
        401 | 403)
            if [[ $answered != "$hub"/* ]]; then
                say "$2: access is refused (HTTP $1) by $(grep -oE '^https?://[^/?#]*' <<<"$answered")"
            elif [ -z "$token" ]; then
                say "$2: asks for a login (HTTP $1): accept the terms at $hub/$repository, make an access token" \
                    "at $hub/settings/tokens, and start again with it in HF_TOKEN"
            else
                say "$2: refuses the access token (HTTP $1): its account must have accepted the terms at" \
                    "$hub/$repository, and the token must allow reading them"
            fi
            ;;
        404 | 410) say "$2: is not there (HTTP $1)" ;;
        *) return 1 ;;
    esac
}

# Waits longer each time: 2, 4, 8, .. 60 seconds.
pause() { # how many attempts have failed
    local seconds=$((option[retry_delay] << ($1 < 6 ? $1 - 1 : 5)))
    sleep $((seconds < 60 ? seconds : 60)) &
    child=$!
    wait "$child" || true
    child=
}

# A small document into a file, and the headers of the answer beside it.
get_text() { # URL FILE
    local tries=0
    rm -f "$2"
    while ! transfer "$1" --fail --dump-header "$2.headers" --output "$2"; do
        if is_final "$http_status" "$1" "$answered"; then exit 1; fi
        ((++tries <= option[retries])) || fail "$1: $transfer_error"
        ((tries > 1)) || say "$1: $transfer_error; it is asked again, up to ${option[retries]} times"
        pause "$tries"
    done
    [ -e "$2" ] || : >"$2"  # curl makes no file of an empty answer
}

folder_of_scripts=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=scripts/download_plan.sh
. "$folder_of_scripts/download_plan.sh"
# shellcheck source=scripts/download_fetch.sh
. "$folder_of_scripts/download_fetch.sh"
