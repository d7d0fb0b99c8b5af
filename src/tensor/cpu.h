/* What this CPU can run, asked once at start, and how our kernels are compiled for it.

   Plain loops become one clone for each x86-64 level; the loader picks the clone, so a kernel never
   asks. What a clone computes may differ from another's in the order of a sum's terms only. */
#pragma once

/* Put before a function without OpenMP inside (outlined parallel regions are not cloned). */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define SP_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SP_CLONES
#endif

/* "AVX512-BF16", "AVX512", "AVX2", "x86-64", or the machine's name elsewhere. Static. */
const char *sp_cpu_isa(void);
