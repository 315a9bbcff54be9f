#!/usr/bin/env bash
# Starts a small Slurm cluster of its own on this machine (two nodes, no system service, nothing under /etc), submits
# scripts/run.sub with two CPU processes, and checks what comes out: a run to its end; one that gets SIGUSR1, ends with
# 75, is queued again and goes on; one that a job of a higher partition pre-empts. All must have the same losses.
#   scripts/test_slurm.sh [PROGRAM]      PROGRAM: build/flux_train
# Exit code 77 where Slurm or munge is missing.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
program=$(realpath -m "${1:-$top/build/flux_train}")

for tool in munged slurmctld slurmd sbatch; do
    if ! command -v "$tool" >/dev/null && [ ! -x "/usr/sbin/$tool" ]; then
        echo "test_slurm: skipped: $tool is missing; install Debian's slurm-wlm and munge"
        exit 77
    fi
done
if [ "$(id -u)" -ne 0 ]; then
    echo "test_slurm: skipped: Slurm's daemons start jobs as root only"
    exit 77
fi
[ -x "$program" ] || { echo "test_slurm: $program: is not built" >&2; exit 2; }
PATH=$PATH:/usr/sbin

folder=$(mktemp -d /tmp/flux_slurm.XXXXXX)
daemons=()

within() { # seconds, command
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}
no_jobs() { [ -z "$(squeue --noheader --states=RUNNING,COMPLETING 2>/dev/null)" ]; }
no_daemons() { [ -z "$(jobs -pr)" ]; }

finish() {
    local status=$?
    [ "$status" = 0 ] || tail -n 40 "$folder"/*.out "$folder"/slurmctld.log 2>/dev/null || true
    # Without their jobs the daemons end; with them they would wait for ever.
    if [ "${SLURM_CONF-}" = "$folder/slurm.conf" ]; then # not the machine's own cluster
        scancel --full --signal=KILL --user="$(id -un)" 2>/dev/null || true
        scancel --user="$(id -un)" 2>/dev/null || true
        within 20 no_jobs || true
    fi
    kill "${daemons[@]}" 2>/dev/null || true
    within 20 no_daemons || kill -KILL "${daemons[@]}" 2>/dev/null || true
    wait
    rm -rf "$folder"
    exit "$status"
}
trap finish EXIT

fail() {
    echo "test_slurm: failed: $*" >&2
    exit 1
}

until_true() { # what for, command
    local what=$1 seconds=600 # for what hangs, not for what is slow
    shift
    within "$seconds" "$@" || fail "$what: not within $seconds s"
}

start_cluster() {
    local base=$((17000 + RANDOM % 2000)) host node
    host=$(hostname -s)
    mkdir -p "$folder"/{munge,state,spool}
    chmod 755 "$folder"
    head -c 1024 /dev/urandom >"$folder/munge/key"
    chmod 600 "$folder/munge/key"
    cat >"$folder/slurm.conf" <<CONF
ClusterName=flux
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$base
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=20
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((base + 1)) CPUs=2
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((base + 2)) CPUs=2
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=20 MaxTime=60
PartitionName=high Nodes=n1,n2 PriorityTier=2 PreemptMode=OFF MaxTime=60
CONF
    export SLURM_CONF=$folder/slurm.conf
    # As many clusters have it: srun by itself would set PMI_RANK and PMI_SIZE.
    if srun --mpi=list 2>&1 | grep -qw pmi2; then
        sed -i 's/^MpiDefault=none$/MpiDefault=pmi2/' "$SLURM_CONF"
    fi
    munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
        --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" 2>/dev/null &
    daemons+=($!)
    until_true "munged" test -S "$folder/munge/socket"
    slurmctld -D >/dev/null 2>&1 &
    daemons+=($!)
    for node in n1 n2; do
        slurmd -D -N "$node" >/dev/null 2>&1 &
        daemons+=($!)
    done
    until_true "two idle nodes" two_idle
}

two_idle() { [ "$(sinfo --noheader --Node --partition=low --format=%t 2>/dev/null | grep -c '^idle$')" = 2 ]; }

submit() { # name, nodes, processes a node, options...: prints the job's number
    local name=$1 nodes=$2 each=$3
    shift 3
    (cd "$top" && CONFIG_FILE=configs/debug.toml LOGDIR="$folder/$name" SEED="${seed-7}" NGPU="$each" OMP_NUM_THREADS=1 \
        FLUX_TRAIN="$program" ENABLE_CHECKPOINTING=True sbatch --parsable -N "$nodes" -t 30 \
        --output="$folder/$name.out" scripts/run.sub --model.depth=1 --model.depth_single_blocks=1 \
        --training.img_size=32 --training.batch_size=4 --training.steps=300 --checkpoint.interval=100000 \
        --metrics.log_freq=1 --eval.dataset= "$@")
}

has_steps() { [ -e "$folder/$1/metrics.jsonl" ] && [ "$(grep -c '"loss"' "$folder/$1/metrics.jsonl")" -ge "$2" ]; }
# Fails at once where the job has come to another end.
state_is() {
    local state
    state=$(scontrol show job "$1" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p')
    [ "$state" != "$2" ] || return 0
    case $state in COMPLETED | FAILED | TIMEOUT | NODE_FAIL) fail "job $1 is $state, not $2" ;; esac
    return 1
}

losses() { sed -nE 's/.*"step": ?([0-9]+).*/\1 &/p' "$folder/$1/metrics.jsonl" |
    sed -nE 's/^([0-9]+) .*"loss": ?([-+0-9.e]+).*/\1 \2/p'; }

