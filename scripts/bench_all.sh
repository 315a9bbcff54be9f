#!/usr/bin/env bash
# Runs all measurements and writes one Markdown table: what, figure, aim, met or not.
#   scripts/bench_all.sh [--quick] [--only PART,..] [--skip PART,..] [--config FILE] [--disk DIR] [--out FILE]
# Parts, in this order:
#   step        training steps in fp32 and bf16          peers   beside diffusers, eager and compiled
#   recompute   the same, with activation checkpointing  unit    blocks beside their matrix products alone
#   growth      twice the blocks, twice the batch        checkpoint, data, comm   what `bench` has under these names
#   start       the default job to its first step        drift   10,000 steps of a tiny model
#   gpu         configs/bench_gpu.toml, where there is a GPU
# --config takes the place of configs/bench_cpu.toml. --disk: where checkpoints are written (default: here). --quick
# shows in a minute that all of it runs (without peers, unless --only names them); its figures say nothing.
# The table goes to stdout, or to --out. A part that fails leaves a line that says so, and exit code 1. Nothing else stays.
# From the environment: FLUX_TRAIN, a program that is built already; OMP_NUM_THREADS. About half an hour on two cores.
# shellcheck disable=SC2317  # parts are called by their names
set -euo pipefail
export LC_ALL=C
top=$(cd "$(dirname "$0")/.." && pwd)
all="step peers recompute unit growth checkpoint data comm start drift gpu"

fail() {
    echo "bench_all: $*" >&2
    exit 2
}

quick='' only='' skip='' out='' disk=. config=$top/configs/bench_cpu.toml
while [ "$#" -gt 0 ]; do
    case $1 in
    --help | -h)
        sed -n '2,13s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    --quick)
        quick=1
        shift
        continue
        ;;
    --only | --skip | --config | --disk | --out) [ "$#" -gt 1 ] || fail "$1: what?" ;;
    *) fail "$1: unknown; there are --quick --only --skip --config --disk --out" ;;
    esac
    printf -v "${1#--}" %s "$2"
    shift 2
done
# Whether --only and --skip leave the part in.
runs() {
    { [ -z "$only" ] || [[ ",$only," = *",$1,"* ]]; } && [[ ",$skip," != *",$1,"* ]]
}

