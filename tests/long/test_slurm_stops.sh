#!/bin/sh
# What ends a job under real Slurm daemons, and what does not: the files STOP and SAVE, scancel, killed
# ranks, a launcher that has locked up, too many restarts or failures, ranks that do not find each other.
. tests/lib.sh
. tests/slurm/cluster.sh
encoder=$root/$encoder decoder=$root/$decoder
make_tokens
cluster_start 1
site plain
site few max_restarts=1
site strict launcher=mpirun max_failures=1
site singletons "srun_options=(--mpi=none env -i 'PATH=$PATH')"
endless="train.steps=1000000 train.schedule=constant train.validate_every=0"

# start NAME SITE [WORD...]: a job `NAME` of one rank that trains until it is stopped in $folder/NAME-1.
start() {
    recipe "$1" "${stages:-1}"
    name=$1 site=$2 && shift 2
    # shellcheck disable=SC2086
    submit "$site" "$name" $endless --ntasks-per-node=1 "$@"
}
stages=2
# shellcheck disable=SC2046
set -- $(start asked plain)
asked=$1 asked_next=$2
# shellcheck disable=SC2046
set -- $(start cancelled plain)
cancelled=$1 cancelled_next=$2
stages=1
both=$(start both plain)
waiting=$(start waiting plain)
limited=$(start limited few)
failing=$(start failing strict)
getting_on=$(start getting_on strict checkpoint.every_steps=5)
locked=$(start locked strict)

# A launcher that does not end though its ranks are gone; a stopped one heeds nothing, either.
makes_steps "$locked" locked-1
rank=$(ranks_of locked-1)
kill -STOP "$(ps -o ppid= -p "$rank" | tr -d ' ')"
kill -KILL "$rank"

# STOP and SAVE: a checkpoint; after STOP no requeuing, and no next stage.
makes_steps "$asked" asked-1
: >"$folder/asked-1/SAVE"
until_true 20 test -e "$folder/asked-1/SAVE.taken" || fail "SAVE is not heeded"
makes_steps "$asked" asked-1
[ "$(find "$folder/asked-1" -name 'step-*' | wc -l)" = 1 ] || fail "SAVE: not one checkpoint"
: >"$folder/asked-1/STOP"

# Nor when the time limit comes at the same moment, nor when the job waits to be started again.
makes_steps "$both" both-1
: >"$folder/both-1/STOP"
scancel --batch --signal=USR1 "$both"
for id in "$waiting:waiting-1" "$limited:limited-1"; do
    makes_steps "${id%:*}" "${id#*:}"
    scancel --batch --signal=USR1 "${id%:*}"
done
until_true 20 job_has "$waiting" Restarts 1
n_before=$(n_steps waiting-1)
: >"$folder/waiting-1/STOP"

makes_steps "$cancelled" cancelled-1
scancel "$cancelled"

# A rank is killed: the job goes on, as often as it gets on in between.
for id in "$failing:failing-1" "$getting_on:getting_on-1"; do
    makes_steps "${id%:*}" "${id#*:}"
    kill -KILL "$(ranks_of "${id#*:}")"
done

ends "$asked" FAILED 75:0
log_says "$asked" "stopped by the file STOP"
[ "$(find "$folder/asked-1" -name 'step-*' | wc -l)" = 2 ] || fail "STOP: not two checkpoints"
ends "$asked_next" CANCELLED 0:0
ends "$both" FAILED 75:0
until_true 30 job_is "$cancelled" CANCELLED || fail "scancel: $(job_field "$cancelled" JobState)"
ends "$cancelled_next" CANCELLED 0:0
ends "$waiting" FAILED 75:0 1
log_says "$waiting" "stopped by the file STOP"
[ "$(n_steps waiting-1)" = "$n_before" ] || fail "a job with a STOP made steps"

makes_steps "$limited" limited-1 1
scancel --batch --signal=USR1 "$limited"
for id in "$failing:failing-1" "$getting_on:getting_on-1"; do
    makes_steps "${id%:*}" "${id#*:}" 1
    kill -KILL "$(ranks_of "${id#*:}")"
done
ends "$limited" FAILED 75:0 1
log_says "$limited" "after 1 restarts, no more"
ends "$failing" FAILED 137:0 1
log_says "$failing" "2 failures in a row without a new checkpoint"

# Who submits anew after a STOP goes on.
again=$(submit plain asked train.steps=1000000 train.schedule=constant --ntasks-per-node=1 | head -n 1)
makes_steps "$again" asked-1
log_says "$again" "resuming from"
scancel "$again"

makes_steps "$getting_on" getting_on-1 2
log_says "$getting_on" "resuming from"
: >"$folder/getting_on-1/STOP"
ends "$getting_on" FAILED 75:0 2

until_true 120 job_has "$locked" Restarts 1 || fail "a launcher that has locked up keeps its job"
log_says "$locked" "mpirun does not end, though no rank is left"
makes_steps "$locked" locked-1 1
: >"$folder/locked-1/STOP"
ends "$locked" FAILED 75:0 1

# Ranks that know nothing of each other would be as many runs: each is refused, with both numbers,
# whether nothing started the others or a launcher that does not make them one world.
recipe alone 1
none=$(cd "$folder" && sbatch --parsable -o alone-%j.log -n 2 \
    --wrap "'$binary' pretrain --config alone/stage1.yaml --expect-ranks \$SLURM_NTASKS")
singletons=$(submit singletons alone)
for id in "$none" "$singletons"; do
    ends "$id" FAILED 64:0
    log_says "$id" "2 ranks are expected, and MPI made a world of 1"
done
[ ! -e "$folder/alone-1" ] || fail "a rank on its own has made a run folder"

finish