# Processes in another arrangement add up in another order: 2e-6.
compare() {
    [ "$(losses "$1" | wc -l)" = 300 ] || fail "$1: $(losses "$1" | wc -l) losses, not 300"
    paste -d ' ' <(losses undisturbed) <(losses "$1") | awk -v name="$1" '
        { difference = ($2 - $4) / $2; if (difference < 0) difference = -difference }
        $1 != $3 { print name ": step " $1 " beside " $3; bad = 1; exit }
        difference > largest { largest = difference }
        END { print "measured: " name ": largest relative difference of " NR " losses " largest + 0
              exit bad || largest > 2e-6 }' || fail "$1: other losses than the undisturbed run"
}

expect() { grep -q -e "$2" "$folder/$1.out" || fail "$1: its output has no \"$2\""; }

start_cluster
echo "test_slurm: cluster is up"

job=$(submit undisturbed 1 2)
until_true "the undisturbed run" state_is "$job" COMPLETED
expect undisturbed "1 x 2 processes on n1, seed 7"
expect undisturbed "^0: .*2 processes: 1 x the model, each sharded over 2; started by Slurm"
expect undisturbed "finished at step 300"
compare undisturbed
echo "test_slurm: a run of two processes came to its end"

job=$(submit signalled 1 2)
until_true "50 steps" has_steps signalled 50
scancel --batch --signal=USR1 "$job"
until_true "the run that got SIGUSR1" state_is "$job" COMPLETED
expect signalled "SIGUSR1: saved at step"
expect signalled "run.sub: exit code 75: job $job is queued again"
expect signalled "start 2: 1 x 2 processes"
expect signalled "going on from"
compare signalled
echo "test_slurm: a run that got SIGUSR1 was queued again and went on"

job=$(submit back 1 2 --checkpoint.interval=50 --checkpoint.keep_latest_k=0)
until_true "the run to go back in" state_is "$job" COMPLETED
: >"$folder/back.out"
job=$(submit back 1 2 --checkpoint.interval=50 --checkpoint.keep_latest_k=0 --checkpoint.load_step=50)
until_true "step 100 anew" grep -q "step 100 " "$folder/back.out"
scancel --batch --signal=USR1 "$job"
until_true "the run that went back" state_is "$job" COMPLETED
expect back "start 2: 1 x 2 processes"
[ "$(grep -c 'going on from .*/step-50$' "$folder/back.out")" = 1 ] || fail "back: went back to step 50 twice"
compare back
echo "test_slurm: a run that went back to an older step was queued again and went on"

