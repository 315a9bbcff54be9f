#!/usr/bin/env bash
# Runs a command as several processes through Open MPI, on this machine or on those of a hostfile:
#   NGPU=8 scripts/mpirun.sh build/flux_train --job.config_file configs/debug.toml
# From the environment:
#   NGPU                      processes on each machine (default 1)
#   HOSTFILE                  machines, one a line, as Open MPI has it; without: this machine
#   MASTER_ADDR, MASTER_PORT  where the processes meet (default: found out)
#   LOG_RANK                  ranks whose information shows: 0,3 or all (default 0); errors of any rank show
#   GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME   the network between machines, if not that towards MASTER_ADDR
#   OMP_NUM_THREADS           threads of each process (default: cores / NGPU)
#   GRACE_SECONDS             how long the others may go on after one has ended with an error (default 2)
# When one process fails, all end, and the exit code is its own. SIGTERM, SIGUSR1, SIGHUP and Ctrl-C make the
# processes save, however long that takes, and exit with 75; a second one ends them within GRACE_SECONDS.
set -euo pipefail
set -m  # mpirun in a process group of its own: Ctrl-C comes here alone

fail() {
    echo "mpirun.sh: $*" >&2
    exit 2
}

[ "$#" -gt 0 ] || fail "no command; usage: NGPU=2 scripts/mpirun.sh COMMAND [ARGUMENT...]"
ngpu=${NGPU:-1}
hostfile=${HOSTFILE:-}
grace=${GRACE_SECONDS:-2}
[[ $ngpu =~ ^[1-9][0-9]*$ ]] || fail "NGPU=$ngpu: must be a number of processes, from 1 on"
[[ $grace =~ ^[1-9][0-9]*$ ]] || fail "GRACE_SECONDS=$grace: must be a number of seconds, from 1 on"
[ -z "$hostfile" ] || [ -r "$hostfile" ] || fail "HOSTFILE=$hostfile: cannot be read"
command -v mpirun >/dev/null || fail "Open MPI's mpirun is not installed: run scripts/setup.sh"

# The names of a launcher around this one (a Kubernetes operator's, say) would win over Open MPI's.
unset RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK TORCHELASTIC_USE_AGENT_STORE

# A port where nobody listens now, below the range that the system hands out by itself.
find_port() {
    local _
    for _ in {1..100}; do
        MASTER_PORT=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$MASTER_PORT") 2>/dev/null || return 0
    done
    fail "no free port found between 20000 and 32000: set MASTER_PORT"
}

# mpirun sends SIGTERM after the time-out, and SIGKILL after it once more.
options=(--bind-to none --tag-output --mca odls_base_sigkill_timeout "$(((grace + 1) / 2))")
[ "$(id -u)" -ne 0 ] || options+=(--allow-run-as-root)
if [ -n "$hostfile" ]; then
    mapfile -t hosts < <(sed 's/#.*//' "$hostfile" | awk 'NF && !seen[$1]++ { print $1 }')
    [ "${#hosts[@]}" -gt 0 ] || fail "HOSTFILE=$hostfile: names no machine"
    options+=(--hostfile "$hostfile" --map-by "ppr:$ngpu:node" --oversubscribe -np "$((${#hosts[@]} * ngpu))")
    if [ -z "${MASTER_ADDR:-}" ]; then
        # Which machine gets rank 0 is for mpirun to say; this also shows whether all can be reached.
        # shellcheck disable=SC2016  # for the remote shell
        names=$(mpirun "${options[@]}" sh -c \
            '[ "$OMPI_COMM_WORLD_RANK" != 0 ] || echo $(hostname) $(hostname -s) $(hostname -I)' \
            </dev/null | sed 's/^[^>]*>: *//') || fail "HOSTFILE=$hostfile: mpirun does not reach all its machines"
        # As the hostfile has it: what a machine calls itself may be known to itself alone.
        for host in "${hosts[@]}"; do
            if [[ " $names " = *" $host "* || " $names " = *" ${host%%.*} "* ]]; then
                MASTER_ADDR=$host
                break
            fi
        done
        MASTER_ADDR=${MASTER_ADDR:-${names%% *}}
    fi
