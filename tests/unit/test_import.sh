#!/bin/sh
# An import is the inverse of an export, for every family; what it makes is a run like any other.
# cores: 1
. tests/lib.sh
export OMPI_MCA_ess_singleton_isolated=1

# import_run FROM TO [KEY=VALUE...]: the export of $folder/FROM becomes the run $folder/TO.
import_run() {
    from=$1 to=$2 && shift 2
    for assignment in "$@"; do
        set -- "$@" --set "$assignment"
        shift
    done
    expect 0 "$slotpress" import --quiet --config "$folder/run.yaml" --set "run.dir=$folder/$to" \
        "$@" --input "$folder/$from.export"
}

for name in gpt2-tiny llama-tiny llama-tied-bf16 mistral-window qwen2-tiny phi3-tiny; do
    encoder=tests/fixtures/models/$name
    make_tokens 6
    for mode in lora full none pooled merged; do
        for targets in q,k,v,o,gate,up,down,embed,head v,down; do
            [ $mode = lora ] || [ $targets = v,down ] || continue
            run=$name.$mode.$(echo $targets | wc -c)
            set -- encoder.train=$mode "encoder.lora.targets=[$targets]"
            case $mode in pooled | merged) set -- encoder.memory=$mode "encoder.lora.targets=[$targets]" ;; esac
            pretrain 0 1 "$run" train.steps=2 "$@"
            export_run "$run"
            import_run "$run" "$run.back" "$@"
            same_weights "$run" "$run.back"
        done
    done
done

# Memory, answers and further training are those of the run that was exported.
encoder=tests/fixtures/models/llama-tiny
make_tokens 6
pretrain 0 1 run train.steps=3
export_run run
import_run run back
[ -d "$folder/back/step-0000000" ] || fail "an import is not step 0"
for run in run back; do
    expect 0 "$slotpress" compress --quiet --checkpoint "$folder/$run" --output "$folder/$run.h5" \
        "$folder/corpus.jsonl"
    expect 0 "$slotpress" generate --json --checkpoint "$folder/$run" --memory "$folder/$run.h5" --document d2
    cp "$folder/out" "$folder/$run.json"
done
cmp -s "$folder/run.json" "$folder/back.json" || fail "the import generates other text"
pretrain 0 1 back train.steps=2
has_steps back 2
pretrain 0 1 from_run train.steps=2 train.init="$folder/run"
import_run run again
pretrain 0 1 from_back train.steps=2 train.init="$folder/again"
same_losses from_run from_back

# Half as large, and nearly the same: an import of it exports the same bytes.
for dtype in f16 bf16; do
    expect 0 "$slotpress" export --checkpoint "$folder/run" --dtype $dtype --output "$folder/$dtype.export"
    import_run $dtype $dtype
    expect 0 "$slotpress" export --checkpoint "$folder/$dtype" --dtype $dtype --output "$folder/$dtype.again"
    for file in pcc.safetensors adapter_model.safetensors; do
        cmp -s "$folder/$dtype.export/$file" "$folder/$dtype.again/$file" || fail "$dtype: $file changes by an import"
        [ $(($(stat -c %s "$folder/$dtype.export/$file") * 5)) -lt $(($(stat -c %s "$folder/run.export/$file") * 4)) ] ||
            fail "$dtype: $file is as large as in f32"
    done
done
expect 64 "$slotpress" export --checkpoint "$folder/run" --dtype f16 --merge --output "$folder/no"
says "--dtype goes without --merge"
expect 64 "$slotpress" export --checkpoint "$folder/run" --dtype int8 --output "$folder/no"

# The merged encoder is a model that an encoder may be.
expect 0 "$slotpress" export --checkpoint "$folder/run" --merge --output "$folder/merged"
expect 0 "$slotpress" inspect "$folder/merged"
cp -R "$folder/merged" "$folder/frozen.export"
rm "$folder/frozen.export/model.safetensors" "$folder/frozen.export/config.json"
import_run frozen frozen encoder.train=none "encoder.model=$folder/merged"
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/frozen" --output "$folder/frozen.h5" \
    "$folder/corpus.jsonl"
expect 0 "$slotpress" generate --json --checkpoint "$folder/frozen" --memory "$folder/frozen.h5" --document d2
cmp -s "$folder/run.json" "$folder/out" || fail "the merged encoder's slots give other text"

# refused_import CODE TEXT FROM [KEY=VALUE...]
refused_import() {
    code=$1 text=$2 from=$3 && shift 3
    for assignment in "$@"; do
        set -- "$@" --set "$assignment"
        shift
    done
    expect "$code" "$slotpress" import --quiet --config "$folder/run.yaml" --set "run.dir=$folder/refused" \
        "$@" --input "$folder/$from.export"
    says "$text"
    [ ! -e "$folder/refused" ] || fail "'$text' leaves a run"
}

# What a compressor was trained for goes with it: its ratios, the kind of memory and what is around it.
pretrain 0 1 ratios train.steps=2 'segment.ratio=[4, 8]'
export_run ratios
grep -q '"boundaries": true' "$folder/ratios.export/pcc_config.json" || fail "no boundaries in pcc_config.json"
import_run ratios ratios.back 'segment.ratio=[4, 8]'
same_weights ratios ratios.back
import_run ratios eight segment.ratio=8
expect 64 "$slotpress" compress --quiet --checkpoint "$folder/eight" --ratio 4 --output "$folder/x.h5" "$folder/corpus.jsonl"
says "was trained for ratio 8"
refused_import 64 "segment.ratio: 2, but '$folder/ratios.export/pcc_config.json' was trained for [4, 8]" ratios \
    segment.ratio=2 encoder.memory_tokens=4 segment.tokens=8
refused_import 64 "segment.ratio: 16, but" ratios 'segment.ratio=[4, 16]'
refused_import 64 "encoder.memory: pooled, but" ratios encoder.memory=pooled
refused_import 64 "decoder.boundaries: false, but" ratios decoder.boundaries=false
refused_import 64 "segment.slots: fixed, but" ratios segment.slots=fixed
for object in '[]' '{"segment": {"ratio": 4}}' '{"segment": {"ratio": ["4"]}}' '{"segment": {"tokens": -1}}' \
    '{"encoder": {"memory": 4}}' '{"decoder": {"boundaries": "true"}}' '{"segment"'; do
    echo "$object" >"$folder/ratios.export/pcc_config.json"
    refused_import 65 pcc_config.json ratios
done
# Of others' files nothing is told, and nothing refused.
echo '{"segment": null, "author": "someone"}' >"$folder/ratios.export/pcc_config.json"
import_run ratios untold segment.ratio=8
rm "$folder/ratios.export/pcc_config.json"
import_run ratios older

finish
