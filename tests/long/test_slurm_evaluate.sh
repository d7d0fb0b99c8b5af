#!/bin/sh
# jobs/evaluate.sbatch under real Slurm daemons: an array shares out a list of tasks, a task whose rank is
# killed, or that is told that its time limit comes, is requeued and goes on from what it has answered, results are those of the command by hand, what is done is not done again until a
# checkpoint changes, and a bad task ends its job alone.
. tests/lib.sh
. tests/slurm/cluster.sh
encoder=$root/$encoder decoder=$root/$decoder
make_tokens 150
pretrain 0 1 run train.steps=2
pretrain 0 1 run8 train.steps=2 segment.ratio=8
cat >"$folder/squad.json" <<END
{"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": "The river ran down to a stone bridge where old boats lay.", "qas": [
  {"id": "a", "question": "Where to?", "answers": [{"text": "a stone bridge", "answer_start": 22}]},
  {"id": "b", "question": "What lay?", "answers": [{"text": "old boats", "answer_start": 43}]}]}]}]}
END
cat >"$folder/tasks" <<END
# A comment, and an empty line, are none.

text reconstruction --split all --limit 250 $folder/tokens.h5
"squad" qa --data '$folder/squad.json' --min-context 1 --max-new-tokens 4 --output=$folder/answers.jsonl
END
cluster_start 1
site mpirun launcher=mpirun

# evaluate ARRAY WORD...: submits jobs/evaluate.sbatch, as an array unless that is empty; the id.
evaluate() {
    tasks=$1 && shift
    (cd "$folder" && SLOTPRESS=$binary SLOTPRESS_JOBS=$root/jobs SLOTPRESS_SITE=$folder/mpirun.sh \
        sbatch --parsable --export=ALL --ntasks-per-node=2 --cpus-per-task=1 --time=20 ${tasks:+--array="$tasks"} \
        --output="$folder/%A_%a.log" "$root/jobs/evaluate.sbatch" "$@")
}
# by_hand NAME TASK WORD...: a result is what the command prints on one rank, the time apart.
by_hand() {
    name=$1 && shift
    (cd "$folder" && "$binary" evaluate "$@" --quiet --json --checkpoint run --checkpoint run8) >"$folder/out"
    cp "$folder/results/evaluate-$name.json" "$folder/result"
    sed -i 's/"seconds":[0-9.e-]*//' "$folder/out" "$folder/result"
    [ -s "$folder/out" ] && cmp -s "$folder/out" "$folder/result" || fail "$name is not what the command prints"
}
# Ranks whose command has this word.
ranks_with() {
    for process in $(grep -lx slotpress /proc/[0-9]*/comm 2>/dev/null); do
        process=${process%/comm}
        ! tr '\0' '\n' 2>/dev/null <"$process/cmdline" | grep -qxF "$1" || echo "${process#/proc/}"
    done
}
has_ranks() { [ -n "$(ranks_with "$1")" ]; }
# Groups of answers that are kept of the task `text`.
n_answers() { cat "$folder/results/.evaluate-text.work"/*/answers-* 2>/dev/null | wc -l; }
has_answers() { [ "$(n_answers)" -ge "$1" ]; }

id=$(evaluate 0-1 results tasks --checkpoint run --checkpoint run8)
until_true 60 has_ranks "$folder/tokens.h5" || fail "task 0 does not begin"
until_true 60 has_answers 2 || fail "nothing is answered"
scancel --batch --signal=USR1 "${id}_0" # as before its time limit
until_true 60 job_has "${id}_0" Restarts 1 || fail "USR1 does not requeue task 0"
log_says "${id}_0" "exit code 75, requeued"
told=$(n_answers)
until_true 60 has_answers $((told + 2)) || fail "nothing more is answered after USR1"
kill -KILL "$(ranks_with "$folder/tokens.h5" | tail -n 1)" || fail "no rank to kill"
for k in 0 1; do wait_job 100 "${id}_$k"; done
ends "${id}_0" COMPLETED 0:0 2
ends "${id}_1" COMPLETED 0:0 0
log_says "${id}_0" "groups of answers are there from before"
by_hand text reconstruction --split all --limit 250 "$folder/tokens.h5"
by_hand squad qa --data "$folder/squad.json" --min-context 1 --max-new-tokens 4
[ "$(wc -l <"$folder/answers.jsonl")" = 8 ] || fail "not 8 answers"
[ -z "$(find "$folder/results" -name '.evaluate-*.work')" ] || fail "answers are left beside their results"

# Again, as one job: nothing is done again, until a checkpoint is newer or a word another.
id=$(evaluate '' results tasks --checkpoint run --checkpoint run8)
ends "$id" COMPLETED 0:0
log_says "$id" "'text' is evaluated: nothing to do"
log_says "$id" "'squad' is evaluated: nothing to do"
touch "$folder"/run8/step-*/manifest.json
sed -i 's/--limit 250/--limit 4/' "$folder/tasks"
before=$(stat -c %i-%Y "$folder/results/evaluate-squad.json")
id=$(evaluate '' results tasks --checkpoint run --checkpoint run8)
ends "$id" COMPLETED 0:0
[ "$(stat -c %i-%Y "$folder/results/evaluate-squad.json")" != "$before" ] || fail "squad is not evaluated again"
by_hand text reconstruction --split all --limit 4 "$folder/tokens.h5"

# One task without a list. A bad task keeps no other from being done, and ends its job.
id=$(evaluate '' one efficiency --checkpoint run --input-tokens 24 --max-new-tokens 3 --batch 1 --runs 1)
ends "$id" COMPLETED 0:0
grep -q '"task":"efficiency".*"ranks":2' "$folder/one/evaluate-efficiency.json" || fail "no result of 2 ranks"
printf '%s\n' "bad qa --data $folder/tasks" "good roleplay --data $folder/dialogue.jsonl" >"$folder/bad"
printf '%s\n' '{"context": "Boats lay by the bridge.", "prompt": "Harry:", "answer": " There."}' >"$folder/dialogue.jsonl"
id=$(evaluate '' results bad --checkpoint run)
ends "$id" FAILED 65:0
log_says "$id" "'bad': exit code 65 is not tried again"
[ -s "$folder/results/evaluate-good.json" ] || fail "the task after a bad one is not done"
[ -z "$(find "$folder/results" -name '*.part' -o -name '*evaluate-bad*')" ] || fail "something is left in the results"

finish
