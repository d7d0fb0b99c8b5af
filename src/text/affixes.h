/* The special tokens that a tokenizer puts around a text when asked to (BOS, rarely EOS): the
   template of tokenizer.json's post-processor, for a single text. */
#pragma once

#include "base/json.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { SP_MOST_AFFIXES = 8 };

typedef struct sp_affixes {
    int32_t before[SP_MOST_AFFIXES], after[SP_MOST_AFFIXES];
    size_t n_before, n_after;
} sp_affixes;

/* Reads them from a tokenizer.json object: none where it has no TemplateProcessing. `name` stands for
   the file in messages. SP_BAD_DATA: a post-processor other than TemplateProcessing, ByteLevel or a
   Sequence of them, which is named, or a template that contradicts itself. */
SP_NODISCARD sp_status sp_affixes_read(sp_affixes *affixes, const json_t *tokenizer_json,
                                       const char *name);
