#!/bin/sh
# `encoder.memory: pooled` and `merged`: any grid trains the same, a run stopped and resumed is one that was not, and
# compress, generate, evaluate, export and import follow the checkpoint. The memory itself is held against
# transformers by tests/parity/test_exchange.sh.
# cores: 1
. tests/lib.sh
make_tokens

pooled="encoder.memory=pooled encoder.memory_tokens=1"
# shellcheck disable=SC2086
{
    pretrain 0 1 one $pooled
    pretrain 0 2 pipeline $pooled parallel.pipeline=2
    pretrain 0 2 data $pooled
    pretrain 0 1 recomputed $pooled train.recompute=all
    pretrain 0 1 resumed $pooled train.stop_at_step=9
    pretrain 0 1 resumed $pooled
    pretrain 0 1 placed encoder.memory=merged
    pretrain 0 2 placed.2 encoder.memory=merged parallel.pipeline=2
    pretrain 0 3 placed.3 encoder.memory=merged parallel.zero=2
}
same_losses placed.2 placed
same_weights placed.2 placed
close_losses placed.3 placed
has_steps one 20
same_losses pipeline one
same_weights pipeline one
close_losses data one
same_losses recomputed one
same_losses resumed one
same_weights resumed one
pretrain 0 1 tokens
for other in tokens placed; do
    [ "$(final_loss $other)" != "$(final_loss one)" ] || fail "pooled and $other train alike"
done

# The encoder's first layer alone under a converter near the identity: slots start as large as embeddings,
# on whichever rank the converter is.
expect 0 "$slotpress" tokenize --quiet --tokenizer d="$decoder" --segment-tokens 16 --output "$folder/d.h5" \
    "$folder/corpus.jsonl"
d="encoder.memory=pooled encoder.model=$decoder data.tokens=$folder/d.h5 data.encoder_stream=d"
near="$d encoder.layers=1 converter.init=identity segment.ratio=1 train.steps=3"
# shellcheck disable=SC2086
{
    pretrain 0 1 near $near
    pretrain 0 3 near.3 $near parallel.pipeline=3
    pretrain 0 1 near.full $near encoder.train=full
    pretrain 0 3 near.full.3 $near encoder.train=full parallel.pipeline=3
    pretrain 64 1 none $near encoder.layers=9
    says "encoder.layers: 9 layers"
    pretrain 64 1 near $near encoder.layers=2
    says "another encoder.layers;"
    pretrain 0 1 near.none $near encoder.layers=0 encoder.memory=merged 'encoder.lora.targets=[embed]'
    pretrain 64 1 near.none $near encoder.layers=1 encoder.memory=merged 'encoder.lora.targets=[embed]'
    says "another encoder.layers;"
    pretrain 64 1 none converter.init=identity
    says "converter.init: identity wants"
}
same_losses near.3 near
same_weights near.3 near
same_losses near.full.3 near.full
same_weights near.full.3 near.full
grep -q '"num_hidden_layers": 1,' "$folder/near.full.export/config.json" || fail "an export of two layers"
expect 0 "$slotpress" export --checkpoint "$folder/near" --merge --output "$folder/merged"
expect 0 "$slotpress" inspect --json "$folder/merged"
# shellcheck disable=SC2086
pretrain 0 1 merged.run $d encoder.model="$folder/merged" train.steps=1
expect 0 "$slotpress" plan --cpu zen4 --config "$folder/run.yaml" --set run.dir=x --set encoder.layers=1

# A checkpoint keeps its kind; no memory tokens are in it or its export.
pretrain 64 1 one encoder.memory=tokens
says "another encoder.memory;"
# shellcheck disable=SC2086
pretrain 64 1 one $pooled segment.slots=fixed
says "segment.slots"
grep -qa '"converter.norm.weight"' "$folder/one.export/pcc.safetensors" || fail "no converter in the export"
! grep -qa '"memory_tokens"' "$folder/one.export/pcc.safetensors" || fail "memory tokens in the export"
import="import --quiet --config $folder/run.yaml"
# shellcheck disable=SC2086
{
    expect 0 "$slotpress" $import --set "run.dir=$folder/back" --set encoder.memory=pooled \
        --input "$folder/one.export"
    same_weights back one
    expect 64 "$slotpress" $import --set "run.dir=$folder/no" --input "$folder/one.export"
    says "encoder.memory: tokens, but"
    rm "$folder/one.export/pcc_config.json"
    expect 65 "$slotpress" $import --set "run.dir=$folder/no" --input "$folder/one.export"
    says "no tensor 'memory_tokens'"
    export_run tokens
    expect 64 "$slotpress" $import --set "run.dir=$folder/no" --set encoder.memory=pooled \
        --input "$folder/tokens.export"
    says "encoder.memory: pooled, but"
    rm "$folder/tokens.export/pcc_config.json"
    expect 64 "$slotpress" $import --set "run.dir=$folder/no" --set encoder.memory=pooled \
        --input "$folder/tokens.export"
    says "encoder.memory: not tokens"
    expect 0 "$slotpress" $import --set "run.dir=$folder/placed.back" --set encoder.memory=merged \
        --input "$folder/placed.export"
    same_weights placed.back placed
    expect 65 "$slotpress" $import --set "run.dir=$folder/no" --set encoder.memory=merged \
        --input "$folder/one.export"
    says "no tensor 'merger.weight'"
    expect 64 "$slotpress" $import --set "run.dir=$folder/no" --set encoder.memory=merged \
        --set encoder.merged_tokens=5 --input "$folder/placed.export"
    says "encoder.merged_tokens: 5, but"
}
pretrain 64 1 placed encoder.memory=merged encoder.merged_tokens=5
says "another encoder.merged_tokens;"
pretrain 64 1 few encoder.memory=merged segment.ratio=8
says "encoder.merged_tokens: 4 are too few for segment.ratio 8"

# Other ratios from the same weights; slots by the rank, and what reads them.
pretrain 0 1 wider encoder.memory=pooled segment.ratio=1 train.init="$folder/one" train.steps=2
compress="compress --quiet --json --checkpoint $folder/one"
# shellcheck disable=SC2086
{
    expect 0 "$slotpress" $compress --output "$folder/one.h5" "$folder/corpus.jsonl"
    expect 0 mpirun --oversubscribe --bind-to none -n 3 "$slotpress" $compress --output "$folder/three.h5" \
        "$folder/corpus.jsonl"
}
expect 0 "$slotpress" merge --output "$folder/merged.h5" "$folder/three.h5"
cmp -s "$folder/merged.h5" "$folder/one.h5" || fail "three ranks make other slots"
expect 0 "$slotpress" generate --json --checkpoint "$folder/one" --memory "$folder/one.h5" --document d3 \
    --max-new-tokens 8
cp "$folder/out" "$folder/from-file"
expect 0 "$slotpress" evaluate reconstruction --json --limit 4 --checkpoint "$folder/one"
finish
