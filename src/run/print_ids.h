/* The ids of one text, as Hugging Face's encode() gives them: for a look, and for tests. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct sp_print_ids_job {
    const char *tokenizer;   /* folder (tokenizer.json alone is enough), tokenizer.json or .gguf */
    bool specials_are_plain; /* spellings of special tokens are plain text */
    bool has_affixes;        /* BOS and EOS, where the tokenizer or the model has them */
    bool wants_json;
} sp_print_ids_job;

/* Reads all of `in` and prints its ids on one line of `out`, separated by spaces, or as one JSON
   object {"ids": […]}. */
SP_NODISCARD sp_status sp_print_ids(const sp_print_ids_job *job, FILE *in, FILE *out);
