#!/usr/bin/env bash
# Downloads the three pretrained encoders and their tokenizers (about 10.4 GB) and prints the options that name them.
#
#   scripts/download_encoders.sh [--local_dir DIR]
#
#   --local_dir DIR      default models
#   --hf_token TOKEN     access token for the autoencoder's repository; HF_TOKEN keeps it off the command line
set -euo pipefail
# shellcheck source=scripts/download_common.sh
. "$(dirname "$0")/download_common.sh"

option=([local_dir]=models [hf_token]="")
parse_options "$@"
folder=${option[local_dir]}

# repository, file there, file here; first the one that may be refused
files='
black-forest-labs/FLUX.1-schnell   ae.safetensors          autoencoder/ae.safetensors
comfyanonymous/flux_text_encoders  clip_l.safetensors      clip/clip_l.safetensors
comfyanonymous/flux_text_encoders  t5xxl_fp16.safetensors  t5/t5xxl_fp16.safetensors
openai/clip-vit-large-patch14      vocab.json              clip/vocab.json
openai/clip-vit-large-patch14      merges.txt              clip/merges.txt
google/t5-v1_1-xxl                 spiece.model            t5/spiece.model
'
while read -r repository name target; do
    [ -z "$repository" ] || plan_hub models "$repository" "$name" "$folder/$target"
done <<<"$files"
fetch_plan

cat <<TOML

[encoder]
t5_encoder = "$folder/t5"
clip_encoder = "$folder/clip"
autoencoder_path = "$folder/autoencoder/ae.safetensors"
TOML
