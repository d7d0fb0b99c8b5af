#!/bin/sh
# `slotpress plan` from outside: its tables and its JSON, models without weights, refusals.
# cores: 1
. tests/lib.sh

# A model folder without weights: config.json alone.
outline() {
    mkdir -p "$folder/$1"
    cp "$1/config.json" "$folder/$1/config.json"
}
outline $encoder
outline $decoder

plan() { # CODE OPTION...
    code=$1 && shift
    expect "$code" "$slotpress" plan --cpu zen4 \
        --set run.dir=x --set data.tokens="$folder/none.h5" --set data.encoder_stream=e \
        --set data.decoder_stream=d --set segment.tokens=16 --set encoder.memory_tokens=4 \
        --set train.global_batch=16 --set train.micro_batch=2 --set encoder.train=lora \
        --set encoder.model="$folder/$encoder" --set decoder.model="$folder/$decoder" "$@"
}
shows() { grep -qE -- "$1" "$folder/out" || fail "no '$1' in: $(cat "$folder/out")"; }

# number KEY...: what JSON has below that path of members.
number() {
    python3 -c 'import json, sys
value = json.load(open(sys.argv[1]))
for key in sys.argv[2:]: value = value[int(key) if key.isdigit() else key]
print(value)' "$folder/out" "$@"
}

# People's tables.
plan 0 --nodes 2 --ranks-per-node 2 --set parallel.pipeline=2 --set train.steps=100 --scale
for title in '^parameters' '^  LoRA' '^training FLOP' '^as configured: pipeline 2 x data 2' \
    '^  stage 1 on rank 1: ' '^memory of rank [0-9]+, at most' '^  activations kept' \
    '^seconds of a step' '^  gradients, reduced' '^  the run' '^fastest grids that fit' \
    '^strong scaling' '^weak scaling' '^ +1024 +2048'; do shows "$title"; done

# Machines' object: the same for each run, and consistent in itself.
if command -v python3 >/dev/null; then
    plan 0 --json --nodes 2 --ranks-per-node 2
    [ "$(number configured pipeline)x$(number configured data)" = 1x4 ] || fail "not a grid of 4"
    [ "$(number best 0 fits)" = True ] || fail "the best does not fit"
    sum=$(python3 -c 'import json, sys
memory = json.load(open(sys.argv[1]))["configured"]["memory"]
items = [memory[k] for k in memory if k not in ("total", "file_pages", "peak_resident")]
print(sum(items) == memory["total"])' "$folder/out")
    [ "$sum" = True ] || fail "items are not their total"
    mv "$folder/out" "$folder/first"
    plan 0 --json --nodes 2 --ranks-per-node 2
    cmp -s "$folder/out" "$folder/first" || fail "the same plan twice differs"
else
    echo "skipped: needs python3 (the plan's JSON)"
fi

# What does not fit: the plan, then the item and what to change.
plan 64 --memory 0.01
says "for program and libraries: start fewer ranks on a node"
shows 'does not fit'

# Wrong use.
plan 64 --cpu z80
says "--cpu: 'z80' is not one of"
plan 64 --network pigeon
says "--network: 'pigeon'"
plan 64 --ranks-per-node 0
plan 64 --ranks-per-node 1025
plan 64 --nodes 18446744073709551615
plan 64 --memory lots
plan 64 --ranks-per-node 2 --set parallel.pipeline=3
says "does not divide"
plan 74 --set encoder.model="$folder/nowhere.gguf"
expect 64 "$slotpress" plan
expect 0 "$slotpress" plan --machines
shows '^  zen4 '
shows '^  hdr '

# A GGUF file that ends behind its header.
head -c -200 tests/fixtures/model_files/llama.gguf >"$folder/cut.gguf"
plan 0 --set decoder.model="$folder/cut.gguf"
expect 65 "$slotpress" inspect "$folder/cut.gguf"

finish
