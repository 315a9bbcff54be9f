#!/usr/bin/env bash
# Downloads the three pretrained encoders and their tokenizers (about 10.4 GB), goes on where it was
# broken off, and checks every file's size against the server's.
#
#   scripts/download_encoders.sh [FOLDER]        FOLDER: models
#
#   HF_ENDPOINT   server or mirror
#   HF_TOKEN      access token; the autoencoder's repository asks for one
set -euo pipefail

endpoint=${HF_ENDPOINT:-https://huggingface.co}
folder=${1:-models}

# repository, file there, file here; first the one that may be refused
files='
black-forest-labs/FLUX.1-schnell   ae.safetensors          autoencoder/ae.safetensors
comfyanonymous/flux_text_encoders  clip_l.safetensors      clip/clip_l.safetensors
openai/clip-vit-large-patch14      vocab.json              clip/vocab.json
openai/clip-vit-large-patch14      merges.txt              clip/merges.txt
comfyanonymous/flux_text_encoders  t5xxl_fp16.safetensors  t5/t5xxl_fp16.safetensors
google/t5-v1_1-xxl                 spiece.model            t5/spiece.model
'

fail() {
    echo "download_encoders.sh: $*" >&2
    exit 1
}

# The token goes through a file descriptor, so that it does not show in the list of processes.
ask() {
    curl --fail --location --silent --show-error --retry 5 --retry-delay 2 \
        --config <(if [ -n "${HF_TOKEN:-}" ]; then echo "header = \"Authorization: Bearer $HF_TOKEN\""; fi) "$@"
}

size_of() { if [ -e "$1" ]; then stat --format=%s "$1"; else echo 0; fi; }

# Size of what a URL gives, in bytes: redirections come first, the file's own headers last.
remote_size() {
    ask --head "$1" | tr -d '\r' | awk 'tolower($1) == "content-length:" { size = $2 } END { print size }'
}

fetch() {
    local url=$1 target=$2 expected
    expected=$(remote_size "$url") || fail "$url: cannot be read; set HF_TOKEN if it asks for a login"
    [ -n "$expected" ] || fail "$url: the server gives no size"
    if [ -e "$target" ]; then
        [ "$(size_of "$target")" = "$expected" ] ||
            fail "$target: has $(size_of "$target") bytes, not the server's $expected: move it away"
        echo "$target: complete ($expected bytes)"
        return
    fi
    mkdir -p "$(dirname "$target")"
    [ "$(size_of "$target.part")" -le "$expected" ] || rm "$target.part"
    local before
    while before=$(size_of "$target.part") && [ "$before" -lt "$expected" ]; do
        echo "$target: $before of $expected bytes, the rest from $url"
        # A broken connection goes on in the next round, as long as each one brings something.
        ask --continue-at - --output "$target.part" "$url" || [ "$(size_of "$target.part")" -gt "$before" ] ||
            fail "$url: broken off; start again to go on"
    done
    [ "$(size_of "$target.part")" = "$expected" ] ||
        fail "$target.part: has $(size_of "$target.part") bytes, not the server's $expected: start again"
    mv "$target.part" "$target"
}

while read -r repository name target; do
    [ -z "$repository" ] || fetch "$endpoint/$repository/resolve/main/$name" "$folder/$target"
done <<<"$files"

cat <<TOML

[encoder]
t5_encoder = "$folder/t5"
clip_encoder = "$folder/clip"
autoencoder_path = "$folder/autoencoder/ae.safetensors"
TOML
