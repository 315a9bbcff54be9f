#!/usr/bin/env bash
# Downloads the training pictures: the cleaned set of the benchmark (1,099,776 pictures at 256 px, 163 GB) into
# DIR/cc12m_disk, or the tar shards it was made from (some 1 TB) into DIR/cc12m-wds.
#
#   scripts/download_cc12m.sh [--set cleaned|raw] [--local_dir DIR]
#
#   --set NAME           cleaned (default) or raw
#   --local_dir DIR      default dataset
#   --uri ADDRESS        another list of the cleaned set: a .uri address or file with its .md5 beside it
#   --hf_token TOKEN     access token, for a mirror of the raw set that asks for one
set -euo pipefail
# shellcheck source=scripts/download_common.sh
. "$(dirname "$0")/download_common.sh"

option=([local_dir]=dataset [set]=cleaned [uri]="" [hf_token]="")
parse_options "$@"
check_choice set cleaned raw
folder=${option[local_dir]}

if [ "${option[set]}" = cleaned ]; then
    plan_list "${option[uri]:-$mlcommons_lists/flux-1-cc12m-disk.uri}" "$folder/cc12m_disk"
    fetch_plan
    echo "--training.dataset=cc12m_disk --training.dataset_path=$folder/cc12m_disk"
else
    [ -z "${option[uri]}" ] || fail_usage "--uri goes with --set cleaned"
    plan_hub datasets pixparse/cc12m-wds '*.tar' "$folder/cc12m-wds/"
    fetch_plan
    echo "build/flux_train data clean-cc12m --input_dir $folder/cc12m-wds --output_dir $folder/cc12m_disk"
fi
