#!/usr/bin/env bash
# Installs, builds and trains. From the environment:
#   CONFIG_FILE or CONFIG   the TOML file (default configs/debug.toml)
#   NGPU                    processes on this machine (default 1)
#   LOG_RANK                ranks whose lines are shown (default 0)
# Arguments are options: ./scripts/run_train.sh --training.steps=100
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
config=${CONFIG_FILE:-${CONFIG:-$top/configs/debug.toml}}
ngpu=${NGPU:-1}
log_rank=${LOG_RANK:-0}

if ! [[ $ngpu =~ ^[1-9][0-9]*$ ]]; then
    echo "run_train: NGPU=$ngpu: must be a number of processes, from 1 on" >&2
    exit 2
fi
if [ "$ngpu" != 1 ]; then
    echo "run_train: NGPU=$ngpu: training on several processes is not built yet; use NGPU=1" >&2
    exit 2
fi
if [ "$log_rank" != 0 ]; then
    echo "run_train: LOG_RANK=$log_rank: a run of one process has rank 0 alone" >&2
    exit 2
fi
"$top/scripts/setup.sh"
TARGETS=flux_train "$top/scripts/build.sh" >&2
build=${BUILD_DIR:-build}  # below the top folder unless absolute, as in build.sh
[[ $build = /* ]] || build=$top/$build
exec "$build/flux_train" --job.config_file "$config" "$@"
