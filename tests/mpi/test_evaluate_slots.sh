#!/bin/sh
# evaluate --slots: reconstruction and qa read slot files as `generate` does, by document, for any number
# of ranks; what does not fit is refused by name.
# cores: 1
. tests/lib.sh

make_tokens 12
pretrain 0 1 run train.steps=30
pretrain 0 1 other train.steps=3

# run RANKS COMMAND...: its output, apart from seconds, goes to $folder/result.
run() {
    n_ranks=$1 && shift
    [ "$n_ranks" = 1 ] || set -- mpirun --oversubscribe --bind-to none -n "$n_ranks" "$@"
    expect 0 "$@"
    sed 's/,"seconds":[0-9.e+-]*//' "$folder/out" >"$folder/result"
}
# member NAME: the values of that member, a line each, as JSON spells them.
member() { grep -o "\"$1\":\(\"\([^\"\\\\]\|\\\\.\)*\"\|[-0-9.e]*\)" | sed "s/^\"$1\"://"; }
# first NAME: of the result.
first() { member "$1" <"$folder/result" | head -n 1; }
reconstruct="$slotpress evaluate reconstruction --quiet --json --split all --max-new-tokens 8 --samples 1000 --limit 1000"

for dtype in f16 bf16 int8; do
    expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --dtype $dtype \
        --output "$folder/$dtype.h5" "$folder/tokens.h5"
done
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --space slots \
    --output "$folder/slots.h5" "$folder/tokens.h5"

# All of one checkpoint, in one table; the same for any number of ranks.
for n in 1 2 3; do
    # shellcheck disable=SC2086 # a command in words
    run $n $reconstruct --checkpoint "$folder/run" --slots "$folder/f16.h5" --slots "$folder/bf16.h5" \
        --slots "$folder/int8.h5" --memory "$folder/slots.h5"
    [ $n != 1 ] || cp "$folder/result" "$folder/all"
    cmp -s "$folder/result" "$folder/all" || fail "$n ranks give another result"
done
[ "$(sed 's/"by_ratio".*//' "$folder/all" | member dtype)" = '"f16"' ] || fail "the first is not the first file's"
[ "$(sed 's/.*"by_ratio"//' "$folder/all" | member dtype | paste -s -d ' ')" = '"f16" "bf16" "int8" "f16"' ] ||
    fail "not an entry for each file"

# What the files keep is what the encoder makes, to their rounding; the converter runs at load.
# shellcheck disable=SC2086
run 1 $reconstruct --checkpoint "$folder/run"
wanted=$(first perplexity)
sed 's/.*"by_ratio"//; s/"by_length":\[[^]]*\]//g; s/"samples":\[[^]]*\]//g' "$folder/all" | member perplexity |
    awk -v wanted="$wanted" '{ off = $1 / wanted - 1; if (off < 0) off = -off; if (off > 0.01 || off == 0 && NR == 3) bad = 1 }
        END { exit bad || NR != 4 }' || fail "perplexities are far from $wanted, or int8 rounds nothing"

# The texts are those of `generate` from the same file, segment by segment.
# shellcheck disable=SC2086
run 1 $reconstruct --checkpoint "$folder/run" --slots "$folder/int8.h5"
sed 's/"by_ratio".*//' "$folder/result" | grep -o '"document":"d3","reference":"[^"]*","reconstruction":\("\([^"\\]\|\\.\)*"\)' |
    sed 's/.*"reconstruction":"\(.*\)"$/\1/' | tr -d '\n' >"$folder/made"
expect 0 "$slotpress" generate --json --checkpoint "$folder/run" --memory "$folder/int8.h5" --document d3 --max-new-tokens 8
member text <"$folder/out" | sed 's/^"//; s/"$//' | tr -d '\n' >"$folder/wanted"
[ -s "$folder/made" ] && cmp -s "$folder/made" "$folder/wanted" ||
    fail "d3 becomes '$(cat "$folder/made")', with generate '$(cat "$folder/wanted")'"

# Documents are found by their ids, wherever they are: from a corpus with others between, in another order.
{
    echo '{"id": "else", "text": "men sold boats at the old bridge where the river lay"}'
    sort -r "$folder/corpus.jsonl"
} >"$folder/turned.jsonl"
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --dtype int8 \
    --output "$folder/turned.h5" "$folder/turned.jsonl"
