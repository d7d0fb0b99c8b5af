#!/bin/sh
# jobs/submit on a recipe with decoders, fine-tuning and a list of evaluations, under real Slurm daemons:
# one encoder, as it was pretrained, and a converter for each of four decoders of different families
# and widths; a task is requeued when its time runs out; one table comes out, whose figures are those of
# the command by hand.
. tests/lib.sh
. tests/slurm/cluster.sh
models=$root/tests/fixtures/models
encoder=$root/$encoder decoder=$root/$decoder
make_tokens
pretrain 0 1 base train.steps=20
expect 0 "$slotpress" tokenize --quiet --tokenizer e="$encoder" --tokenizer llama="$models/llama-biased" \
    --tokenizer mistral="$models/mistral-window" --tokenizer qwen="$models/qwen2-tiny" --tokenizer phi="$models/phi3-tiny" \
    --segment-tokens 16 --output "$folder/streams.h5" "$folder/corpus.jsonl"
for i in $(seq 20); do
    printf '{"context": "the river ran down to a stone bridge %d", "prompt": "Question: %d?", "answer": "bread %d"}\n' "$i" "$i" "$i"
done >"$folder/rows.jsonl"
cat >"$folder/squad.json" <<END
{"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": "The river ran down to a stone bridge where old boats lay.", "qas": [
  {"id": "a", "question": "Where to?", "answers": [{"text": "a stone bridge", "answer_start": 22}]},
  {"id": "b", "question": "What lay?", "answers": [{"text": "old boats", "answer_start": 43}]}]}]}]}
END

recipe gen 1
sed "s|^decoder: .*|decoder: {model: $decoder, precision: f32}|
     s|^data: .*|data: {tokens: $folder/streams.h5, encoder_stream: e, decoder_stream: llama, validation: 0.1}|
     s|^train: *{|&init: $folder/base, init_parts: encoder, only: converter, |" "$folder/gen/stage1.yaml" >"$folder/stage1.yaml"
mv "$folder/stage1.yaml" "$folder/gen"
cat >"$folder/gen/finetune.yaml" <<END
run:        {seed: 7, dir: $folder/gen-2}
data:       {rows: $folder/rows.jsonl, validation: 0.2, encoder_states: $folder/states}
train:      {init: $folder/gen-1, only: converter, steps: 4, global_batch: 4, micro_batch: 2, lr: 1e-3,
             warmup_steps: 2, precision: f32, validate_every: 2}
checkpoint: {every_steps: 0}
END
cat >"$folder/gen/decoders" <<END
llama   decoder.model=$models/llama-biased   data.decoder_stream=llama
mistral decoder.model=$models/mistral-window data.decoder_stream=mistral
qwen    decoder.model=$models/qwen2-tiny     data.decoder_stream=qwen
phi     decoder.model=$models/phi3-tiny      data.decoder_stream=phi
END
echo "squad qa --data $folder/squad.json --min-context 1 --max-new-tokens 4" >"$folder/gen/evaluate"
cluster_start 1
site mpirun launcher=mpirun

# shellcheck disable=SC2046 # ids
set -- $(submit mpirun gen --ntasks-per-node=1)
[ $# = 2 ] || fail "not two jobs"
for k in 0 1 2 3; do wait_job 200 "${1}_$k"; done
for k in 0 1 2 3; do ends "${1}_$k" COMPLETED 0:0; done
until_true 60 grep -q '^{' "$folder/gen-2/qwen/metrics.jsonl" || fail "qwen is not fine-tuned"
for k in 0 1 2 3; do wait_job 200 "${2}_$k"; done
for k in 0 1 2 3; do ends "${2}_$k" COMPLETED 0:0; done

export_run base
for name in llama mistral qwen phi; do
    for stage in 1 2; do
        export_run gen-$stage/$name
        cmp -s "$folder/base.export/adapter_model.safetensors" "$folder/gen-$stage/$name.export/adapter_model.safetensors" ||
            fail "gen-$stage/$name: another encoder"
    done
    cmp -s "$folder/gen-1/$name.export/pcc.safetensors" "$folder/gen-2/$name.export/pcc.safetensors" &&
        fail "$name: the converter is not fine-tuned"
    expect 0 "$slotpress" evaluate qa --quiet --json --checkpoint "$folder/gen-2/$name/best" \
        --data "$folder/squad.json" --min-context 1 --max-new-tokens 4
    cmp -s "$folder/out" "$folder/gen-2/results/evaluate-$name-squad.json" || fail "$name: not what the command prints"
done
[ "$(find "$folder/states" -mindepth 1 -maxdepth 1 | wc -l)" = 1 ] || fail "states of more than one encoder"

# Three lines a decoder, with its name, two questions, and the figures of its result.
table=$folder/gen-2/table.txt
[ "$(wc -l <"$table")" = 14 ] || fail "not 12 lines and 2 of header: $(cat "$table")"
for name in llama-biased mistral-window qwen2-tiny phi3-tiny; do
    for context in full none 'compressed 4x'; do
        grep -Eq "^$name +SQuAD +$context +[0-9.]+ +[0-9.]+ +2 " "$table" || fail "$name, $context: no line"
    done
done
expect 0 "$slotpress" report --csv --results "$folder/gen-2/results/evaluate-phi-squad.json"
grep ',qa,' "$folder/out" >"$folder/rows"
[ "$(grep -cxFf "$folder/rows" "$folder/gen-2/table.csv")" = 3 ] || fail "table.csv has not the rows of phi"
[ "$(grep -o '"decoder":"[a-z0-9-]*"' "$folder/gen-2/table.json" | sort -u | wc -l)" = 4 ] || fail "table.json is not of 4 decoders"

# Again: nothing is done again.
before=$(stat -c %Y "$folder"/gen-2/results/*.json | sort -u)
# shellcheck disable=SC2046
set -- $(submit mpirun gen --ntasks-per-node=1)
for k in 0 1 2 3; do
    wait_job 200 "${2}_$k"
    ends "${2}_$k" COMPLETED 0:0
    log_says "${2}_$k" "is evaluated: nothing to do"
done
[ "$(stat -c %Y "$folder"/gen-2/results/*.json | sort -u)" = "$before" ] || fail "something was evaluated again"

finish
