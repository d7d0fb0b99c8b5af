#!/bin/sh
# A control group smaller than a run's plan by some layers' activations: the run recomputes as many, keeps
# within the group, and finds the same losses to the last bit. SmolLM2-135M by LoRA.
# cores: 1
. tests/lib.sh
BUILD=${BUILD:-build}
model=$BUILD/models/SmolLM2-135M-Instruct.Q4_1.gguf
group=/sys/fs/cgroup/memory/slotpress-long-$$
limit_s=1500
skip() {
    echo "skipped: needs $1"
    exit 77
}
[ -e "$model" ] && [ -e "$BUILD/data/prose/emma.jsonl" ] || skip "$model"
command -v python3 >/dev/null || skip python3
mkdir "$group" 2>/dev/null && [ -w "$group/memory.limit_in_bytes" ] ||
    skip "a writable memory control group (v1)"
trap 'rmdir "$group" 2>/dev/null || { sleep 2 && rmdir "$group"; }; rm -rf "$folder"' EXIT

expect 0 "$slotpress" tokenize --quiet --tokenizer s="$model" --segment-tokens 64 \
    --output "$folder/tokens.h5" "$BUILD/data/prose/emma.jsonl"
cat >"$folder/run.yaml" <<END
encoder:    {model: $model, train: lora, lora: {rank: 16}}
decoder:    {model: $model, precision: f32}
data:       {tokens: $folder/tokens.h5, encoder_stream: s, decoder_stream: s}
segment:    {tokens: 64}
train:      {steps: 2, global_batch: 4, micro_batch: 4, precision: f32, validate_every: 0}
checkpoint: {every_steps: 0}
END
planned() { # MIB OF THE NODE, MEMBER: of the configured grid
    expect 0 "$slotpress" plan --json --memory "$(echo "$1" | awk '{ print $1 / 1024 }')" \
        --config "$folder/run.yaml" --set "run.dir=$folder/x"
    python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["configured"][sys.argv[2]])' "$folder/out" "$2"
}
whole=$(($(planned 100000 node_bytes) / 1048576))
room=$((whole - 200))
n_layers=$(planned $room recomputed_layers)
[ "$n_layers" -gt 3 ] && [ "$n_layers" -lt 60 ] || fail "$n_layers layers are to be recomputed"

pretrain 0 1 free
echo $((room * 1048576)) >"$group/memory.limit_in_bytes"
expect 0 sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" \
    "$slotpress" pretrain --config "$folder/run.yaml" --set "run.dir=$folder/tight"
says "activations of $n_layers of its layers are recomputed"
same_losses free tight
echo "plan $whole MiB; with $room MiB $n_layers layers were recomputed"

finish