for part in ${only//,/ } ${skip//,/ }; do
    [[ " $all " = *" $part "* ]] || fail "$part: no such part; there are $all"
done
[ -r "$config" ] || fail "--config $config: cannot be read"
[ -d "$disk" ] || fail "--disk $disk: no such folder"
[ ! -e "$out" ] || fail "--out $out: exists already: remove it, or choose another"
[ -z "$out" ] || [ -w "$(dirname "$out")" ] || fail "--out $out: its folder is not there, or cannot be written"
chosen=0
for part in $all; do
    ! runs "$part" || chosen=1
done
[ $chosen = 1 ] || fail "--only $only --skip $skip: leave nothing to run"
program=${FLUX_TRAIN:-$top/build/flux_train}
[ -x "$program" ] || fail "$program: not there: run scripts/build.sh, or set FLUX_TRAIN"

work=$(mktemp -d)
saved=$(mktemp -d "$(realpath "$disk")/bench_all.XXXXXX")
trap 'rm -rf "$work" "$saved"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
rows=$work/rows
: >"$rows"
# Measurements of the full form, and of the quick one.
if [ -n "$quick" ]; then
    steps=1 repeats=1 drift_steps=60 saved_bytes=2e7
else
    steps=5 repeats=5 drift_steps=10000 saved_bytes=2e9
fi

# row WHAT VALUE FORMAT [AIM]: FORMAT as for printf; AIM "<= 2.06" or ">= 0.8", or none.
row() {
    local met='' figure
    # shellcheck disable=SC2059  # the format is ours
    figure=$(printf "$3" "$2")
    if [ -n "${4:-}" ]; then
        met=$(awk -v value="$2" -v aim="${4#* }" -v sign="${4%% *}" \
            'BEGIN { print ((sign == ">=") ? value >= aim : value <= aim) ? "yes" : "**no**" }')
    fi
    printf '| %s | %s | %s | %s |\n' "$1" "$figure" "${4:-}" "$met" >>"$rows"
}

# value FILE EXPRESSION: of the JSON in the file, `d`; or of its lines, `lines`.
value() {
    python3 -c '
import json, statistics, sys
text = open(sys.argv[1]).read()
try:
    d, lines = json.loads(text), []
except json.JSONDecodeError:
    d, lines = None, [json.loads(line) for line in text.splitlines()]
print(eval(sys.argv[2]))' "$@"
}

# bench TOOL FILE OPTIONS...: the figures go to FILE.
bench() {
    local tool=$1 file=$2
    shift 2
    rm -f "$file"
    "$program" bench "$tool" --json "$file" --job.config_file "$config" "$@" >/dev/null
}

median_step() {
    local file=$work/step.json
    bench step "$file" --steps "$steps" --warmup 1 "$@"
    value "$file" "d['step_s_median']"
}

part_step() {
    local dtype file=$work/step.json
    for dtype in float32 bfloat16; do
        median_step --training.mixed_precision_param="$dtype" >/dev/null
        row "a step, $dtype, s" "$(value "$file" "d['step_s_median']")" %.3f
        row "a step, $dtype, TFLOP/s" "$(value "$file" "d['tflops']")" %.3f
        row "a step, $dtype, peak of memory, GiB" "$(value "$file" "d['peak_gib']")" %.2f
    done
}

# beside_peer WHAT WAY DTYPE AIM MEMORY_AIM OPTIONS...
beside_peer() {
    local file=$work/peer.json what=$1 way=$2 dtype=$3 aim=$4 memory=$5
    shift 5
    "$top/scripts/bench_peer.py" --flux_train "$program" --config "$config" --ways "$way" --dtypes "$dtype" \
        --venv "$top/.deps/peer" --steps "$steps" "$@" >"$file"
    row "$what: faster than diffusers by" "$(value "$file" "d['speedup']")" '%.2f x' "$aim"
    row "$what: memory, as a share of its" "$(value "$file" "d['memory_ratio']")" '%.2f' "$memory"
}

part_peers() {
    local bf16='' # the aim is for machines that multiply bf16 in hardware tiles
    ! grep -qw amx_bf16 /proc/cpuinfo || bf16='>= 1.8'
    beside_peer "fp32, eager" eager float32 '>= 1.5' '<= 0.85'
    beside_peer "fp32, torch.compile" compile float32 '>= 1.2' '<= 0.85'
    beside_peer "bf16, eager" eager bfloat16 "$bf16" '<= 0.85'
    beside_peer "bf16, torch.compile" compile bfloat16 '' '<= 0.85'
}

part_recompute() {
    beside_peer "fp32, full recompute, eager" eager float32 '>= 1.5' '<= 0.85' --recompute default
    beside_peer "the same, all of it computed again" eager float32 '' '' --recompute everything
}

part_unit() {
    local file=$work/unit.json dtype aim i
    for dtype in float32 bfloat16; do
        aim='<= 1.25'
        [ "$dtype" = float32 ] || aim='<= 2'
        bench unit "$file" --repeats $((2 * repeats)) --training.mixed_precision_param="$dtype"
        for i in 0 1; do
            row "$(value "$file" "d[$i]['block']"), $dtype, beside its products and attention alone" \
                "$(value "$file" "d[$i]['seconds'] / d[$i]['floor_s']")" '%.2f x' "$aim"
        done
    done
}

# Sizes of the configuration's model.
measure_shape() {
    [ -e "$work/shape.json" ] || bench step "$work/shape.json" --steps 1 --warmup 0
}
shape() {
    value "$work/shape.json" "$1"
}

# twice OPTIONS...: how much longer a step takes with them, by turns.
twice() {
    local i before after file=$work/growth
    : >"$file"
    for ((i = 0; i < repeats; ++i)); do
        before=$(median_step)
        after=$(median_step "$@")
        echo "{\"ratio\": $after / $before}" | python3 -c 'print(eval(input())["ratio"])' >>"$file"
    done
    python3 -c 'import statistics, sys; print(statistics.median(float(line) for line in sys.stdin))' <"$file"
}

part_growth() {
    local steps=1
    measure_shape
    row "a step with twice the blocks" "$(twice "--model.depth=$(shape "2 * d['shape']['depth']")" \
        "--model.depth_single_blocks=$(shape "2 * d['shape']['depth_single_blocks']")")" '%.3f x' '<= 2.06'
    row "a step with twice the batch" \
        "$(twice "--training.batch_size=$(shape "2 * d['shape']['batch_size']")")" '%.3f x' '<= 2.06'
}

part_checkpoint() {
    local file=$work/checkpoint.json more
    measure_shape
    more="max(1, round(2 * $saved_bytes / 12 / d['params']) / 2)"  # times the blocks: 12 bytes a parameter
    bench checkpoint "$file" --out "$saved" --repeats 4 \
        "--model.depth=$(shape "round($more * d['shape']['depth'])")" \
        "--model.depth_single_blocks=$(shape "round($more * d['shape']['depth_single_blocks'])")"
    local size cached
    size=$(value "$file" "format(d['gigabytes'], '.2f')")
    cached=$(value "$file" "format(100 * d['cached'], '.0f')")
    row "checkpoint of $size GB, saved, share of a plain write" "$(value "$file" "d['save_share']")" %.2f '>= 0.8'
    row "loaded, share of a plain read ($cached % of a file in memory before)" \
        "$(value "$file" "d['load_share']")" %.2f '>= 0.8'
    row "saved, loaded, GB/s" "$(value "$file" "format(d['save_gbs'], '.2f') + ', ' + format(d['load_gbs'], '.2f')")" %s
    bench checkpoint "$file" --out "$saved" --repeats 1 --steps "$steps"
    size=$(value "$file" "format(d['gigabytes'], '.2f')")
    row "async save of $size GB: a step beside it is longer by, %" "$(value "$file" "100 * d['async_step_share']")" %.1f '<= 3'
    row "async save: of all time, once in $(value "$file" "d['interval']") steps, %" \
        "$(value "$file" "100 * d['async_interval_share']")" %.2f '<= 3'
}

part_data() {
    local file=$work/data.json
    "$program" data shapes --out "$work/shards" --samples 128 --img_size 256 >/dev/null
    rm -f "$file"
    "$program" bench data --tar "$work/shards" --repeats "$repeats" --rows 32 --json "$file" >/dev/null
    local name
    for name in image_total loader_1; do
        row "pictures, $name, a second" "$(value "$file" "[f['median'] for f in d if f['name'] == '$name'][0]")" %.0f
    done
    row "stored encodings, GB/s" "$(value "$file" "[f['median'] for f in d if f['name'] == 'stored_rows'][0]")" %.1f
}

part_comm() {
    local file=$work/comm.json name
    NGPU=2 "$top/scripts/mpirun.sh" "$program" bench comm --json "$file" --job.config_file "$config" \
        --repeats $((2 * repeats)) --sweep_mib 16 >/dev/null
    for name in all_gather reduce_scatter; do
        row "2 processes, $name of the largest unit, GB/s sent" \
            "$(value "$file" "[o['bus_gbs'] for o in d['operations'] if o['operation'] == '$name' and o['of_step']][0]")" %.2f
    done
    row "2 processes, exchanges of a step, one after the other, s" "$(value "$file" "d['step']['seconds']")" %.3f
}

part_start() {
    local i file=$work/starts
    : >"$file"
    for ((i = 0; i < repeats; ++i)); do
        "$program" --job.config_file "$top/configs/debug.toml" --job.dump_folder="$work/start-$i" --training.steps=1 \
            --eval.at_start=false --eval.dataset= --metrics.log_freq=1 --checkpoint.enable_checkpoint=false \
            >/dev/null 2>"$work/log" || { cat "$work/log" >&2 && return 1; }
        value "$work/start-$i/metrics.jsonl" "(lines or [d])[0]['time_s']" >>"$file"
        rm -rf "$work/start-$i"
    done
    row "default job, start to the end of the first step, s" \
        "$(python3 -c 'import statistics, sys; print(statistics.median(float(line) for line in sys.stdin))' <"$file")" %.2f '<= 2'
}

part_drift() {
    local folder=$work/drift every=10 # steps to a line, as by default: lines stay in memory for the report
    local n=$((drift_steps / 10))
    "$program" --job.config_file "$top/configs/debug.toml" --job.dump_folder="$folder" --training.steps="$drift_steps" \
        --model.hidden_size=32 --model.num_heads=2 --model.axes_dim=4,6,6 --model.depth=1 --model.depth_single_blocks=1 \
        --training.img_size=32 --training.batch_size=4 --eval.dataset= --metrics.log_freq="$every" \
        --checkpoint.enable_checkpoint=false >/dev/null 2>"$work/log" || { cat "$work/log" >&2 && return 1; }
    local file=$folder/metrics.jsonl
    local times="[b['time_s'] - a['time_s'] for a, b in zip(t, t[1:])]" t="[l for l in lines if 'loss' in l]"
    local tenth=$(((n + every - 1) / every)) # lines of n steps
    row "$drift_steps steps: time of the last $n beside the first $n" "$(value "$file" \
        "(lambda t: (lambda s: statistics.median(s[-$tenth:]) / statistics.median(s[:$tenth]))($times))($t)")" \
        '%.3f x' '<= 1.05'
    row "the same, memory" "$(value "$file" "(lambda m: statistics.median(m[-$tenth:]) / statistics.median(m[:$tenth]))(\
        [l['memory_gib'] for l in $t])")" '%.3f x' '<= 1.01'
}

has_gpu() {
    nvidia-smi -L >/dev/null 2>&1
}

part_gpu() {
    if ! has_gpu; then
        printf '| %s | not run | %s | |\n' \
            "GPU: share of the peak in model FLOPs" '>= 50 %' "GPU: eager diffusers" '>= 1.25' \
            "GPU: torch.compile" '>= 1.1' "GPU: memory beside \`plan\`" 'within 5 %' >>"$rows"
        return 0
    fi
    local file=$work/gpu.json config=$top/configs/bench_gpu.toml
    bench step "$file" --steps $((4 * steps)) --training.device=cuda
    row "GPU: a step, s" "$(value "$file" "d['step_s_median']")" %.3f
    row "GPU: TFLOP/s" "$(value "$file" "d['tflops']")" %.0f
    row "GPU: share of its peak in model FLOPs, %" "$(value "$file" "100 * (d['mfu'] or 0)")" %.1f '>= 50'
    local planned
    planned=$("$program" plan --gpus 1 --gpu h100 --reserve-gib 0 --job.config_file "$config" |
        awk '$1 == "total" { print $2 }')
    row "GPU: memory of tensors, off what \`plan\` says by, %" \
        "$(value "$file" "100 * abs(d['peak_gib'] / $planned - 1)")" %.1f '<= 5'
    beside_peer "GPU, eager" eager bfloat16 '>= 1.25' ''
    beside_peer "GPU, torch.compile" compile bfloat16 '>= 1.1' ''
}

machine() {
    local sets='' name
    for name in avx2 avx512f avx512_bf16 amx_bf16; do
        ! grep -qw $name /proc/cpuinfo || sets+=" $name"
    done
    echo "- machine: $(hostname), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc --all) cores," \
        "${OMP_NUM_THREADS:-all} threads, instructions:${sets:- none of those asked for}"
    if has_gpu; then
        nvidia-smi -L | sed 's/^/- /'
    fi
    echo "- program: $("$program" --version)$(git -C "$top" describe --always --dirty 2>/dev/null | sed 's/^/, commit /')"
    echo "- $(date -u '+%Y-%m-%d %H:%M UTC'), $(basename "$config")${quick:+, quick form: shows that all runs, its figures say nothing}"
}

status=0
for part in $all; do
    runs "$part" || continue
    if [ -n "$quick" ] && [ -z "$only" ] && [[ $part =~ ^(peers|recompute)$ ]]; then
        continue
    fi
    echo "bench_all: $part" >&2
    set +e
    (
        set -e
        [ "$part" = gpu ] || export CUDA_VISIBLE_DEVICES=
        "part_$part"
    )
    code=$?
    set -e
    if [ $code -ne 0 ]; then
        echo "bench_all: $part FAILED, exit code $code" >&2
        printf '| %s | FAILED | | **no** |\n' "$part" >>"$rows"
        status=1
    fi
done

{
    echo "# Measurements"
    echo
    machine
    echo
    echo "| what | figure | aim | met |"
    echo "|---|---|---|---|"
    cat "$rows"
} >"$work/table"
if [ -n "$out" ]; then
    cp "$work/table" "$out"
else
    cat "$work/table"
fi
exit $status
