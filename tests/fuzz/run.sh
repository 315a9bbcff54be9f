#!/usr/bin/env bash
# run.sh TARGET [SECONDS]: builds tests/fuzz/TARGET_fuzz.cpp with libFuzzer, AddressSanitizer and UBSan under
# build/fuzz/ and runs it on its corpus (60 seconds). Exit code 77 without clang++.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$1 seconds=${2:-60}
command -v clang++ >/dev/null || { echo "fuzz: clang++ is missing: skipped" >&2; exit 77; }

case $target in
tokenizer)
    sources=(src/encoders/{byte_pairs,caption_text,clip_tokenizer,sentencepiece_model}.cpp
        src/encoders/{t5_tokenizer,tokenizer,tokenizer_files}.cpp src/base/{file,utf8}.cpp)
    libraries=(-licuuc -lsentencepiece -lfmt) ;;
*) echo "fuzz: $target: unknown target; there is tokenizer" >&2; exit 2 ;;
esac
mkdir -p "build/fuzz/corpus/$target"
clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -DFMT_SHARED \
    -Iinclude -Isrc "tests/fuzz/${target}_fuzz.cpp" "${sources[@]}" -o "build/fuzz/$target" "${libraries[@]}"
exec "build/fuzz/$target" -max_total_time="$seconds" -rss_limit_mb=2000 -timeout=10 \
    -artifact_prefix="build/fuzz/$target-" "build/fuzz/corpus/$target" "tests/fuzz/corpus/$target"
