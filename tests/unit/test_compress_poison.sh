#!/bin/sh
# shellcheck disable=SC2086 # $poisoned is two words
# Documents that cannot be compressed, and input that is damaged: `--on-error stop` names the first,
# `skip` leaves them out, says so and counts them, and the others have the slots that they always have.
. tests/lib.sh
cp -R "$encoder" "$folder/model"
# The tokenizer knows a word that the model does not.
sed 's/"added_tokens": \[/&{"id": 999, "content": "poison", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false},/' \
    "$encoder/tokenizer.json" >"$folder/model/tokenizer.json"
grep -q 999 "$folder/model/tokenizer.json" || fail "no word was added"
make_tokens 12
pretrain 0 1 run train.steps=2

# compress CODE OUTPUT [WORD...]
compress() {
    wanted=$1 output=$folder/$2 && shift 2
    expect "$wanted" "$slotpress" compress --checkpoint "$folder/run" --output "$output" --json "$@"
}
poisoned="--set encoder.model=$folder/model"
is() { grep -q "\"$1\": *$2[,}]" "$folder/out" || fail "$1 is not $2: $(cat "$folder/out")"; }

compress 0 clean.h5 $poisoned "$folder/corpus.jsonl"
is poisoned_documents 0
{
    sed -n 1,5p "$folder/corpus.jsonl"
    echo '{"id": "bad", "text": "one two three four poison five six seven eight nine ten eleven twelve thirteen"}'
    sed -n '6,$p' "$folder/corpus.jsonl"
} >"$folder/poisoned.jsonl"
compress 65 out.h5 $poisoned "$folder/poisoned.jsonl"
says "document 'bad' cannot be compressed: token id 307"
[ ! -e "$folder/out.h5" ] || fail "an output after a failure"
compress 0 out.h5 $poisoned --on-error skip "$folder/poisoned.jsonl"
is poisoned_documents 1
is documents 13
says "document 'bad' cannot be compressed: a token is beyond the encoder's vocabulary; skipped"
cp "$folder/out" "$folder/summary"
expect 0 "$slotpress" verify --json "$folder/out.h5"
is documents 13
segments=$(sed 's/.*"segments": *//; s/[,}].*//' "$folder/out")
expect 0 "$slotpress" inspect --json "$folder/clean.h5"
is segments "$segments"
expect 0 "$slotpress" inspect --json "$folder/out.h5"
grep -q '"id": *"bad", *"segments": *0' "$folder/out" || fail "the document has segments"

# On two ranks, as on one.
expect 0 mpirun --oversubscribe --bind-to none -n 2 "$slotpress" compress --quiet --checkpoint "$folder/run" \
    --output "$folder/two.h5" --with-text --json $poisoned --on-error skip "$folder/poisoned.jsonl"
is poisoned_documents 1
compress 0 one.h5 $poisoned --with-text --on-error skip "$folder/poisoned.jsonl"
expect 0 "$slotpress" merge --output "$folder/merged.h5" "$folder/two.h5"
cmp -s "$folder/merged.h5" "$folder/one.h5" || fail "two ranks write other slots"

# Damage, a condition, another column.
{
    sed -n 1,3p "$folder/corpus.jsonl"
    echo '{"id": "torn", "text": '
    sed -n '4,$p' "$folder/corpus.jsonl"
} >"$folder/torn.jsonl"
compress 65 torn.h5 "$folder/torn.jsonl"
says "line 4"
compress 0 torn.h5 --on-error skip --with-text "$folder/torn.jsonl"
is lost_documents 1
is rows 1
is segments "$segments"
expect 0 "$slotpress" verify "$folder/torn.h5"
compress 0 where.h5 --where 'id != d3' --with-text "$folder/corpus.jsonl"
is filtered_documents 1
is documents 12
sed 's/"text"/"body"/' "$folder/corpus.jsonl" >"$folder/body.jsonl"
compress 0 body.h5 --column body "$folder/body.jsonl"
is segments "$segments"
sha256sum "$folder/body.jsonl" >"$folder/sums"
compress 0 sums.h5 --column body --checksums "$folder/sums" "$folder/body.jsonl"
echo >>"$folder/body.jsonl"
compress 65 sums.h5 --column body --checksums "$folder/sums" "$folder/body.jsonl"

# Values beyond a type's range: weights of the final norm that are too large for f16.
python=build/reference/bin/python
if [ -x $python ] && $python -c 'import safetensors.numpy' 2>/dev/null; then
    cp -R "$encoder" "$folder/huge"
    $python - "$folder/huge/model.safetensors" <<'END'
import sys
from safetensors.numpy import load_file, save_file
tensors = load_file(sys.argv[1])
name = [n for n in tensors if n.endswith("norm.weight") and ".layers." not in n][0]
tensors[name] = tensors[name] * 1e7
save_file(tensors, sys.argv[1], {"format": "pt"})
END
    compress 76 huge.h5 --set "encoder.model=$folder/huge" "$folder/corpus.jsonl"
    says "cannot be stored as f16"
    compress 0 huge.h5 --set "encoder.model=$folder/huge" --dtype bf16 "$folder/corpus.jsonl"
    compress 65 huge.h5 --set "encoder.model=$folder/huge" --on-error skip "$folder/corpus.jsonl"
    says "none of its 12 documents can be compressed"
else
    echo "skipped: values beyond a type's range need safetensors for Python"
fi
finish