perplexity=$(first perplexity)
# shellcheck disable=SC2086
run 1 $reconstruct --checkpoint "$folder/run" --slots "$folder/turned.h5"
first perplexity | awk -v wanted="$perplexity" '{ off = $1 / wanted - 1 } END { exit NR != 1 || off > 1e-3 || off < -1e-3 }' ||
    fail "perplexity $(first perplexity) with documents in another order, not $perplexity"

# A file has one of the ratios that its compressor can.
pretrain 0 1 both train.steps=3 'segment.ratio=[4, 8]'
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/both" --ratio 8 --output "$folder/8x.h5" "$folder/tokens.h5"
# shellcheck disable=SC2086
run 1 $reconstruct --checkpoint "$folder/both" --ratio 8
perplexity=$(first perplexity)
# shellcheck disable=SC2086
run 1 $reconstruct --checkpoint "$folder/both" --slots "$folder/8x.h5"
[ "$(first ratio)" = 8 ] || fail "read at ratio $(first ratio), not 8"
first perplexity | awk -v wanted="$perplexity" '{ off = $1 / wanted - 1 } END { exit NR != 1 || off > 1e-3 || off < -1e-3 }' ||
    fail "perplexity $(first perplexity) at 8x, not $perplexity"
# shellcheck disable=SC2086
expect 64 $reconstruct --checkpoint "$folder/both" --ratio 8 --slots "$folder/8x.h5"

# What does not fit.
head -n 11 "$folder/corpus.jsonl" >"$folder/fewer.jsonl"
sed 's/"d5", "text": "/&a /' "$folder/corpus.jsonl" >"$folder/changed.jsonl"
for name in fewer changed; do
    expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --output "$folder/$name.h5" "$folder/$name.jsonl"
    for n in 1 2; do
        # shellcheck disable=SC2086
        expect 65 mpirun --oversubscribe --bind-to none -n $n $reconstruct --checkpoint "$folder/run" \
            --slots "$folder/$name.h5"
        says "$name.h5"
        [ $name = fewer ] && says "no document 'd11'" || says "document 'd5' has another text"
    done
done
# shellcheck disable=SC2086
expect 65 $reconstruct --checkpoint "$folder/other" --slots "$folder/f16.h5"
says "another compressor"
# shellcheck disable=SC2086
expect 65 $reconstruct --checkpoint "$folder/run" --slots "$folder/tokens.h5"
# shellcheck disable=SC2086
expect 64 $reconstruct --checkpoint "$folder/run" --checkpoint "$folder/other" --slots "$folder/f16.h5"
expect 64 "$slotpress" evaluate efficiency --checkpoint "$folder/run" --slots "$folder/f16.h5"
says "efficiency reads no slot file"

# Questions: contexts are documents with the same text, under any id.
{
    printf '{"data": [{"title": "t", "paragraphs": ['
    corpus 12 | sed 's/{"id": "\([^"]*\)", "text": "\(.*\)"}/{"context": "\2", "qas": [{"id": "\1-a", "question": "What ran to \1?", "answers": [{"text": "the river"}]}, {"id": "\1-b", "question": "Who sold \1?", "answers": [{"text": "men"}]}]}/' |
        paste -s -d ,
    printf ']}], "version": "1.1"}'
} >"$folder/questions.json"
qa="$slotpress evaluate qa --quiet --json --data $folder/questions.json --min-context 1 --max-new-tokens 6 --checkpoint $folder/run"
# shellcheck disable=SC2086
run 2 $qa --write-contexts "$folder/contexts.jsonl"
[ "$(first contexts)" = 12 ] && [ "$(wc -l <"$folder/contexts.jsonl")" = 12 ] || fail "not 12 contexts: $(cat "$folder/result")"
sed 's/.*"text": *"//; s/"}$//' "$folder/contexts.jsonl" >"$folder/texts"
corpus 12 | sed 's/.*"text": *"//; s/"}$//' | cmp -s - "$folder/texts" || fail "other contexts were written"
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --dtype int8 --output "$folder/contexts.h5" "$folder/contexts.jsonl"
for n in 1 2 3; do
    # shellcheck disable=SC2086
    run $n $qa --slots "$folder/contexts.h5" --output "$folder/answers.$n"
    [ $n != 1 ] || cp "$folder/result" "$folder/all"
    cmp -s "$folder/result" "$folder/all" || fail "$n ranks give another result of qa"
    cmp -s "$folder/answers.$n" "$folder/answers.1" || fail "$n ranks give other answers"
