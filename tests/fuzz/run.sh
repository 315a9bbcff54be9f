#!/usr/bin/env bash
# run.sh TARGET [SECONDS]: builds tests/fuzz/TARGET_fuzz.cpp with libFuzzer, AddressSanitizer and UBSan under
# $BUILD_DIR/fuzz/ (default build/fuzz/) and runs it on its corpus (60 seconds). With FLUX_REFERENCE_DIR the fixtures'
# files join the corpus. Exit code 77 without clang++ or its fuzzer run-time.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$1 seconds=${2:-60}
out=${BUILD_DIR:-build}/fuzz
packages=$(echo .deps/venv/lib/python3*/site-packages)

if ! echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' |
    clang++ -x c++ -fsanitize=fuzzer,address - -o /dev/null 2>/dev/null; then
    echo "fuzz: SKIPPED: install clang and libclang-rt-14-dev (clang++ and its fuzzer run-time)" >&2
    exit 77
fi

includes=(-Iinclude -Isrc -Itests)
torch=(-L"$packages/torch/lib" -Wl,-rpath,"$PWD/$packages/torch/lib" -ltorch_cpu -lc10)
seed_names=() # of the fixtures, at most 64 KiB each
decoders=(src/data/{image_decode,image_probe,raster,decode_bmp,decode_gif,decode_jpeg,decode_png,decode_webp}.cpp)
codecs=(-ljpeg -lpng -lgif -lwebp -lwebpdemux -lexif)
case $target in
tokenizer)
    sources=(src/encoders/{byte_pairs,caption_text,clip_tokenizer,sentencepiece_model}.cpp
        src/encoders/{t5_tokenizer,tokenizer,tokenizer_files}.cpp src/base/{block_output,descriptor,file,utf8}.cpp)
    libraries=(-licuuc -lsentencepiece) ;;
tar)
    sources=(src/data/{tar_reader,tar_index,shard,unpack}.cpp "${decoders[@]}" src/base/{block_output,descriptor,file}.cpp)
    libraries=("${codecs[@]}" -lz -lzstd) seed_names=('*.tar' '*.tar.gz' '*.tar.zst') ;;
safetensors)
    sources=(src/base/{safetensors,dtype,shape,block_output,descriptor,file}.cpp)
    libraries=("${torch[@]}") seed_names=('*.safetensors') ;;
npy)
    sources=(src/base/{npy,shape,block_output,descriptor,file}.cpp)
    libraries=("${torch[@]}") seed_names=('*.npy') ;;
arrow)
    sources=(src/data/{arrow_table,arrow_ipc_file,arrow_parquet_file}.cpp src/base/{npy,shape,block_output,descriptor,file}.cpp)
    libraries=("${torch[@]}" -Wl,-rpath,"$PWD/$packages/pyarrow" "$packages"/pyarrow/lib{arrow,parquet}.so.2600)
    includes+=(-isystem "$packages/pyarrow/include") seed_names=('*.arrow') ;;
image)
    sources=(src/data/{image_resize,image_transform,resize_avx2,resize_taps}.cpp "${decoders[@]}")
    libraries=("${codecs[@]}" -lz) seed_names=('*.jpg' '*.png' '*.webp' '*.gif') ;;
*) echo "fuzz: $target: unknown target; there are tokenizer, tar, safetensors, npy, arrow, image" >&2; exit 2 ;;
esac

mkdir -p "$out/corpus/$target"
if [ -n "${FLUX_REFERENCE_DIR:-}" ]; then
    for name in "${seed_names[@]}"; do
        find "$FLUX_REFERENCE_DIR" -name "$name" -size -129 -print0 |
            xargs -0 -r sh -c 'for file; do cp -f "$file" "$0/seed-$(sha1sum <"$file" | cut -c1-16)"; done' \
                "$out/corpus/$target"
    done
fi
clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -DFMT_SHARED \
    "${includes[@]}" -idirafter "$packages/torch/include" "tests/fuzz/${target}_fuzz.cpp" "${sources[@]}" \
    -o "$out/$target" "${libraries[@]}" -lfmt
exec "$out/$target" -error_exitcode=1 -max_total_time="$seconds" -max_len=65536 \
    -rss_limit_mb=2000 -timeout=10 -print_final_stats=1 \
    -artifact_prefix="$out/$target-" "$out/corpus/$target" "tests/fuzz/corpus/$target"
