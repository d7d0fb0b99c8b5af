#!/bin/sh
# A run that is saved on one grid goes on on another: within rounding the run on one rank that was
# never interrupted. On the same grid: its bits.
. tests/lib.sh
make_tokens

# on GRID CODE RUN [OPTION...]: trains on a grid, `data x pipeline`, with f for the folded cut.
on() {
    grid=$1 code=$2 run=$3 && shift 3
    pipeline=${grid#*x}
    case $pipeline in *f) set -- "$@" parallel.cut=folded ;; esac
    pipeline=${pipeline%f}
    pretrain "$code" $((${grid%x*} * pipeline)) "$run" parallel.pipeline="$pipeline" "$@"
}

# elastic NAME FROM TO [OPTION...]: 10 steps on one grid, 10 on the other, held against NAME.
elastic() {
    name=$1 from=$2 to=$3 && shift 3
    run=$name.$from.$to
    on "$from" 0 "$run" train.stop_at_step=10 "$@"
    has_steps "$run" 10
    [ "$(find "$folder/$run/step-0000010" -name 'data-*.h5' | wc -l)" = $((${from%x*} * $(echo "${from#*x}" | tr -d f))) ] ||
        fail "$run: not a file a rank"
    on "$to" 0 "$run" "$@"
    has_steps "$run" 20
    close_losses "$run" "$name"
}

# Each grid hands over once and takes over once.
on 1x1 0 lora
elastic lora 1x1 1x2
elastic lora 1x2 2x2
elastic lora 2x2 3x1 parallel.zero=2
elastic lora 3x1 1x3 parallel.zero=2
elastic lora 1x3 4x1
elastic lora 4x1 1x2f
elastic lora 1x2f 2x1
elastic lora 2x1 1x1

on 1x1 0 full encoder.train=full train.lr=1e-3
elastic full 2x2 1x1 encoder.train=full train.lr=1e-3
elastic full 1x1 3x1 encoder.train=full train.lr=1e-3
elastic full 1x3 2x1 encoder.train=full train.lr=1e-3 parallel.zero=2

# The same grid. Where a pipeline is cut is measured once and kept, so both begin from one step 0.
for same in "2x2 parallel.zero=2" "1x2f" "3x1"; do
    # shellcheck disable=SC2086
    set -- $same
    grid=$1 && shift
    on "$grid" 0 "whole.$grid" train.stop_at_step=0 "$@"
    cp -R "$folder/whole.$grid" "$folder/halves.$grid"
    on "$grid" 0 "whole.$grid" "$@"
    on "$grid" 0 "halves.$grid" train.stop_at_step=10 "$@"
    on "$grid" 0 "halves.$grid" "$@"
    has_steps "halves.$grid" 20
    same_losses "halves.$grid" "whole.$grid"
    same_weights "halves.$grid" "whole.$grid"
done

finish
