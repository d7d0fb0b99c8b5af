#!/bin/sh
# Published data sets to rows and on to fine-tuning: what becomes of each format, that the same file
# gives the same rows, and that every recipe of configs/ is complete.
# cores: 1
. tests/lib.sh
python3 -c '' 2>/dev/null || { echo "skipped: needs python3" && exit 77; }
rows() { expect 0 python3 tools/finetune_rows.py "$@"; }
# has FILE TEXT: one of its rows holds it.
has() { grep -qF -- "$2" "$1" || fail "$(basename "$1") has no row with $2"; }

cat >"$folder/squad.json" <<'END'
{"version": "v2.0", "data": [{"title": "T", "paragraphs": [{"context": "A bridge of stone.", "qas": [
  {"id": "a", "question": "Of what?", "is_impossible": false, "answers": [{"text": "stone", "answer_start": 12}, {"text": "of stone", "answer_start": 9}]},
  {"id": "b", "question": "When?", "is_impossible": true, "answers": [], "plausible_answers": [{"text": "stone"}]}]}]}]}
END
rows squad "$folder/squad.json" --output "$folder/squad.jsonl"
[ "$(wc -l <"$folder/squad.jsonl")" = 1 ] || fail "squad: not one row"
has "$folder/squad.jsonl" '"context": "A bridge of stone.", "prompt": "Question: Of what?\n\nAnswer: ", "answer": "stone"}'

for i in $(seq 40); do
    printf '{"question": "How many are %d boats?", "answer": "There are <<%d=%d>>%d.\\n#### %d"}\n' "$i" "$i" "$i" "$i" "$i"
done >"$folder/problems.jsonl"
rows gsm8k "$folder/problems.jsonl" --output "$folder/gsm8k.jsonl" --validation "$folder/gsm8k.held-out.jsonl" --demonstrations 2
[ "$(wc -l <"$folder/gsm8k.jsonl")" = 36 ] && [ "$(wc -l <"$folder/gsm8k.held-out.jsonl")" = 4 ] ||
    fail "gsm8k: not 36 rows and 4"
has "$folder/gsm8k.jsonl" '"answer": "There are <<7=7>>7.\n#### 7"'
awk -F'"prompt": ' '{ n = gsub(/Question: How many/, "&", $1); split($2, p, "\""); if (n != 2 || index($1, p[2] "There")) { print; exit 1 } }' \
    "$folder/gsm8k.jsonl" || fail "gsm8k: not two other problems in a context"
# None that is held out is shown.
sed 's/.*"prompt": "Question: \(How many are [0-9]* boats\).*/\1/' "$folder/gsm8k.held-out.jsonl" >"$folder/hidden"
grep -qFf "$folder/hidden" "$folder/gsm8k.jsonl" && fail "gsm8k: held-out problems are trained on"
cp "$folder/gsm8k.jsonl" "$folder/before"
rows gsm8k "$folder/problems.jsonl" --output "$folder/gsm8k.jsonl" --validation "$folder/gsm8k.held-out.jsonl" --demonstrations 2
cmp -s "$folder/gsm8k.jsonl" "$folder/before" || fail "gsm8k: other rows the second time"

cat >"$folder/hpd.json" <<'END'
{"Session-1": {"position": "Book1-chapter2", "speakers": ["Ron", "Harry"], "scene": ["On the train.", "It rains."],
  "dialogue": ["Harry: Hm.", "Ron: Hungry?", "Harry: Yes: very.", "Ron: Here."], "attributes": {"Ron": {"name": "Ron", "age": "11", "title": ""}},
  "relations with Harry": {"Ron": {"name": "Ron", "friend": 1.0, "enemy": 0.0, "Harry's affection to him": 8}}},
 "Session-2": {"Speakers": ["Ron"], "Scene": "At home.", "Dialogue": ["Ron: Where?"], "Positive-Response": "Upstairs."},
 "Session-3": {"speakers": ["Ron"], "scene": "Nobody answers.", "dialogue": ["Ron: Hm?"]}, "Session-4": {}}
END
rows hpd "$folder/hpd.json" --output "$folder/hpd.jsonl"
[ "$(wc -l <"$folder/hpd.jsonl")" = 2 ] || fail "hpd: not two rows"
has "$folder/hpd.jsonl" "\"context\": \"Scene: On the train. It rains.\\nRon. age: 11; to Harry: friend; Harry's affection to him: 8\\nHarry.\""
has "$folder/hpd.jsonl" '[{"role": "user", "content": "Harry: Hm.\nRon: Hungry?"}, {"role": "assistant", "content": "Yes: very."}]'

# All of it is taken by finetune.
cat >"$folder/finetune.yaml" <<END
encoder: {model: $encoder, train: lora, memory_tokens: 16, lora: {rank: 2}}
decoder: {model: $decoder}
data:    {chat: none, validation: 0}
segment: {tokens: 64}
train:   {steps: 1, global_batch: 2}
END
for name in squad gsm8k hpd; do
    expect 0 "$slotpress" finetune --quiet --config "$folder/finetune.yaml" \
        --set "data.rows=$folder/$name.jsonl" --set "run.dir=$folder/$name"
done

# The recipes: the paper's values, and everything else from the checkpoint.
while read -r name batch lr; do
    recipe=configs/finetune-$name/finetune.yaml
    expect 0 "$slotpress" inspect "$recipe"
    for value in "global_batch: $batch," "lr: $lr," "warmup_steps: 100," "epochs: 3" "init: runs/lite-stage2,"; do
        grep -qF -- "$value" "$recipe" || fail "$recipe: no $value"
    done
done <<END
squad 128 5e-5
gsm8k 32 1e-5
hpd 8 1e-5
END

finish
