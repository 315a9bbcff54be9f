#!/usr/bin/env bash
# Downloads the benchmark's stored encodings: of the training set (2.4 TB) into DIR/cc12m_preprocessed, of the
# validation set (65 GB) into DIR/coco_preprocessed. With download_empty_encodings.sh they are all that
# configs/flux_schnell_mlperf_preprocessed.toml needs.
#
#   scripts/download_preprocessed.sh [--set all|cc12m|coco] [--local_dir DIR]
#
#   --set NAME           all (default), cc12m or coco
#   --local_dir DIR      default dataset
#   --uri ADDRESS        another list of the one set: a .uri address or file with its .md5 beside it
set -euo pipefail
# shellcheck source=scripts/download_common.sh
. "$(dirname "$0")/download_common.sh"

option=([local_dir]=dataset [set]=all [uri]="")
parse_options "$@"
check_choice set all cc12m coco
folder=${option[local_dir]}
[ "${option[set]}${option[uri]:+/}" != all/ ] || fail_usage "--uri goes with --set cc12m or --set coco"

for name in cc12m coco; do
    if [ "${option[set]}" = all ] || [ "${option[set]}" = "$name" ]; then
        plan_list "${option[uri]:-$mlcommons_lists/flux-1-$name-preprocessed.uri}" "$folder/${name}_preprocessed"
    fi
done
fetch_plan
[ "${option[set]}" = coco ] || echo "--training.dataset=cc12m_preprocessed --training.dataset_path=$folder/cc12m_preprocessed"
[ "${option[set]}" = cc12m ] || echo "--eval.dataset=coco_preprocessed --eval.dataset_path=$folder/coco_preprocessed"