else
    options+=(--oversubscribe -np "$ngpu")
    MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}
fi
[ -n "${MASTER_PORT:-}" ] || find_port
cores=$(nproc)
export MASTER_ADDR MASTER_PORT
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > ngpu ? cores / ngpu : 1))}
export LOG_RANK=${LOG_RANK:-0}
# Other machines get these; on this one processes inherit everything.
while IFS= read -r name; do
    options+=(-x "$name")
done < <(compgen -e | grep -E \
    '^(MASTER_(ADDR|PORT)|OMP_.*|LOG_RANK|PATH|LD_LIBRARY_PATH|(NCCL|CUDA|TORCH|PYTORCH|GLOO|FLUX|HF|UCX|FI)_.*|.*_(proxy|PROXY))$')

# "[1,3]<stderr>:text" becomes "[rank 3] text"; what mpirun itself says is cut to the facts.
with_rank() {
    sed -u -E -e 's/^\[[0-9]+,([0-9]+)\]<std(out|err)>: ?/[rank \1] /; t' \
        -e '/^-*$/d; /^Primary job  terminated normally/d; /^a non-zero exit code\. /d; /^mpirun detected that/d' \
        -e '/^the job to be terminated\. /d; /^mpirun: Forwarding signal/d; /^mpirun noticed that process/d' \
        -e '/^  Process name: /{N; s/^.*,([0-9]+)\]\n *Exit code: */mpirun: rank \1 was the first to end, with exit code /}'
}
pipes=$(mktemp -d)
trap 'rm -rf "$pipes"' EXIT
mkfifo "$pipes/out" "$pipes/err"
with_rank <"$pipes/out" &
out=$!
with_rank <"$pipes/err" >&2 &
err=$!

# Around each process: names the one that a signal ends. Signals reach the whole group, so none is passed on here but
# USR2, which tells that a thread of the parent has ended: when it was the parent itself, the process has to save and end.
# shellcheck disable=SC2016  # for the shell around the process
around='orphan() {
    read -r _ _ _ parent _ <"/proc/$$/stat"
    if [ "$parent" != "$PPID" ]; then
        told=1
        kill -USR1 "$child"
    fi
}
trap "told=1" TERM USR1 HUP INT
trap orphan USR2
"$@" &
child=$!
{
    while kill -0 "$child"; do wait "$child"; done
    wait "$child"
    status=$?
} 2>/dev/null
[ "$status" -le 128 ] || [ -n "$told" ] ||
    echo "rank $OMPI_COMM_WORLD_RANK on $(hostname): was ended by signal $((status - 128)) ($(kill -l "$status"))" >&2
exit "$status"'

# Should this shell be killed, mpirun does not stay behind: it makes the processes save.
setpriv --pdeathsig USR1 mpirun "${options[@]}" setpriv --pdeathsig USR2 bash -c "$around" rank "$@" \
    </dev/null >"$pipes/out" 2>"$pipes/err" &
mpirun=$!

# SIGUSR1 reaches the processes without a deadline, where SIGTERM to mpirun ends them after a second or so.
stopping=
# shellcheck disable=SC2317  # called by the traps
stop() {
    if [ -n "$stopping" ]; then
        kill -TERM "$mpirun" 2>/dev/null || true
        return
    fi
    stopping=1
    # Before there are processes, mpirun would forget the signal.
    until pgrep -P "$mpirun" >/dev/null || ! kill -0 "$mpirun" 2>/dev/null; do sleep 0.1; done
    kill -USR1 "$mpirun" 2>/dev/null || true
}
trap stop TERM USR1 HUP INT

while kill -0 "$mpirun" 2>/dev/null; do
    wait "$mpirun" || true  # a signal to this script ends a wait early
done
status=0
wait "$mpirun" || status=$?
wait "$out" "$err" || true
exit "$status"
