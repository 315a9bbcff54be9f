#!/usr/bin/env bash
# Downloads the validation pictures: the set of the benchmark (29,696 pictures with their timesteps as tar shards,
# 3.6 GB) into DIR/coco, or COCO's val2014 pictures and captions (7 GB, and as much again while they are unpacked) into
# DIR/coco2014_raw, from which `flux_train data coco` makes that set.
#
#   scripts/download_coco.sh [--set cleaned|raw] [--local_dir DIR]
#
#   --set NAME           cleaned (default) or raw
#   --local_dir DIR      default dataset
#   --uri ADDRESS        another list of that set: a .uri address or file with its .md5 beside it
set -euo pipefail
# shellcheck source=scripts/download_common.sh
. "$(dirname "$0")/download_common.sh"

option=([local_dir]=dataset [set]=cleaned [uri]="")
parse_options "$@"
check_choice set cleaned raw
folder=${option[local_dir]}

# Takes a file or folder out of an archive, which is then not needed any more.
unpack() { # ARCHIVE PATH
    local part=$raw/${2%%/*}.part
    say "$1: is unpacked"
    rm -rf "$part"
    python3 - "$1" "$part" "$2" <<'PY' &
import sys
import zipfile

archive, folder, path = sys.argv[1:]
with zipfile.ZipFile(archive) as file:
    names = [name for name in file.namelist() if name == path or name.startswith(path + "/")]
    if not names:
        sys.exit(f"{archive}: holds no {path}")
    file.extractall(folder, names)
PY
    child=$!
    wait "$child" || fail "$1: cannot be unpacked"
    child=
    mkdir -p "$(dirname "$raw/$2")"
    mv "$part/$2" "$raw/$2"
    rm -rf "$part" "$1"
    rmdir --ignore-fail-on-non-empty "$(dirname "$1")"
}

if [ "${option[set]}" = cleaned ]; then
    plan_list "${option[uri]:-$mlcommons_lists/flux-1-coco.uri}" "$folder/coco"
    [ -n "${option[uri]}" ] || plan_list "$mlcommons_lists/flux-1-coco-2014-val-30k.uri" "$folder"
    fetch_plan
    echo "--eval.dataset=coco --eval.dataset_path=$folder/coco"
    exit
fi

raw=$folder/coco2014_raw
archives='
val2014                          zips/val2014.zip
annotations/captions_val2014.json annotations/annotations_trainval2014.zip
'
while read -r path archive; do
    [[ -z $path || -e $raw/$path ]] || plan_list "${option[uri]:-$coco_list}" "$raw" "$archive"
done <<<"$archives"
extra_bytes=$(($(cut -f 1 "$plan" | tr '\n' '+')0))  # pictures do not shrink in an archive
fetch_plan
while read -r path archive; do
    [[ -z $path || -e $raw/$path ]] || unpack "$raw/$archive" "$path"
done <<<"$archives"
cat <<COMMAND
build/flux_train data coco --input-images-dir $raw/val2014 \\
    --input-captions-file $raw/annotations/captions_val2014.json --output-dir $folder/coco \\
    --output-tsv-file $folder/val2014_30k.tsv
COMMAND
