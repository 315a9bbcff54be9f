#!/usr/bin/env bash
# The MLPerf benchmark flux1 from start to end at a size for one CPU: draws 64-pixel shapes, encodes them with
# `preprocess`, trains flux-tiny with the benchmark's own configuration until the validation loss is at most 0.586,
# and has MLPerf's compliance checker judge the log. Each validation stands after 262,144 samples.
#   ./scripts/mlperf_tiny.sh [FOLDER]     default outputs/mlperf_tiny; what is done there already is not done again
# From the environment: FLUX_TRAIN, a program that is built already; NGPU, the number of processes (1, 2, 4 ... 32).
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
folder=$(realpath -m "${1:-$top/outputs/mlperf_tiny}")
export NGPU=${NGPU:-1}
if [[ ! $NGPU =~ ^(1|2|4|8|16|32)$ ]]; then
    echo "mlperf_tiny: NGPU=$NGPU: must divide the batch of 32" >&2
    exit 2
fi

"$top/scripts/setup.sh"
if [ -z "${FLUX_TRAIN:-}" ]; then
    TARGETS=flux_train "$top/scripts/build.sh" >&2
    export FLUX_TRAIN=$top/build/flux_train
fi
mkdir -p "$folder"

# encode NAME DATASET SAMPLES [--validation]: draws the pictures and stores their encodings.
encode() {
    local name=$1 dataset=$2 samples=$3
    shift 3
    [ -e "$folder/$name.done" ] && return 0
    rm -rf "${folder:?}/$name"  # of a start that was broken off
    "$FLUX_TRAIN" data shapes --out "$folder/$name/shards" --samples "$samples" --img_size 64 "$@"
    "$FLUX_TRAIN" preprocess --job.config_file "$top/configs/debug.toml" --training.dataset="$dataset" \
        --training.dataset_path="$folder/$name/shards" --preprocessing.output_dataset_path="$folder/$name/encoded"
    touch "$folder/$name.done"
}
encode train webdataset 32768
encode validation coco 512 --validation --samples_per_shard 512

begin=$SECONDS
CONFIG_FILE=$top/configs/flux_schnell_mlperf_preprocessed.toml "$top/scripts/run_train.sh" \
    --job.dump_folder="$folder/run" --training.dataset_path="$folder/train/encoded" \
    --eval.dataset_path="$folder/validation/encoded" \
    --encoder.empty_encodings_path="$folder/train/encoded/empty_encodings" \
    --model.flavor=flux-tiny --training.img_size=64 --encoder.context_in_dim=128 --encoder.max_t5_encoding_len=16 \
    --encoder.autoencoder_shift=0 --encoder.autoencoder_scale=1 --activation_checkpoint.mode=none \
    --training.batch_size=$((32 / NGPU)) --training.steps=65536 --training.seed=1234 \
    --optimizer.lr=1e-3 --lr_scheduler.warmup_steps=50 --metrics.log_freq=100 --eval.batch_size=64 \
    --checkpoint.enable_checkpoint=true --checkpoint.interval=1000
echo "mlperf_tiny: trained for $((SECONDS - begin)) s"

status=0
for ruleset in 5.1.0 6.0.0 6.1.0; do
    "$top/.deps/venv/bin/python" -m mlperf_logging.compliance_checker --usage training --ruleset $ruleset \
        --log_output "$folder/checker-$ruleset.log" "$folder/run/mlperf_compliance.log" || status=1
done
exit $status
