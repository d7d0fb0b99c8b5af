/* The configuration of a run, from its file or a checkpoint, and the keys that are set over it:
   the options --config and --set, as children for a command's argp. */
#pragma once

#include <argp.h>
#include <stddef.h>

/* Assignments of --set, in their order. */
enum { SP_MOST_ASSIGNMENTS = 64 };
typedef struct sp_assignments {
    const char *items[SP_MOST_ASSIGNMENTS]; /* "train.lr=1e-4", borrowed from argv */
    size_t n;
} sp_assignments;

typedef struct sp_config_options {
    const char *file; /* borrowed from argv; NULL: none was named */
    sp_assignments assignments;
} sp_config_options;

/* --config FILE, and --set over it; the input is an sp_config_options. More assignments than there
   is room for are an error of use, here and below. */
extern const struct argp sp_config_argp;

/* --set alone, over the configuration of a checkpoint; the input is an sp_assignments. In group 2
   of the options, before what is printed (cli/print_options.h). */
extern const struct argp sp_set_argp;
