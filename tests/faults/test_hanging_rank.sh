#!/bin/sh
# A rank of a training run is stopped (SIGSTOP, as on a machine that is gone): the watchdog of the
# others ends the job in time, says where every rank was and which is late, and the same command goes on.
. tests/lib.sh
make_tokens
watchdog_s=6
run="hung parallel.pipeline=2 run.watchdog_s=$watchdog_s checkpoint.every_steps=2 train.schedule=constant
    train.steps=1000000 train.validate_every=0"

now_s() { date +%s.%N; }

# shellcheck disable=SC2086
pretrain later 4 $run
for _ in $(seq 600); do
    [ "$(wc -l 2>/dev/null <"$folder/hung/metrics.jsonl" || echo 0)" -lt 8 ] || break
    sleep 0.1
done
stopped=$(pgrep -P "$trained" slotpress | sed -n 3p) # rank 2
[ -n "$stopped" ] || fail "no rank 2: nothing trains"
kill -STOP "$stopped"
begin=$(now_s)
for _ in $(seq 300); do
    kill -0 "$trained" 2>/dev/null || break
    sleep 0.1
done
if kill -0 "$trained" 2>/dev/null; then
    fail "nobody ends the job"
    # shellcheck disable=SC2046
    kill -KILL "$trained" $(pgrep -P "$trained")
fi
wait "$trained" 2>/dev/null
code=$?
end=$(now_s)
cp "$folder/err.later" "$folder/err"
[ $code = 1 ] || fail "a job that hangs ends with $code, not 1"
# mpirun takes some seconds to end what does not answer.
awk -v begin="$begin" -v end="$end" -v most=$((watchdog_s + 4)) 'BEGIN {
    printf "ended after %.1f s\n", end - begin
    exit end - begin > most }' ||
    fail "the job lives on for longer than run.watchdog_s"
says "watchdog: rank 2 on $(hostname)"
says "it is not heard: stopped, or its machine is gone"
for rank in 0 1 2 3; do
    grep -q "^  rank $rank (.*): .*, step [0-9]" "$folder/err" || fail "rank $rank has no place"
done

saved=$(find "$folder/hung" -maxdepth 1 -name 'step-???????' | sed 's/.*-0*//' | sort -n | tail -n 1)
# shellcheck disable=SC2086
pretrain 0 4 $run train.stop_at_step=$((saved + 3))
has_steps hung $((saved + 3))
finish
