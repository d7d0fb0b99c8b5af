#!/bin/sh
# What fine-tuning refuses: bad rows with file and line, by exit code 65 or left out, and wrong
# configurations by key.
. tests/lib.sh
make_tokens
pretrain 0 1 stage1 train.steps=2

row() { printf '{"context": "the river ran down to a stone %s", "prompt": "Question: %s?", "answer": "a %s"}\n' "$1" "$1" "$1"; }
for word in bridge where old boats lay and men sold bread; do row $word; done >"$folder/good.jsonl"
{
    head -n 3 "$folder/good.jsonl"
    echo '{"context": "the river", "prompt": "what?"}'
    echo '{"context": "the river", "prompt": "what?", "answer": "bread"'
    tail -n 6 "$folder/good.jsonl"
} >"$folder/bad.jsonl"
cat >"$folder/finetune.yaml" <<END
data:  {rows: $folder/bad.jsonl, validation_rows: $folder/good.jsonl}
train: {init: $folder/stage1, steps: 3, global_batch: 4, micro_batch: 2, warmup_steps: 1}
END
finetune() {
    wanted=$1 && shift
    expect "$wanted" "$slotpress" finetune --config "$folder/finetune.yaml" --set run.dir="$folder/run" "$@"
}

# A bad row stops, with its place, whatever the ranks, and nothing is left to go on from.
finetune 65
says "'$folder/bad.jsonl', line 4: no field 'answer'"
expect 65 mpirun --oversubscribe -n 2 "$slotpress" finetune --config "$folder/finetune.yaml" --set run.dir="$folder/run"
says "'$folder/bad.jsonl', line 4: no field 'answer'"
[ -z "$(find "$folder/run" -name 'step-*')" ] || fail "there is a checkpoint"

# Or is left out.
finetune 0 --on-error skip
says "left out: '$folder/bad.jsonl', line 4: no field 'answer'"
says "left out: '$folder/bad.jsonl', line 5: not a JSON object"
says "2 bad rows are left out"
says "9 training and 9 held-out rows"
rm -rf "$folder/run"

# Nothing to train on is refused all the same.
sed -n '4,5p' "$folder/bad.jsonl" >"$folder/none.jsonl"
finetune 65 --on-error skip --set data.rows="$folder/none.jsonl"
says "no row to train on"
finetune 74 --set data.rows="$folder/nowhere.jsonl"
finetune 65 --set data.rows="$folder/finetune.yaml"
says "rows come in files named .jsonl"

# Rows longer than the decoder's positions, where these are learned.
{
    head -n 2 "$folder/good.jsonl"
    awk 'BEGIN { printf "{\"context\": \"a\", \"prompt\": \"b\", \"answer\": \""; for (i = 0; i < 3000; i++) printf "stone %d ", i; print "\"}" }'
} >"$folder/long.jsonl"
finetune 65 --set train.init=null --set encoder.model="$encoder" --set encoder.train=none \
    --set decoder.model=tests/fixtures/models/gpt2-tiny --set data.rows="$folder/long.jsonl" --set segment.tokens=16
says "'$folder/long.jsonl', line 3: "
says "positions"

# A chat needs a template, or is a plain transcript.
echo '{"context": "a river", "messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}]}' >"$folder/chat.jsonl"
finetune 64 --set data.rows="$folder/chat.jsonl"
says "data.chat: the chat template of"
finetune 64 --set data.rows="$folder/chat.jsonl" --set data.chat=llama4
says "data.chat: there is no template 'llama4'"
finetune 65 --set data.rows="$folder/chat.jsonl" --set data.chat=llama3
says "needs the token '<|start_header_id|>'"
finetune 0 --set data.rows="$folder/chat.jsonl" --set data.chat=none
rm -rf "$folder/run"

# Configurations: by key, with file and line where there is one.
echo 'train: {early_stopp: 3}' >>"$folder/finetune.yaml.bad"
expect 64 "$slotpress" finetune --config "$folder/finetune.yaml.bad"
says "$folder/finetune.yaml.bad"
says "train.early_stop"
finetune 64 --set data.rows=null
says "data.rows: needs a value"
finetune 64 --set data.tokens="$folder/tokens.h5"
says "data.tokens: finetune reads data.rows"
finetune 74 --set train.init="$folder/nowhere"
says "train.init: there is no checkpoint in"
expect 64 "$slotpress" pretrain --config "$folder/run.yaml" --set data.rows="$folder/good.jsonl" --set run.dir="$folder/run"
says "data.rows: rows are what"
finetune 64 --on-error maybe

finetune 64 --set data.rows="$folder/good.jsonl" --set data.validation_rows=null --set data.validation=0 --set train.early_stop=2
says "train.early_stop: nothing is held out"
finetune 0 --set data.rows="$folder/good.jsonl" --set data.validation_rows=null --set data.validation=0
says "no rows are held out, so no best checkpoint is kept"
[ ! -e "$folder/run/best" ] || fail "there is a best one"
rm -rf "$folder/run"

# Other rows than those of the checkpoint are not gone on with.
finetune 0 --set data.rows="$folder/good.jsonl"
finetune 64 --on-error skip --set data.rows="$folder/long.jsonl" --set train.steps=4
says "was made with other tokens than data.rows"

finish
