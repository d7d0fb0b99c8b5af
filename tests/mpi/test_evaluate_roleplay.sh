#!/bin/sh
# evaluate roleplay: ranks change nothing, a context that is read in full is worth what the same text is in
# front of the prompt, and what cannot be scored is refused. (tests/parity holds its figures against
# transformers.)
# cores: 1
. tests/lib.sh

make_tokens 12
pretrain 0 1 run train.steps=3
corpus 11 | sed 's/{"id": "\([^"]*\)", "text": "\(.*\)[.]"}/{"context": "\2", "prompt": "Ann: who?\\nHarry:", "answer": " the old men of \1"}/' \
    >"$folder/apart.jsonl"
sed 's/"context": "\(.*\)", "prompt": "/"context": "", "prompt": "\1\\n/' "$folder/apart.jsonl" >"$folder/joined.jsonl"

roleplay="$slotpress evaluate roleplay --quiet --json --checkpoint $folder/run"
# perplexity METHOD: of the last result.
perplexity() { grep -o "{\"method\":\"$1\"[^}]*}" "$folder/out" | sed 's/.*"perplexity":\([0-9.e+]*\).*/\1/'; }

# shellcheck disable=SC2086 # a command in one word
{
    expect 0 $roleplay --data "$folder/apart.jsonl"
    cp "$folder/out" "$folder/result"
    full=$(perplexity full) none=$(perplexity none) compressed=$(perplexity compressed)
    for n_ranks in 2 3; do
        expect 0 mpirun --oversubscribe --bind-to none -n $n_ranks $roleplay --data "$folder/apart.jsonl"
        cmp -s "$folder/out" "$folder/result" || fail "$n_ranks ranks give another result"
    done
    expect 0 $roleplay --data "$folder/joined.jsonl"
    joined=$(perplexity none)
}
awk -v full="$full" -v none="$none" -v compressed="$compressed" -v joined="$joined" 'BEGIN {
    d = full / joined - 1
    exit !(full > 1 && d < 1e-5 && d > -1e-5 && none != full && compressed != full && compressed != none)
}' || fail "full $full, joined $joined, none $none, compressed $compressed"

# What is counted are the reply's tokens, and EOS after each.
n_tokens=$(grep -o '"answer": "[^"]*"' "$folder/apart.jsonl" | sed 's/"answer": "\(.*\)"/\1/' | while IFS= read -r reply; do
    printf '%s' "$reply" | "$slotpress" tokenize --tokenizer "$decoder" --ids | tr -s ' \n' '\n\n' && echo EOS
done | grep -c .)
grep -q "\"tokens\":$n_tokens," "$folder/result" || fail "not $n_tokens tokens: $(cat "$folder/result")"

echo '{"Session-1": {"dialogue": ["Ann: who?"]}}' >"$folder/train.json"
# shellcheck disable=SC2086
for n_ranks in 1 2; do
    expect 65 mpirun --oversubscribe -n $n_ranks $roleplay --data "$folder/train.json"
    says "1 without"
    expect 74 mpirun --oversubscribe -n $n_ranks $roleplay --data "$folder/nowhere"
done
expect 64 "$slotpress" evaluate roleplay --checkpoint "$folder/run"
says "roleplay needs --data FILE"
expect 64 "$slotpress" evaluate roleplay --predictions "$folder/apart.jsonl"

finish
