#!/bin/sh
# A report of runs and evaluations: what its page and its CSV say, what it makes of damage and of what
# is not there, and that a page is whole by itself and shows texts as texts.
# cores: 1
. tests/lib.sh
run=$folder/run
other=$folder/other
mkdir -p "$run" "$other"
report() { wanted=$1 && shift && expect "$wanted" "$slotpress" report "$@"; }
has() { grep -qF -- "$1" "$page" || fail "the page has no '$1'"; }
lacks() { ! grep -qF -- "$1" "$page" || fail "the page has '$1'"; }

# metrics N FACTOR: N training lines, and one on held-out text after every tenth.
metrics() {
    awk -v n="$1" -v factor="$2" 'BEGIN {
        for (s = 1; s <= n; s++) {
            printf "{\"step\":%d,\"loss_reconstruction\":%.17g,\"loss_completion\":null,\"grad_norm\":%g,\"lr\":%g,", s, factor / s, 1 + s % 3, 1e-4 / s
            printf "\"tokens\":100,\"tokens_per_second\":50,\"flops_per_second\":2e9,\"seconds\":2,\"skipped\":%s}\n", s == 3 ? "true" : "false"
            if (s % 10 == 0) printf "{\"step\":%d,\"validation_loss_reconstruction\":%.17g,\"validation_segments\":8}\n", s, factor / s + 0.5
        }
    }'
}
metrics 20 3 >"$run/metrics.jsonl"
metrics 20 5 >"$other/metrics.jsonl"

# Numbers are those of the files, whole.
report 0 "$run" "$other" --csv --peak 8G
[ "$(wc -l <"$folder/out")" = 45 ] || fail "not a row for each line"
[ ! -e "$run/report.html" ] || fail "--csv wrote a page"
# cell ROW COLUMN of the CSV.
cell() {
    awk -F, -v row="$1" -v name="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i }
        NR == row + 1 { print $at }' "$folder/out"
}
[ "$(cell 7 loss_reconstruction)" = 0.42857142857142855 ] || fail "loss of step 7: $(cell 7 loss_reconstruction)"
[ "$(cell 7 tokens)" = 700 ] && [ "$(cell 7 mfu)" = 0.25 ] && [ "$(cell 3 skipped)" = 1 ] || fail "step 7: tokens or MFU; or step 3"
[ "$(cell 11 kind) $(cell 11 step) $(cell 11 validation_loss_reconstruction)" = "validation 10 0.8" ] || fail "the first validation"
[ -z "$(cell 7 loss_completion)" ] || fail "null has a value"
[ "$(cell 23 run) $(cell 23 loss_reconstruction)" = "$other 5" ] || fail "the other run's first row"
awk -F, 'NF != n && NR > 1 { bad = 1 } { n = NF } END { exit bad }' "$folder/out" || fail "rows differ in length"

report 0 "$run" --csv --peak native
awk -v mfu="$(cell 7 mfu)" 'BEGIN { exit !(mfu > 0) }' || fail "MFU of this machine: $(cell 7 mfu)"
report 0 "$run" "$other" --csv --peak 8G

# Damage costs a line, and is named; a line without its end is being written.
{
    head -n 5 "$run/metrics.jsonl"
    printf '{"step":6,"loss_recon\n\0\377\n{"step":2,"loss_reconstruction":1,"tokens":100}\n[]\n'
    tail -n +6 "$run/metrics.jsonl"
    printf '{"step":21,"loss_reconstruction":1,"tokens":10'
} >"$folder/damaged"
cp "$folder/out" "$folder/before"
cp "$folder/damaged" "$run/metrics.jsonl"
report 0 "$run" "$other" --csv --peak 8G
cmp -s "$folder/out" "$folder/before" || fail "damage changes other lines: $(diff "$folder/out" "$folder/before" | head -n 3)"

# Results are found beside the run and named, in one file or many lines; texts stay texts.
cat >"$run/evaluate-reconstruction.json" <<'END'
{"task": "reconstruction", "ratio": 4, "bleu": 90.5, "by_ratio": [
  {"ratio": 4, "checkpoint": "c", "bleu": 90.5, "bleu_sentence": 91.5, "rouge_l": 0.9, "exact_match": 0.5, "segments": 8,
   "by_length": [{"min_tokens": 1, "max_tokens": 64, "segments": 8, "bleu": 90.5}],
   "samples": [{"segment": 1, "document": "<script>alert(1)</script>", "reference": "a <b>stone</b> bridge & boats",
                "reconstruction": "a <b>stone</b> wall & \u0007boats"}]},
  {"ratio": 16, "checkpoint": "c", "bleu": 40.25, "bleu_sentence": 41.5, "rouge_l": 0.4, "exact_match": 0.1, "segments": 8, "by_length": [], "samples": []}]}
