#!/bin/sh
# One rank of a run, any of them, is killed without a chance to say anything, at random moments of
# training and of starting, while checkpoints are written all the time: mpirun ends, the same command
# goes on from the newest complete checkpoint, and the end is that of a run of the same grid that was
# never disturbed, bit for bit. SEED chooses other moments, KILLS how many they are.
. tests/lib.sh
make_tokens
seed=${SEED:-1}
echo "SEED=$seed KILLS=${KILLS:=5}"
# grid RANKS OPTION...: one a line.
grids="pipeline2 2 parallel.pipeline=2
data2 2 parallel.zero=1
folded2 2 parallel.pipeline=2 parallel.cut=folded
data3 3 parallel.zero=2
grid2x2 4 parallel.pipeline=2 parallel.zero=2"
n_grids=5
n_kills=$(((KILLS + n_grids - 1) / n_grids)) # of each grid
n_steps=$((24 * n_kills))
schedule="train.steps=$n_steps checkpoint.every_steps=2 train.validate_every=16 train.validate_segments=4"

# moments SALT RANKS: for each of n_kills kills a line `lines rank delay`: when metrics.jsonl has so
# many lines (0: when mpirun starts), so many seconds later. Each kill has its share of the run, so
# that none comes after its end.
moments() {
    awk -v seed=$((seed % 100000 * 10 + $1)) -v n=$n_kills -v steps=$n_steps -v ranks="$2" 'BEGIN {
        srand(seed)
        for (i = 0; i < n; i++) {
            step = 1 + int((i + rand()) * (steps - 8) / n)
            if (rand() < 0.2) print 0, int(rand() * ranks), rand() * 1.5
            else print step, int(rand() * ranks), rand() * 0.05
        }
    }'
}

n_lines() { wc -l 2>/dev/null <"$1/metrics.jsonl" || echo 0; }

# wait_for_lines N: until the run in the background has logged so many, or is over.
wait_for_lines() {
    [ "$1" != 0 ] || return 0
    while kill -0 "$trained" 2>/dev/null && [ "$(n_lines "$folder/$killed")" -lt "$1" ]; do
        sleep 0.02
    done
}

# kill_rank R: of the run in the background, or the last one that there is yet.
kill_rank() {
    ranks=
    while [ -z "$ranks" ] && kill -0 "$trained" 2>/dev/null; do
        ranks=$(pgrep -P "$trained" slotpress) || sleep 0.02
    done
    # shellcheck disable=SC2086
    set -- "$1" $ranks
    [ $# -gt 1 ] || return 0 # the run is over
    [ $# -gt $(($1 + 1)) ] || set -- $(($# - 2)) $ranks
    shift $(($1 + 1))
    kill -KILL "$1" 2>/dev/null && made=$((made + 1))
}

# n_alive: ranks of the run in the background; one that has ended but was not waited for is none.
n_alive() { ps -o stat= --ppid "$trained" | grep -cv '^Z'; }

# ends_after_kill: all ranks do, and mpirun not as if all were well. Open MPI's mpirun itself can lock
# up in PMIx_server_finalize() when a rank was killed as it connected: then no rank is left, and it is
# killed as a batch system would.
ends_after_kill() {
    for _ in $(seq 300); do
        kill -0 "$trained" 2>/dev/null || break
        sleep 0.1
    done
    if kill -0 "$trained" 2>/dev/null; then
        if [ "$(n_alive)" = 0 ]; then
            echo "$killed: mpirun locks up after its last rank"
            n_stuck=$((n_stuck + 1))
        else
            fail "$killed: a rank outlives one that was killed"
        fi
        # shellcheck disable=SC2046
        kill -KILL "$trained" $(pgrep -P "$trained") 2>/dev/null
    fi
    wait "$trained" 2>/dev/null
    code=$?
    [ $code != 0 ] || [ "$made" = "$before" ] || fail "$killed: mpirun ends with 0 after a kill"
}

total=0 torn=0 n_stuck=0
while read -r grid n_ranks options; do
    whole=$grid.whole killed=$grid made=0
    case $options in *pipeline*)
        # Where one is cut is measured once and kept: both runs begin from there.
        # shellcheck disable=SC2086
        pretrain 0 "$n_ranks" "$whole" $schedule $options train.stop_at_step=1
        cp -R "$folder/$whole" "$folder/$killed"
        ;;
    esac
    # shellcheck disable=SC2086
    pretrain 0 "$n_ranks" "$whole" $schedule $options
    moments "$((total + n_ranks))" "$n_ranks" >"$folder/moments"
    while read -r lines rank delay; do
        before=$made
        # shellcheck disable=SC2086
        pretrain later "$n_ranks" "$killed" $schedule $options
        wait_for_lines "$lines"
        sleep "$delay"
        kill_rank "$rank"
        ends_after_kill
        [ -z "$(find "$folder/$killed" -maxdepth 1 -name 'step-*.tmp' 2>/dev/null)" ] || torn=$((torn + 1))
    done <"$folder/moments"
    total=$((total + made))
    echo "$grid: $made kills"
    # shellcheck disable=SC2086
    pretrain 0 "$n_ranks" "$killed" $schedule $options
    has_steps "$killed" $n_steps
    same_losses "$killed" "$whole"
    # Weights and moments, files and all.
    last=$(printf 'step-%07d' $n_steps)
    for file in "$folder/$whole/$last"/data-*.h5; do
        cmp -s "$file" "$folder/$killed/$last/${file##*/}" ||
            fail "$killed: another ${file##*/}"
    done
    left=$(find "$folder/$killed" -mindepth 1 -maxdepth 1 ! -name 'step-???????' ! -name metrics.jsonl ! -name lock)
    [ -z "$left" ] || fail "$killed: left behind: $left"
    [ "$(find "$folder/$killed" -maxdepth 1 -name 'step-*' | wc -l)" = 2 ] || fail "$killed: not 2 checkpoints"
done <<END
$grids
END
echo "$total kills, $torn of them with a checkpoint half-written"
[ $n_stuck -le $((1 + KILLS / 20)) ] || fail "mpirun locked up $n_stuck times"
[ $total -ge $((KILLS * 8 / 10)) ] || fail "$total kills only"
finish
