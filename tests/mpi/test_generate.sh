#!/bin/sh
# `generate`: many requests from a file give what each gives alone, in their order; tasks, several
# documents, contexts; and what is refused.
# cores: 1
. tests/lib.sh

# one FILE [OPTION...]: the ids of one request, a line.
one() {
    to=$1 && shift
    expect 0 "$slotpress" generate --checkpoint "$folder/run" --memory "$folder/slots.h5" \
        --max-new-tokens 12 --json "$@"
    sed 's/.*"text":\(.*\),"ids":\(.*\)}/\1 \2/' "$folder/out" >"$to"
}

# many CODE INPUT [OPTION...]: answers to a file of requests, in $folder/answers.jsonl.
many() {
    wanted=$1 input=$2 && shift 2
    rm -f "$folder/answers.jsonl"
    expect "$wanted" "$slotpress" generate --checkpoint "$folder/run" --memory "$folder/slots.h5" \
        --max-new-tokens 12 --input "$input" --output "$folder/answers.jsonl" "$@"
}

# text FILE: of what `one` left; text_of N: of the Nth answer.
text() { sed 's/ \[[0-9,]*\]$//' "$1"; }
text_of() { sed -n "$1p" "$folder/answers.jsonl" | sed 's/.*"text":\(.*\),"tokens":.*/\1/'; }

make_tokens
echo '{"id": "empty", "text": ""}' >>"$folder/corpus.jsonl"
corpus 30 | sed 's/.*"text": "//; s/."}$//' | tr '\n' ' ' | # more segments than are added together
    sed 's/^/{"id": "long", "text": "/; s/ $/."}\n/' >>"$folder/corpus.jsonl"
pretrain 0 1 run train.steps=6
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --output "$folder/slots.h5" \
    "$folder/corpus.jsonl"

# Every document reconstructed, then questions with shared and unshared documents, ids of any kind.
awk 'BEGIN {
    for (d = 0; d < 30; d++) printf "{\"id\": \"r%d\", \"document\": \"d%d\"}\n", d, d
    for (d = 0; d < 12; d++)
        printf "{\"id\": %d, \"document\": \"d%d\", \"prompt\": \"the river %d\", \"answer\": \"x\"}\n", d, d / 4, d
    print ""
    print "{\"documents\": [\"d3\", \"d1\"], \"prompt\": \"bread\"}"
    print "{\"documents\": [\"d3\", \"d1\"]}"
    print "{\"id\": \"e\", \"document\": \"empty\"}"
    print "{\"id\": \"n\", \"documents\": [], \"prompt\": \"a bridge\"}"
}' >"$folder/requests.jsonl"
many 0 "$folder/requests.jsonl" --json
grep -q '"answers":46,' "$folder/out" || fail "not 46 answers: $(cat "$folder/out")"
[ "$(wc -l <"$folder/answers.jsonl")" = 46 ] || fail "not 46 lines"
sed 's/.*"id":\([^,]*\),.*/\1/' "$folder/answers.jsonl" | tr '\n' ' ' >"$folder/order"
{
    awk 'BEGIN { for (d = 0; d < 30; d++) printf "\"r%d\" ", d; for (d = 0; d < 12; d++) printf "%d ", d }'
    printf '44 45 "e" "n" '
} | cmp -s - "$folder/order" || fail "not in order: $(cat "$folder/order")"
for d in 0 7 29; do
    one "$folder/alone" --document "d$d"
    [ "$(text "$folder/alone")" = "$(text_of $((d + 1)))" ] || fail "d$d alone is another text"
done
for d in 0 3 4 11; do
    one "$folder/alone" --document "d$((d / 4))" --prompt "the river $d"
    [ "$(text "$folder/alone")" = "$(text_of $((d + 31)))" ] || fail "question $d alone is another"
done
one "$folder/alone" --document d3 --document d1 --prompt bread
[ "$(text "$folder/alone")" = "$(text_of 43)" ] || fail "two documents alone are another answer"
one "$folder/other" --document d1 --document d3 --prompt bread
cmp -s "$folder/alone" "$folder/other" && fail "the order of documents makes no difference"
one "$folder/other" --document d3 --prompt bread
cmp -s "$folder/alone" "$folder/other" && fail "the second document makes no difference"
[ "$(text_of 45)" = '""' ] || fail "a document without text is reconstructed as $(text_of 45)"

# Two documents without a prompt are the two reconstructions, joined.
one "$folder/both" --document d3 --document d1
one "$folder/d3" --document d3
one "$folder/d1" --document d1
{ sed 's/.* \[//; s/\]//' "$folder/d3"; sed 's/.* \[//; s/\]//' "$folder/d1"; } | paste -sd, - >"$folder/joined"
sed 's/.* \[//; s/\]//' "$folder/both" | cmp -s - "$folder/joined" || fail "not the two, joined"

# However many at once; and to standard output.
cp "$folder/answers.jsonl" "$folder/first.jsonl"
for n in 1 3 64; do
    many 0 "$folder/requests.jsonl" --at-once $n --quiet
    cmp -s "$folder/answers.jsonl" "$folder/first.jsonl" || fail "--at-once $n: other answers"
done
expect 0 "$slotpress" generate --checkpoint "$folder/run" --memory "$folder/slots.h5" \
    --max-new-tokens 12 --input "$folder/requests.jsonl"
