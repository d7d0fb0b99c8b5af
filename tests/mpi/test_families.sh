#!/bin/sh
# Every family as encoder, by LoRA and in full, and as decoder, from text to generated text: ranks
# change nothing but rounding, a run resumes to the same bits, and what was trained compresses,
# evaluates and generates.
# cores: 1
. tests/lib.sh
models=tests/fixtures/models

# pair ENCODER DECODER TRAIN [KEY=VALUE...]
pair() {
    encoder=$models/$1 decoder=$models/$2 name=$1-$2-$3
    how="encoder.train=$3 train.steps=6" && shift 3
    make_tokens
    # shellcheck disable=SC2086 # several keys in one word
    pretrain 0 1 "$name.1" $how "$@"
    # shellcheck disable=SC2086
    pretrain 0 2 "$name.2" $how "$@"
    close_losses "$name.2" "$name.1"
    losses "$name.1" | grep -q null && fail "$name: a loss is null"
    # shellcheck disable=SC2086
    pretrain 0 1 "$name.stopped" $how "$@" train.stop_at_step=3
    # shellcheck disable=SC2086
    pretrain 0 1 "$name.stopped" $how "$@"
    same_losses "$name.stopped" "$name.1"
    same_weights "$name.stopped" "$name.1"
    expect 0 "$slotpress" compress --quiet --checkpoint "$folder/$name.1" --output "$folder/slots.h5" \
        "$folder/corpus.jsonl"
    expect 0 "$slotpress" generate --checkpoint "$folder/$name.1" --memory "$folder/slots.h5" \
        --document d3 --max-new-tokens 8 --json
    grep -q '"ids": *\[' "$folder/out" || fail "$name: nothing generated"
    expect 0 "$slotpress" generate --checkpoint "$folder/$name.1" --memory "$folder/slots.h5" \
        --document d3 --max-new-tokens 8 --prompt 'the river'
    expect 0 "$slotpress" evaluate reconstruction --quiet --split all --segments 3 \
        --max-new-tokens 20 --checkpoint "$folder/$name.1" "$folder/tokens.h5"
}

pair gpt2-tiny phi3-longrope full
pair gpt2-bare qwen2-tiny lora "encoder.lora.targets=[q, gate, up, embed, head]"
pair mistral-window llama-biased full
pair mistral-wide mistral-window lora "encoder.lora.targets=[q, down, embed]"
pair qwen2-window gpt2-tiny full
pair qwen2-tiny qwen2-window lora
pair phi3-longrope gpt2-bare full
pair phi3-tiny llama-tiny lora "encoder.lora.targets=[k, up, o, embed]"

# What goes beyond learned positions is refused.
limit=$(sed -n 's/.*"n_positions": *\([0-9]*\).*/\1/p' $models/gpt2-tiny/config.json)
awk -v n="$limit" 'BEGIN { for (i = 0; i < 2 * n; i++) printf "%c", 65 + i % 26 }' >"$folder/long"
expect 65 sh -c "'$slotpress' score --model $models/gpt2-tiny <'$folder/long'"
says "the model has learned $limit"

finish
