/* No product runs on a reference implementation where the CPU has better: the kernels chosen are those
   that its instructions, as /proc/cpuinfo has them, call for, under every ONEDNN_MAX_CPU_ISA; those of
   oneDNN have no "ref" in their names. (Its sgemm, which tells none, is a plain loop below AVX2: there
   it is not to be chosen.) */
#include "tests/check.h"

#include "base/memory.h"
#include "tensor/few_rows.h"
#include "tensor/few_rows_back.h"
#include "tensor/gemm.h"
#include "tensor/linear_kernel.h"
#include "tensor/rmsnorm.h"
#include "tests/values.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

extern char **environ;

static const char isa_variable[] = "ONEDNN_MAX_CPU_ISA";

/* The CPU's flags between blanks; empty where there are none. */
static const char *cpu_flags(void) {
    static char flags[8192];
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file != NULL && fgets(flags, sizeof flags, file) != NULL)
        if (strncmp(flags, "flags", 5) == 0) break;
    if (file != NULL) fclose(file);
    char *end = strchr(flags, '\n');
    if (end != NULL) *end = ' ';
    return strncmp(flags, "flags", 5) == 0 ? flags : "";
}

static bool cpu_has(const char *flag) {
    char word[64];
    snprintf(word, sizeof word, " %s ", flag);
    return strstr(cpu_flags(), word) != NULL;
}

/* What the library may use, each containing those before it, as far as we ask. */
static const char *const isas[] = {"SSE41",
                                   "AVX",
                                   "AVX2",
                                   "AVX2_VNNI",
                                   "AVX512_CORE",
                                   "AVX512_CORE_VNNI",
                                   "AVX512_CORE_BF16",
                                   "AVX512_CORE_AMX",
                                   "ALL"};
enum { N_ISAS = sizeof isas / sizeof isas[0], AVX2 = 2, AVX512 = 4, VNNI = 5, BF16 = 6 };

static bool library_may_use(size_t wanted) {
    const char *most = getenv(isa_variable);
    if (most == NULL) return true;
    for (size_t i = wanted; i < N_ISAS; i++)
        if (strcmp(most, isas[i]) == 0) return true;
    return false;
}

/* A layer of a small weight. */
static sp_linear *make_layer(sp_precision precision) {
    enum { N_OUT = 96, N_IN = 64 };
    static float values[N_OUT * N_IN];
    sp_linear *linear = NULL;
    fill_values(values, N_OUT * N_IN, 1);
    const sp_tensor weight = {.dtype = SP_F32, .n_dims = 2, .shape = {N_OUT, N_IN}, .data = values};
    if (sp_linear_create(&linear, &weight, NULL, precision) != SP_OK) fail_msg("%s", sp_message());
    return linear;
}

static void needs_x86_64(void) {
    if (cpu_has("lm")) return;
    print_message("skipped: needs x86-64\n");
    skip();
}

/* Of the CPU, as far as it is permitted. */
static bool has_avx2(void) { return cpu_has("avx2") && cpu_has("fma") && library_may_use(AVX2); }

static bool has_avx512(void) {
    return has_avx2() && cpu_has("avx512f") && cpu_has("avx512bw") && cpu_has("avx512dq") &&
           cpu_has("avx512vl") && library_may_use(AVX512);
}

static bool has_vnni(void) {
    return has_avx512() && cpu_has("avx512_vnni") && library_may_use(VNNI);
}

static bool has_bf16(void) { return has_vnni() && cpu_has("avx512_bf16") && library_may_use(BF16); }

static void kernels_of_few_rows_follow_the_cpu(void **state) {
    needs_x86_64();
    const char *expected = has_vnni() ? "AVX2 and VNNI" : has_avx2() ? "AVX2" : "reference";
    assert_string_equal(sp_few_rows_chosen()->name, expected);
    assert_string_equal(sp_few_rows_back_chosen()->name, has_avx2() ? "AVX2" : "reference");
}

