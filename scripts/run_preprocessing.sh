#!/usr/bin/env bash
# Installs, builds and encodes a data set once, for training without encoders. From the environment:
#   CONFIG_FILE or CONFIG   the TOML file (default configs/flux_schnell_cc12m.toml)
#   NGPU                    processes on this machine, one for each GPU (default 1); any other number may go on
# Arguments are options: ./scripts/run_preprocessing.sh --training.dataset_path=/data/cc12m
#   --preprocessing.output_dataset_path=/data/cc12m_preprocessed
# Run again after a kill, it goes on with the file it was at.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
config=${CONFIG_FILE:-${CONFIG:-$top/configs/flux_schnell_cc12m.toml}}
ngpu=${NGPU:-1}

if ! [[ $ngpu =~ ^[1-9][0-9]*$ ]]; then
    echo "run_preprocessing: NGPU=$ngpu: must be a number of processes, from 1 on" >&2
    exit 2
fi
"$top/scripts/setup.sh"
"$top/scripts/build.sh" >&2
build=${BUILD_DIR:-build}  # below the top folder unless absolute, as in build.sh
[[ $build = /* ]] || build=$top/$build
command=("$build/flux_train" preprocess --job.config_file "$config" "$@")
if [ "$ngpu" = 1 ]; then
    exec "${command[@]}"
fi

# The processes share the output files among them; when one is lost, the others do its part.
cores=$(nproc)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > ngpu ? cores / ngpu : 1))}
processes=()
for ((rank = 0; rank < ngpu; rank++)); do
    RANK=$rank LOCAL_RANK=$rank WORLD_SIZE=$ngpu "${command[@]}" &
    processes+=($!)
done
trap 'kill "${processes[@]}" 2>/dev/null || true' TERM INT HUP
status=0
for rank in "${!processes[@]}"; do
    ended=0
    while :; do  # a signal to this script ends a wait early
        wait "${processes[$rank]}" && ended=0 || ended=$?
        kill -0 "${processes[$rank]}" 2>/dev/null || break
    done
    if [ "$ended" != 0 ]; then
        echo "run_preprocessing: process $((rank + 1)) of $ngpu ended with $ended" >&2
        status=$ended
    fi
done
exit "$status"
