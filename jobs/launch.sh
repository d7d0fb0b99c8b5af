# What the batch scripts do alike (`. launch.sh`): start slotpress on all ranks of the job, hand the
# batch signal on, and requeue the job until its run is finished. Ends with the script's exit code:
# 0 finished, 75 stopped by the file STOP, else what slotpress or its launcher ended with.
# shellcheck shell=bash

jobs=${SLOTPRESS_JOBS:-jobs}
# shellcheck source=jobs/site.sh
. "${SLOTPRESS_SITE:-$jobs/site.sh}"

# Slurm gives one task of an array the array's own id; only by this name the others stay untouched.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}
restarts=${SLURM_RESTART_COUNT:-0}
told=     # by which signal: USR1, the time limit comes; TERM, the job is cancelled
launched= # the launcher's process

say() { echo "$(date '+%F %T') job $job: $*"; }

# give_up CODE TEXT: the job ends here, and with it what depends on it.
give_up() {
    say "$2"
    exit "$1"
}

# By USR1 alone the ranks save and the launcher hands their exit code on: TERM makes mpirun's 1.
pass_on() {
    say "signal $1"
    told=$1
    [ -z "$launched" ] || kill -USR1 "$launched" 2>/dev/null
    # The limit is there and the run is not: it hangs, or its steps are longer than the warning.
    if [ "$1" = TERM ] && scontrol -o show job "$job" | grep -q ' Reason=TimeLimit '; then
        code=75
        requeue
    fi
}
trap 'pass_on USR1' USR1
trap 'pass_on TERM' TERM

find_slotpress() {
    [ -z "${SLOTPRESS:-}" ] || return 0
    SLOTPRESS=$jobs/../build/slotpress
    [ -x "$SLOTPRESS" ] || SLOTPRESS=$(command -v slotpress) ||
        give_up 64 "no slotpress in $jobs/../build or PATH; SLOTPRESS names one"
}

# config_value FILE SECTION KEY: one text value of a configuration, nothing if it is null.
config_value() {
    "$SLOTPRESS" inspect "$1" | awk -v section="$2:" -v key="$3:" '
        /^  [^ ]/ { inside = $1 == section }
        inside && $1 == key && sub(/^    [^ ]+ /, "") && $0 != "null"'
}

# ---- on all ranks ----

# Sets `launch`, the command that starts a program on all of them.
find_launcher() {
    if [ "$launcher" = auto ]; then
        launcher=mpirun
        srun --mpi=list 2>&1 | grep -q pmix && launcher=srun
    fi
    case $launcher in
    # A rank that ends first, with 75, must not take the others along, nor leave them waiting.
    srun) launch=(srun --mpi=pmix --kill-on-bad-exit=0 --wait=60 "${srun_options[@]}") ;;
    # Never by srun: mpirun starts its daemons by srun itself, which would wait for mpirun's end.
    mpirun) launch=(mpirun -n "$SLURM_NTASKS" "${mpirun_options[@]}") ;;
    *) give_up 64 "launcher '$launcher' in site.sh is none of auto, srun and mpirun" ;;
    esac
}

# srun takes the number of CPUs from the job only if told so. Two threads of one core do not compute
# faster than one.
set_threads() {
    local cpus=${SLURM_CPUS_PER_TASK:-1} per_core
    export SRUN_CPUS_PER_TASK=$cpus
    per_core=$(LC_ALL=C lscpu | awk -F: '/^Thread\(s\) per core/ { print $2 + 0 }')
    [ "$threads_per_rank" != auto ] || threads_per_rank=$((cpus / ${per_core:-1}))
    export OMP_NUM_THREADS=$((threads_per_rank > 0 ? threads_per_rank : 1))
}

# Sets `sessions`, what the launcher's environment has more: the folder where Open MPI keeps what it
# needs while it runs, on each node. All that a user starts on a node would share one, and whoever ends
# while another begins removes it under its hands, which ends that one before its first rank. A launch's
# own is gone with it, as Open MPI removes it. In /tmp, which every node has whatever TMPDIR is there,
# and no longer than its usual name, as sockets lie below. Other launchers do not read these, nor need to.
set_sessions() {
    local base=${OMPI_MCA_orte_tmpdir_base:-/tmp}
    sessions=()
    [ "$launcher" = mpirun ] || return 0
    n_launched=$((${n_launched:-0} + 1))
    sessions=("OMPI_MCA_orte_tmpdir_base=$base"
        "OMPI_MCA_orte_top_session_dir=$base/slotpress-$SLURM_JOB_ID.$restarts.$n_launched")
}

