#!/bin/sh
# `compress --refine N`: slots improved through the decoder. The loss falls with N and is never above that of
# the encoder's slots; it is the one that transformers computes from the slots in the file; the file is the
# same for any number of ranks and threads, and is read as any other.
# cores: 1
. tests/lib.sh
make_tokens 20
pretrain 0 1 run train.steps=4

# refine RANKS OUTPUT N [WORD...]
refine() {
    n_ranks=$1 output=$folder/$2 n_steps=$3 && shift 3
    set -- "$slotpress" compress --quiet --json --checkpoint "$folder/run" --space slots --refine "$n_steps" \
        --output "$output" "$@" "$folder/corpus.jsonl"
    [ "$n_ranks" = 1 ] || set -- mpirun --oversubscribe --bind-to none -n "$n_ranks" "$@"
    expect 0 "$@"
}
json() { sed "s/.*\"$1\": *//; s/[,}].*//" "$folder/out"; }
falls() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 > b + 0 && b > 0) }' || fail "$2 is not below $1"; }

refine 1 one.h5 1
start=$(json loss_before_refining) one=$(json loss_refined)
falls "$start" "$one"
refine 1 twenty.h5 20
[ "$(json loss_before_refining)" = "$start" ] || fail "another start"
twenty=$(json loss_refined)
falls "$one" "$twenty"
refine 3 three.h5 20
[ "$(json loss_refined)" = "$twenty" ] || fail "three ranks have another loss"
expect 0 "$slotpress" merge --output "$folder/merged.h5" "$folder/three.h5"
cmp -s "$folder/merged.h5" "$folder/twenty.h5" || fail "three ranks refine to other slots"
OMP_NUM_THREADS=3 && refine 1 threads.h5 20 && OMP_NUM_THREADS=1
cmp -s "$folder/threads.h5" "$folder/twenty.h5" || fail "three threads refine to other slots"
expect 0 "$slotpress" inspect --json "$folder/twenty.h5"
[ "$(json refined)" = 20 ] || fail "the file does not say that it is refined"
expect 0 "$slotpress" generate --checkpoint "$folder/run" --memory "$folder/twenty.h5" --document d3 \
    --max-new-tokens 4
expect 64 "$slotpress" compress --checkpoint "$folder/run" --refine 2 --output "$folder/no.h5" "$folder/corpus.jsonl"
says "with --space slots"

# A token file needs the decoder's stream, too.
expect 0 "$slotpress" compress --quiet --json --checkpoint "$folder/run" --space slots --refine 20 \
    --output "$folder/tokens-slots.h5" "$folder/tokens.h5"
[ "$(json loss_refined)" = "$twenty" ] || fail "tokens have another loss than their text"
expect 0 "$slotpress" tokenize --quiet --tokenizer e="$encoder" --segment-tokens 16 \
    --output "$folder/alone.h5" "$folder/corpus.jsonl"
expect 65 "$slotpress" compress --checkpoint "$folder/run" --space slots --refine 2 --output "$folder/no.h5" \
    "$folder/alone.h5"

python=build/reference/bin/python
if [ -x $python ]; then
    export_run run
    $python - "$folder" "$decoder" "$twenty" <<'END' || fail "transformers computes another loss"
import sys
import h5py, torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
folder, decoder, loss = sys.argv[1], sys.argv[2], float(sys.argv[3])
model = AutoModelForCausalLM.from_pretrained(decoder, dtype=torch.float32).eval()
mem, end_mem, ae = load_file(folder + "/run.export/pcc.safetensors")["markers"].float()
tokens, f = h5py.File(folder + "/tokens.h5"), h5py.File(folder + "/twenty.h5")
ids, offsets = tokens["streams/d/ids"][:], tokens["streams/d/offsets"][:]
values = torch.tensor(f["slots/values"][:].astype("f4"))
begin = list(f["segments/slot_begin"]) + [len(values)]
embed, config = model.get_input_embeddings(), model.config
bos = [] if config.bos_token_id is None else [embed(torch.tensor([config.bos_token_id]))]
eos = config.eos_token_id
eos = [] if eos is None else [eos[0] if isinstance(eos, list) else eos]
sum, n = 0.0, 0
with torch.no_grad():
    for i in range(len(begin) - 1):
        x = torch.tensor(ids[offsets[i] : offsets[i + 1]].astype("i8"))
        rows = [*bos, mem[None], values[begin[i] : begin[i + 1]], end_mem[None], ae[None], embed(x)]
        targets = torch.cat([x, torch.tensor(eos, dtype=torch.long)])
        logits = model(inputs_embeds=torch.cat(rows)[None]).logits[0]
        logits = logits[-len(x) - 1 :][: len(targets)]
        sum += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
        n += len(targets)
print(sum / n, loss)
sys.exit(not abs(sum / n - loss) < 2e-3 * loss)  # slots are rounded to f16
END
else
    echo "skipped: transformers' loss needs $python"
fi
finish
