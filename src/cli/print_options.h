/* What a command prints: the options --json and --quiet, each a child for a command's argp.
   Both are in group 3 of its options, so that --help lists them last, under a header of that group
   if the command has one. */
#pragma once

#include <argp.h>
#include <stdbool.h>

/* The input of sp_json_argp. */
typedef struct sp_json_option {
    bool is_wanted;
    const char *members; /* of the object that is printed, for --help; NULL: not listed there */
} sp_json_option;

extern const struct argp sp_json_argp;

/* Takes no input: --quiet sets the log's level. */
extern const struct argp sp_quiet_argp;
