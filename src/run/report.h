/* Runs and their evaluations as a report: one HTML page with PNG files beside it, CSV, or
   tables. Local: one
   process makes it. Runs that are still going are fine. */
#pragma once

#include "base/status.h"

#include <stddef.h>

/* What goes to standard output: the numbers as CSV, scores as tables or as one JSON object. */
typedef enum sp_report_print {
    SP_REPORT_NOTHING,
    SP_REPORT_CSV,
    SP_REPORT_TABLE,
    SP_REPORT_JSON
} sp_report_print;

typedef struct sp_report_job {
    const char *const
        *runs; /* [n_runs] folders; each one's evaluate*.json and .jsonl are read, too */
    size_t n_runs;
    const char *const *results; /* [n_results] files of `evaluate --json` */
    size_t n_results;
    const char *
        output; /* the page; NULL: none if something is printed, else report.html in the first run's folder */
    const char *png; /* folder of the PNG files, made if it is not there; NULL: that of the page */
    double peak;     /* FLOP/s of all ranks of a run together; 0: what each run has measured */
    sp_report_print prints;
} sp_report_job;

/* What was made. */
typedef struct sp_report_made {
    char *page;        /* path, owned; NULL: none */
    size_t n_drawings; /* PNG files */
    char *failure;     /* why drawings are missing, owned; NULL: none is */
} sp_report_made;      /* all zero: nothing */

/* SP_USAGE: neither a run nor an output; SP_IO: no such folder or file, a folder that is no run's, or an
   output cannot be written; SP_BAD_DATA: a file of results without any. */
SP_NODISCARD sp_status sp_report(sp_report_made *made, const sp_report_job *job);
void sp_report_made_free(sp_report_made *made);
