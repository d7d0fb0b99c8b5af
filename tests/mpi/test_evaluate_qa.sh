#!/bin/sh
# evaluate qa: ranks change nothing, a compressed context is answered as `generate` answers it, scores
# are those that the written answers get as predictions, and lengths and checkpoints are chosen.
# cores: 1
. tests/lib.sh

qa="$slotpress evaluate qa --quiet --json --data $folder/questions.json --min-context 1 --max-new-tokens 6"

# member NAME: the values of that member, a line each, as JSON spells them.
member() { sed -n "s/.*\"$1\":\(\"\([^\"\\\\]\|\\\\.\)*\"\|[-0-9.e]*\).*/\1/p"; }
# method NAME: the lines of $folder/answers that were made so.
method() { grep "\"method\":\"$1\"" "$folder/answers"; }
# figure METHOD NAME: of the result in $folder/result.
figure() { grep -o "{\"method\":\"$1\"[^}]*}" "$folder/result" | member "$2"; }

make_tokens 12
pretrain 0 1 run train.steps=3
pretrain 0 1 run8 train.steps=3 segment.ratio=8

# Three questions on each of twelve documents: several groups, each of whole contexts.
{
    printf '{"data": [{"title": "t", "paragraphs": ['
    corpus 12 | sed 's/{"id": "\([^"]*\)", "text": "\(.*\)"}/{"context": "\2", "qas": [{"id": "\1-a", "question": "What ran to \1?", "answers": [{"text": "the river"}]}, {"id": "\1-b", "question": "Who sold \1?", "answers": [{"text": "men"}]}, {"id": "\1-c", "question": "Old \1?", "answers": [{"text": "boats"}]}]}/' |
        paste -s -d ,
    printf ']}], "version": "1.1"}'
} >"$folder/questions.json"

# shellcheck disable=SC2086 # a command in one word
expect 0 $qa --checkpoint "$folder/run" --checkpoint "$folder/run8" --output "$folder/answers"
cp "$folder/out" "$folder/result"
for count in 36 36 36 36; do figure '[a-z]*' count | grep -qx $count || fail "not 36 questions a method"; done
[ "$(wc -l <"$folder/answers")" = 144 ] || fail "not an answer for each question and method"
[ "$(method compressed | member ratio | sort -u | paste -s -d ' ')" = "4 8" ] || fail "not both ratios"
for n_ranks in 2 3; do
    # shellcheck disable=SC2086
    expect 0 mpirun --oversubscribe --bind-to none -n $n_ranks $qa --checkpoint "$folder/run" \
        --checkpoint "$folder/run8" --output "$folder/answers.$n_ranks"
    cmp -s "$folder/out" "$folder/result" || fail "$n_ranks ranks give another result"
    cmp -s "$folder/answers.$n_ranks" "$folder/answers" || fail "$n_ranks ranks give other answers"
done

# The compressed answers are those of the slot file's way.
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --output "$folder/slots.h5" \
    "$folder/corpus.jsonl"
for question in "d0-a What ran to d0?" "d2-c Old d2?" "d3-a What ran to d3?" "d11-b Who sold d11?"; do
    id=${question%% *}
    expect 0 "$slotpress" generate --json --checkpoint "$folder/run" --memory "$folder/slots.h5" \
        --document "${id%-?}" --max-new-tokens 6 --prompt "Question: ${question#* }

Answer: "
    wanted=$(member text <"$folder/out")
    made=$(method compressed | grep '"ratio":4' | grep "\"id\":\"$id\"" | member prediction)
    [ -n "$made" ] && [ "$made" = "$wanted" ] || fail "$id: answers $made, and generate $wanted"
done

# With the answers of one method as the accepted ones, that method is right, and scores of all methods
# are those that their answers get as predictions made elsewhere.
for form in full none compressed; do
    method $form | grep -v '"ratio":8' | while IFS= read -r line; do
        printf '{"id":%s,"context":"x","question":"q","answers":[%s]}\n' \
            "$(printf '%s\n' "$line" | member id)" "$(printf '%s\n' "$line" | member prediction)"
    done >"$folder/right.jsonl"
    for other in full none; do
        method $other >"$folder/predictions.jsonl"
        expect 0 "$slotpress" evaluate qa --quiet --json --data "$folder/right.jsonl" \
            --predictions "$folder/predictions.jsonl"
        f1=$(member f1 <"$folder/out")
        [ $form != $other ] || [ "$(member em <"$folder/out")" = 100.0 ] || fail "$form is not right by itself"
        [ $form = $other ] || [ "$f1" != 100.0 ] || fail "$form and $other are all the same"
    done
done
method full >"$folder/predictions.jsonl"
expect 0 "$slotpress" evaluate qa --quiet --json --data "$folder/questions.json" \
    --predictions "$folder/predictions.jsonl"
[ "$(member f1 <"$folder/out")" = "$(figure full f1)" ] || fail "the score of full is not its answers'"

# Lengths: none is long enough for the paper; a limit takes the first that are.
expect 65 "$slotpress" evaluate qa --quiet --checkpoint "$folder/run" --data "$folder/questions.json" \
    --min-context 5000
says "questions.json"
# shellcheck disable=SC2086
expect 0 $qa --checkpoint "$folder/run" --limit 3 --samples 1
[ "$(member passed_over <"$folder/out")" = 0 ] || fail "questions are passed over without need"
[ "$(member count <"$folder/out" | head -n 1)" = 3 ] || fail "--limit 3 asks other than 3"
grep -q '"samples":\[{"id":"d0-a"' "$folder/out" || fail "no sample"
expect 64 "$slotpress" evaluate qa --checkpoint "$folder/run"
says "needs --data FILE"
expect 74 "$slotpress" evaluate qa --quiet --checkpoint "$folder/run" --data "$folder/nowhere"
says nowhere
for n_ranks in 2 3; do
    expect 65 mpirun --oversubscribe -n $n_ranks "$slotpress" evaluate qa --quiet \
        --checkpoint "$folder/run" --data "$folder/tokens.h5"
done

finish
