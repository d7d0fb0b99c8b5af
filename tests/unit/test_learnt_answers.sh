#!/bin/sh
# What is learnt from rows is what `generate` says: contexts of several segments, compressed by
# `compress` and asked about with the rows' prompts, are answered with the rows' answers, whether these
# came as prompt and answer or as messages.
# cores: 1
. tests/lib.sh
row() { # row NAME CONTEXT ANSWER
    printf '%s' "$2" >"$folder/$1.txt"
    printf '{"context": "%s", "prompt": "What?", "answer": " %s"}\n' "$2" "$3" >>"$folder/rows.jsonl"
    printf '{"context": "%s", "messages": [{"role": "user", "name": "Ann", "content": "What?"}, {"role": "assistant", "content": "%s"}]}\n' \
        "$2" "$3" >>"$folder/chat.jsonl"
}
row one "the river ran down to a stone bridge" boats
row two "old men sold bread and lay down in boats" bread
row three "a stone lay where the old river ran" stone

# learn ROWS PROMPT [KEY=VALUE...]: by heart, then asks.
learn() {
    rows=$1 prompt=$2 && shift 2
    expect 0 "$slotpress" finetune --quiet --set run.dir="$folder/$rows" --set data.rows="$folder/$rows.jsonl" \
        --set encoder.model="$encoder" --set decoder.model="$decoder" --set encoder.train=full \
        --set encoder.memory_tokens=16 --set segment.tokens=16 --set segment.ratio=1 \
        --set data.validation=0 --set train.steps=150 --set train.global_batch=3 --set train.lr=1e-2 \
        --set train.warmup_steps=10 --set train.grad_clip=1 --set train.spike_factor=0 \
        --set checkpoint.every_steps=0 "$@"
    expect 0 "$slotpress" compress --quiet --checkpoint "$folder/$rows" --output "$folder/$rows.h5" \
        "$folder/one.txt" "$folder/two.txt" "$folder/three.txt"
    for asked in one=boats two=bread three=stone; do
        expect 0 "$slotpress" generate --checkpoint "$folder/$rows" --memory "$folder/$rows.h5" \
            --document "$folder/${asked%=*}.txt" --prompt "$prompt" --max-new-tokens 8
        [ "$(cat "$folder/out")" = " ${asked#*=}" ] ||
            fail "$rows, ${asked%=*}: '$(cat "$folder/out")', not ' ${asked#*=}'"
    done
}
learn rows "What?"
learn chat "Ann: What?
assistant:" --set data.chat=none

finish
