#!/usr/bin/env bash
# Builds build/flux_train and the tests with CMake and Ninja. BUILD_DIR (below the top folder, or absolute) chooses another folder; arguments go to CMake's
# configuration. TARGETS (default: all) chooses what is built. A build that is up to date costs a second.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD_DIR:-build}
mkdir -p "$build"
# Two builds in one folder would write the same files.
exec 9>"$build/.lock"
flock -n 9 || { echo "build: waiting for another build in $build" >&2; flock 9; }

configure() {
    local launcher=()
    if command -v ccache >/dev/null; then
        launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache)
    fi
    cmake -S . -B "$build" -G Ninja "${launcher[@]}" "$@"
}

if [ "$#" -gt 0 ] || [ ! -f "$build/build.ninja" ]; then
    configure "$@"
fi
# shellcheck disable=SC2086  # several targets
ninja -C "$build" ${TARGETS:-all}
