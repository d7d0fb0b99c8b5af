/* A run as its folder tells it, for a report: its metrics thinned for plots and summed up, and the
   configuration of its newest checkpoint. */
#pragma once

#include "base/json.h"
#include "run/report_metrics.h"
#include "run/report_series.h"

typedef struct sp_report_run {
    char *path;                      /* as it was named, without a slash at its end; owned */
    sp_series series[SP_N_MEASURES]; /* over tokens */
    uint64_t n_steps, n_validations, n_skipped, last_step, n_tokens;
    double seconds, flop;               /* sums over steps */
    double known_flop, most_flop;       /* likewise, of steps whose MFU is known; at the peak */
    double first_loss[3], last_loss[3]; /* of training; NaN: none */
    double last_held_out[3], least_held_out[3];
    uint64_t least_step[3];   /* of the latter */
    json_t *config;           /* of the checkpoint, {section: {key: value}}; NULL: none */
    uint64_t checkpoint_step; /* of that */
    bool has_checkpoint, has_metrics;
    json_t *notes; /* what a reader of the report should know, texts */
} sp_report_run;

/* Reads a run's folder into *run, MFU being told by `peak`, FLOP/s, or 0: by what the run has measured; free it also after a failure. SP_IO: no such folder, or it cannot be
   read. Damage costs a line or the configuration, and is noted. */
SP_NODISCARD sp_status sp_report_run_read(sp_report_run *run, const char *path, double peak);
void sp_report_run_free(sp_report_run *run);

/* Whether the folder turned out to hold anything of a run's. */
bool sp_report_run_is_one(const sp_report_run *run);
