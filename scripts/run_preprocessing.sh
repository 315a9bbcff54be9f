#!/usr/bin/env bash
# Installs, builds and encodes a data set once, for training without encoders. From the environment:
#   CONFIG_FILE or CONFIG   the TOML file (default configs/flux_schnell_cc12m.toml)
#   NGPU                    processes on this machine (default 1)
# Arguments are options: ./scripts/run_preprocessing.sh --training.dataset_path=/data/cc12m
#   --preprocessing.output_dataset_path=/data/cc12m_preprocessed
# Run again after a kill, it goes on with the file it was at.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
config=${CONFIG_FILE:-${CONFIG:-$top/configs/flux_schnell_cc12m.toml}}
ngpu=${NGPU:-1}

if [ "$ngpu" != 1 ]; then
    echo "run_preprocessing: NGPU=$ngpu: encoding on several processes is not built yet; use NGPU=1" >&2
    exit 2
fi
"$top/scripts/setup.sh"
"$top/scripts/build.sh" >&2
build=${BUILD_DIR:-build}  # below the top folder unless absolute, as in build.sh
[[ $build = /* ]] || build=$top/$build
exec "$build/flux_train" preprocess --job.config_file "$config" "$@"