cmp -s "$folder/out" "$folder/first.jsonl" || fail "standard output has other answers"

# Tasks. Without a prompt, to complete is to go on from the memory itself.
one "$folder/plain" --document d2 --prompt 'the'
one "$folder/complete" --document d2 --prompt 'the' --task complete
cmp -s "$folder/plain" "$folder/complete" || fail "--task complete is not what a prompt does"
one "$folder/answer" --document d2 --prompt 'the' --task answer
cmp -s "$folder/plain" "$folder/answer" || fail "--task answer is not what follows the prompt"
one "$folder/reconstruct" --document d2 --task reconstruct
one "$folder/memory" --document d2 --task complete
cmp -s "$folder/reconstruct" "$folder/memory" && fail "--task complete without a prompt reconstructs"
echo '{"document": "d2"}' >"$folder/few.jsonl"
many 0 "$folder/few.jsonl" --task complete
[ "$(text "$folder/memory")" = "$(text_of 1)" ] || fail "--task complete: a file gives another"

# A context in no slot file is what the same text is in one, but for f16's rounding.
sed -n 's/{"id": "d4", "text": /{"id": "c", "context": /p' "$folder/corpus.jsonl" >"$folder/few.jsonl"
sed -n 's/{"id": "d4", "text": \(.*\)}/{"id": "p", "context": \1, "prompt": "the river"}/p' \
    "$folder/corpus.jsonl" >>"$folder/few.jsonl"
many 0 "$folder/few.jsonl"
one "$folder/alone" --document d4
[ "$(text "$folder/alone")" = "$(text_of 1)" ] || fail "a context is not reconstructed as in a file"
one "$folder/alone" --document d4 --prompt 'the river'
[ "$(text "$folder/alone")" = "$(text_of 2)" ] || fail "a context's prompt has another answer"
expect 0 "$slotpress" generate --checkpoint "$folder/run" --max-new-tokens 12 --quiet \
    --input "$folder/few.jsonl"
cmp -s "$folder/out" "$folder/answers.jsonl" || fail "a context needs a slot file"
{
    sed -n 's/{"id": "long", "text": /{"id": "c", "context": /p' "$folder/corpus.jsonl"
    echo '{"id": "d", "document": "d1"}'
} >"$folder/few.jsonl"
many 0 "$folder/few.jsonl"
one "$folder/alone" --document long
# A token near the end that is hardly likelier than another may be that other, for rounding.
[ "$(text "$folder/alone" | LC_ALL=C cut -b 1-1500)" = "$(text_of 1 | LC_ALL=C cut -b 1-1500)" ] ||
    fail "a long context is not as in a file"

# Bad requests: the line is named, nothing is left behind.
bad() { # TEXT LINE
    printf '{"document": "d1"}\n\n%s\n' "$2" >"$folder/few.jsonl"
    many 65 "$folder/few.jsonl"
    says "line 3: "
    says "$1"
    [ ! -e "$folder/answers.jsonl" ] && [ ! -e "$folder/answers.jsonl.tmp" ] ||
        fail "$2: something is left"
}
bad "'d99'" '{"document": "d99"}'
bad "needs 'document'" '{"id": 1, "prompt": "the"}'
bad "'documents'" '{"documents": "d1"}'
bad "'documents'" '{"documents": [1]}'
bad "'id'" '{"id": 1.5, "document": "d1"}'
bad "prompt" '{"document": "d1", "prompt": 3}'
bad "not a JSON object" '["d1"]'
bad "" '{"document": "d1"'
bad "'documents'" '{"document": "d1", "documents": ["d1"]}'
echo '{"document": "d1"}' >"$folder/few.jsonl"
many 65 "$folder/few.jsonl" --task answer
says "line 1: there is no prompt"
many 74 "$folder/none.jsonl"
expect 74 "$slotpress" generate --checkpoint "$folder/run" --memory "$folder/slots.h5" \
    --input "$folder/few.jsonl" --output "$folder/none/answers.jsonl"
expect 65 "$slotpress" generate --checkpoint "$folder/run" --input "$folder/few.jsonl"
says "--memory"
(
    trap '' XFSZ
    ulimit -f 1
    timeout "$limit_s" "$slotpress" generate --checkpoint "$folder/run" --memory "$folder/slots.h5" --quiet \
        --max-new-tokens 12 --input "$folder/requests.jsonl" --output "$folder/answers.jsonl" 2>"$folder/err"
)
code=$?
[ $code = 74 ] || fail "a file that may not grow: exit code $code, not 74"
says "answers.jsonl"
[ ! -e "$folder/answers.jsonl" ] && [ ! -e "$folder/answers.jsonl.tmp" ] || fail "half an output is left"

# Misuse.
misuse() { # TEXT OPTION...
    text=$1 && shift
    expect 64 "$slotpress" generate --checkpoint "$folder/run" --memory "$folder/slots.h5" "$@"
    says "$text"
}
misuse "--task answer" --document d1 --task answer
misuse "--task reconstruct" --document d1 --task reconstruct --prompt x
misuse "reconstruct, complete, answer" --document d1 --task translate
misuse "--output" --document d1 --output "$folder/x"
misuse "--document" --document d1 --input "$folder/few.jsonl"
misuse "--document" --prompt x
misuse "--at-once" --document d1 --at-once 0
misuse "--chat" --document d1 --prompt x --chat --task complete
misuse "'d99'" --document d99
finish
