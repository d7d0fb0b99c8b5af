#!/bin/sh
# Gradients against differences, and grids of ranks in each precision, as on older CPUs: each value of
# ONEDNN_MAX_CPU_ISA below this CPU's best, and each OPENBLAS_CORETYPE, whose products are all OpenBLAS's
# where oneDNN may use no more than SSE4.1.
. tests/isas.sh
[ -x "$BUILD/tests/gradient/test_compressor" ] || {
    echo "skipped: needs the test programs that 'make check' builds"
    exit 77
}
case ${1:-} in
isa)
    # shellcheck disable=SC2046 # words
    run_each "ONEDNN_MAX_CPU_ISA=$2" $(cd tests && echo gradient/test_*.c | sed 's/\.c//g') \
        tests/mpi/test_grids.sh tests/mpi/test_precisions.sh
    ;;
core)
    run_each "OPENBLAS_CORETYPE=$2 ONEDNN_MAX_CPU_ISA=SSE41" gradient/test_attention \
        gradient/test_cross_entropy gradient/test_adapted_linear parity/test_models tests/mpi/test_precisions.sh
    ;;
*) run_all "$0" ;;
esac
