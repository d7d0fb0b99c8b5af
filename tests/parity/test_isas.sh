#!/bin/sh
# Kernels and models as on older CPUs: every version that such a one would choose keeps to the same
# references. tests/long/test_isas.sh has gradients by differences and grids of ranks.
. tests/isas.sh
case ${1:-} in
isa)
    run_each "ONEDNN_MAX_CPU_ISA=$2" unit/test_few_rows unit/test_quantize unit/test_gemm unit/test_kv_cache \
        gradient/test_linear gradient/test_adapted_linear gradient/test_rmsnorm gradient/test_attention \
        parity/test_models parity/test_pcc parity/test_gguf
    ;;
core) # so that products go to OpenBLAS
    run_each "OPENBLAS_CORETYPE=$2 ONEDNN_MAX_CPU_ISA=SSE41" unit/test_gemm gradient/test_linear parity/test_pcc
    ;;
*) run_all "$0" ;;
esac
