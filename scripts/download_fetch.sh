# shellcheck shell=bash
# Fetches what the plan lists (included by download_common.sh): room on the disk, resumption, checksums, progress.
# A file grows as NAME.part and gets its name when its checksum is right.

declare -a sizes=() sums=() urls=() targets=()
declare -A have=()  # size of the files that are there, by name; never looked up with -v, which expands names
extra_bytes=0       # needed on the disk beside the files, for what is unpacked
files_there=0 bytes_there=0 bytes_in_all=0
most_failures=10    # then no further file is begun

size_of() { if [ -e "$1" ]; then stat --format=%s "$1"; else echo 0; fi; }

read_plan() {
    local size sum url target
    while IFS=$'\t' read -r size sum url target; do
        sizes+=("$size") sums+=("$sum") urls+=("$url") targets+=("$target")
        bytes_in_all=$((bytes_in_all + size))
        printf '%s\0%s\0' "$target" "$target.part"
    done <"$plan" >"$work/names"
}

# Looks at the disk -> have, files_there, bytes_there.
measure() {
    local i size name
    have=() files_there=0 bytes_there=0
    while read -r size name; do
        have[$name]=$size
    done < <(xargs -0 -r stat --printf='%s %n\n' <"$work/names" 2>/dev/null || true)
    for i in "${!targets[@]}"; do
        if [ -n "${have[${targets[i]}]-}" ]; then
            files_there=$((files_there + 1)) size=${sizes[i]}
        else
            size=${have[${targets[i]}.part]:-0}
        fi
        bytes_there=$((bytes_there + (size < sizes[i] ? size : sizes[i])))
    done
}

# A file of another size is not ours: it stays.
check_sizes() {
    local i target wrong=
    for i in "${!targets[@]}"; do
        target=${targets[i]}
        if [ "${have[$target]:-${sizes[i]}}" != "${sizes[i]}" ]; then
            say "$target: has ${have[$target]} bytes, not the server's ${sizes[i]}: move it away"
            wrong=1
        fi
    done
    [ -z "$wrong" ] || exit 1
}

print_plan() {
    local i state
    for i in "${!targets[@]}"; do
        state=
        if [ -n "${have[${targets[i]}]-}" ]; then
            state=', complete'
        elif [ -n "${have[${targets[i]}.part]-}" ]; then
            state=", ${have[${targets[i]}.part]} bytes are there"
        fi
        echo "${targets[i]}: ${sizes[i]} bytes from ${urls[i]}$state"
    done
    echo "sum: ${#targets[@]} files, $bytes_in_all bytes ($(human "$bytes_in_all"));" \
        "to fetch: $((bytes_in_all - bytes_there)) bytes ($(human $((bytes_in_all - bytes_there))))"
}

check_room() {
    local free need=$((bytes_in_all - bytes_there + extra_bytes))
    free=$(df --output=avail --block-size=1 "$(existing_part)" | tail -n 1)
    if ((need > free)); then
        fail_usage "${option[local_dir]}: needs $(human "$need") ($need bytes) and has $(human $((free))) free:" \
            "make room, or name another folder with --local_dir"
    fi
}

# One download at a time into a folder: the workers hold the lock with us, for none may write beside another start.
# Where the file system has no locks, it is left to the user.
lock_folder() {
    mkdir -p "${option[local_dir]}" || fail "${option[local_dir]}: cannot be made"
    exec 9<"${option[local_dir]}"
    flock --nonblock --conflict-exit-code 75 9 2>/dev/null || [ $? -ne 75 ] ||
        fail "${option[local_dir]}: another download into it is running"
}

# Where the script is killed the workers do not go on alone.
guard_workers() {
    local file
    while kill -0 $$ 2>/dev/null; do sleep 1; done
    for file in "$work"/worker.*; do
        [ ! -e "$file" ] || kill "${file##*.}"
    done
    rm -rf "$work"
}

