# Shared by the scripts that run other tests as on older CPUs (`. tests/isas.sh`): what oneDNN and our
# kernels may be held to by ONEDNN_MAX_CPU_ISA, and OpenBLAS by OPENBLAS_CORETYPE. The best of the
# former is what every other test runs with. Tests are programs below $BUILD/tests or scripts.
set -u
BUILD=${BUILD:-build}
slotpress=${SLOTPRESS:-$BUILD/slotpress}
flags=" $(sed -n '/^flags/ { s/.*: //p; q }' /proc/cpuinfo) "
[ -n "${flags# }" ] || {
    echo "skipped: needs an x86-64 CPU whose flags /proc/cpuinfo tells"
    exit 77
}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

# missing FLAG...: prints the first that this CPU has not.
missing() {
    for flag in "$@"; do
        case $flags in *" $flag "*) ;; *) echo "$flag" && return ;; esac
    done
}

# Each value with the flags that it takes, and those that oneDNN has kernels of its own for.
avx512="avx512f avx512bw avx512dq avx512vl"
isa_table="SSE41 sse4_1
AVX avx
AVX2 avx2 fma
AVX512_CORE $avx512
AVX512_CORE_VNNI $avx512 avx512_vnni
AVX512_CORE_BF16 $avx512 avx512_vnni avx512_bf16
AVX512_CORE_AMX $avx512 avx512_bf16 amx_tile amx_int8 amx_bf16"
core_table="Prescott pni
Core2 ssse3
Nehalem sse4_2
Barcelona sse4a
Sandybridge avx
Bulldozer avx fma4
Piledriver avx fma4 fma
Haswell avx2 fma
Zen avx2 fma
SkylakeX avx512cd $avx512
Cooperlake avx512cd $avx512 avx512_bf16"

# settings: prints a line `isa VALUE` for each ONEDNN_MAX_CPU_ISA below this CPU's best, and `core VALUE`
# for each OPENBLAS_CORETYPE that this OpenBLAS heeds; to standard error, what needs another CPU.
settings() {
    echo "$isa_table" | {
        best=
        while read -r isa wanted; do
            # shellcheck disable=SC2086 # words
            lacks=$(missing $wanted)
            if [ -z "$lacks" ]; then
                [ -z "$best" ] || echo "isa $best"
                best=$isa
            else
                echo "skipped: needs $lacks (ONEDNN_MAX_CPU_ISA=$isa)" >&2
            fi
        done
    }
    echo "$core_table" | while read -r core wanted; do
        # shellcheck disable=SC2086 # words
        lacks=$(missing $wanted)
        if [ -n "$lacks" ]; then
            echo "skipped: needs $lacks (OPENBLAS_CORETYPE=$core)" >&2
        elif OPENBLAS_CORETYPE=$core "$slotpress" --version | grep OpenBLAS | grep -qw "$core"; then
            echo "core $core"
        else
            echo "skipped: needs an OpenBLAS with kernels for $core" >&2
        fi
    done
}

# run_each SETTING TEST...: runs each with VARIABLE=VALUE... in its environment; exits 1 if one fails.
run_each() {
    setting=$1 && shift
    log=$(mktemp)
    verdict=passed
    for test in "$@"; do
        case $test in *.sh) program="sh $test" ;; *) program=$BUILD/tests/$test ;; esac
        # shellcheck disable=SC2086 # words
        env $setting $program >"$log" 2>&1 </dev/null
        code=$?
        case $code in
        0) ;;
        77) echo "$setting: $test: $(grep -o 'skipped: needs.*' "$log" | head -n 1)" ;;
        *)
            echo "FAILED: $setting $test: exit code $code"
            tail -n 12 "$log" | sed 's/^/    | /'
            verdict=FAILED
            ;;
        esac
    done
    rm -f "$log"
    echo "$setting: $verdict"
    [ $verdict = passed ]
}

# run_all SCRIPT: runs `sh SCRIPT isa VALUE` and `sh SCRIPT core VALUE` for all settings, as many at a
# time as there are cores, and closes as cmocka does.
run_all() {
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    settings >"$folder/settings" 2>"$folder/skipped"
    xargs -P "$(env -u OMP_NUM_THREADS nproc)" -n 2 sh "$1" <"$folder/settings" >"$folder/out" 2>&1
    cat "$folder/out" "$folder/skipped"
    n=$(grep -c . "$folder/settings")
    n_passed=$(grep -c ': passed$' "$folder/out")
    echo "[  PASSED  ] $n_passed test(s)."
    [ -s "$folder/skipped" ] && echo "[  SKIPPED ] $(grep -c . "$folder/skipped") test(s), listed above."
    [ "$n_passed" = "$n" ] || echo "[  FAILED  ] $((n - n_passed)) test(s), listed above."
    [ "$n_passed" = "$n" ] && [ "$n" -gt 0 ]
}
