#!/usr/bin/env bash
# Installs, builds and trains. From the environment:
#   CONFIG_FILE or CONFIG   the TOML file (default configs/debug.toml)
#   NGPU                    processes on this machine, one for each GPU (default 1)
#   HOSTFILE                machines, with NGPU processes each; scripts/mpirun.sh has more
#   LOG_RANK                ranks whose information shows: 0,3 or all (default 0); errors of any rank show
#   FLUX_TRAIN              a program that is built already, to run as it is
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
alone=
if [ "$ngpu" = 1 ] && [ -z "${HOSTFILE:-}" ]; then
    alone=1
fi
if [ -n "$alone" ] && [[ ! $log_rank =~ ^(0|all)$ ]]; then
    echo "run_train: LOG_RANK=$log_rank: a run of one process has rank 0 alone" >&2
    exit 2
fi
program=${FLUX_TRAIN:-}
if [ -z "$program" ] && [ -x "$top/flux_train" ]; then  # of scripts/bundle.sh
    program=$top/flux_train
fi
if [ -z "$program" ]; then
    "$top/scripts/setup.sh"
    TARGETS=flux_train "$top/scripts/build.sh" >&2
    build=${BUILD_DIR:-build}  # below the top folder unless absolute, as in build.sh
    [[ $build = /* ]] || build=$top/$build
    program=$build/flux_train
fi
command=("$program" --job.config_file "$config" "$@")
if [ -n "$alone" ]; then
    exec "${command[@]}"
fi
NGPU=$ngpu LOG_RANK=$log_rank exec "$top/scripts/mpirun.sh" "${command[@]}"
