#!/bin/sh
# A disk of half a megabyte that is full at three places of a checkpoint and its log: 74, the checkpoint
# before is whole, nothing by half lies beside it, the message says so; with room the run goes on as if
# nothing had been. Two ranks share the disk.
. tests/lib.sh
mkdir "$folder/disk"
mount -t tmpfs -o size=512k none "$folder/disk" 2>/dev/null || {
    echo "skipped: needs the right to mount a tmpfs"
    exit 77
}
trap 'umount "$folder/disk"; rm -rf "$folder"' EXIT
make_tokens 12
limit_s=60
schedule="train.steps=4 train.schedule=constant train.global_batch=2 train.micro_batch=1
    train.validate_every=0 encoder.train=none"
page=4096

# leave N: fills the disk but for N pages.
leave() {
    rm -f "$folder/disk/filler"
    free=$(stat -f -c %f "$folder/disk")
    dd if=/dev/zero of="$folder/disk/filler" bs=$page count=$((free - $1)) 2>/dev/null
    [ "$(stat -f -c %f "$folder/disk")" = "$1" ] || fail "the disk does not fill to $1 pages"
}

# is_full FILE: the run has ended because the disk was full when FILE was written.
is_full() {
    [ $code = 74 ] || fail "exit code $code with a full disk ($1)"
    says "$1"
    says "No space left on device"
    says "checkpoints so far are whole"
    [ "$(ls -A "$folder/disk/run" | tr '\n' ' ')" = "lock metrics.jsonl step-0000002 " ] ||
        fail "$1: a full disk leaves $(ls -A "$folder/disk/run" | tr '\n' ' ')"
    expect 0 "$slotpress" inspect "$folder/disk/run/step-0000002"
}

# shellcheck disable=SC2086
pretrain 0 2 whole $schedule
# shellcheck disable=SC2086
pretrain 0 2 disk/run $schedule train.stop_at_step=2

# The log, when a run opens it ...
leave 0
# shellcheck disable=SC2086
pretrain any 2 disk/run $schedule
is_full metrics.jsonl
# ... and later, when it has grown by some pages.
leave 1
# shellcheck disable=SC2086
pretrain any 2 disk/run $schedule train.steps=60
is_full metrics.jsonl

# The ranks' data, with room for one page of them; then for all but the last one.
leave 1
# shellcheck disable=SC2086
pretrain any 2 disk/run $schedule
is_full .h5
data_pages=0
for file in "$folder/whole"/step-0000004/data-*.h5; do
    data_pages=$((data_pages + ($(wc -c <"$file") + page - 1) / page))
done
leave $((data_pages - 1))
# shellcheck disable=SC2086
pretrain any 2 disk/run $schedule
is_full .h5

# The manifest: HDF5 may take a page or two more than it keeps.
for more in 0 1 2 3 4; do
    leave $((data_pages + more))
    # shellcheck disable=SC2086
    pretrain any 2 disk/run $schedule
    grep -qF data- "$folder/err" || break
done
is_full manifest.json

rm "$folder/disk/filler"
# shellcheck disable=SC2086
pretrain 0 2 disk/run $schedule
has_steps disk/run 4
same_losses disk/run whole
for file in "$folder/whole"/step-0000004/data-*.h5; do
    cmp -s "$file" "$folder/disk/run/step-0000004/${file##*/}" || fail "${file##*/} has other bytes"
done

finish
