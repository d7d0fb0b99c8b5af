#!/bin/sh
# evaluate efficiency: the parts add up, the rows are those of the layout, and a decoder without enough
# positions is refused. Seconds themselves are the machine's business.
. tests/lib.sh

make_tokens 12
pretrain 0 1 run train.steps=2
pretrain 0 1 run8 train.steps=2 segment.ratio=8

# check RANKS: of the result, a number a line.
check() {
    sed 's/[]{}"[]//g; s/:/,/g' "$folder/out" | awk -F, -v ranks="$1" '
        { for (i = 1; i < NF; i++) if ($i ~ /^[a-z_]+$/) value[$i, ++n[$i]] = $(i + 1) }
        function near(a, b) { return a - b <= 1e-9 && b - a <= 1e-9 }
        END {
            # 40 tokens are segments of 16, 16 and 8: slots by ratio, and two markers each.
            ok = value["ranks", 1] == ranks && n["ratio"] == 2 && value["context_rows", 1] == 16 &&
                 value["context_rows", 2] == 11 && value["input_tokens", 1] == 40
            # plain comes first, so that its prefill_s and decode_s are the first
            ok = ok && near(value["total_s", 1], value["prefill_s", 1] + value["decode_s", 1])
            for (k = 1; k <= 2; k++) {
                after = value["prefill_s", k + 1] + value["decode_s", k + 1]
                ok = ok && value["compression_s", k] > 0 && value["prefill_s", k + 1] > 0
                ok = ok && near(value["amortised_s", k], after)
                ok = ok && near(value["one_shot_s", k], after + value["compression_s", k])
                speedup = value["total_s", 1] / value["one_shot_s", k]
                ok = ok && value["one_shot_speedup", k] / speedup > 0.999 && value["one_shot_speedup", k] / speedup < 1.001
                saved = value["total_s", 1] - value["amortised_s", k]
                uses = value["break_even_uses", k]
                ok = ok && (uses == "null" ? saved <= 0 : saved * uses >= value["compression_s", k] * 0.999 &&
                                                          saved * (uses - 1) <= value["compression_s", k] * 1.001)
            }
            exit !ok
        }' || fail "$1 ranks: $(cat "$folder/out")"
}

efficiency="$slotpress evaluate efficiency --quiet --json --input-tokens 40 --batch 2 --max-new-tokens 3"
# shellcheck disable=SC2086 # a command in one word
{
    expect 0 $efficiency --checkpoint "$folder/run" --checkpoint "$folder/run8"
    check 1
    expect 0 mpirun --oversubscribe --bind-to none -n 2 $efficiency --runs 1 --checkpoint "$folder/run" --checkpoint "$folder/run8"
    check 2
}

# A decoder with 64 learned positions.
decoder=tests/fixtures/models/gpt2-tiny
make_tokens 12
pretrain 0 1 short train.steps=1
limit=$(sed -n 's/.*"n_positions": *\([0-9]*\).*/\1/p' $decoder/config.json)
for n_ranks in 1 2; do
    for n in $((limit - 1)) $((4 * limit)); do
        expect 65 mpirun --oversubscribe -n $n_ranks "$slotpress" evaluate efficiency --quiet --batch 1 \
            --runs 1 --max-new-tokens 9 --checkpoint "$folder/short" --input-tokens "$n"
    done
done
expect 64 "$slotpress" evaluate efficiency --checkpoint "$folder/run" --max-new-tokens 1
says "--max-new-tokens"
expect 64 "$slotpress" evaluate efficiency --checkpoint "$folder/run" --data "$folder/corpus.jsonl"
says "--data"

finish
