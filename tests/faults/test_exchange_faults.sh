#!/bin/sh
# What export and import cannot do: one line that names the file or key, the exit code of the kind, and
# nothing left behind.
. tests/lib.sh
make_tokens 6
limit_s=30
export OMPI_MCA_ess_singleton_isolated=1

# refuses CODE TEXT COMMAND...: that exit code, one line with TEXT in it, and no output.
refuses() {
    wanted=$1 text=$2 && shift 2
    expect "$wanted" "$slotpress" "$@"
    says "$text"
    grep -q '^slotpress: ' "$folder/err" && [ "$(wc -l <"$folder/err")" = 1 ] ||
        fail "$*: not the one line"
    [ ! -s "$folder/out" ] || fail "$*: there is output"
}
# misused TEXT COMMAND...: wrong usage.
misused() {
    text=$1 && shift
    expect 64 "$slotpress" "$@"
    says "$text"
}

pretrain 0 1 lora train.steps=2
pretrain 0 1 full train.steps=2 encoder.train=full
pretrain 0 1 fewer train.steps=2 'encoder.lora.targets=[q,v]'
for run in lora full fewer; do export_run $run; done
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/lora" --output "$folder/slots.h5" "$folder/corpus.jsonl"

# ---- import: what the configuration and the folder disagree about ----

import="import --config $folder/run.yaml --set run.dir=$folder/new"
# import_refused CODE TEXT FOLDER [OPTION...]: and no run is begun.
import_refused() {
    wanted=$1 text=$2 input=$3 && shift 3
    # shellcheck disable=SC2086
    refuses "$wanted" "$text" $import --input "$input" "$@"
    [ ! -e "$folder/new" ] || fail "a refused import left a run"
}
good="$folder/lora.export"
import_refused 64 'encoder.lora.rank: 8' "$good" --set encoder.lora.rank=8
import_refused 64 'encoder.lora.alpha: 9' "$good" --set encoder.lora.alpha=9
import_refused 64 'encoder.memory_tokens: 5' "$good" --set encoder.memory_tokens=5
import_refused 64 'encoder.lora.targets: none of them covers' "$good" --set 'encoder.lora.targets=[q]'
import_refused 64 'encoder.lora.targets' "$folder/fewer.export"
import_refused 64 'encoder.train: not lora' "$good" --set encoder.train=full
import_refused 64 'encoder.train: none' "$folder/full.export" --set encoder.train=none
import_refused 74 "$folder/full.export/adapter_config.json" "$folder/full.export"
import_refused 65 "tensor 'memory_tokens' is [4, 42], and [4, 60] is wanted" "$good" \
    --set encoder.model=tests/fixtures/models/llama-tied-bf16
import_refused 65 "tensor 'converter.in.weight' is [60, 42]" "$good" \
    --set decoder.model=tests/fixtures/models/llama-tiny
import_refused 74 "$folder/nowhere/pcc.safetensors" "$folder/nowhere"
refuses 64 "run.dir: '$folder/lora/step-0000002' is there already" import --config "$folder/run.yaml" \
    --set "run.dir=$folder/lora" --input "$good"

# ---- import: adapters that are no plain LoRA, damaged files ----

