/* The plots of a report: what is drawn from runs and results, through gnuplot. */
#pragma once

#include "run/report_gnuplot.h"
#include "run/report_results.h"
#include "run/report_run.h"

typedef struct sp_figure_label {
    char *text;        /* owned */
    const char *color; /* "#rrggbb", static */
} sp_figure_label;

typedef struct sp_report_figure {
    char *name;          /* of its PNG file, without .png; owned */
    char *title;         /* owned */
    const char *caption; /* static */
    bool is_of_results;  /* of evaluations, not of training */
    sp_drawing drawing;
    sp_figure_label *labels; /* [n_labels], owned: what the colours mean */
    size_t n_labels;
} sp_report_figure;

typedef struct sp_report_figures {
    sp_report_figure *items; /* [n], owned */
    size_t n, capacity;
    char *failure;   /* why drawings are missing, owned; NULL: none is */
} sp_report_figures; /* all zero: none */

/* What a report is made of; borrowed. */
typedef struct sp_report_matter {
    const sp_report_run *runs; /* [n_runs] */
    size_t n_runs;
    const sp_report_results *results;
    double peak; /* FLOP/s of all ranks together; 0: what each run has measured */
} sp_report_matter;

/* The colour of a run's curves, or of another by its number; static. */
const char *sp_figure_color(size_t index);

/* Draws all that there is something to draw of. Without gnuplot, and where it fails, figures are left
   out and `failure` says why. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_report_figures_draw(sp_report_figures *figures,
                                              const sp_report_matter *matter);
void sp_report_figures_free(sp_report_figures *figures);
