# shellcheck shell=bash
# The lists of files that servers publish -> the plan of a download (included by download_common.sh). The plan has
# a line a file: size, checksum ("md5:..", "sha256:..", "git:.."), address, target; tabs between.

plan=$work/plan
: >"$plan"
declare -A planned=()

# A server's list decides where we write: names that lead out of the folder are refused.
check_name() { # NAME ORIGIN
    if [[ -z $1 || $1 == /* || /$1/ == */../* || /$1/ == */./* || $1 == *[[:cntrl:]\\]* ]]; then
        fail "$2: lists a file named '${1//[[:cntrl:]]/?}', which cannot be one in the folder"
    fi
}

add_to_plan() { # SIZE SUM URL TARGET
    [[ $1 =~ ^(0|[1-9][0-9]{0,17})$ && $2 =~ ^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}|git:[0-9a-f]{40})$ ]] ||
        fail "$3: is listed with size '$1' and checksum '$2', which are none"
    [ -z "${planned[$4]-}" ] || fail "$3: $4 is listed twice"
    planned[$4]=1
    printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >>"$plan"
}

# A name as part of an address -> encoded.
encode() {
    local i sign
    encoded=$1
    [[ $1 == *[!A-Za-z0-9._~/-]* ]] || return 0
    encoded=
    for ((i = 0; i < ${#1}; i++)); do
        sign=${1:i:1}
        if [[ $sign == [!A-Za-z0-9._~/-] ]]; then
            printf -v sign '%%%02X' "$((($(printf %d "'$sign") + 256) % 256))"
        fi
        encoded+=$sign
    done
}

# --- the hub ----------------------------------------------------------------------------------------------

# The hub's answer about the files of a repository -> lines of size, checksum, name. Large files have a sha256, the
# others are known by the hash that git has for them.
read_tree() {
    { grep -oE '"([^"\\]|\\.)*"|[][{}:,]|[^][{}:," ]+' "$1" || true; } | awk '
        function plain(word) { gsub(/^"|"$/, "", word); gsub(/\\\//, "/", word); gsub(/\\"/, "\"", word); return word }
        /^[[{]$/ { parent[++depth] = key; if (depth == 2) type = path = size = oid = lfs = ""; is_value = 0; next }
        /^[]}]$/ {
            if (depth-- == 2 && type == "file")
                printf "%s\t%s\t%s\n", size, lfs != "" ? "sha256:" lfs : "git:" oid, path
            next
        }
        $0 == ":" { is_value = 1; next }
        $0 == "," { is_value = 0; next }
        !is_value { key = plain($0); next }
        depth == 2 && key == "type" { type = plain($0) }
        depth == 2 && key == "path" { path = plain($0) }
        depth == 2 && key == "size" { size = $0 }
        depth == 2 && key == "oid" { oid = plain($0) }
        depth == 3 && parent[3] == "lfs" && key == "oid" { lfs = plain($0) }'
}

# All files of a repository, page by page, into $work/tree.
list_hub() { # models|datasets REPOSITORY
    local page="$hub/api/$1/$2/tree/main?recursive=true"
    declare -A pages=()
    [[ $2 =~ ^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$ ]] || fail_usage "$2: must be a repository of the hub, as OWNER/NAME"
    : >"$work/tree"
    while [ -n "$page" ]; do
        [ -z "${pages[$page]-}" ] || fail "$page: is named as the next page a second time"
        pages[$page]=1
        get_text "$page" "$work/page"
        read_tree "$work/page" >>"$work/tree"
        page=$(tr -d '\r' <"$work/page.headers" | sed -n 's/^[Ll][Ii][Nn][Kk]: *<\([^>]*\)>; *rel="next".*/\1/p')
    done
    [ -s "$work/tree" ] || fail "$hub/api/$1/$2: lists no files"
    listed=$1/$2
}
listed=

# Plans the files of a repository that fit a pattern: one as TARGET, or all into the folder TARGET/. The first is
# asked for, so that a login that is missing shows before hours of work.
plan_hub() { # models|datasets REPOSITORY PATTERN TARGET
    local place=$hub/$2 size sum name found=
    [ "$1" = models ] || place=$hub/$1/$2
    [ "$listed" = "$1/$2" ] || list_hub "$1" "$2"
    while IFS=$'\t' read -r size sum name; do
        # shellcheck disable=SC2053  # a pattern
        [[ $name == $3 ]] || continue
        check_name "$name" "$place"
        encode "$name"
        [ -n "$found" ] || check_access "$place/resolve/main/$encoded"
        found=1
        if [[ $4 == */ ]]; then target=$4$name; else target=$4; fi
        add_to_plan "$size" "$sum" "$place/resolve/main/$encoded" "$target"
    done <"$work/tree"
    [ -n "$found" ] || fail "$place: has no file $3"
}

check_access() {
    transfer "$1" --head --max-redirs 0 --max-time 60 --output /dev/null || true
    if is_final "$http_status" "$1" "$answered"; then exit 1; fi
}

# --- lists of checksums -----------------------------------------------------------------------------------

# A list as MLCommons publishes them: NAME.uri holds the address of a folder, NAME.md5 beside it the files. Plans those
# that fit a pattern.
plan_list() { # ADDRESS-OR-FILE.uri FOLDER [PATTERN]
    local sums_at=${1%.uri}.md5 base sum name
    declare -a list_sums=() list_urls=() list_targets=()
    [[ $1 == *.uri ]] || fail_usage "$1: must be the address of a .uri file, or such a file"
    if [[ $1 == http://* || $1 == https://* ]]; then
        get_text "$1" "$work/uri"
        get_text "$sums_at" "$work/md5"
    else
        [[ -r $1 && -r $sums_at ]] || fail_usage "$1, $sums_at: both must be files that can be read"
        cp "$1" "$work/uri"
        cp "$sums_at" "$work/md5"
    fi
    base=$(tr -d '\r' <"$work/uri" | sed '/^[[:space:]]*$/d')
    [[ $base =~ ^https?://[^[:space:]\"\\]+$ ]] || fail "$1: must hold one address and nothing else"
    while read -r sum name; do
        name=${name#\*} name=${name#./}
        # shellcheck disable=SC2053  # a pattern
        [[ $name == ${3:-*} ]] || continue
        check_name "$name" "$sums_at"
        encode "$name"
        list_sums+=("md5:$sum") list_urls+=("${base%/}/$encoded") list_targets+=("$2/$name")
    done < <(tr -d '\r' <"$work/md5" | sed '/^[[:space:]]*$/d')
    [ "${#list_urls[@]}" != 0 ] || fail "$sums_at: lists no files${3:+ $3}"
    plan_sizes
}

# Such lists have no sizes: the servers are asked for those of all files.
plan_sizes() {
    local i tries=0 missing
    declare -a list_sizes=()
    while ask_heads; [ -n "$missing" ]; do
        ((++tries <= option[retries])) || fail "${list_urls[missing]}: the server gives no size"
        pause "$tries"
    done
    for i in "${!list_sums[@]}"; do
        add_to_plan "${list_sizes[i]}" "${list_sums[i]}" "${list_urls[i]}" "${list_targets[i]}"
    done
}

# The sizes that are not known yet, many at a time -> list_sizes; missing: the first that gave none.
ask_heads() {
    local i status size
    rm -rf "$work/heads"
    mkdir "$work/heads"
    for i in "${!list_urls[@]}"; do
        [ -v "list_sizes[i]" ] || printf 'url = "%s"\noutput = "%s/heads/%d"\n' "${list_urls[i]}" "$work" "$i"
    done >"$work/head_requests"
    curl --silent --head --location --proto '=http,https' --connect-timeout 30 --max-time 120 --parallel \
        --parallel-max $((4 * option[jobs])) --config "$work/head_requests" 2>/dev/null &  # curl draws a meter here
    child=$!
    wait "$child" || true
    child=
    # Redirections come first, the file's own headers last.
    while read -r i status size; do
        if is_final "$status" "${list_urls[i]}"; then exit 1; fi
        if [ "$status" = 200 ] && [ -n "$size" ]; then list_sizes[i]=$size; fi
    done < <(find "$work/heads" -type f -printf '%p\0' | xargs -0 -r awk '
        { sub(/\r$/, "") }
        function give() { if (number != "") print number, status, size; number = "" }
        FNR == 1 { give(); number = FILENAME; sub(/.*\//, "", number); status = "-" }
        /^HTTP\// { status = $2; size = "" }
        tolower($1) == "content-length:" { size = $2 }
        END { give() }')
    missing=
    for i in "${!list_urls[@]}"; do
        if [ ! -v "list_sizes[i]" ]; then missing=$i && break; fi
    done
}
