#!/usr/bin/env bash
# Installs, builds and runs all tests. Arguments go to ctest: ./scripts/run_tests.sh -L unit
# FLUX_REFERENCE_DIR (absolute path) names a folder of further fixtures; tests that need it skip without.
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/setup.sh
./scripts/build.sh
exec ctest --test-dir "${BUILD_DIR:-build}" --output-on-failure -j "$(nproc)" "$@"
