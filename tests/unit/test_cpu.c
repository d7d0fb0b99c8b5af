/* ONEDNN_MAX_CPU_ISA holds every choice among versions of kernels, ours and oneDNN's. It is read once
   in a process, so each value has a process of its own. */
#include "tests/check.h"

#include "tensor/cpu.h"
#include "tensor/dnnl_matmul.h"
#include "tensor/few_rows.h"
#include "tensor/gemm.h"
#include "tensor/rmsnorm.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static bool cpu_has(sp_isa isa) {
#if defined(__x86_64__)
    switch (isa) {
    case SP_ISA_AVX2:
        return __builtin_cpu_supports("avx2");
    case SP_ISA_AVX512:
        return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    case SP_ISA_AVX512_VNNI:
        return __builtin_cpu_supports("avx512vnni");
    case SP_ISA_AVX512_BF16:
        return __builtin_cpu_supports("avx512bf16");
    case SP_N_ISAS:
        break;
    }
#endif
    return (void)isa, false;
}

static bool is_named(const char *name, const char *wanted) { return strcmp(name, wanted) == 0; }

/* The first failure's line, or 0: what a process can tell by its exit status. */
static int wrong_line(size_t n_permitted) {
#define HOLDS(claim) \
    if (!(claim)) return __LINE__
    for (sp_isa isa = 0; isa < SP_N_ISAS; isa++)
        HOLDS(sp_cpu_may_use(isa) == (cpu_has(isa) && isa < n_permitted));
    const bool avx2 = cpu_has(SP_ISA_AVX2) && n_permitted > SP_ISA_AVX2;
    const bool vnni = cpu_has(SP_ISA_AVX512_VNNI) && n_permitted > SP_ISA_AVX512_VNNI;
    const bool bf16 = cpu_has(SP_ISA_AVX512_BF16) && n_permitted > SP_ISA_AVX512_BF16;
    HOLDS(is_named(sp_gemm_chosen()->name, avx2 ? "oneDNN" : "OpenBLAS"));
    HOLDS(is_named(sp_few_rows_chosen()->name, vnni   ? "AVX2 and VNNI"
                                               : avx2 ? "AVX2"
                                                      : "reference"));
    HOLDS(sp_rmsnorm_make(NULL, 0, 0).kernel == &sp_rmsnorm_kernels[avx2 ? 0 : 1]);
    HOLDS(sp_dnnl_computes_int8() == vnni && sp_dnnl_computes_bf16() == bf16);
    HOLDS(is_named(sp_cpu_isa(), "x86-64") == !avx2);
    HOLDS(is_named(sp_cpu_isa(), "AVX512-BF16") == bf16);
    return 0;
#undef HOLDS
}

static void a_limit_holds_every_choice(void **state) {
    static const struct {
        const char *variable, *value;
        size_t n_permitted; /* of sp_isa */
    } limits[] = {
        {"ONEDNN_MAX_CPU_ISA", "SSE41", SP_ISA_AVX2},
        {"ONEDNN_MAX_CPU_ISA", "AVX", SP_ISA_AVX2},
        {"DNNL_MAX_CPU_ISA", "AVX", SP_ISA_AVX2},
        {"ONEDNN_MAX_CPU_ISA", "AVX2", SP_ISA_AVX2 + 1},
        {"ONEDNN_MAX_CPU_ISA", "AVX512_CORE", SP_ISA_AVX512 + 1},
        {"ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI", SP_ISA_AVX512_VNNI + 1},
        {"ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", SP_ISA_AVX512_BF16 + 1},
        {"ONEDNN_MAX_CPU_ISA", "DEFAULT", SP_N_ISAS},
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        fflush(NULL);
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            unsetenv("ONEDNN_MAX_CPU_ISA");
            unsetenv("DNNL_MAX_CPU_ISA");
            setenv(limits[i].variable, limits[i].value, 1);
            _exit(wrong_line(limits[i].n_permitted));
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("%s=%s: what line %d says does not hold", limits[i].variable, limits[i].value,
                     WEXITSTATUS(status));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_limit_holds_every_choice)};
    return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
