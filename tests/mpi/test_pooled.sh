#!/bin/sh
# `encoder.memory: pooled`: any grid trains the same, a run stopped and resumed is one that was not, and
# compress, generate, evaluate, export and import follow the checkpoint. The memory itself is held against
# transformers by tests/parity/test_exchange.sh.
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
}
has_steps one 20
same_losses pipeline one
same_weights pipeline one
close_losses data one
same_losses recomputed one
same_losses resumed one
same_weights resumed one
pretrain 0 1 tokens
[ "$(final_loss tokens)" != "$(final_loss one)" ] || fail "pooled and tokens train alike"

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
    expect 65 "$slotpress" $import --set "run.dir=$folder/no" --input "$folder/one.export"
    says "no tensor 'memory_tokens'"
    export_run tokens
    expect 64 "$slotpress" $import --set "run.dir=$folder/no" --set encoder.memory=pooled \
        --input "$folder/tokens.export"
    says "encoder.memory: pooled"
}

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