done
# shellcheck disable=SC2086
run 1 $qa --slots "$folder/turned.h5" --output "$folder/answers.turned"
for id in d0-b d7-a d11-b; do
    question=$(sed -n 's/.*"id": "'$id'", "question": "\([^"]*\)".*/\1/p' "$folder/questions.json")
    expect 0 "$slotpress" generate --json --checkpoint "$folder/run" --memory "$folder/turned.h5" \
        --document "${id%-?}" --max-new-tokens 6 --prompt "Question: $question

Answer: "
    wanted=$(member text <"$folder/out")
    made=$(grep '"method":"compressed"' "$folder/answers.turned" | grep "\"id\":\"$id\"" | member prediction)
    [ -n "$made" ] && [ "$made" = "$wanted" ] || fail "$id: answers $made, and generate $wanted"
done

# A context of several documents, in any order: its memory is theirs, as in generate. One that lacks one is refused.
text_of() { sed -n 's/{"id": "'"$1"'", "text": "\(.*\)"}$/\1/p' "$folder/corpus.jsonl"; }
for names in "d4 d0 d7" "d7 d4"; do
    {
        printf '{"id": "several", "question": "Who sold?", "answers": ["men"], "context": "'
        for name in $names; do printf '%s\\n\\n' "$(text_of $name)"; done | sed 's/\\n\\n$//'
        printf '"}\n'
    } >"$folder/several.jsonl"
    expect 0 "$slotpress" evaluate qa --quiet --json --data "$folder/several.jsonl" --min-context 1 --max-new-tokens 6 \
        --checkpoint "$folder/run" --slots "$folder/turned.h5" --output "$folder/answers.several"
    made=$(grep '"method":"compressed"' "$folder/answers.several" | member prediction)
    # shellcheck disable=SC2046,SC2086 # names are words
    expect 0 "$slotpress" generate --json --checkpoint "$folder/run" --memory "$folder/turned.h5" --max-new-tokens 6 \
        $(printf -- '--document %s ' $names) --prompt "Question: Who sold?

Answer: "
    read_so=$(member text <"$folder/out")
    [ -n "$made" ] && [ "$made" = "$read_so" ] || fail "$names: answers $made, and generate $read_so"
done
sed 's/"context": "/&a passage of nobody.\\n\\n/' "$folder/several.jsonl" >"$folder/nobody.jsonl"
expect 65 "$slotpress" evaluate qa --quiet --data "$folder/nobody.jsonl" --min-context 1 --checkpoint "$folder/run" \
    --slots "$folder/turned.h5"
says "is the text 'a passage of nobody."

# Demonstrations and dialogues: what --write-contexts writes has their slots, to the stored type's rounding;
# the full context and none are read as ever.
{
    printf 'sentence\tlabel\n'
    printf '%s\t%s\n' 'bread old ' 1 'men sold ' 1 'boats lay ' 0 'stone stone ' 0 'the river ' 0 'a bridge ' 1
} >"$folder/train.tsv"
for i in 1 2 3 4 5; do
    printf '{"context": "Boats lay by the bridge.\\nMen sold bread %s.", "prompt": "Harry:", "answer": " There %s."}\n' $((i / 2)) $i
