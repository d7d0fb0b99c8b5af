#include "tensor/cpu.h"

#include <stdatomic.h>

#include <dnnl.h>

#if defined(__x86_64__)
static bool has(sp_isa isa) {
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    switch (isa) {
    case SP_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case SP_ISA_AVX512:
        return has(SP_ISA_AVX2) && avx512;
    case SP_ISA_AVX512_VNNI:
        return has(SP_ISA_AVX512) && __builtin_cpu_supports("avx512vnni");
    case SP_ISA_AVX512_BF16:
        return has(SP_ISA_AVX512_VNNI) && __builtin_cpu_supports("avx512bf16");
    case SP_N_ISAS:
        break;
    }
    return false;
}

/* oneDNN knows the variable's two names and its values, which grow from version to version. */
static bool permits(sp_isa isa) {
    static const unsigned wanted[] = {
        [SP_ISA_AVX2] = dnnl_cpu_isa_avx2,
        [SP_ISA_AVX512] = dnnl_cpu_isa_avx512_core,
        [SP_ISA_AVX512_VNNI] = dnnl_cpu_isa_avx512_core_vnni,
        [SP_ISA_AVX512_BF16] = dnnl_cpu_isa_avx512_core_bf16,
    }; /* sets of bits, which those of later ones contain */
    return ((unsigned)dnnl_get_effective_cpu_isa() & wanted[isa]) == wanted[isa];
}
#else
static bool has(sp_isa isa) { return (void)isa, false; }
static bool permits(sp_isa isa) { return (void)isa, false; }
#endif

/* A bit for each; kept, since oneDNN takes a microsecond to answer and every product asks. */
bool sp_cpu_may_use(sp_isa isa) {
    enum { IS_KNOWN = 1U << SP_N_ISAS };
    static atomic_uint answers;
    unsigned known = atomic_load_explicit(&answers, memory_order_relaxed);
    if (known == 0) {
        known = IS_KNOWN;
        for (sp_isa i = 0; i < SP_N_ISAS; i++)
            if (has(i) && permits(i)) known |= 1U << i;
        atomic_store_explicit(&answers, known, memory_order_relaxed);
    }
    return known >> isa & 1;
}

const char *sp_cpu_isa(void) {
#if defined(__x86_64__)
    static const char *const names[] = {"AVX2", "AVX512", "AVX512-VNNI", "AVX512-BF16"};
    for (size_t i = SP_N_ISAS; i-- > 0;)
        if (sp_cpu_may_use((sp_isa)i)) return names[i];
    return "x86-64";
#else
    return "generic";
#endif
}
