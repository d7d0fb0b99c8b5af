/* The figures of the paper (Pretraining Context Compressor for Large Language Models with
   Embedding-Based Memory, ACL 2025), which a report shows beside its own, marked as the paper's. */
#pragma once

#include "run/report_results.h"

typedef struct sp_paper_figure {
    sp_result_task task;
    const char *data, *method, *measure;
    size_t ratio;     /* 0: none, or not compressed by one */
    double low, high; /* equal where the paper names one value */
    bool is_about;    /* read off a curve */
} sp_paper_figure;

extern const sp_paper_figure sp_paper_figures[];
extern const size_t sp_n_paper_figures;

/* What the paper says of a task without a number to print; NULL: nothing. */
const char *sp_paper_remark(sp_result_task task);
