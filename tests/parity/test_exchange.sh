#!/bin/sh
# What `export` writes, as transformers and PEFT load it, for every family: hidden states, merged
# models, rows of slots, and greedy text of tools/pcc_hf.py.
# cores: 1
python=${PYTHON:-python3}
"$python" -c 'import h5py, peft, safetensors, torch, transformers' 2>/dev/null || {
    echo "skipped: needs Python with torch, transformers, peft, safetensors and h5py (tools/bootstrap reference)"
    exit 77
}
. tests/lib.sh
export OMPI_MCA_ess_singleton_isolated=1

all_targets='encoder.lora.targets=[q,k,v,o,gate,up,down,embed,head]'
checked=''
for name in gpt2-tiny llama-tiny llama-tied-bf16 mistral-window qwen2-tiny phi3-tiny; do
    encoder=tests/fixtures/models/$name
    checked="$checked $name=$encoder"
    make_tokens 6
    mkdir "$folder/$name"
    cp "$folder/corpus.jsonl" "$folder/$name"
    for mode in lora full pooled merger cut; do
        kind=encoder.train=$mode
        [ $mode != pooled ] || kind=encoder.memory=pooled
        [ $mode != merger ] || kind=encoder.memory=merged
        [ $mode != cut ] || kind=encoder.layers=1
        pretrain 0 1 "$name/$mode" "$all_targets" train.steps=3 $kind
        run="$folder/$name/$mode"
        export_run "$name/$mode"
        expect 0 "$slotpress" compress --quiet --checkpoint "$run" --output "$run.h5" "$folder/corpus.jsonl"
        generate="generate --json --checkpoint $run --memory $run.h5 --document d3"
        # shellcheck disable=SC2086
        {
            expect 0 "$slotpress" $generate --max-new-tokens 16
            cp "$folder/out" "$run.reconstruct.json"
            expect 0 "$slotpress" $generate --max-new-tokens 64 --prompt 'the old boats'
            cp "$folder/out" "$run.answer.json"
        }
    done
    run="$folder/$name/lora"
    expect 0 "$slotpress" export --checkpoint "$run" --merge --output "$folder/$name/merged"
    rows="export --checkpoint $run --slots $run.h5 --output $folder/$name"
    # shellcheck disable=SC2086
    {
        expect 0 "$slotpress" $rows/npy --format npy
        expect 0 "$slotpress" $rows/rows.safetensors --format safetensors
        expect 0 "$slotpress" $rows/first.npy --format npy --document d0 --markers
    }
done
# shellcheck disable=SC2086
"$python" tests/parity/exchange.py "$folder" "$decoder" $checked >"$folder/out" 2>"$folder/err" ||
    fail "exchange.py"
cat "$folder/out"

# Memory without boundaries, from a text, at another of two ratios.
pretrain 0 1 bare train.steps=3 decoder.boundaries=false 'segment.ratio=[4,8]' "encoder.model=$encoder"
export_run bare
sed -n 's/.*"d3", "text": "\(.*\)"}/\1/p' "$folder/corpus.jsonl" | tr -d '\n' >"$folder/text.txt"
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/bare" --ratio 8 --output "$folder/bare.h5" "$folder/corpus.jsonl"
set -- --max-new-tokens 16 --prompt 'the old boats'
expect 0 "$slotpress" generate --json --checkpoint "$folder/bare" --memory "$folder/bare.h5" --document d3 "$@"
ids=$(grep -o '"ids":.*' "$folder/out" | tr -dc '0-9,')
expect 0 "$python" tools/pcc_hf.py --export "$folder/bare.export" --encoder "$encoder" --decoder "$decoder" \
    --segment-tokens 16 --ratio 8 --no-boundaries "$@" "$folder/text.txt"
[ -n "$ids" ] && [ "$(grep -o '"ids":.*' "$folder/out" | tr -dc '0-9,')" = "$ids" ] || fail "bare: $ids, not $(cat "$folder/out")"
finish
