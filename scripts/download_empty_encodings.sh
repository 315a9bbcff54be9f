#!/usr/bin/env bash
# Downloads the benchmark's encodings of the empty caption (2.1 MB) into DIR/empty_encodings: caption drop-out needs them
# when training reads stored encodings.
#
#   scripts/download_empty_encodings.sh [--local_dir DIR]
#
#   --local_dir DIR      default dataset
#   --uri ADDRESS        another list: a .uri address or file with its .md5 beside it
set -euo pipefail
# shellcheck source=scripts/download_common.sh
. "$(dirname "$0")/download_common.sh"

option=([local_dir]=dataset [uri]="")
parse_options "$@"
folder=${option[local_dir]}

plan_list "${option[uri]:-$mlcommons_lists/flux-1-empty-encodings.uri}" "$folder/empty_encodings"
fetch_plan
echo "--encoder.empty_encodings_path=$folder/empty_encodings"