done >"$folder/dialogues.jsonl"
# shellcheck disable=SC2034 # the loop reads both by name
icl="icl --data $folder/train.tsv --demonstrations $folder/train.tsv"
# shellcheck disable=SC2034
roleplay="roleplay --data $folder/dialogues.jsonl"
for task in icl roleplay; do
    eval "command=\$$task"
    # shellcheck disable=SC2154
    evaluate="$slotpress evaluate $command --quiet --json --checkpoint $folder/run"
    # shellcheck disable=SC2086,SC2154
    run 2 $evaluate --write-contexts "$folder/contexts.jsonl"
    wanted=1
    [ $task = icl ] || wanted=3 # contexts that follow each other are one
    [ "$(first contexts)" = $wanted ] && [ "$(wc -l <"$folder/contexts.jsonl")" = $wanted ] || fail "$task: not $wanted contexts"
    for dtype in f16 int8; do
        expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --dtype $dtype --output "$folder/$task-$dtype.h5" \
            "$folder/contexts.jsonl"
    done
    # shellcheck disable=SC2086
    run 1 $evaluate
    cp "$folder/result" "$folder/encoded"
    # shellcheck disable=SC2086
    run 1 $evaluate --slots "$folder/$task-f16.h5" --slots "$folder/$task-int8.h5"
    cp "$folder/result" "$folder/all"
    # shellcheck disable=SC2086
    run 3 $evaluate --slots "$folder/$task-f16.h5" --slots "$folder/$task-int8.h5"
    cmp -s "$folder/result" "$folder/all" || fail "$task: 3 ranks give another result"
    [ "$(member slots <"$folder/all" | wc -l)" = 2 ] || fail "$task: not both files"
    [ "$(member context_rows <"$folder/encoded" | tail -n 1)" = "$(member context_rows <"$folder/all" | tail -n 1)" ] ||
        fail "$task: another number of slots"
    # shellcheck disable=SC2086
    expect 65 $evaluate --slots "$folder/fewer.h5"
    says "is the text"
done
{ member perplexity <"$folder/encoded" && member perplexity <"$folder/all"; } | paste -s -d ' ' |
    awk '{ off = $6 / $3 - 1; low = $7 / $3 - 1; if (off < 0) off = -off; if (low < 0) low = -low
        exit !(NF == 7 && $1 == $4 && $2 == $5 && off < 1e-3 && low < 1e-2 && low > 0) }' ||
    fail "perplexities of roleplay: $(member perplexity <"$folder/encoded" | paste -s -d ' '), read: $(member perplexity <"$folder/all" | paste -s -d ' ')"

# A reader that falls back on the text beside the slots reads what the full context is.
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --with-text --output "$folder/text.h5" "$folder/turned.jsonl"
for id in d0-a d7-b; do
    question=$(sed -n 's/.*"id": "'$id'", "question": "\([^"]*\)".*/\1/p' "$folder/questions.json")
    expect 0 "$slotpress" generate --json --full-text --checkpoint "$folder/run" --memory "$folder/text.h5" \
        --document "${id%-?}" --max-new-tokens 6 --prompt "Question: $question

Answer: "
    read_so=$(member text <"$folder/out")
    made=$(grep '"method":"full"' "$folder/answers.turned" | grep "\"id\":\"$id\"" | member prediction)
    [ -n "$made" ] && [ "$made" = "$read_so" ] || fail "$id: with the full context $made, and generate --full-text $read_so"
done
{
    echo '{"documents": ["d4", "d3"], "prompt": "the river"}'
    sed -n 's/{"id": "d3", "text": \(.*\)}$/{"document": "d4", "context": \1, "prompt": "the river"}/p' "$folder/corpus.jsonl"
    echo '{"documents": ["d3", "d4"], "prompt": "the river"}'
} >"$folder/requests.jsonl"
expect 0 "$slotpress" generate --full-text --checkpoint "$folder/run" --memory "$folder/text.h5" \
    --max-new-tokens 6 --input "$folder/requests.jsonl"
member text <"$folder/out" >"$folder/texts"
[ "$(wc -l <"$folder/texts")" = 3 ] && [ "$(sed -n 1p "$folder/texts")" = "$(sed -n 2p "$folder/texts")" ] ||
    fail "a context is not the text that a document is: $(cat "$folder/out")"
[ "$(sed -n 1p "$folder/texts")" != "$(sed -n 3p "$folder/texts")" ] || fail "the order of documents is lost"
expect 65 "$slotpress" generate --full-text --checkpoint "$folder/run" --memory "$folder/turned.h5" --document d3 --prompt x
says "compress --with-text"
expect 64 "$slotpress" generate --full-text --checkpoint "$folder/run" --memory "$folder/text.h5" --document d3
says "a reconstruction reads slots"

# shellcheck disable=SC2086
expect 65 mpirun --oversubscribe --bind-to none -n 2 $qa --slots "$folder/fewer.h5"
says "none of its 11 documents is the text"
# shellcheck disable=SC2086
expect 64 $qa --slots "$folder/contexts.h5" --write-contexts "$folder/x"

finish
