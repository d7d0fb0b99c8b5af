/* gnuplot scripts: the commands that draw curves over tokens, points over ratios, and bars. Each writes to
   an open stream what sp_drawing_make() takes. Texts from files are made harmless. */
#pragma once

#include "run/report_figures.h"

/* Writes text as a string of gnuplot's, at most `most` bytes of it, its beginning left out. */
void sp_script_text(FILE *out, const char *text, size_t most);

/* A title for the PNG file; within a page it stands above. */
void sp_script_title(FILE *out, const char *title);

/* A measure over tokens and, unless it is SP_N_MEASURES, one on held-out text; false if no run has any
   point. */
bool sp_script_curves(FILE *out, const sp_report_matter *matter, const char *title,
                      sp_measure measure, sp_measure held_out);

/* A curve or a level of points over ratios. */
typedef struct sp_ratio_line {
    const char *label;             /* borrowed */
    const char *color;             /* static */
    const double *ratios, *values; /* [n], ratios rising; of a level ratios is NULL and n is 1 */
    size_t n;
} sp_ratio_line;

typedef struct sp_ratio_mark {
    double ratio, low, high;
} sp_ratio_mark; /* of the paper's */

void sp_script_ratios(FILE *out, const char *title, const sp_ratio_line *lines, size_t n_lines,
                      const sp_ratio_mark *marks, size_t n_marks);

typedef struct sp_bar {
    char label[32];
    double compression, prefill, decode; /* seconds */
} sp_bar;

void sp_script_bars(FILE *out, const char *title, const sp_bar *bars, size_t n);
