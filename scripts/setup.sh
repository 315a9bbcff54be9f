#!/usr/bin/env bash
# Installs what the build needs: Debian packages (through apt when allowed, else prints the list), and LibTorch, Arrow
# and, on hosts without a CUDA 13 compiler, nvcc from pinned Python wheels into .deps/. Running it again costs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(git g++ cmake ninja-build ccache python3-venv pkg-config curl clang-format clang libclang-rt-14-dev
    libspdlog-dev libfmt-dev libtomlplusplus-dev nlohmann-json3-dev
    libjpeg62-turbo-dev libpng-dev libwebp-dev libgif-dev libexif-dev libzstd-dev zlib1g-dev
    libicu-dev libsentencepiece-dev libcurl4-openssl-dev libgloo-dev openmpi-bin libgtest-dev libgmock-dev
    procps patchelf xz-utils slurm-wlm munge)
wheels=(torch==2.11.0 pyarrow==26.0.1)
# What tests hold the program's files against. The checker of MLPerf logs needs less than it declares.
wheels+=(tensorboard==2.20.0 PyYAML==6.0.3)
bare_wheels=(mlperf_logging==4.1.68)
nvcc_wheels=('cuda-toolkit[nvcc,crt,nvvm,cccl,cudart]==13.0.2')

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

install_packages() {
    local missing as_root=()
    mapfile -t missing < <(missing_packages)
    [ "${#missing[@]}" -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            as_root=(sudo -n)
        else
            echo "setup: these packages are missing and need root: run" >&2
            echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
            exit 1
        fi
    fi
    echo "setup: installing ${missing[*]}" >&2
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The places that cmake/dependencies.cmake looks at before the wheels.
host_has_nvcc13() {
    local nvcc
    for nvcc in "$(command -v nvcc)" /usr/local/cuda/bin/nvcc; do
        if [ -x "$nvcc" ] && "$nvcc" --version | grep -q 'release 13\.'; then
            return 0
        fi
    done
    return 1
}

install_wheels() {
    local wanted=("${wheels[@]}") stamp=.deps/installed
    host_has_nvcc13 || wanted+=("${nvcc_wheels[@]}")
    [ "$(cat "$stamp" 2>/dev/null)" = "${wanted[*]} ${bare_wheels[*]}" ] && return 0
    echo "setup: installing ${wanted[*]} ${bare_wheels[*]} into .deps/ (a few minutes, 5 GB)" >&2
    [ -x .deps/venv/bin/pip ] || python3 -m venv .deps/venv
    .deps/venv/bin/pip install --quiet --disable-pip-version-check "${wanted[@]}"
    .deps/venv/bin/pip install --quiet --disable-pip-version-check --no-deps "${bare_wheels[@]}"
    prepare_cuda_wheels
    echo "${wanted[*]} ${bare_wheels[*]}" >"$stamp.tmp"
    mv "$stamp.tmp" "$stamp"
}

# nvcc links against lib64/ and unversioned library names, which the wheels leave out.
prepare_cuda_wheels() {
    local root library
    for root in .deps/venv/lib/python3*/site-packages/nvidia/cu13; do
        [ -d "$root/lib" ] || continue
        [ -e "$root/lib64" ] || ln -s lib "$root/lib64"
        for library in "$root"/lib/lib*.so.*; do
            [ -e "${library%%.so.*}.so" ] || ln -s "$(basename "$library")" "${library%%.so.*}.so"
        done
    done
}

mkdir -p .deps
exec 9>.deps/.lock
flock -n 9 || { echo "setup: waiting for another set-up in $PWD" >&2; flock 9; }
install_packages
install_wheels
