#!/bin/sh
# A run in a control group that gives less memory than it needs is refused at start, by the item that
# needs most, and nothing is written.
. tests/lib.sh
group=
trap 'rm -rf "$folder"; [ -z "$group" ] || rmdir "$group"' EXIT

# A group of our own, of either version of control groups.
for root in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    file=memory.max
    [ $root = /sys/fs/cgroup ] || file=memory.limit_in_bytes
    [ -z "$group" ] && mkdir $root/slotpress-test.$$ 2>/dev/null || continue
    group=$root/slotpress-test.$$
    limit=$group/$file
    [ -e "$limit" ] || { rmdir "$group"; group=; }
done
[ -n "$group" ] || {
    echo "skipped: needs the right to make a control group"
    exit 77
}
make_tokens 30

# within BYTES CODE RANKS RUN OPTION...: pretrain in a group of so many bytes.
plain=$slotpress
cat >"$folder/within" <<END
#!/bin/sh
echo \$\$ >$group/cgroup.procs && exec $plain "\$@"
END
chmod +x "$folder/within"
within() {
    echo "$1" >"$limit" && shift
    slotpress=$folder/within
    pretrain "$@"
    slotpress=$plain
}

wide="segment.tokens=16 train.micro_batch=7 encoder.train=full"
# shellcheck disable=SC2086
{
    within 40M 64 1 tight $wide
    says "the node's 1 rank(s) need"
    says "and have 40.0 MiB ($limit)"
    says "for "
    [ ! -e "$folder/tight/metrics.jsonl" ] || fail "a refused run has written metrics"
    within 60M 64 2 tight $wide parallel.pipeline=2
    says "the node's 2 rank(s) need"
    within 2G 0 1 roomy $wide train.steps=3
    has_steps roomy 3
}
finish