static void norms_and_products_follow_the_cpu(void **state) {
    needs_x86_64();
    const float weight = 1;
    assert_string_equal(sp_rmsnorm_make(&weight, 1, 1e-5F).kernel->name,
                        has_avx2() ? "avx2" : "reference");
    assert_string_equal(sp_gemm_chosen()->name, has_avx2() ? "oneDNN" : "OpenBLAS");
}

/* Where oneDNN would read weights in place whose rows fall into the same sets of the cache. */
static void products_of_some_rows_follow_the_shape(void **state) {
    needs_x86_64();
    static const struct {
        size_t m, n, k;
        bool is_slow;
    } products[] = {
        {128, 4096, 14336, true},  {256, 14336, 4096, true}, {128, 4096, 1024, true},
        {127, 4096, 14336, false}, {300, 4096, 4096, false}, {256, 576, 1536, false},
        {256, 4000, 4096, false},  {128, 1024, 1024, false},
    };
    const bool reads_in_place = has_avx2() && !has_avx512();
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
        const sp_gemm size = {products[i].m, products[i].n, products[i].k, .alpha = 1};
        const bool is_slow = reads_in_place && products[i].is_slow;
        assert_string_equal(sp_gemm_nn_chosen(&size, size.n)->name,
                            has_avx2() && !is_slow ? "oneDNN" : "OpenBLAS");
    }
}

static void layers_follow_the_cpu(void **state) {
    needs_x86_64();
    const char *const expected[SP_N_PRECISIONS] = {
        [SP_PRECISION_F32] = "f32",
        [SP_PRECISION_BF16] = has_bf16() ? "bf16, oneDNN" : "bf16 in f32 panels",
        [SP_PRECISION_INT8] = has_vnni() ? "int8 by VNNI" : "int8 with few rows in 16 bits"};
    for (int precision = 0; precision < SP_N_PRECISIONS; precision++) {
        sp_linear *linear = make_layer((sp_precision)precision);
        assert_string_equal(sp_linear_kernel_name(linear), expected[precision]);
        sp_linear_destroy(linear);
    }
}

static void the_librarys_bf16_products_are_no_reference(void **state) {
    if (!sp_linear_computes_bf16()) {
        print_message("skipped: needs bf16 instructions\n");
        skip();
    }
    sp_linear *linear = make_layer(SP_PRECISION_BF16);
    const char *names[SP_DNNL_N_PRODUCTS];
    sp_dnnl_matmul_kernel_names(linear->matmul, names);
    for (size_t i = 0; i < SP_DNNL_N_PRODUCTS; i++) {
        print_message("bf16 product %zu: %s\n", i, names[i]);
        if (strstr(names[i], "ref") != NULL) fail_msg("product %zu is a reference", i);
    }
    sp_linear_destroy(linear);
}

/* ---- under every setting ---- */

/* The library reads the variable once, so each setting is a run of its own of all tests above. */
static void the_same_holds_whatever_the_library_may_use(void **state) {
    char *const arguments[] = {"test_kernel_choice", "once", NULL};
    for (size_t i = 0; i < N_ISAS; i++) {
        pid_t child = 0;
        int outcome = 0;
        setenv(isa_variable, isas[i], 1);
        assert_int_equal(posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ), 0);
        assert_int_equal(waitpid(child, &outcome, 0), child);
        if (outcome != 0) fail_msg("%s=%s: exit status %d", isa_variable, isas[i], outcome);
    }
    unsetenv(isa_variable);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_of_few_rows_follow_the_cpu),
        cmocka_unit_test(norms_and_products_follow_the_cpu),
        cmocka_unit_test(products_of_some_rows_follow_the_shape),
        cmocka_unit_test(layers_follow_the_cpu),
        cmocka_unit_test(the_librarys_bf16_products_are_no_reference),
        cmocka_unit_test(the_same_holds_whatever_the_library_may_use),
    };
    const struct CMUnitTest once[] = {tests[0], tests[1], tests[2], tests[3]};
    (void)argv;
    return argc > 1 ? cmocka_run_group_tests(once, NULL, NULL)
                    : cmocka_run_group_tests(tests, NULL, NULL);
}