# altered SED: a copy of the good folder with its adapter_config.json changed.
altered() {
    rm -rf "$folder/altered"
    cp -R "$good" "$folder/altered"
    sed -i "$1" "$folder/altered/adapter_config.json"
}
config="$folder/altered/adapter_config.json"
for member in '"rank_pattern": {"q_proj": 2}' '"alpha_pattern": {"q_proj": 2}' '"use_rslora": true' \
    '"use_dora": true' '"modules_to_save": ["embed_tokens"]' '"lora_bias": true' '"layers_to_transform": [0]'; do
    altered "s/^{/{$member,/"
    name=${member#\"}
    import_refused 65 "'$config': adapters with ${name%%\"*} are not read" "$folder/altered"
done
altered 's/"LORA"/"IA3"/'
import_refused 65 "'$config': peft_type 'IA3'" "$folder/altered"
altered 's/"bias": "none"/"bias": "all"/'
import_refused 65 "bias 'all'" "$folder/altered"
altered 's/"init_lora_weights": true/"init_lora_weights": "pissa"/'
import_refused 65 "init_lora_weights 'pissa'" "$folder/altered"
altered 's/"r": 4/"r": -4/'
import_refused 65 "$config" "$folder/altered"
altered 's/^{/[/'
import_refused 65 "$config" "$folder/altered"
for name in adapter_model pcc; do
    altered ''
    head -c 900 "$good/$name.safetensors" >"$folder/altered/$name.safetensors"
    import_refused 65 "$folder/altered/$name.safetensors" "$folder/altered"
    rm "$folder/altered/$name.safetensors"
    import_refused 74 "$folder/altered/$name.safetensors" "$folder/altered"
done
# A member of adapter_config.json that says nothing is none.
altered 's/^{/{"rank_pattern": {}, "use_dora": false, "modules_to_save": null,/'
# shellcheck disable=SC2086
expect 0 "$slotpress" $import --quiet --input "$folder/altered"
rm -rf "$folder/new"
misused "--config" import --input "$good"
misused "--input" import --config "$folder/run.yaml"

# A disk that is full.
(
    trap '' XFSZ
    ulimit -f 8
    # shellcheck disable=SC2086
    exec timeout 30 "$slotpress" $import --input "$good"
) >"$folder/out" 2>"$folder/err" </dev/null
[ $? = 74 ] || fail "an import to a full disk is not 74"
[ -z "$(find "$folder/new" -name 'step-*')" ] || fail "half an import is left"

# ---- export ----

refuses 64 "--merge: '$folder/full/step-0000002' has no LoRA" export --checkpoint "$folder/full" --merge \
    --output "$folder/merged"
cp -R $encoder "$folder/base"
pretrain 0 1 own train.steps=1 "encoder.model=$folder/base"
for option in --merge --json; do
    refuses 64 "'$folder/base' is the encoder's model" export --checkpoint "$folder/own" $option \
        --output "$folder/base"
done
diff -r $encoder "$folder/base" >/dev/null || fail "an export changed the encoder's model"
mv "$folder/base" "$folder/moved"
for option in --merge --json; do
    refuses 74 "$folder/base" export --checkpoint "$folder/own" $option --output "$folder/new.export"
done

rows="export --checkpoint $folder/lora --slots $folder/slots.h5 --output $folder/rows"
# shellcheck disable=SC2086
{
    refuses 64 "no document 'd99'" $rows --document d99
    refuses 64 "'d1' is named twice" $rows --document d1 --document d1
    refuses 65 'another compressor' $rows --checkpoint "$folder/fewer"
    refuses 65 "$folder/tokens.h5" $rows --slots "$folder/tokens.h5"
    misused "--format" $rows --format gguf
    misused "--merge and --slots" $rows --merge
}
misused "--document goes with --slots" export --checkpoint "$folder/lora" --output x --document d1
misused "--markers goes with --slots" export --checkpoint "$folder/lora" --output x --markers
[ ! -e "$folder/rows" ] || fail "refused rows are left"

# Names of documents that no file may have; the same one twice.
printf '{"id": "%s", "text": "a b"}\n' '../../up' '.hidden' 'a%b' 'x/y' 'été' "$(printf '%0300d' 7)" >"$folder/odd.jsonl"
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/lora" --output "$folder/odd.h5" "$folder/odd.jsonl"
expect 0 "$slotpress" export --checkpoint "$folder/lora" --slots "$folder/odd.h5" --output "$folder/odd"
[ "$(find "$folder/odd" -type f | wc -l)" = 7 ] || fail "not a file for each odd name"
for name in '%2E.%2F..%2Fup' '%2Ehidden' 'a%25b' 'x%2Fy' '%C3%A9t%C3%A9'; do
    [ -f "$folder/odd/$name.npy" ] || fail "no $name.npy"
done
cat "$folder/odd.jsonl" "$folder/odd.jsonl" >"$folder/twice.jsonl"
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/lora" --output "$folder/twice.h5" "$folder/twice.jsonl"
for format in npy safetensors; do
    refuses 65 "document '../../up' stands twice" export --checkpoint "$folder/lora" --slots "$folder/twice.h5" \
        --format $format --output "$folder/rows"
done

finish
