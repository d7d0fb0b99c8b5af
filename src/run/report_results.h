/* Results of `slotpress evaluate ... --json`, for a report: from files of one JSON object or of several,
   a line each. What is no result is passed over and noted. */
#pragma once

#include "base/json.h"

#include <stdbool.h>

typedef enum sp_result_task {
    SP_RESULT_RECONSTRUCTION,
    SP_RESULT_QA,
    SP_RESULT_ICL,
    SP_RESULT_ROLEPLAY,
    SP_RESULT_EFFICIENCY,
    SP_N_RESULT_TASKS
} sp_result_task;

enum { SP_MOST_FIGURES = 16 };

typedef struct sp_result_kind {
    const char *task, *title;
    const char *figures[SP_MOST_FIGURES]; /* keys of what is measured; ends in NULL */
} sp_result_kind;

extern const sp_result_kind sp_result_kinds[SP_N_RESULT_TASKS];

typedef struct sp_report_results {
    /* A score is what one method reached: {run, task, decoder (the last part of its model's path, or
       null), data (of a reconstruction: the slot file, if one was read), method, ratio (of compressed ones), and the figures of its task}. The run is a text: the folder in which the checkpoint lies, or the file. */
    json_t *scores[SP_N_RESULT_TASKS]; /* arrays, owned */
    /* {run, task, data, ratio (null: of several), samples: as evaluate printed them} */
    json_t *samples; /* array, owned */
    json_t *
        lengths; /* array, owned: scores of reconstruction by segment length, min_tokens, max_tokens */
    json_t *notes; /* array of texts, owned */
} sp_report_results;

SP_NODISCARD sp_status sp_report_results_init(sp_report_results *results);
void sp_report_results_free(sp_report_results *results);

/* Adds the results of a file. Those whose checkpoint lies in none of runs [n_runs], folders, are of the
   run `run`, or without one (NULL) of their checkpoint or file itself. SP_IO: it cannot be read;
   SP_BAD_DATA: there is no result in it. */
SP_NODISCARD sp_status sp_report_results_read(sp_report_results *results, const char *path,
                                              const char *run, const char *const *runs,
                                              size_t n_runs);

/* Adds those of all files evaluate*.json and evaluate*.jsonl of a run folder, by name; a file that is
   none is noted. */
SP_NODISCARD sp_status sp_report_results_find(sp_report_results *results, const char *run);

/* Names question answering's data by form and file ("SQuAD: dev.json") where several files have one
   form. Adds to it, for each method of a run that was tried on several data sets, the mean of F1 and
   exact match over these, each counting alike, as the data "mean of N". */
SP_NODISCARD sp_status sp_report_results_add_means(sp_report_results *results);

bool sp_report_results_is_empty(const sp_report_results *results);
