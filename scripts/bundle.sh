#!/usr/bin/env bash
# Makes a folder that runs on hosts which have LibTorch 2.11 but not the Debian packages: the program, the small
# libraries it needs, configurations, launchers. It may be moved anywhere.
#   scripts/bundle.sh OUT [TORCH_LIB]
#   OUT         a new folder, or NAME.tar.xz
#   TORCH_LIB   LibTorch's lib folder on the host where it will run; default: found there, from FLUX_TORCH_LIB, else
#               python3's torch
# BUILD_DIR (default build) has the program. The host needs glibc from the build's version on.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)

fail() {
    echo "bundle.sh: $*" >&2
    exit 1
}

(($# == 1 || $# == 2)) || fail "usage: scripts/bundle.sh OUT [TORCH_LIB]"
out=$(realpath -m "$1")
torch_lib=${2:-}
build=${BUILD_DIR:-build}  # below the top folder unless absolute, as in build.sh
[[ $build = /* ]] || build=$top/$build
program=$build/flux_train
[ -x "$program" ] || fail "$program: is not built: run scripts/build.sh"
[ ! -e "$out" ] || fail "$out: exists already; choose another name or move it away"
command -v patchelf >/dev/null || fail "patchelf is not installed: run scripts/setup.sh"

work=$(mktemp -d "$(dirname "$out")/.bundle.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
bundle=$work/flux_train
mkdir -p "$bundle"/{bin,lib,scripts}

# What stays behind: the system's C library, and what comes with LibTorch and the driver.
belongs_to_host='^(linux-vdso|ld-linux.*|libc|libm|libdl|librt|libpthread|libutil|libresolv|libc10.*|libtorch.*|libgomp.*|libcud.*|libcu.*|libnv.*|libnccl.*)\.so'
ldd "$program" | awk '$2 == "=>" { print $1, $3 }' | while read -r name path; do
    [ "$path" != not ] || fail "$program: needs $name, which is not found"
    # A name such as libcurl.so belongs to us, libcublas.so does not.
    if ! [[ $name =~ $belongs_to_host ]] || [[ $name = libcurl.* ]]; then
        cp -L "$path" "$bundle/lib/$name"
        chmod 644 "$bundle/lib/$name"
        # shellcheck disable=SC2016  # for the loader
        patchelf --set-rpath '$ORIGIN' "$bundle/lib/$name"
    fi
done
cp "$program" "$bundle/bin/flux_train"
strip --strip-unneeded "$bundle/bin/flux_train"

# shellcheck disable=SC2016  # for the loader
patchelf --set-rpath '$ORIGIN/../lib' "$bundle/bin/flux_train"
cp -r "$top/configs" "$top/LICENSE" "$bundle/"
cp "$top"/scripts/{mpirun.sh,run_train.sh,run.sub,wandb_forward.py} "$bundle/scripts/"

{
    echo '#!/bin/sh'
    echo '# Finds LibTorch and starts the program: FLUX_TORCH_LIB, what the bundle was made for, python3.'
    printf 'made_for=%q\n' "$torch_lib"
    cat <<'SH'
here=$(dirname "$(readlink -f "$0")")
torch=${FLUX_TORCH_LIB:-$made_for}
if [ -z "$torch" ]; then
    # Without importing torch, which takes seconds.
    torch=$(python3 -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])' \
        2>/dev/null)/lib
fi
if [ ! -e "$torch/libtorch_cpu.so" ]; then
    echo "flux_train: no libtorch_cpu.so in '$torch': set FLUX_TORCH_LIB to the lib folder of LibTorch 2.11" >&2
    exit 1
fi
LD_LIBRARY_PATH=$torch${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$here/bin/flux_train" "$@"
SH
} >"$bundle/flux_train"
chmod +x "$bundle/flux_train"

if [[ $out = *.tar.xz ]]; then
    tar -C "$work" --owner=0 --group=0 --sort=name -cf - flux_train | xz -6 -T2 >"$work/packed"
    mv "$work/packed" "$out"
else
    mv "$bundle" "$out"
fi
echo "bundle.sh: $out, $(du -sh --apparent-size "$out" | cut -f1)"
