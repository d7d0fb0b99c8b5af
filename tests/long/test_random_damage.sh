#!/bin/sh
# Files that others wrote, damaged at random: bytes changed, a stretch zeroed, the end cut off, a number
# of a text made absurd. Whatever reads them ends by itself with an exit code that means something, and no sanitizer has a word to
# say. The binary with sanitizers is used if it is built. SEED chooses another run; SECONDS_LIMIT bounds it.
# cores: 1
. tests/lib.sh
make_tokens
seed=${SEED:-1}
limit=$(($(date +%s) + ${SECONDS_LIMIT:-170}))

pretrain 0 1 run train.steps=2
expect 0 "$slotpress" compress --quiet --checkpoint "$folder/run" --output "$folder/slots.h5" "$folder/corpus.jsonl"
zstd -q "$folder/corpus.jsonl" -o "$folder/corpus.jsonl.zst"
gzip -c "$folder/corpus.jsonl" >"$folder/corpus.jsonl.gz"
mkdir "$folder/good"
cp $encoder/config.json $encoder/tokenizer.json $encoder/model.safetensors tests/fixtures/model_files/llama.gguf \
    "$folder/tokens.h5" "$folder/slots.h5" "$folder/corpus.jsonl" "$folder/corpus.jsonl.gz" \
    "$folder/corpus.jsonl.zst" "$folder/run.yaml" tests/fixtures/parquet/sums.parquet "$folder/good"
cp "$folder/run/step-0000002/manifest.json" "$folder/run/step-0000002/data-0000.h5" \
    "$folder/run/metrics.jsonl" "$folder/good"

sanitized=${BUILD:-build}/san/slotpress
if [ -x "$sanitized" ]; then
    slotpress=$sanitized
    echo "SEED=$seed, with sanitizers"
else
    echo "SEED=$seed, without sanitizers: $sanitized is not built"
fi
# Codes of their own; an allocation by a count that nobody checked is a report, too. Open MPI keeps
# memory to the end.
export ASAN_OPTIONS=detect_leaks=0:exitcode=99:max_allocation_size_mb=1000 UBSAN_OPTIONS=halt_on_error=1:exitcode=99
export OMPI_MCA_ess_singleton_isolated=1

# read_damaged NAME: a command that reads the damaged file of that name, of those that do in turn.
read_damaged() {
    work=$folder/damaged
    case $1 in
    config.json | tokenizer.json | model.safetensors)
        mkdir -p "$work/model"
        cp "$folder/good/config.json" "$folder/good/tokenizer.json" "$folder/good/model.safetensors" "$work/model"
        mv "$work/$1" "$work/model/$1"
        case $1$turn in
        tokenizer*) set -- tokenize --ids --tokenizer "$work/model" ;;
        *[02468]) set -- score --json --model "$work/model" ;;
        *) set -- inspect "$work/model" ;;
        esac ;;
    llama.gguf)
        case $turn in
        [147]) set -- inspect "$work/$1" ;;
        [258]) set -- tokenize --ids --tokenizer "$work/$1" ;;
        *) set -- score --model "$work/$1" ;;
        esac ;;
    tokens.h5)
        case $turn in
        [123]) set -- inspect "$work/$1" ;;
        *) set -- evaluate reconstruction --quiet --split all --segments 3 --max-new-tokens 2 \
            --checkpoint "$folder/run" "$work/$1" ;;
        esac ;;
    slots.h5)
        case $turn in
        [123]) set -- inspect "$work/$1" ;;
        *) set -- generate --checkpoint "$folder/run" --memory "$work/$1" --document d$turn --max-new-tokens 2 ;;
        esac ;;
    manifest.json | data-0000.h5)
        cp -R "$folder/run/step-0000002" "$work"
        mv "$work/$1" "$work/step-0000002/$1"
        case $turn in
        [123]) set -- inspect "$work/step-0000002" ;;
        *) set -- export --checkpoint "$work/step-0000002" --output "$work/export" ;;
        esac ;;
    sums.parquet)
        case $turn in
        [0-4]) how=stop ;;
        *) how=skip ;;
        esac
        set -- tokenize --quiet --on-error $how --where 'token_count >= 0' --tokenizer e=$encoder --segment-tokens 16 \
            --output "$work/new.h5" "$work/$1" ;;
    corpus.*) set -- tokenize --quiet --tokenizer e=$encoder --segment-tokens 16 --output "$work/new.h5" "$work/$1" ;;
    *) set -- inspect "$work/$1" ;;
    esac
    echo "the river ran" | timeout 20 "$slotpress" "$@" >"$folder/out" 2>"$folder/err"
}

# absurd OFFSET LENGTH: standard input with another number in place of the first one from OFFSET on.
absurd() {
    awk -v offset="$1" -v pick="$2" 'BEGIN {
        RS = "\001"
        split("0 -1 1 3 65536 2147483648 4294967297 9007199254740993 18446744073709551615 1e300 0.5", value, " ")
    } {
        head = substr($0, 1, offset)
        tail = substr($0, offset + 1)
        sub(/[0-9.]+/, value[1 + pick % 11], tail)
        printf "%s%s", head, tail
    }'
}

# A plan of what to damage: NAME TURN KIND OFFSET LENGTH; each line is used once.
n_damaged=0
for name in "$folder"/good/*; do
    echo "${name##*/} $(wc -c <"$name")"
done | awk -v seed="$seed" '
    { name[NR - 1] = $1; size[NR - 1] = $2 }
    END {
        srand(seed)
        for (i = 0; i < 1000; i++) {
            f = i % NR
            # Half of them in the first 4096 bytes, where headers are.
            range = rand() < 0.5 && size[f] > 4096 ? 4096 : size[f]
            print name[f], int(rand() * 10), int(rand() * (name[f] ~ /json$|jsonl$|yaml$/ ? 8 : 4)), int(rand() * range), 1 + int(rand() * 64)
        }
    }' >"$folder/plan"

while read -r name turn kind offset length; do
    [ "$(date +%s)" -lt $limit ] || break
    rm -rf "$folder/damaged"
    mkdir "$folder/damaged"
    cp "$folder/good/$name" "$folder/damaged/$name"
    case $kind in
    0) head -c "$offset" "$folder/good/$name" >"$folder/damaged/$name" ;;
    1) head -c "$length" /dev/zero ;;
    2) awk -v seed="$offset$length" 'BEGIN { srand(seed); printf "%c", 1 + int(rand() * 255) }' ;;
    3) printf '\377\377\377\377' ;;
    *) absurd "$offset" "$length" <"$folder/good/$name" >"$folder/damaged/$name" ;;
    esac | dd of="$folder/damaged/$name" bs=1 seek="$offset" conv=notrunc 2>/dev/null
    read_damaged "$name"
    code=$?
    n_damaged=$((n_damaged + 1))
    case $code in
    0 | 64 | 65 | 74 | 76) ;;
    *) fail "$name, turn $turn, damage $kind at $offset, $length: exit code $code" ;;
    esac
    [ $code = 0 ] || grep -q '^slotpress: ' "$folder/err" ||
        fail "$name, turn $turn, damage $kind at $offset, $length: says nothing"
done <"$folder/plan"
echo "$n_damaged damaged files were read"
[ $n_damaged -ge 50 ] || fail "only $n_damaged files were read in the time"

finish