# The whole of it: after this every file of the plan is there and right, or the script has ended.
fetch_plan() {
    read_plan
    measure
    check_sizes
    if [ -n "${flag[dry_run]}" ]; then
        print_plan
        check_room
        exit 0
    fi
    check_room
    guard=$(guard_workers >/dev/null 2>&1 & echo $!)  # before the lock, which it does not hold
    lock_folder
    say "${option[local_dir]}: ${#targets[@]} files, $(human "$bytes_in_all"); $files_there are complete," \
        "$(human $((bytes_in_all - bytes_there))) to fetch"
    run_queue
    measure
    if [ -s "$work/failed" ] || ((files_there < ${#targets[@]})); then
        fail "$((${#targets[@]} - files_there)) of ${#targets[@]} files are missing," \
            "$(wc -l <"$work/failed") had errors (above); start again to go on"
    fi
    say "complete: ${#targets[@]} files, $(human "$bytes_in_all")"
}

# --- several files at a time ------------------------------------------------------------------------------

run_queue() {
    local next=0 running failures
    : >"$work/failed"
    while :; do
        running=$(jobs -rp | wc -l)
        failures=$(wc -l <"$work/failed")
        while ((running < option[jobs] && next < ${#targets[@]} && failures < most_failures)); do
            if [ -n "${flag[verify]}" ] || [ -z "${have[${targets[next]}]-}" ]; then
                work_on "$next" &
                running=$((running + 1))
            fi
            next=$((next + 1))
        done
        ((running > 0)) || break
        show_progress
        sleep 0.1
    done
}

work_on() {
    trap '[ -z "$child" ] || kill "$child" 2>/dev/null; exit 143' TERM
    trap '' INT  # the script itself ends its workers
    : >"$work/worker.$BASHPID"
    if [ -e "${targets[$1]}" ]; then
        verify_file "${sums[$1]}" "${targets[$1]}" || echo "$1" >>"$work/failed"
    else
        fetch_file "${sizes[$1]}" "${sums[$1]}" "${urls[$1]}" "${targets[$1]}" || echo "$1" >>"$work/failed"
    fi
    rm -f "$work/worker.$BASHPID"
}

verify_file() { # SUM FILE
    if ! has_sum "$1" "$2"; then
        say "$2: its checksum is not ${1#*:} as listed: move it away and start again"
        return 1
    fi
}

fetch_file() { # SIZE SUM URL TARGET
    local part=$4.part tries
    if ! mkdir -p "$(dirname "$4")"; then
        say "$(dirname "$4"): cannot be made"
        return 1
    fi
    for tries in 1 2; do
        fetch_part "$1" "$3" "$part" || return 1
        if has_sum "$2" "$part"; then
            sync "$part" && mv "$part" "$4"
            return
        fi
        rm -f "$part"
        [ "$tries" = 2 ] || say "$4: its checksum is wrong; it is fetched anew"
    done
    say "$3: its checksum is not ${2#*:} as listed, twice"
    return 1
}

# Brings PART to SIZE bytes, going on where a connection broke. Only attempts without a single new byte count
# against --retries.
fetch_part() { # SIZE URL PART
    local tries=0 reached size ended
    size=$(size_of "$3")
    [ "$size" -le "$1" ] || rm -f "$3"
    : >>"$3" || return 1
    reached=$(size_of "$3")
    while [ "$(size_of "$3")" != "$1" ]; do
        ended=0
        transfer "$2" --fail --continue-at - --output "$3" || ended=$?
        if is_final "$http_status" "$2" "$answered"; then return 1; fi
        size=$(size_of "$3")
        if [ "$ended" = 23 ]; then
            say "$3: cannot be written: $transfer_error"
            return 1
        elif [ "$ended" = 33 ] || [ "$size" -gt "$1" ]; then  # 33: this server only sends whole files
            : >"$3"
            [ "$size" -le "$1" ] || transfer_error="sends more than the $1 bytes listed"
        elif [ "$size" -gt "$reached" ]; then
            reached=$size tries=0
            continue
        fi
        if ((++tries > option[retries])); then
            say "$2: ${transfer_error:-sends fewer than the $1 bytes listed}"
            return 1
        fi
        pause "$tries"
    done
}

has_sum() { # SUM FILE
    local result=$work/sum.$BASHPID
    if [[ $1 == git:* ]]; then
        { printf 'blob %s\0' "$(size_of "$2")" && cat "$2"; } | sha1sum >"$result" &
    else
        "${1%%:*}sum" <"$2" >"$result" &
    fi
    child=$!
    wait "$child" || true
    child=
    [ "$(cut -d ' ' -f 1 "$result")" = "${1#*:}" ]
}

# --- progress ---------------------------------------------------------------------------------------------

last_shown=0
declare -a mark_times=() mark_bytes=()  # of the last half minute: the rate is that of now

# A bar every second on a terminal, else a line a minute.
show_progress() {
    local interval=1 rate=0 text columns
    [ -t 2 ] || interval=${PROGRESS_INTERVAL_S:-60}
    if [ "${#mark_times[@]}" = 0 ]; then
        last_shown=$SECONDS mark_times=("$SECONDS") mark_bytes=("$bytes_there")
    fi
    ((SECONDS - last_shown >= interval)) || return 0
    last_shown=$SECONDS
    measure
    mark_times+=("$SECONDS") mark_bytes+=("$bytes_there")
    if ((${#mark_times[@]} > 2 && SECONDS - mark_times[0] > 30)); then
        mark_times=("${mark_times[@]:1}") mark_bytes=("${mark_bytes[@]:1}")
    fi
    ((SECONDS == mark_times[0])) || rate=$(((bytes_there - mark_bytes[0]) / (SECONDS - mark_times[0])))
    text="$(human "$bytes_there") of $(human "$bytes_in_all")  $files_there of ${#targets[@]} files"
    if ((rate > 0)); then
        text+="  $(human "$rate")/s  $(clock $(((bytes_in_all - bytes_there) / rate))) left"
    fi
    if [ -t 2 ]; then
        columns=$(stty size <&2 2>/dev/null | cut -d ' ' -f 2) || columns=
        text="$(share_text) $text"
        printf '\r\e[K%s' "${text:0:$((${columns:-80} - 1))}" >&2
    else
        say "$(share) $text"
    fi
}

share() { printf '%3d%%' $((bytes_in_all > 0 ? bytes_there * 100 / bytes_in_all : 100)); }

share_text() {
    local width=20 filled bar
    filled=$((bytes_in_all > 0 ? bytes_there * width / bytes_in_all : width))
    printf -v bar '%*s' "$filled" ''
    bar=${bar// /=}'>'
    printf '%s [%-*s]' "$(share)" "$width" "${bar:0:width}"
}
