#!/usr/bin/env bash
# Downloads the autoencoder alone (335 MB) and prints the option that names it. Its repository asks for a login.
#
#   HF_TOKEN=... scripts/download_autoencoder.sh [--repo_id OWNER/NAME] [--local_dir DIR]
#
#   --local_dir DIR      default models/autoencoder
#   --repo_id OWNER/NAME default black-forest-labs/FLUX.1-schnell
#   --ae_path FILE       the file in that repository (ae.safetensors)
#   --hf_token TOKEN     access token; HF_TOKEN keeps it off the command line
set -euo pipefail
# shellcheck source=scripts/download_common.sh
. "$(dirname "$0")/download_common.sh"

option=([local_dir]=models/autoencoder [hf_token]="" [repo_id]=black-forest-labs/FLUX.1-schnell
    [ae_path]=ae.safetensors)
parse_options "$@"
target=${option[local_dir]}/$(basename "${option[ae_path]}")

plan_hub models "${option[repo_id]}" "${option[ae_path]}" "$target"
fetch_plan

cat <<TOML

[encoder]
autoencoder_path = "$target"
TOML
