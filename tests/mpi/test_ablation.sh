#!/bin/sh
# evaluate ablation: each row has the figures that the tasks give its checkpoint alone, and names what its
# configuration has otherwise; ranks change nothing. Memory without boundaries is trained like any other.
# cores: 1
. tests/lib.sh

make_tokens 12
pretrain 0 1 base train.steps=4 'segment.ratio=[8,4]'
pretrain 0 1 bare train.steps=4 decoder.boundaries=false run.watchdog_s=300 checkpoint.keep=1 data.validation=0.3
pretrain 0 2 bare.2 train.steps=4 decoder.boundaries=false parallel.pipeline=2 data.validation=0.3
pretrain 0 1 other train.steps=4 encoder.model="$decoder" data.encoder_stream=d encoder.train=none segment.ratio=8
pretrain 0 1 pooled train.steps=4 encoder.memory=pooled encoder.layers=1
pretrain 0 1 tuned train.steps=4 objective.completion=0 train.init="$folder/base" train.lr=2e-3 train.micro_batch=2
same_losses bare.2 bare
same_weights bare.2 bare
[ "$(losses bare | head -n 1)" != "$(losses base | head -n 1)" ] || fail "boundaries make no difference"
pretrain 64 1 bare train.steps=5 data.validation=0.3
says "another decoder.boundaries"

# member NAME: of the row in $folder/row; figures: all of a row.
member() { grep -o "\"$1\":[^,}]*" "$folder/row" | head -n 1 | cut -d : -f 2; }
# rows: those of $folder/out, a line each.
rows() { sed 's/.*"rows":\[{//; s/},{"name"/}\n"name"/g' "$folder/out"; }

{
    printf '{"data": [{"title": "t", "paragraphs": ['
    corpus 5 | sed 's/{"id": "\([^"]*\)", "text": "\(.*\)"}/{"context": "\2", "qas": [{"id": "\1", "question": "What ran to \1?", "answers": [{"text": "the river"}]}]}/' |
        paste -s -d ,
    printf ']}], "version": "1.1"}'
} >"$folder/questions.json"
ask="--data $folder/questions.json --min-context 1 --max-new-tokens 6"
ablation="$slotpress evaluate ablation --quiet $ask --split all --limit 9 --checkpoint $folder/base
    --variant without=$folder/bare --variant $folder/other --variant tuned=$folder/tuned
    --variant pooled=$folder/pooled"

# shellcheck disable=SC2086 # commands in one word
{
    expect 0 $ablation --json
    cp "$folder/out" "$folder/result"
    rows >"$folder/rows"
    expect 0 mpirun --oversubscribe --bind-to none -n 2 $ablation --json
    cmp -s "$folder/out" "$folder/result" || fail "2 ranks give another result"
}
[ "$(wc -l <"$folder/rows")" = 6 ] || fail "not 6 rows: $(cat "$folder/rows")"
[ "$(grep -o '"ratio":[0-9]*' "$folder/rows" | paste -s -d ' ')" = '"ratio":4 "ratio":8 "ratio":4 "ratio":8 "ratio":4 "ratio":4' ] || fail "other ratios"
grep -q '"task":"ablation"' "$folder/result" || fail "another task"
grep -q '"data":"SQuAD","count":5' "$folder/result" || fail "not 5 questions"

# held RUN LINE RATIO: the row of a run is what the tasks say of it.
held() {
    sed -n "$2p" "$folder/rows" >"$folder/row"
    # shellcheck disable=SC2086
    {
        expect 0 "$slotpress" evaluate reconstruction --quiet --json --split all --limit 9 --max-new-tokens 6 \
            --ratio "$3" --checkpoint "$folder/$1" "$folder/tokens.h5"
        sed 's/"by_length".*//' "$folder/out" >"$folder/alone"
        expect 0 "$slotpress" evaluate qa --quiet --json $ask --ratio "$3" --checkpoint "$folder/$1"
        grep -o '{"method":"compressed"[^}]*}' "$folder/out" >>"$folder/alone"
    }
    for figure in segments bleu bleu_sentence rouge_l rouge_l_stem exact_match token_accuracy perplexity f1 em context_rows; do
        grep -qF "\"$figure\":$(member $figure)" "$folder/alone" && [ -n "$(member $figure)" ] || fail "$1 at $3: $figure is $(member $figure)"
    done
}
held base 1 4
held base 2 8
held bare 3 4
held other 4 8
held tuned 5 4
held pooled 6 4

