#!/bin/sh
# The training of several ranks under AddressSanitizer and UndefinedBehaviorSanitizer: pipelines,
# replicas with and without samples, checkpoints beside it, and other grids going on.
SLOTPRESS=${SLOTPRESS:-${BUILD:-build}/san/slotpress}
export SLOTPRESS ASAN_OPTIONS=detect_leaks=0 # MPI keeps what it has to its end
. tests/lib.sh
limit_s=300
make_tokens 12

pretrain 0 1 one train.steps=6
pretrain 0 4 all train.steps=6 parallel.pipeline=2 parallel.cut=folded parallel.zero=2 \
    train.recompute=all checkpoint.every_steps=1 parallel.verify_every=1
close_losses all one
pretrain 0 4 few train.steps=3 parallel.pipeline=2 checkpoint.every_steps=1 \
    train.global_batch=1 train.init="$folder/one"
pretrain 0 3 elastic train.stop_at_step=3 train.steps=6 parallel.pipeline=3
pretrain 0 2 elastic train.steps=6 parallel.zero=2
close_losses elastic one
pretrain 0 3 bf16 train.steps=3 parallel.pipeline=3 parallel.wire=bf16 encoder.train=full
finish
