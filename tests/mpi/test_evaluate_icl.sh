#!/bin/sh
# evaluate icl: ranks change nothing; the option that wins is the one that `score` gives the least loss
# a token, less the loss after N/A; demonstrations are whole, balanced and as many as fit; numbers are
# found in GSM8K's answers.
# cores: 1
. tests/lib.sh

# icl DATA DEMONSTRATIONS [OPTION...]: expects success; the result is $folder/result, too.
icl() {
    data=$1 demonstrations=$2 && shift 2
    expect 0 "$slotpress" evaluate icl --quiet --json --checkpoint "$folder/run" \
        --data "$folder/$data" --demonstrations "$folder/$demonstrations" "$@"
    cp "$folder/out" "$folder/result"
}
# has TEXT: the result has it.
has() { grep -qF -- "$1" "$folder/result" || fail "no '$1' in the result"; }

make_tokens 12
pretrain 0 1 run train.steps=3

printf 'sentence\tlabel\n' | tee "$folder/train.tsv" >"$folder/dev.tsv"
printf '%s\t%s\n' 'bread old ' 1 'men sold ' 1 'boats lay ' 0 'stone stone ' 0 'the river ' 0 \
    'a bridge ' 1 >>"$folder/train.tsv"
printf '%s\t%s\n' 'the boats lay old ' 0 'bread ' 1 'great ' 1 'down the river ' 0 \
    'old old ' 0 'river bread ' 1 'stone ' 0 'lay ' 1 'and ' 1 'ran ' 0 >>"$folder/dev.tsv"

icl dev.tsv train.tsv --samples 10
has '"data":"SST-2","count":10,"demonstrations":6'
for n_ranks in 2 3; do
    expect 0 mpirun --oversubscribe --bind-to none -n $n_ranks "$slotpress" evaluate icl --quiet --json \
        --checkpoint "$folder/run" --data "$folder/dev.tsv" --demonstrations "$folder/train.tsv" --samples 10
    cmp -s "$folder/out" "$folder/result" || fail "$n_ranks ranks give another result"
done

# losses PREFIX OPTION: the mean loss of the option's tokens, by `score`.
loss() {
    printf '%s' "$1" >"$folder/before"
    printf '%s%s' "$1" "$2" >"$folder/text"
    for name in before text; do
        "$slotpress" score --model "$decoder" --bos always <"$folder/$name" >"$folder/$name.scores" ||
            fail "no score"
    done
    awk '
        /^perplexity/ { next }
        FNR == NR { n_before++; next }
        FNR > n_before { sum -= $2; n++ }
        END { printf "%.9f\n", sum / n }' "$folder/before.scores" "$folder/text.scores"
}
# winner CONTEXT SENTENCE: the option with the least calibrated loss.
winner() {
    for option in negative positive; do
        echo "$option $(loss "${1}Sentence: $2
Sentiment:" " $option") $(loss "${1}Sentence: N/A
Sentiment:" " $option")"
    done | awk '{ print $2 - $3, $1 }' | sort -g | head -n 1 | cut -d ' ' -f 2
}
# chosen FORM N: the option of the Nth sample.
chosen() { grep -o "\"$1\":\" [a-z]*\"" "$folder/result" | sed -n "$2p" | tr -d '" ' | cut -d : -f 2; }

# In turn of each label, as the file has them.
icl dev.tsv train.tsv --samples 10 --demonstration-tokens 80
shown="Sentence: boats lay
Sentiment: negative

Sentence: bread old
Sentiment: positive

"
has '"demonstrations":2'
n=0
for sentence in 'the boats lay old' bread great; do
    n=$((n + 1))
    wanted=$(winner '' "$sentence")
    [ "$(chosen none $n)" = "$wanted" ] || fail "none: '$sentence' is $(chosen none $n), by score $wanted"
    wanted=$(winner "$shown" "$sentence")
    [ "$(chosen full $n)" = "$wanted" ] || fail "full: '$sentence' is $(chosen full $n), by score $wanted"
done
[ "$(chosen none 2)" != "$(chosen none 3)" ] || fail "all the same: nothing is compared"

# WSC and GSM8K, of which the latter generates.
cat >"$folder/wsc.jsonl" <<'END'
{"text": "The river ran to the bridge until it was full.", "target": {"span2_index": 7, "span1_index": 5, "span1_text": "the bridge", "span2_text": "it"}, "idx": 0, "label": true}
{"text": "The men sold bread because they were old.", "target": {"span2_index": 5, "span1_index": 3, "span1_text": "bread", "span2_text": "they"}, "idx": 1, "label": false}
END
icl wsc.jsonl wsc.jsonl --samples 1
has '"data":"WSC","count":2,"demonstrations":2'
has "does the pronoun 'it' refer to the bridge?\\nAnswer:\",\"answer\":\" yes\""
printf '%s\n' '{"question": "How many boats?", "answer": "2*3=<<2*3=6>>6\n#### 6"}' \
    '{"question": "And men?", "answer": "None.\n#### 0"}' >"$folder/gsm8k.jsonl"
icl gsm8k.jsonl gsm8k.jsonl --samples 2 --max-new-tokens 5 --limit 1
has '"data":"GSM8K","count":1,"demonstrations":2'

expect 65 "$slotpress" evaluate icl --quiet --checkpoint "$folder/run" --data "$folder/dev.tsv" \
    --demonstrations "$folder/wsc.jsonl"
says "is SST-2"
expect 65 "$slotpress" evaluate icl --quiet --checkpoint "$folder/run" --data "$folder/dev.tsv" \
    --demonstrations "$folder/train.tsv" --demonstration-tokens 3
says "no demonstration of at most 3 tokens"
expect 64 "$slotpress" evaluate icl --checkpoint "$folder/run" --data "$folder/dev.tsv"
says "needs --demonstrations FILE"

finish
