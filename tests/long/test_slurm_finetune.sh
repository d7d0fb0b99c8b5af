#!/bin/sh
# jobs/finetune.sbatch under real Slurm daemons: behind a stage, requeued when its time runs out, it
# ends with the weights of a run that nothing interrupted; alone it is submitted like any recipe.
. tests/lib.sh
. tests/slurm/cluster.sh
encoder=$root/$encoder decoder=$root/$decoder
make_tokens
cluster_start 1
site plain
for i in $(seq 30); do
    printf '{"context": "the river ran down to a stone bridge %d", "prompt": "Question: %d?", "answer": "bread %d"}\n' "$i" "$i" "$i"
done >"$folder/rows.jsonl"

# losses RUN: those of tests/lib.sh, of answers.
losses() {
    sed 's/[{}"]//g; s/:/,/g' "$folder/$1/metrics.jsonl" |
        awk -F, '{ print ($3 ~ /^validation/ ? "validation " : "") $2, $4 }'
}
recipe tuned 1
cat >"$folder/tuned/finetune.yaml" <<END
run:        {seed: 7, dir: $folder/tuned-2}
data:       {rows: $folder/rows.jsonl, validation: 0.2}
train:      {init: $folder/tuned-1, steps: 400, global_batch: 4, micro_batch: 2, lr: 1e-3,
             warmup_steps: 5, precision: f32, validate_every: 200}
checkpoint: {every_steps: 0}
END
# shellcheck disable=SC2046 # ids
set -- $(submit plain tuned train.steps=400 --ntasks-per-node=2)
[ $# = 2 ] || fail "not two jobs"
job_is "$2" PENDING || fail "fine-tuning does not wait for its stage"
ends "$1" COMPLETED 0:0
makes_steps "$2" tuned-2
scancel --batch --signal=USR1 "$2"
ends "$2" COMPLETED 0:0 1
log_says "$2" "exit code 75, requeued"
log_says "$2" "resuming from"
expect 0 mpirun --oversubscribe -n 2 "$slotpress" finetune --quiet --config "$folder/tuned/finetune.yaml" \
    --set run.dir="$folder/whole"
same_losses tuned-2 whole
same_weights tuned-2 whole
[ "$(ls "$folder/tuned-2/best")" = "$(ls "$folder/whole/best")" ] || fail "another best checkpoint"

# Alone; and bad rows end it at once.
mkdir "$folder/alone" "$folder/spoilt"
sed "s|tuned-2|alone-1|; s|steps: 400|steps: 2|" "$folder/tuned/finetune.yaml" >"$folder/alone/finetune.yaml"
sed "s|tuned-2|spoilt-1|; s|rows.jsonl|spoilt.jsonl|" "$folder/tuned/finetune.yaml" >"$folder/spoilt/finetune.yaml"
echo '{"context": "the river"}' >"$folder/spoilt.jsonl"
alone=$(submit plain alone) spoilt=$(submit plain spoilt)
ends "$alone" COMPLETED 0:0
ends "$spoilt" FAILED 65:0
log_says "$spoilt" "spoilt.jsonl', line 1: no field 'prompt'"

finish
