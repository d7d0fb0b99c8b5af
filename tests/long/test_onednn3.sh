#!/bin/sh
# The kernels and their tests, built and run against oneDNN 3.2, whose C interface is not 2.6's. The
# library comes from PyPI, once for a build folder.
. tests/lib.sh
BUILD=${BUILD:-build}
python=${PYTHON:-python3}
kept=$BUILD/onednn-3.2
wheels="onednn-cpu-gomp==2023.2.0 onednn-devel-cpu-gomp==2023.2.0"
skip() {
    echo "skipped: needs $1"
    exit 77
}
if [ ! -e "$kept/include/dnnl.h" ]; then
    # shellcheck disable=SC2086 # words
    timeout 300 "$python" -m pip download --quiet --no-deps --dest "$folder/wheels" $wheels >"$folder/out" 2>&1 ||
        skip "oneDNN 3.2 from PyPI ($wheels): $(tail -n 1 "$folder/out")"
    for wheel in "$folder"/wheels/*.whl; do
        "$python" -m zipfile -e "$wheel" "$folder/onednn" || fail "$wheel: cannot be unpacked"
    done
    mkdir -p "$folder/kept"
    cp -R "$folder"/onednn/*.data/data/include "$folder"/onednn/*.data/data/lib "$folder/kept/"
    rm -rf "$kept"
    mv "$folder/kept" "$kept"
fi

tests="unit/test_cpu unit/test_few_rows unit/test_gemm gradient/test_linear gradient/test_attention
    gradient/test_rmsnorm"
programs=
for test in $tests; do programs="$programs $folder/build/tests/$test"; done
limit_s=600
# shellcheck disable=SC2086,SC2046 # words
expect 0 env -u MAKEFLAGS make -j"$(env -u OMP_NUM_THREADS nproc)" --no-print-directory BUILD="$folder/build" PARQUET=no HELP_SOURCES= \
    DNNL_PREFIX="$(cd "$kept" && pwd)" SOURCES="$(echo src/base/*.c src/tensor/*.c)" $programs
for program in $programs; do
    ldd "$program" | grep -q "libdnnl.so.3 => $(cd "$kept" && pwd)" || fail "$program: not linked to oneDNN 3"
    for isa in DEFAULT SSE41; do
        expect 0 env ONEDNN_MAX_CPU_ISA=$isa "$program"
        [ $code = 0 ] || grep -E 'ERROR|FAILED' "$folder/out" "$folder/err"
    done
done
finish