job=$(submit preempted 2 1)
until_true "50 steps" has_steps preempted 50
urgent=$(cd "$folder" && sbatch --parsable --partition=high -N 2 --exclusive --output=/dev/null --wrap 'sleep 1')
until_true "the urgent job" state_is "$urgent" COMPLETED
until_true "the pre-empted run" state_is "$job" COMPLETED
expect preempted "2 processes: 2 x the model, each sharded over 1"
expect preempted "SIGTERM: saved at step"
expect preempted "start 2: 2 x 1 processes"
compare preempted
echo "test_slurm: a pre-empted run on two nodes was queued again and went on"

job=$(SBATCH_NO_REQUEUE=1 submit not_requeued 1 2)
until_true "50 steps" has_steps not_requeued 50
scancel --batch --signal=USR1 "$job"
until_true "the run that must not be queued again" state_is "$job" FAILED
scontrol show job "$job" | grep -q 'ExitCode=75:0' || fail "not_requeued: its exit code is not 75"
# Later it goes on with the seed that it has, and stays refused another.
job=$(seed=8 submit not_requeued 1 2)
until_true "the refusal of another seed" state_is "$job" FAILED
expect not_requeued "was begun with 7"
job=$(seed='' submit not_requeued 1 2)
until_true "the run without SEED" state_is "$job" COMPLETED
expect not_requeued "going on from"
compare not_requeued
echo "test_slurm: a run that cannot be queued again ends with 75, and goes on later with its seed"

job=$(submit degrees 1 2 --parallelism.data_parallel_replicate_degree=2)
until_true "the run with one degree given" state_is "$job" COMPLETED
expect degrees "2 processes: 2 x the model, each sharded over 1"
echo "test_slurm: one degree of parallelism can be given"

job=$(submit cancelled 1 2)
until_true "50 steps" has_steps cancelled 50
scancel "$job"
until_true "the cancelled run" state_is "$job" CANCELLED
sleep 8  # a job that is queued again starts within 7 s
state_is "$job" CANCELLED || fail "cancelled: a cancelled run came back"
echo "test_slurm: a cancelled run stayed so"

# Without a container DATAROOT stands for /dataset, under which data sets lie by their names.
"$program" data shapes --out "$folder/data/cc12m-test" --samples 64 >/dev/null 2>&1
job=$(DATAROOT="$folder/data" ENABLE_TB=False submit folders 1 2 --training.dataset=cc12m-test --training.steps=3)
until_true "the run on tar shards" state_is "$job" COMPLETED
expect folders "finished at step 3"
echo "test_slurm: DATAROOT was found"

# pyxis itself needs a container engine; what srun is told is checked, and then done without a container.
job=$(CONT=image submit no_pyxis 1 2)
until_true "the refusal of CONT" state_is "$job" FAILED
expect no_pyxis "srun has no --container-image here"
mkdir "$folder/bin"
cat >"$folder/bin/srun" <<SRUN
#!/usr/bin/env bash
[ "\$1" != --help ] || { echo " --container-image"; exit; }
words=()
for word in "\$@"; do
    case \$word in --container-*) echo "\$word" ;; *) words+=("\$word") ;; esac
done
exec $(command -v srun) "\${words[@]}"
SRUN
chmod +x "$folder/bin/srun"
job=$(PATH="$folder/bin:$PATH" CONT=image MOUNT_CURRENT_DIR=1 DATAROOT=/a MODELROOT=/b submit container 1 2 --training.steps=3)
until_true "the run with a container's options" state_is "$job" COMPLETED
expect container "container-image=image"
expect container "container-mounts=$folder/container:$folder/container,$top/configs:$top/configs:ro,/a:/dataset,/b:/models,$top:$top"
expect container "finished at step 3"
echo "test_slurm: a container gets its folders"
