#!/bin/sh
# Replicas, in every grid of up to four ranks, change nothing but rounding, with dropout on and a global
# batch that nothing divides; pipelines change nothing at all, nor does the same grid twice.
. tests/lib.sh
make_tokens

# on_grids NAME OPTION...: NAME.1 on one rank, and each grid held against it.
on_grids() {
    name=$1 && shift
    pretrain 0 1 "$name.1" "$@"
    has_steps "$name.1" 20
    for grid in 2x1 1x2 2x2 3x1 1x3 4x1 1x4; do # data x pipeline
        pipeline=${grid#*x}
        pretrain 0 $((${grid%x*} * pipeline)) "$name.$grid" parallel.pipeline="$pipeline" "$@"
        has_steps "$name.$grid" 20
        close_losses "$name.$grid" "$name.1"
    done
}
on_grids lora
for grid in 1x2 1x3 1x4; do
    same_losses "lora.$grid" lora.1
    same_weights "lora.$grid" lora.1
done
on_grids full encoder.train=full train.lr=1e-3

# One model on both sides: a rank of a folded pipeline holds one copy of the layers of both.
shared="encoder.model=$decoder data.encoder_stream=d segment.ratio=8 encoder.memory_tokens=8"
# shellcheck disable=SC2086
{
    pretrain 0 1 shared $shared
    pretrain 0 2 shared.2 $shared parallel.pipeline=2
    pretrain 0 2 shared.2c $shared parallel.pipeline=2 parallel.cut=contiguous
    pretrain 0 4 shared.4 $shared parallel.pipeline=2
}
for run in shared.2 shared.2c shared.4; do close_losses $run shared; done

# Ways to save memory, each by itself and together.
pretrain 0 2 folded parallel.pipeline=2 parallel.cut=folded
pretrain 0 3 zero parallel.zero=2
pretrain 0 1 recomputed train.recompute=all
pretrain 0 4 all parallel.pipeline=2 parallel.cut=folded parallel.zero=2 train.recompute=all
pretrain 0 4 full.all parallel.pipeline=2 parallel.zero=2 train.recompute=all encoder.train=full \
    train.lr=1e-3
for run in zero all; do close_losses $run lora.1; done
same_losses folded lora.1
close_losses full.all full.1
same_losses recomputed lora.1 # the very same arithmetic
same_weights recomputed lora.1

# bf16 on the wire rounds what crosses: losses to three digits.
pretrain 0 2 bf16 parallel.pipeline=2 parallel.wire=bf16
losses bf16 >"$folder/losses.bf16"
losses lora.1 | paste -d ' ' - "$folder/losses.bf16" | awk '
    $1 != "validation" { d = $2 - $7; if (d < 0) d = -d; if (!(d <= 2e-2 * $2)) bad = 1; if (d) differs = 1 }
    END { exit bad || !differs }' || fail "bf16 on the wire: losses are as in f32, or far from them"

# More replicas than samples in a step: some pass empty micro-batches.
pretrain 0 1 few train.global_batch=1 train.steps=5
pretrain 0 4 fewer train.global_batch=1 train.steps=5 parallel.pipeline=2 parallel.zero=2
close_losses fewer few

for grid in "4 again.2x2 parallel.pipeline=2" "4 again.all parallel.pipeline=2 parallel.cut=folded
    parallel.zero=2 train.recompute=all"; do
    # shellcheck disable=SC2086
    pretrain 0 $grid
done
same_losses again.2x2 lora.2x2
same_weights again.2x2 lora.2x2
same_losses again.all all
same_weights again.all all

# What one rank of a pipeline does not have is not looked for.
grep -q '"slowest_host"' "$folder/lora.2x2/metrics.jsonl" || fail "metrics name no slowest host"
awk '/"bubble"/ { n++; sub(/.*"bubble":/, ""); if ($0 + 0 < 0 || $0 + 0 > 1) bad = 1 }
    END { exit bad || n != 20 }' "$folder/lora.2x2/metrics.jsonl" || fail "no bubble between 0 and 1"

pretrain 64 3 none parallel.pipeline=2
says "3 ranks make no whole number of pipelines of 2"
finish