END
{
    echo 'evaluate: 10 of 20'
    for data in SQuAD HotpotQA; do
        echo '{"task": "qa", "data": "'$data'", "methods": [{"method": "full", "f1": 70, "em": 60, "count": 9},' \
            '{"method": "compressed", "ratio": 4, "checkpoint": "'"$other"'/step-0000020", "f1": '"${#data}"'1.5, "em": 20, "count": 9}],' \
            '"samples": [{"id": "q", "question": "Who?", "answers": ["Ann"], "full": "Ann", "none": "Bob", "compressed": ["An<n"]}]}'
    done
    echo '{"task": "efficiency", "input_tokens": 1024, "plain": {"prefill_s": 12, "decode_s": 4, "total_s": 16}, "compressed": [{"ratio": 4, "checkpoint": "'"$other"'", "compression_s": 3, "prefill_s": 3.25, "decode_s": 3.5}]}'
} >"$folder/results.jsonl"
report 0 "$run" "$other" --results "$folder/results.jsonl" --csv
grep -qF "$run,evaluation" "$folder/out" || fail "no score of the first run"
grep -q "^$other,evaluation,.*,qa,,SQuAD,compressed,4,.*,51\.5," "$folder/out" || fail "no F1 of SQuAD, of the run whose checkpoint it is"
grep -q "^$other,evaluation,.*,qa,,mean of 2,compressed,4,.*,66\.5," "$folder/out" || fail "no mean of F1"

# Several decoders, and two files of one form: one table, and the same scores as JSON.
qa_of() { # qa_of DECODER FILE F1
    printf '{"task":"qa","data":"SQuAD","file":"data/%s","count":7,"methods":[{"method":"full","decoder":"models/%s/","f1":70.25,"em":50.0,"count":7},' "$2" "$1"
    printf '{"method":"compressed","decoder":"models/%s/","ratio":4,"checkpoint":"gen/%s","f1":%s,"em":1.0,"count":7}],"samples":[]}\n' "$1" "$1" "$3"
}
{
    qa_of Llama squad.json 61.5
    qa_of Llama adversarial.json 21.5
    qa_of Qwen squad.json 31.5
} >"$folder/decoders.jsonl"
report 0 --results "$folder/decoders.jsonl" --table
cat >"$folder/wanted" <<'END'
Question answering
decoder  data                      context           f1     em  count
Llama    SQuAD: squad.json         full           70.25  50.00      7
Llama    SQuAD: squad.json         compressed 4x  61.50   1.00      7
Llama    SQuAD: adversarial.json   full           70.25  50.00      7
Llama    SQuAD: adversarial.json   compressed 4x  21.50   1.00      7
Qwen     SQuAD: squad.json         full           70.25  50.00      7
Qwen     SQuAD: squad.json         compressed 4x  31.50   1.00      7
Llama    mean of 2                 full           70.25  50.00
Llama    mean of 2                 compressed 4x  41.50   1.00
END
diff -b "$folder/wanted" "$folder/out" || fail "the table of decoders is another"
report 0 --results "$folder/decoders.jsonl" --json
[ "$(grep -o '"decoder":"Llama"' "$folder/out" | wc -l)" = 6 ] && grep -q '^{"scores":\[{' "$folder/out" || fail "no JSON of scores"
report 64 --results "$folder/decoders.jsonl" --json --csv
report 0 "$run" "$other" --results "$folder/results.jsonl" --csv

