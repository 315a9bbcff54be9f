#!/usr/bin/env bash
# Builds build/flux_train and the tests with CMake and Ninja. BUILD_DIR (below the top folder, or absolute) chooses another folder; arguments go to CMake's
# configuration. A build that is up to date costs a second.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD_DIR:-build}

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
ninja -C "$build"
