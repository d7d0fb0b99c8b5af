#!/bin/sh
# Checkpoints in the layout of the authors' published ones, of small sizes: pickles through
# tools/convert_published.py and `import` give the hidden states that transformers and PEFT give at the
# memory tokens' ids.
# cores: 1
python=${PYTHON:-python3}
"$python" -c 'import h5py, peft, safetensors, torch, transformers' 2>/dev/null || {
    echo "skipped: needs Python with torch, transformers, peft, safetensors and h5py (tools/bootstrap reference)"
    exit 77
}
. tests/lib.sh
export OMPI_MCA_ess_singleton_isolated=1

make_tokens 6
limit_s=300
expect 0 "$python" tests/parity/published.py make "$folder" "$folder/corpus.jsonl"

# convert NAME ENCODER_TRAIN MODEL [OPTION...]: pickles to a run, and its slots.
convert() {
    name=$1 train=$2 model=$3 && shift 3
    expect 0 "$python" tools/convert_published.py --memory-tokens 8 --encoder "$folder/$name" "$@" \
        --converter "$folder/$name/memory_converter.bin" --markers "$folder/$name/markers.pt" \
        --output "$folder/$name.converted"
    expect 0 "$slotpress" import --quiet --config "$folder/run.yaml" --input "$folder/$name.converted" \
        --set "run.dir=$folder/$name.run" --set "encoder.train=$train" --set encoder.memory_tokens=8 \
        --set "encoder.model=tests/fixtures/models/$model" \
        --set 'encoder.lora.targets=[q,k,v,o,gate,up,down,embed,head]'
    expect 0 "$slotpress" compress --quiet --checkpoint "$folder/$name.run" --output "$folder/$name.h5" \
        "$folder/corpus.jsonl"
    expect 0 "$slotpress" export --checkpoint "$folder/$name.run" --slots "$folder/$name.h5" --markers \
        --document d0 --output "$folder/$name.rows.npy"
}
convert lite full gpt2-tiny
convert large lora llama-tiny --table "$folder/resized"
convert large-table lora llama-tiny

expect 0 "$python" tests/parity/published.py check "$folder"
cat "$folder/out"

# Without them in pcc.safetensors, memory tokens are the last rows of the table, in a model as in an
# adapter that PEFT saved with its table; and bf16 is taken.
for name in lite large; do
    "$python" - "$folder/$name.converted/pcc.safetensors" <<'END' || fail "no memory tokens"
import sys
from safetensors.torch import load_file, save_file
tensors = load_file(sys.argv[1])
del tensors["memory_tokens"]
save_file(tensors, sys.argv[1], {"format": "pt"})
END
done
cp "$folder/large.converted/pcc.safetensors" "$folder/peft"
import="import --config $folder/run.yaml --set encoder.memory_tokens=8"
targets='encoder.lora.targets=[q,k,v,o,gate,up,down,embed,head]'
# shellcheck disable=SC2086
{
    expect 0 "$slotpress" $import --input "$folder/lite.converted" --set "run.dir=$folder/rows.run" \
        --set encoder.train=full --set encoder.model=tests/fixtures/models/gpt2-tiny
    expect 0 "$slotpress" $import --input "$folder/peft" --set "run.dir=$folder/peft.run" --set "$targets"
    says "'base_model.model.model.embed_tokens.base_layer.weight' is left out: the base model has it"
    says "'base_model.model.lm_head.lora_A.weight' is left out: memory does not pass the head"
    expect 65 "$slotpress" $import --input "$folder/large.converted" --set "run.dir=$folder/none.run" \
        --set "$targets"
    says "no tensor 'memory_tokens'"
}
same_weights lite.run rows.run
same_weights large.run peft.run
finish
