#!/bin/sh
# The binary from outside: help, versions, exit codes, output that has nowhere to go, one voice under
# a launcher, and `inspect` on what needs no model. SLOTPRESS is the binary, as from tools/run-tests.
set -u
slotpress=${SLOTPRESS:-build/slotpress}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
n_failed=0

fail() {
    echo "FAILED: $*"
    sed 's/^/    | /' "$folder/out" "$folder/err"
    n_failed=$((n_failed + 1))
}

# expect CODE ARGUMENTS...: runs the binary; its output goes to $folder/out and $folder/err.
expect() {
    wanted=$1 && shift
    "$slotpress" "$@" >"$folder/out" 2>"$folder/err" </dev/null
    code=$?
    [ $code = "$wanted" ] || fail "slotpress $*: exit code $code, not $wanted"
}

# The last expect wrote TEXT to out or err.
has() { grep -qF -- "$2" "$folder/$1" || fail "no '$2' in $1"; }
lines() { [ "$(wc -l <"$folder/$1")" = "$2" ] || fail "$1 has not $2 lines"; }

commands="tokenize score pretrain plan compress generate evaluate export import inspect verify merge"

# Help and versions.
expect 0 --help
for command in $commands; do has out "  $command "; done
for command in $commands; do
    expect 0 "$command" --help
    has out "slotpress $command"
done
expect 0 --version
for name in MPI HDF5 OpenBLAS oneDNN PCRE2 Jansson libyaml xxHash zlib zstd libcrypto; do
    grep -q "^  $name *v*[A-Za-z ]*[0-9]" "$folder/out" || fail "no version of $name"
done
for name in tokens.h5 slots.h5 checkpoint; do
    grep -q "^  $name *[0-9]" "$folder/out" || fail "no version of the format of $name"
done

# Wrong usage: 64, one line from us, nothing on standard output.
expect 64
lines err 1
lines out 0
expect 64 tokenise
has err "unknown command 'tokenise'; did you mean 'tokenize'?"
lines err 1
expect 64 --verson
for command in $commands; do
    expect 64 "$command" --no-such-option
    has err "--no-such-option"
    lines out 0
done
expect 64 inspect
expect 64 inspect a b

# Output that has nowhere to go: 74, and no death by signal.
if [ -c /dev/full ]; then
    "$slotpress" --version >/dev/full 2>"$folder/err"
    [ $? = 74 ] || fail "a full device under --version is not 74"
    has err "standard output: No space left"
    "$slotpress" inspect --help >/dev/full 2>"$folder/err"
    [ $? = 74 ] || fail "a full device under a command's --help is not 74"
fi
"$slotpress" --help >&- 2>"$folder/err"
[ $? = 74 ] || fail "a closed standard output is not 74"
{
    sleep 0.5
    "$slotpress" --help 2>"$folder/err"
    echo $? >"$folder/code"
} | true
[ "$(cat "$folder/code")" = 74 ] || fail "a reader that left is not 74"
# Nothing to say, nothing lost: the failure keeps its own code.
"$slotpress" inspect /no/such/file >&- 2>"$folder/err"
[ $? = 74 ] || fail "a failure with a closed standard output"
has err "/no/such/file"

# inspect: what is not there, not readable, of no known kind, damaged.
expect 74 inspect "$folder/none"
has err "$folder/none"
lines err 1
mkdir "$folder/empty"
expect 65 inspect "$folder/empty"
has err "$folder/empty"
: >"$folder/nothing"
expect 65 inspect "$folder/nothing"
printf '\211HDF\r\n\032\nrubbish' >"$folder/damaged.h5"
expect 65 inspect "$folder/damaged.h5"
has err damaged.h5
mkfifo "$folder/pipe"
expect 74 inspect "$folder/pipe"

# inspect: a configuration, with what it leaves at the default.
printf 'train:\n  lr: 3e-4\n' >"$folder/a.yaml"
expect 0 inspect "$folder/a.yaml"
has out "lr: 0.0003"
has out "global_batch: 256"
expect 0 inspect --json "$folder/a.yaml"
lines out 1
has out '"global_batch":256'
printf 'train:\n  lrr: 3e-4\n' >"$folder/b.yaml"
expect 64 inspect "$folder/b.yaml"
has err "b.yaml', line 2: unknown key 'train.lrr'; did you mean 'train.lr'?"

# inspect: metrics, alone and in a run folder; a line that is being written does not count.
mkdir "$folder/run"
{
    echo '{"step": 1, "loss_reconstruction": 4.5, "loss_completion": null}'
    echo '{"step": 2, "loss_reconstruction": 4.25, "loss_completion": null}'
    echo '{"step": 2, "validation_loss_reconstruction": 4.75}'
    printf '{"step": 3, "loss_rec'
} >"$folder/run/metrics.jsonl"
for path in "$folder/run/metrics.jsonl" "$folder/run"; do
    expect 0 inspect "$path"
    has out "steps: 2"
    has out "loss_reconstruction: 4.25"
    has out "validation_loss_reconstruction: 4.75"
done
echo '{"loss": 1}' >"$folder/metrics.jsonl"
expect 65 inspect "$folder/metrics.jsonl"
has err "line 1"

# inspect: text shards.
printf '{"text": "abc"}\n{"text": ""}\n' >"$folder/shard.jsonl"
expect 0 inspect "$folder/shard.jsonl"
has out "documents: 2"
has out "empty_documents: 1"
has out "text_bytes: 3"

# Under a launcher one rank speaks.
if command -v mpirun >/dev/null; then
    ranks="timeout -k 10 60 mpirun --oversubscribe -n 3 $slotpress"
    $ranks inspect --json "$folder/a.yaml" >"$folder/out" 2>"$folder/err" || fail "inspect, 3 ranks"
    lines out 1
    $ranks inspect --help >"$folder/out" 2>"$folder/err" || fail "inspect --help, 3 ranks"
    [ "$(grep -c '^Usage: slotpress inspect' "$folder/out")" = 1 ] || fail "help, 3 times"
    $ranks tokenise >"$folder/out" 2>"$folder/err"
    [ $? = 64 ] || fail "an unknown command on 3 ranks is not 64"
    [ "$(grep -c 'did you mean' "$folder/err")" = 1 ] || fail "not one message from 3 ranks"
    $ranks inspect --nonsense >"$folder/out" 2>"$folder/err"
    [ $? = 64 ] || fail "an unknown option on 3 ranks is not 64"
    [ "$(grep -c "unrecognized option" "$folder/err")" = 1 ] || fail "not one message from 3 ranks"
fi

[ $n_failed = 0 ]
