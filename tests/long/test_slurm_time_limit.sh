#!/bin/sh
# The time limit of real Slurm daemons, which keep it to some half a minute: it is announced to the
# job, which saves and is requeued, and the run ends with the bits of one that had all the time. One
# that hangs is requeued when the limit is there, and goes on from its last checkpoint.
# shellcheck disable=SC2154 # some names are made by eval
. tests/lib.sh
. tests/slurm/cluster.sh
encoder=$root/$encoder decoder=$root/$decoder
make_tokens
cluster_start 1
endless="train.steps=1000000 train.schedule=constant train.validate_every=0"
for launcher in srun mpirun; do
    site $launcher launcher=$launcher warn_s=50
    recipe $launcher 1
    # shellcheck disable=SC2046,SC2086
    set -- $launcher $(submit $launcher $launcher $endless --time=1)
    eval "${launcher}_job=$2"
done

# Told so late, it hangs already whenever that is.
site late launcher=mpirun warn_s=1
recipe hanging 1
# shellcheck disable=SC2086
hanging_job=$(submit late hanging $endless checkpoint.every_steps=5 --time=1)
makes_steps "$hanging_job" hanging-1
# shellcheck disable=SC2046 # two ranks
kill -STOP $(ranks_of hanging-1)

# goes_on ID RUN: it is requeued, once or several times, goes on, and is stopped.
goes_on() {
    until_true 120 resumed "$1" || fail "job $1 is not requeued: $(job_field "$1" JobState)"
    : >"$folder/$2/STOP"
}
resumed() { grep -qF "resuming from" "$(job_field "$1" StdOut)"; }
goes_on "$srun_job" srun-1
goes_on "$mpirun_job" mpirun-1

for launcher in srun mpirun; do
    eval "id=\$${launcher}_job"
    ends "$id" FAILED 75:0 some
    log_says "$id" "signal USR1"
    log_says "$id" "exit code 75, requeued"
    n=$(n_steps $launcher-1)
    has_steps $launcher-1 "$n"
    # shellcheck disable=SC2086
    pretrain 0 2 $launcher-whole $endless train.stop_at_step="$n"
    same_losses $launcher-1 $launcher-whole
    same_weights $launcher-1 $launcher-whole
done

goes_on "$hanging_job" hanging-1
ends "$hanging_job" FAILED 75:0 some
log_says "$hanging_job" "signal TERM"

finish
