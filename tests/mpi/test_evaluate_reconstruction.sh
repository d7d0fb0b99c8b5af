#!/bin/sh
# evaluate reconstruction: ranks change nothing, several checkpoints are each what they are alone, lengths
# share out the segments, and figures are those that the reconstructions get as predictions.
# cores: 1
. tests/lib.sh

make_tokens 12
pretrain 0 1 run train.steps=30
pretrain 0 1 run8 train.steps=3 segment.ratio=8

# evaluate RANKS [OPTION...]: the result, apart from its seconds, goes to $folder/result.
evaluate() {
    n_ranks=$1 && shift
    set -- "$slotpress" evaluate reconstruction --quiet --json --split all --max-new-tokens 8 "$@"
    [ "$n_ranks" = 1 ] || set -- mpirun --oversubscribe --bind-to none -n "$n_ranks" "$@"
    expect 0 "$@"
    sed 's/,"seconds":[0-9.e+-]*//' "$folder/out" >"$folder/result"
}
# entries: the objects of by_ratio, a line each.
entries() { sed 's/.*"by_ratio":\[{\(.*\)}\]}$/\1/; s/\]},{"ratio"/]\n"ratio"/' "$folder/result"; }

evaluate 1 --checkpoint "$folder/run" --checkpoint "$folder/run8" --samples 21
cp "$folder/result" "$folder/both"
entries >"$folder/entries"
for n_ranks in 2 3; do
    evaluate $n_ranks --checkpoint "$folder/run" --checkpoint "$folder/run8" --samples 21
    cmp -s "$folder/result" "$folder/both" || fail "$n_ranks ranks give another result"
done
n=0
for run in run run8; do
    n=$((n + 1))
    evaluate 1 --checkpoint "$folder/$run" --samples 21
    entries >"$folder/alone"
    sed -n "${n}p" "$folder/entries" | cmp -s - "$folder/alone" || fail "$run alone is not as with the other"
done
[ "$(cut -d , -f 1 "$folder/entries" | paste -s -d ' ')" = '"ratio":4 "ratio":8' ] || fail "not both ratios"

# The last result again, from its reconstructions.
evaluate 1 --checkpoint "$folder/run" --samples 1000 --limit 1000
segments=$(grep -o '"document":' "$folder/result" | wc -l)
grep -o '"reference":"\([^"\\]\|\\.\)*","reconstruction":"\([^"\\]\|\\.\)*"' "$folder/result" |
    head -n $((segments / 2)) | sed 's/^/{/; s/"reconstruction"/"prediction"/; s/$/}/' >"$folder/pairs.jsonl"
cp "$folder/result" "$folder/all"
expect 0 "$slotpress" evaluate reconstruction --json --predictions "$folder/pairs.jsonl"
for name in bleu rouge_l exact_match; do
    wanted=$(grep -o "\"$name\":[-0-9.e]*" "$folder/all" | head -n 1)
    grep -qF "$wanted," "$folder/out" || grep -qF "$wanted}" "$folder/out" || fail "$wanted is not $(cat "$folder/out")"
done
count=$(grep -o '"count":[0-9]*' "$folder/out" | cut -d : -f 2)
[ "$count" = $((segments / 2)) ] && [ "$count" -gt 21 ] || fail "$count of $segments reconstructions"

# Lengths share out the segments; losses of all make up the perplexity of each.
sed 's/.*"by_length":\[\([^]]*\)\].*/\1/; s/},{/\n/g' "$folder/all" >"$folder/lengths"
[ "$(wc -l <"$folder/lengths")" -gt 1 ] || fail "one length only"
sed 's/.*"segments":\([0-9]*\).*/\1/' "$folder/lengths" | awk -v n="$count" '{ sum += $1 } END { exit sum != n }' ||
    fail "lengths do not share out $count segments"
grep -q '"min_tokens":13,"max_tokens":16' "$folder/lengths" || fail "no full segments"

finish
