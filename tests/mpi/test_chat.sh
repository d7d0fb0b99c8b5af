#!/bin/sh
# `generate --chat`: the decoder reads its template's text around the user's turn, memory in the turn
# in front of the prompt, and the answer ends with the turn.
# cores: 1
. tests/lib.sh
published=tests/fixtures/models/qwen2-tiny
decoder=$folder/chat-model
cp -R $published "$decoder"

# tokens NAME=NAME...: the decoder's tokenizer with special tokens of other names.
tokens() {
    cp $published/tokenizer.json "$decoder/tokenizer.json"
    for pair in "$@"; do
        sed "s#\"${pair%%=*}\"#\"${pair#*=}\"#" "$decoder/tokenizer.json" >"$folder/renamed"
        mv "$folder/renamed" "$decoder/tokenizer.json"
    done
}

# generate CODE DOCUMENT [OPTION...]
generate() {
    wanted=$1 document=$2 && shift 2
    expect "$wanted" "$slotpress" generate --checkpoint "$folder/run" --memory "$folder/slots.h5" \
        --document "$document" --json --max-new-tokens 32 "$@"
}

# ids: of the last answer, one a line.
ids() { sed 's/.*"ids":\[//; s/\].*//' "$folder/out" | tr ',' '\n'; }

tokens '<|begin|>=<|im_start|>' '<|endoftext|>=<|im_end|>'
make_tokens
echo '{"id": "empty", "text": ""}' >>"$folder/corpus.jsonl"
pretrain 0 1 run train.steps=6
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --output "$folder/slots.h5" \
    "$folder/corpus.jsonl"

# A document without text has no memory: the template's text is then all that is read.
generate 0 empty --chat --prompt 'the river'
ids >"$folder/ids"
[ -s "$folder/ids" ] || fail "--chat: no answer"
generate 0 empty --prompt '<|im_start|>system
You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>
<|im_start|>user
the river<|im_end|>
<|im_start|>assistant
'
ids | cmp -s - "$folder/ids" || fail "--chat: not the template's text"
generate 0 empty --chat=qwen2.5 --prompt 'the river'
ids | cmp -s - "$folder/ids" || fail "--chat=qwen2.5: not what is recognised"
generate 0 d3 --chat --prompt 'the river'
ids | cmp -s - "$folder/ids" && fail "--chat: memory makes no difference"

# A file of turns over one document: as each by itself.
printf '{"document": "d3", "prompt": "%s"}\n' 'the river' 'a stone bridge' 'bread' >"$folder/turns.jsonl"
expect 0 "$slotpress" generate --checkpoint "$folder/run" --memory "$folder/slots.h5" --chat --quiet \
    --max-new-tokens 32 --input "$folder/turns.jsonl" --output "$folder/answers.jsonl"
for i in 1 2 3; do
    generate 0 d3 --chat --prompt "$(sed -n "${i}s/.*prompt\": \"\(.*\)\".*/\1/p" "$folder/turns.jsonl")"
    alone=$(sed 's/.*"text":\(.*\),"ids":.*/\1/' "$folder/out")
    [ "$alone" = "$(sed -n "${i}s/.*\"text\":\(.*\),\"tokens\":.*/\1/p" "$folder/answers.jsonl")" ] ||
        fail "turn $i of a file has another answer"
done

# The end of the turn is no end of a text for this model. A byte that stands in no prompt becomes it.
tokens '<|endoftext|>=</s>'
generate 0 d3 --chat=mistral-v1 --prompt 'the river'
ids >"$folder/ids"
last=$(ids | awk '$1 > 2 && $1 < 259' | while read -r id; do
    LC_ALL=C grep -q "^ *\"[^ -~]*\": $id,\$" $published/tokenizer.json && echo "$id" && break
done)
if [ -n "$last" ]; then
    sed "s#^\( *\)\"[^\"]*\": $last,\$#\1\"</s>\": $last,#" $published/tokenizer.json \
        >"$decoder/tokenizer.json"
    generate 0 d3 --chat=mistral-v1 --prompt 'the river'
    ids | cmp -s - "$folder/ids" && fail "the answer does not end with its turn"
    sed "/^$last\$/,\$d" "$folder/ids" >"$folder/until"
    ids | grep . | cmp -s - "$folder/until" || fail "the answer does not end before the end of its turn"
else
    fail "no byte among the ids $(tr '\n' ' ' <"$folder/ids")"
fi

# Misuse.
generate 64 d3 --chat --prompt 'the river'
says "is not recognised"
generate 65 d3 --chat=phi3 --prompt 'the river'
says "'<|user|>'"
generate 64 d3 --chat
says "--prompt"
generate 64 d3 --chat=none --prompt 'the river'
names=$(sed -n 's/.*is not one of auto, //p' "$folder/err" | tr -d ',')
[ "$(echo "$names" | wc -w)" -ge 5 ] || fail "--chat=none: names no templates"
expect 0 "$slotpress" generate --help
for name in $names; do
    grep -q "$name" "$folder/out" || fail "--help does not name $name"
done

finish
