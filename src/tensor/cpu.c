#include "tensor/cpu.h"

#if defined(__x86_64__)
const char *sp_cpu_isa(void) {
    if (__builtin_cpu_supports("avx512bf16")) return "AVX512-BF16";
    if (__builtin_cpu_supports("avx512f")) return "AVX512";
    return __builtin_cpu_supports("avx2") ? "AVX2" : "x86-64";
}
#else
const char *sp_cpu_isa(void) { return "generic"; }
#endif
