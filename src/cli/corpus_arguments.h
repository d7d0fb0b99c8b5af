/* The texts that a command reads, and what it takes of them: the options --column, --where,
   --checksums and --on-error, as a child for a command's argp. The names come from wherever the
   command has them: its arguments, or an option. */
#pragma once

#include "base/status.h"
#include "io/condition.h"
#include "run/corpus.h"

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

enum { SP_MOST_CONDITIONS = 64 };

/* All-zero is empty. Texts are borrowed from argv. */
typedef struct sp_corpus_arguments {
    sp_corpus_options options; /* the result; without conditions before ..._parse_where() */
    bool has_choice;           /* one of the four options was given */
    const char **names;        /* [options.n_names], owned */
    const char *where[SP_MOST_CONDITIONS];
    size_t n_where;
    sp_condition items[SP_MOST_CONDITIONS];
    sp_conditions conditions; /* of items, owned */
} sp_corpus_arguments;

/* The input is an sp_corpus_arguments. */
extern const struct argp sp_corpus_argp;

/* Makes room for as many names as a command has arguments, to be released by
   sp_corpus_arguments_free(). SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_corpus_arguments_init(sp_corpus_arguments *arguments, int argc);
void sp_corpus_arguments_free(sp_corpus_arguments *arguments); /* may be called twice */

/* At most argc - 1 times. */
void sp_corpus_arguments_add_name(sp_corpus_arguments *arguments, const char *name);

/* Parses the conditions of --where into the options, which from now on point into *arguments.
   SP_USAGE: one is not of the form. */
SP_NODISCARD sp_status sp_corpus_arguments_parse_where(sp_corpus_arguments *arguments);

/* stop or skip, the argument of an --on-error; else an error of use. */
sp_on_error sp_parse_on_error(const char *text, const struct argp_state *state);
