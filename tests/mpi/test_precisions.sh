#!/bin/sh
# Frozen weights in bf16 and int8, on one rank and in grids, and what `auto` comes to: measured once, kept in a file that may be
# damaged, told to all ranks, and kept by a run that goes on.
. tests/lib.sh
export XDG_CACHE_HOME="$folder/cache"
cache=$XDG_CACHE_HOME/slotpress/precision.json
make_tokens
short="train.steps=6 train.validate_every=0"

# near A B LIMIT: losses of two runs, relatively.
near() {
    losses "$1" >"$folder/losses.a"
    losses "$2" >"$folder/losses.b"
    paste -d ' ' "$folder/losses.a" "$folder/losses.b" | awk -v limit="$3" '
        { for (i = 2; i <= 3; i++) { d = $i / $(i + NF / 2) - 1; if (!(d * d <= limit * limit)) exit 1 } }
        END { if (NR != 6) exit 1 }' || fail "losses of $1 are not within $3 of $2's"
}

# has_precisions RUN ENCODER DECODER: of the run's last checkpoint.
has_precisions() {
    for manifest in "$folder/$1"/step-*/manifest.json; do :; done
    tr -d ' \n' <"$manifest" | grep -qF "\"precisions\":{\"encoder\":\"$2\",\"decoder\":\"$3\"}" ||
        fail "$1 was not made with $2 and $3: $(grep -A 3 precisions "$manifest")"
}

# ---- by name ----

# shellcheck disable=SC2086 # words
{
    pretrain 0 1 f32 $short
    for precision in bf16 int8; do
        pretrain 0 1 $precision $short decoder.precision=$precision train.precision=$precision
        has_precisions $precision $precision $precision
        for grid in 2x1 1x2 2x2; do # data x pipeline
            pipeline=${grid#*x}
            pretrain 0 $((${grid%x*} * pipeline)) $precision.$grid $short parallel.pipeline="$pipeline" \
                decoder.precision=$precision train.precision=$precision parallel.wire=f32
            near $precision.$grid $precision 1e-3 # activations may be rounded to the next step
        done
        same_losses $precision.1x2 $precision
        same_weights $precision.1x2 $precision
    done
}
near bf16 f32 1e-2
near int8 f32 3e-2
cmp -s "$folder/losses.a" "$folder/losses.b" && fail "int8 is f32"

# What a checkpoint was trained with, it is used with.
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/int8" \
    --output "$folder/slots.h5" "$folder/corpus.jsonl"

pretrain 64 1 none encoder.train=full train.precision=int8
says "train.precision"

# ---- auto ----

# auto RANKS RUN KEY=VALUE...: both precisions auto.
auto() {
    n=$1 name=$2 && shift 2
    verbosity='' pretrain 0 "$n" "$name" decoder.precision=auto train.precision=auto "$@"
}

# shellcheck disable=SC2086 # words
auto 1 auto $short
says "decoder.precision: auto is"
says "train.precision: auto is"
says "of the peak measured"
[ -s "$cache" ] || fail "no $cache"

# Figures by which f32, and then bf16, is the faster.
faster() {
    python3 - "$cache" "$1" <<'END'
import json, sys
with open(sys.argv[1]) as file:
    cache = json.load(file)
for entry in cache["measured"].values():
    for name in entry:
        entry[name] = [2e9, 4e9] if name == sys.argv[2] else [1e9, 4e9]
with open(sys.argv[1], "w") as file:
    json.dump(cache, file)
END
}
if command -v python3 >/dev/null; then
    for precision in f32 bf16; do
        faster $precision
        # shellcheck disable=SC2086 # words
        auto 2 by-$precision $short train.stop_at_step=3
        says "decoder.precision: auto is $precision, 2.0 GFLOP/s or 50 % of the peak"
        says "(measured before)"
        has_precisions by-$precision $precision $precision
    done
    faster f32
    # shellcheck disable=SC2086 # words
    auto 1 by-bf16 $short
    has_precisions by-bf16 bf16 bf16
else
    echo "skipped: needs python3"
fi

# A file that is damaged, of another kind, or cannot be.
for text in '{"format": "slotpress-precision-1", "measured": {' '[1, 2]' '' \
    '{"format": "slotpress-precision-1", "measured": 7}' '{"format": "other", "measured": {}}'; do
    printf '%s' "$text" >"$cache"
    # shellcheck disable=SC2086 # words
    auto 1 damaged $short --resume none
    says "auto is"
    grep -q "measured before" "$folder/err" && fail "'$text' was believed"
done
# shellcheck disable=SC2086 # words
XDG_CACHE_HOME=/proc/none auto 1 nowhere $short
says "auto is"

finish
