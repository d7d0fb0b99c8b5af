#!/bin/sh
# Runs on 1, 2 and 3 ranks are killed 7 times each, at random moments, without a chance to say anything;
# the same command finishes them with the bits of a run that was never disturbed. SEED chooses another run.
. tests/lib.sh
make_tokens
limit_s=300
seed=${SEED:-1}
echo "SEED=$seed"
n_kills=7
schedule="train.steps=600 checkpoint.every_steps=10 train.validate_every=25"

# kill_run: mpirun and its ranks, at once.
kill_run() {
    ranks=$(pgrep -P "$trained" | tr '\n' ' ')
    # shellcheck disable=SC2086 # several processes
    kill -KILL "$trained" $ranks 2>/dev/null
    wait "$trained" 2>/dev/null
    for _ in $(seq 50); do # a lock of a rank that still dies is none of the next run's business
        # shellcheck disable=SC2086
        [ -z "$ranks" ] || kill -0 $ranks 2>/dev/null || return 0
        [ -n "$ranks" ] || return 0
        sleep 0.1
    done
    fail "ranks outlive a kill"
}

for n_ranks in 1 2 3; do
    killed=killed$n_ranks
    # shellcheck disable=SC2086
    pretrain 0 $n_ranks whole$n_ranks $schedule
    took=$(awk -F'[:,}]' '{ for (i = 1; i < NF; i++) if ($i ~ /"seconds"/) s += $(i + 1) } END { print s }' \
        "$folder/whole$n_ranks/metrics.jsonl")
    kills=0
    for delay in $(awk -v seed=$((seed % 100000 + n_ranks)) -v n=$n_kills -v took="$took" 'BEGIN {
        srand(seed)
        for (i = 0; i < n; i++) printf "%.2f ", 0.2 + rand() * (0.6 + 1.6 * took / n)
    }'); do
        # shellcheck disable=SC2086
        pretrain later $n_ranks $killed $schedule
        sleep "$delay"
        kill -0 "$trained" 2>/dev/null && kills=$((kills + 1))
        kill_run
    done
    echo "$n_ranks ranks: $kills kills, $(losses $killed 2>/dev/null | grep -vc validation) steps made"
    [ "$kills" -ge 4 ] || fail "$n_ranks ranks: the run was over after $kills kills"
    # shellcheck disable=SC2086
    pretrain 0 $n_ranks $killed $schedule
    has_steps $killed 600
    same_losses $killed whole$n_ranks
    same_weights $killed whole$n_ranks
    left=$(find "$folder/$killed" -mindepth 1 -maxdepth 1 ! -name 'step-???????' ! -name metrics.jsonl ! -name lock)
    [ -z "$left" ] || fail "left behind: $left"
    [ "$(find "$folder/$killed" -maxdepth 1 -name 'step-*' | wc -l)" = 2 ] || fail "$killed: not 2 checkpoints"
done

finish
