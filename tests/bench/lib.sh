# shellcheck shell=sh disable=SC2034
# Sourced by the parts of make bench, which run from the root and leave in $BUILD/bench:
#   PART.jsonl     the figures, a JSON line a measurement
#   PART.summary   rows of the last table, by tests/bench/summary
# Their peers run in PYTHON (torch, transformers, peft, tokenizers, pyarrow, numpy; as tools/bootstrap
# reference makes one) and LLAMA_PYTHON (llama_cpp, numpy).
BUILD=${BUILD:-build}
export OMP_NUM_THREADS="${THREADS:-$(nproc)}"
python=${PYTHON:-python3}
llama_python=${LLAMA_PYTHON:-$python}
model=${MODEL:-$BUILD/models/SmolLM2-135M-Instruct.Q4_1.gguf}
bin=$BUILD/tests/bench
out=$BUILD/bench
part=${0##*/}
mkdir -p "$out"
: >"$out/$part.jsonl"
: >"$out/$part.summary"

# field LINE NAME: a number of a JSON line.
field() { printf '%s\n' "$1" | sed -n "s/.*\"$2\": *\([-+.0-9e]*\).*/\1/p"; }

# row WHAT LINE: keeps a measurement, if there is one.
row() { [ -z "$2" ] || printf '%s\n' "$2" | sed "s/^{/{\"what\":\"$1\",/" >>"$out/$part.jsonl"; }

# has PYTHON MODULES HOW: can it be the peer? Says so if not.
has() {
    "$1" -c "import $2" 2>/dev/null && return
    echo "skipped: the peer needs $2 ($3)"
    return 1
}
has_torch() { has "$python" 'torch, transformers, peft' 'tools/bootstrap reference, or PYTHON='; }
has_llama() {
    has "$llama_python" 'llama_cpp, numpy' \
        'pip install --no-binary llama-cpp-python llama-cpp-python, or LLAMA_PYTHON='
}

# ratio A B [DIGITS]: A / B, or - where one is missing.
ratio() { awk -v a="$1" -v b="$2" -v d="${3:-2}" 'BEGIN { if (a != "" && b + 0 > 0) printf "%.*f", d, a / b; else print "-" }'; }

# shown NUMBER FORMAT: a number, or - where it is missing.
shown() { awk -v x="$1" -v f="$2" 'BEGIN { if (x == "") print "-"; else printf f, x }'; }

# summary WORK PEER OURS PEERS UNIT RATIO RATIO_CPU GOAL MFU MFU_CPU: a row of the last table, "" where
# there is nothing. OURS and PEERS in the UNIT. GOAL, of the ratio: ">= 1.5", "<= 0.33", "0.85 to 1.15",
# ">= 1.5 or MFU >= 0.85", or -. By CPU: by the processors' time, as on a quiet machine.
summary() {
    line=$1
    shift
    for value; do line=$line$(printf '\t%s' "${value:--}"); done
    printf '%s\n' "$line" >>"$out/$part.summary"
}

# compare WORK PEER OURS PEERS NAME UNIT GOAL: the same of two JSON lines with rates of that NAME.
compare() {
    summary "$1" "$2" "$(field "$3" "$5_per_second_best")" "$(field "$4" "$5_per_second_best")" "$6" \
        "$(ratio "$(field "$3" "$5_per_second_best")" "$(field "$4" "$5_per_second_best")")" \
        "$(ratio "$(field "$3" "$5_per_second_cpu")" "$(field "$4" "$5_per_second_cpu")")" \
        "$7" "$(field "$3" mfu)" "$(field "$3" mfu_cpu)"
}

has_avx512() { grep -qm 1 avx512f /proc/cpuinfo 2>/dev/null; }
has_bf16() { grep -qm 1 -E 'avx512_bf16|amx_bf16' /proc/cpuinfo 2>/dev/null; }