# end_if_locked_up PROCESS: Open MPI 4's mpirun can lock up once its ranks are gone, if one was killed, and
# heeds no signal then; the job would lie there until its time limit. Its ranks, or the srun of its
# daemons, are below it as long as it has any.
end_if_locked_up() {
    local idle_s=0
    while sleep 15 && kill -0 "$1" 2>/dev/null; do
        idle_s=$((idle_s + 15))
        ! ps -o stat= --ppid "$1" | grep -qv '^Z' || idle_s=0
        [ "$idle_s" -lt 60 ] && continue
        say "mpirun does not end, though no rank is left: killed"
        kill -KILL "$1"
        return
    done
}

# run COMMAND...: on all ranks; `code` becomes its exit code, and what it prints goes to the log, or to
# the descriptor `results`. A launcher that is told before it listens may not hear, so a job that was
# told is not begun.
run() {
    code=75
    [ -z "$told" ] || return 0
    say "${launch[0]}, $SLURM_NTASKS ranks on $SLURM_JOB_NODELIST, $OMP_NUM_THREADS threads each, restart $restarts"
    set_sessions
    env "${sessions[@]}" "${launch[@]}" "$@" </dev/null >&"${results:-1}" &
    launched=$!
    local guard=
    [ "$launcher" != mpirun ] || { end_if_locked_up "$launched" & guard=$!; }
    [ -z "$told" ] || kill -USR1 "$launched" # one that came in between
    wait "$launched"
    while kill -0 "$launched" 2>/dev/null; do wait "$launched"; done
    wait "$launched" # a trap's own code may have come in place of the launcher's
    code=$?
    [ -z "$guard" ] || kill "$guard" 2>/dev/null
    trap '' USR1 # too late for a warning
    trap - TERM
}

# ---- again, or not ----

# stop_if_asked: the file STOP ends the job and whatever follows it, be it heeded by the program, which
# renames it, or laid down while the job waited.
stop_if_asked() {
    [ ! -e "$run_dir/STOP" ] || mv "$run_dir/STOP" "$run_dir/STOP.taken"
    [ ! -e "$run_dir/STOP.taken" ] || give_up 75 "stopped by the file STOP in '$run_dir'; submit again to go on"
}

newest_checkpoint() { find "$run_dir" -maxdepth 1 -name 'step-???????' -printf '%f\n' 2>/dev/null | sort | tail -n 1; }

requeue() {
    [ "$restarts" -lt "$max_restarts" ] || give_up "$code" "exit code $code after $restarts restarts, no more (max_restarts in site.sh)"
    say "exit code $code, requeued"
    scontrol requeue "$job" || give_up "$code" "cannot be requeued; submit again to go on"
    sleep 600 # until Slurm ends this script
    exit "$code"
}

# requeue_failed: as long as there is a new checkpoint now and then.
requeue_failed() {
    local newest before=- count=0
    newest=$(newest_checkpoint)
    mkdir -p "$run_dir"
    [ ! -e "$run_dir/failures" ] || read -r before count <"$run_dir/failures"
    [ "$before" = "${newest:-none}" ] || count=0
    echo "${newest:-none} $((count + 1))" >"$run_dir/failures"
    [ "$count" -lt "$max_failures" ] ||
        give_up "$code" "exit code $code, $((count + 1)) failures in a row without a new checkpoint, no more (max_failures in site.sh)"
    requeue
}

# train COMMAND CONFIG RUN_DIR [KEY=VALUE...]: a run of pretrain or finetune; returns when it is
# finished. Only this script knows why the launcher ended: a lost node ends mpirun with 205, and for
# Slurm such a job has merely failed.
train() {
    local command=$1 config=$2 setting
    run_dir=$3
    shift 3
    local settings=(--set "run.dir=$run_dir") newest_before
    for setting in "$@"; do settings+=(--set "$setting"); done
    # One who submits anew wants to go on.
    [ "$restarts" -gt 0 ] || rm -f "$run_dir/STOP.taken" "$run_dir/failures"
    stop_if_asked
    [ "$restarts" -le "$max_restarts" ] || give_up 1 "restarted $restarts times, no more (max_restarts in site.sh)"
    newest_before=$(newest_checkpoint)
    find_launcher
    set_threads
    run "$SLOTPRESS" "$command" --config "$config" --expect-ranks "$SLURM_NTASKS" "${settings[@]}"

    case $code in
    0)
        rm -f "$run_dir/failures"
        return 0
        ;;
    64 | 65 | 76) give_up "$code" "exit code $code is not tried again" ;;
    esac
    stop_if_asked
    case $code:$told in
    *:TERM) give_up "$code" "cancelled" ;;
    75:* | *:USR1) requeue ;;
    74:*) # a disk that was there may come back
        [ "$(newest_checkpoint)" != "$newest_before" ] || give_up 74 "exit code 74 before the first new checkpoint" ;;
    esac
    requeue_failed
}