page=$folder/pages/all.html
mkdir "$folder/pages"
report 0 "$run" "$other" --results "$folder/results.jsonl" --output "$page" --png "$folder/pages/png/deep"
lacks '<script'
has '&lt;script&gt;alert(1)&lt;/script&gt;'
has '<del>bridge</del>'
has '<ins>wall</ins>'
has 'An&lt;n'
has '&#9223;boats'
has 'metrics.jsonl: 4 damaged or repeated lines left out, the first of them line 6'
has 'results.jsonl: 1 piece is no result'
has '<td>the paper</td><td>mean of four sets</td><td>PCC Lite</td><td class=n>4×</td><td class=n>61.77</td>'
has '<td>the paper</td><td>held-out text</td><td>PCC</td><td class=n>16×</td><td class=n></td><td class=n>98–98.8</td>'
has '<td class=n>40.25</td>'
# Nothing is loaded from anywhere.
! grep -qE 'https?:|//[a-z]|(src|href)=[^"'"'"' ]|(src|href)=["'"'"'][^#]|@import|url\(' "$page" || fail "the page has links"

# A run that has just begun, and a checkpoint's configuration.
mkdir "$folder/new"
: >"$folder/new/metrics.jsonl"
report 0 "$folder/new"
page=$folder/new/report.html
has 'no checkpoint yet'
mkdir "$folder/new/step-0000007"
printf x >"$folder/new/step-0000007/data-0000.h5"
echo '{"format": "slotpress-checkpoint", "format_version": 1, "step": 7, "files": [{"name": "data-0000.h5", "bytes": 1, "xxh3_128": "00000000000000000000000000000000"}],
    "config": {"train": {"lr": 0.0625, "steps": 9}, "encoder": {"lora": {"rank": 48, "targets": ["q<"]}}}}' >"$folder/new/step-0000007/manifest.json"
report 0 "$folder/new"
has '<td>encoder.lora.rank</td><td>48</td>'
has '<td>train.lr</td><td>0.0625</td>'
has '&quot;q&lt;&quot;'
has '<td>step 7</td>'

# Errors say what is wrong.
report 74 "$folder/none" && says "cannot read the run folder '$folder/none'"
mkdir "$folder/empty"
report 74 "$folder/empty" && says "'$folder/empty' is no run's folder"
report 74 "$run/metrics.jsonl" && says 'is no folder'
report 74 "$run" --results "$folder/none.json" && says "cannot open '$folder/none.json'"
echo 'no result' >"$folder/text"
report 65 "$run" --results "$folder/text" && says 'no result of `slotpress evaluate'
report 64 && says 'needs a RUN'
report 64 "$run" --peak fast && says "--peak: 'fast'"
report 64 --results "$folder/results.jsonl" && says '--output FILE'
report 74 "$run" --output "$folder/no/where.html"
[ -z "$(ls "$folder/no" 2>/dev/null)" ] || fail "something was written into a folder that was not there"

# A hundred thousand lines take seconds.
metrics 100000 3 >"$other/metrics.jsonl"
limit_s=30
report 0 "$other" --output "$folder/pages/long.html"
[ "$(wc -c <"$folder/pages/long.html")" -lt 1000000 ] || fail "a long run makes a page of $(wc -c <"$folder/pages/long.html") bytes"

# Without gnuplot the page has the tables, and says what is missing.
page=$folder/pages/tables.html
expect 0 env PATH="$folder/nowhere" "$(command -v "$slotpress")" report "$run" --output "$page"
says 'plots need gnuplot'
has 'plots need gnuplot'
lacks '<figure>'
has '3.0000 → 0.1500'

if command -v gnuplot >/dev/null; then
    page=$folder/pages/all.html
    [ "$(grep -c '<figure>' "$page")" = 10 ] || fail "not 10 plots, but $(grep -c '<figure>' "$page")"
    for name in loss-reconstruction learning-rate gradient-norm throughput flops reconstruction qa-SQuAD qa-HotpotQA qa-mean-of-2 efficiency; do
        head -c 8 "$folder/pages/png/deep/all-$name.png" 2>/dev/null | grep -q PNG || fail "no PNG of $name"
    done
    report 0 "$run" --output "$folder/pages/mfu.html" --peak 8G && [ -s "$folder/pages/mfu-mfu.png" ] || fail "no plot of MFU"
    # A name with what gnuplot would obey.
    strange="$folder/it's \`touch $folder/obeyed\` \"\$x\\"
    mkdir -p "$strange" && cp "$other/metrics.jsonl" "$strange" 2>/dev/null
    report 0 "$strange" "$run" --output "$folder/pages/strange.html"
    [ "$(grep -c '<figure>' "$folder/pages/strange.html")" -ge 5 ] && [ ! -e "$folder/obeyed" ] || fail "a strange name"
else
    echo "skipped: needs gnuplot (plots)"
fi
finish