# Changes are those that tell what was learnt, whatever they were set to by others.
changes() { sed -n "$1p" "$folder/rows" | sed 's/.*"changes":\[\(.*\)\],"encoder".*/\1/'; }
[ -z "$(changes 1)" ] || fail "the base differs from itself: $(changes 1)"
[ "$(changes 3 | grep -o '"key":"[^"]*"' | cut -d '"' -f 4 | paste -s -d ' ')" = "decoder.boundaries segment.ratio" ] || fail "bare: $(changes 3)"
changes 3 | grep -qF '{"key":"decoder.boundaries","value":false,"base":true},{"key":"segment.ratio","value":4,"base":[4,8]}' ||
    fail "bare: $(changes 3)"
[ "$(changes 4 | grep -o '"key":"[^"]*"' | cut -d '"' -f 4 | sort | paste -s -d ' ')" = \
    "data.encoder_stream encoder.model encoder.train segment.ratio" ] || fail "other: $(changes 4)"
[ "$(changes 5 | grep -o '"key":"[^"]*"' | cut -d '"' -f 4 | sort | paste -s -d ' ')" = \
    "objective.completion segment.ratio train.init train.lr" ] || fail "tuned: $(changes 5)"
changes 6 | grep -qF '{"key":"encoder.memory","value":"pooled","base":"tokens"}' || fail "pooled: $(changes 6)"
[ "$(changes 6 | grep -o '"key":"[^"]*"' | cut -d '"' -f 4 | sort | paste -s -d ' ')" = \
    "encoder.layers encoder.memory segment.ratio" ] || fail "pooled: $(changes 6)"
grep -o '"name":"[^"]*"' "$folder/rows" | cut -d '"' -f 4 | paste -s -d ' ' | grep -qxF "base base without $folder/other tuned pooled" || fail "other names"

# Sizes are those of the plan.
# sized LINE KEY=VALUE KEY=VALUE: the row of a run that was trained so.
sized() {
    expect 0 "$slotpress" plan --json --cpu zen4 --memory 4 --config "$folder/run.yaml" --set "run.dir=$folder/base" --set "$2" --set "$3"
    plan=$(cat "$folder/out")
    sed -n "$1p" "$folder/rows" >"$folder/row"
    for part in "encoder parameters" "total trained_parameters"; do
        kind=all
        [ "${part#* }" = parameters ] || kind=trained
        wanted=$(echo "$plan" | grep -o "\"${part%% *}\":{\"all\":[0-9]*,\"trained\":[0-9]*}" | grep -o "\"$kind\":[0-9]*" | cut -d : -f 2)
        [ -n "$wanted" ] && [ "$(member "${part#* }")" = "$wanted" ] || fail "${part#* }: $(member "${part#* }"), planned $wanted"
    done
}
sized 1 encoder.memory=tokens encoder.layers=auto
sized 6 encoder.memory=pooled encoder.layers=1
[ "$(member layers)" = 1 ] || fail "another number of layers"

# A report has each row, with the same figures.
expect 0 "$slotpress" report --csv --output "$folder/report.html" --results "$folder/result" "$folder/base"
cp "$folder/out" "$folder/scores.csv"
sed -n 3p "$folder/rows" >"$folder/row"
for figure in bleu f1; do
    grep ',without,4,' "$folder/scores.csv" | tr , '\n' | awk -v wanted="$(member $figure)" '
        NF && $1 + 0 == wanted + 0 { found = 1 } END { exit !found }' || fail "no $figure: $(cat "$folder/scores.csv")"
done
[ "$(grep -c ',without,4,' "$folder/scores.csv")" = 2 ] || fail "not 2 scores of a variant: $(cat "$folder/scores.csv")"
grep -q 'without' "$folder/report.html" || fail "a report without a variant"

# As a table; without questions; what goes wrong.
# shellcheck disable=SC2086
{
    expect 0 $ablation
    grep -q '^  without .*decoder.boundaries: false (true)' "$folder/out" || fail "no such row: $(cat "$folder/out")"
    [ "$(grep -c . "$folder/out")" = 10 ] || fail "not 10 lines: $(cat "$folder/out")"
}
expect 0 "$slotpress" evaluate ablation --quiet --json --checkpoint "$folder/base" --variant "$folder/bare" --ratio 4 --max-new-tokens 1
grep -q '"f1"\|"methods"' "$folder/out" && fail "questions that were not asked are answered"
[ "$(rows | grep -o '"segments":[0-9]*' | sort -u | wc -l)" = 1 ] || fail "another split for each: $(cat "$folder/out")"
expect 64 "$slotpress" evaluate ablation --checkpoint "$folder/base"
says "--variant"
expect 64 "$slotpress" evaluate ablation --checkpoint "$folder/base" --checkpoint "$folder/bare" --variant "$folder/bare"
expect 64 "$slotpress" evaluate reconstruction --checkpoint "$folder/base" --variant "$folder/bare"
says "--variant goes with ablation"
expect 64 "$slotpress" evaluate ablation --checkpoint "$folder/base" --variant "$folder/bare" --ratio 8
says "trained for ratio 4"
expect 74 "$slotpress" evaluate ablation --checkpoint "$folder/base" --variant "x=$folder/none"
finish
