/* What our kernels may use of this CPU, and how plain loops are compiled for it.

   ONEDNN_MAX_CPU_ISA in the environment, as oneDNN reads it (AVX2, AVX512_CORE, AVX512_CORE_VNNI ...),
   holds the versions of our kernels as it holds oneDNN's own: the whole program computes as on a CPU
   that has no more. Plain loops alone follow the CPU: they become one clone for each x86-64 level, the
   loader picks the clone, and what it computes may differ from another's in the order of a sum's terms
   only. OPENBLAS_CORETYPE is for OpenBLAS's products. */
#pragma once

#include <stdbool.h>

/* Put before a function without OpenMP inside (outlined parallel regions are not cloned). */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define SP_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SP_CLONES
#endif

/* What a version of a kernel is written for. */
typedef enum sp_isa {
    SP_ISA_AVX2,        /* with FMA */
    SP_ISA_AVX512,      /* F, BW, DQ and VL */
    SP_ISA_AVX512_VNNI, /* and all before */
    SP_ISA_AVX512_BF16, /* and all before */
    SP_N_ISAS
} sp_isa;

/* Tells whether this CPU has it and ONEDNN_MAX_CPU_ISA, which is read once, permits it. From any
   thread. */
bool sp_cpu_may_use(sp_isa isa);

/* The best of these: "AVX512-BF16", "AVX512-VNNI", "AVX512", "AVX2", "x86-64", or "generic" elsewhere.
   Static. */
const char *sp_cpu_isa(void);
