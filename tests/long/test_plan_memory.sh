#!/bin/sh
# What `plan` says of memory against what runs take: within 10 % of the peak resident bytes of each rank,
# SmolLM2-135M as encoder, by LoRA and as a whole, and as decoder; with a micro-batch of several passes; and
# of fine-tuning on rows of unequal lengths, all or the converter alone. On one rank, or on RANKS=2, which
# are another script's.
# cores: 1
. tests/lib.sh
BUILD=${BUILD:-build}
model=$BUILD/models/SmolLM2-135M-Instruct.Q4_1.gguf
limit_s=1500
for needed in "$model" /usr/bin/time "$BUILD/data/prose/emma.jsonl"; do
    [ -e "$needed" ] || {
        echo "skipped: needs $needed"
        exit 77
    }
done
command -v python3 >/dev/null || {
    echo "skipped: needs python3"
    exit 77
}

expect 0 "$slotpress" tokenize --quiet --tokenizer s="$model" --segment-tokens 64 \
    --output "$folder/tokens.h5" "$BUILD/data/prose/emma.jsonl"

expect 0 "$slotpress" tokenize --quiet --tokenizer s="$model" --segment-tokens 256 \
    --output "$folder/long.h5" "$BUILD/data/prose/emma.jsonl"

cat >"$folder/plan.yaml" <<END
run:        {seed: 1}
encoder:    {model: $model, train: lora, lora: {rank: 16}}
decoder:    {model: $model, precision: f32}
data:       {tokens: $folder/tokens.h5, encoder_stream: s, decoder_stream: s}
segment:    {tokens: 64}
train:      {steps: 1, global_batch: 4, micro_batch: 2, precision: f32, validate_every: 0}
checkpoint: {every_steps: 0}
END

# Rows on one to eight segments of context each, and longer and shorter answers.
python3 - "$BUILD/data/prose/emma.jsonl" >"$folder/rows.jsonl" <<'END'
import json, sys
words = " ".join(json.loads(line)["text"] for line in open(sys.argv[1])).split()
for i in range(24):
    n, at = 40 + 350 * (i * 7 % 24) // 24, 1000 * i
    print(json.dumps({"context": " ".join(words[at:at + n]), "prompt": "Question: Who?\n\nAnswer: ",
                      "answer": " ".join(words[at:at + 5 + i * 5 % 23])}))
END
cat >"$folder/rows.yaml" <<END
data:       {rows: $folder/rows.jsonl, validation: 0}
train:      {init: $folder/lora, steps: 2, global_batch: 4, micro_batch: 2, precision: f32, validate_every: 0}
checkpoint: {every_steps: 0}
END

# holds NAME RANKS KEY=VALUE...: plans and runs a step or two, and compares. The command is $command.
command=pretrain
holds() {
    name=$1 n_ranks=$2 && shift 2
    [ "$n_ranks" = "${RANKS:-1}" ] || return 0
    set -- run.dir="$folder/$name" "$@"
    n_sets=$#
    while [ "$n_sets" -gt 0 ]; do
        set -- "$@" --set "$1"
        shift
        n_sets=$((n_sets - 1))
    done
    [ $command = pretrain ] && config=plan || config=rows
    set -- --config "$folder/$config.yaml" "$@"
    expect 0 "$slotpress" plan --json --ranks-per-node "$n_ranks" "$@"
    cp "$folder/out" "$folder/plan.json"
    rm -f "$folder"/peak.*
    run="/usr/bin/time -f %M -o $folder/peak.\${OMPI_COMM_WORLD_RANK:-0} $slotpress $command --quiet"
    if [ "$n_ranks" = 1 ]; then
        expect 0 sh -c "$run \"\$@\"" sh "$@"
    else
        expect 0 mpirun --oversubscribe --bind-to none -n "$n_ranks" sh -c "$run \"\$@\"" sh "$@"
    fi
    peak=$(sort -n "$folder"/peak.* | tail -n 1)
    python3 - "$folder/plan.json" "$peak" "$name" <<'END' || fail "$name: the plan is not within 10 %"
import json, sys
planned = json.load(open(sys.argv[1]))["configured"]["memory"]["peak_resident"]
measured = 1024 * int(sys.argv[2])
print(f"{sys.argv[3]}: planned {planned / 2**20:.0f} MiB, measured {measured / 2**20:.0f} MiB, "
      f"{100 * (planned / measured - 1):+.1f} %")
sys.exit(abs(planned / measured - 1) > 0.1)
END
}

holds lora 1 encoder.train=lora
holds full 1 encoder.train=full train.steps=2 # the second with the moments of the first
holds wide 1 encoder.train=lora train.micro_batch=4 train.global_batch=8
holds passes 1 data.tokens="$folder/long.h5" segment.tokens=256 train.micro_batch=8 train.global_batch=8 \
    train.steps=1
holds data 2 encoder.train=lora
holds pipeline 2 encoder.train=lora parallel.pipeline=2

command=finetune
holds rows 1 run.seed=1
holds rows-wide 1 train.micro_batch=4
holds rows-data 2 run.seed=1 train.init="$folder/data"
holds converter 1 train.only=converter data.encoder_states=null
holds states 1 train.only=converter

finish
