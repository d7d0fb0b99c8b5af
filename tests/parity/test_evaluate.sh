#!/bin/sh
# Perplexities, chosen options and greedy answers of `evaluate`, over full, no and compressed contexts, as
# transformers and PEFT give them from an export.
# cores: 1
python=${PYTHON:-python3}
"$python" -c 'import peft, safetensors, torch, transformers' 2>/dev/null || {
    echo "skipped: needs Python with torch, transformers, peft and safetensors (tools/bootstrap reference)"
    exit 77
}
. tests/lib.sh
export OMPI_MCA_ess_singleton_isolated=1

make_tokens 12
pretrain 0 1 run train.steps=10
export_run run
cat >"$folder/dialogues.jsonl" <<'END'
{"context": "the river ran down to a stone bridge where old boats lay and men sold bread", "prompt": "Ann: old boats lay\nHarry:", "answer": " men sold bread"}
{"context": "a stone bridge where", "prompt": "who sold?\nHarry:", "answer": " the old men, été"}
{"context": "bread", "prompt": "x", "answer": " a bridge"}
END
awk 'BEGIN {
    split("river men bread boats stone bridge", noun, " ")
    for (i = 0; i < 6; i++)
        printf "{\"text\": \"The %s ran to the %s until it was old.\", \"label\": %s, \"target\": {\"span1_text\": \"the %s\", \"span2_text\": \"it\"}}\n",
            noun[1 + i], noun[1 + (i * 5 + 2) % 6], i % 3 ? "true" : "false", noun[1 + i]
}' >"$folder/wsc.jsonl"
corpus 4 | sed 's/{"id": "\([^"]*\)", "text": "\(.*\)"}/{"id": "\1", "context": "\2", "question": "What ran to \1?", "answers": ["the river"]}/' \
    >"$folder/questions.jsonl"

evaluate="--quiet --json --checkpoint $folder/run"
# shellcheck disable=SC2086 # options in one word
{
    expect 0 "$slotpress" evaluate roleplay $evaluate --data "$folder/dialogues.jsonl"
    cp "$folder/out" "$folder/roleplay.json"
    expect 0 "$slotpress" evaluate icl $evaluate --data "$folder/wsc.jsonl" --samples 6 \
        --demonstrations "$folder/wsc.jsonl" --demonstration-tokens 240
    cp "$folder/out" "$folder/icl.json"
    grep -q '"demonstrations":2' "$folder/icl.json" || fail "not two demonstrations"
    expect 0 "$slotpress" evaluate qa $evaluate --data "$folder/questions.jsonl" --min-context 1 \
        --max-new-tokens 6 --output "$folder/answers.jsonl"
}
"$python" tests/parity/evaluate.py "$folder" "$encoder" "$decoder" >"$folder/out" 2>"$folder/err" ||
    fail "evaluate.py"
cat "$folder/out"
finish
