/* What a path holds, told by its contents, and by its name where the contents say nothing. */
#pragma once

#include "base/status.h"

typedef enum sp_file_kind {
    SP_FILE_MODEL,      /* Hugging Face folder, .gguf, .safetensors, tokenizer.json */
    SP_FILE_EXPORT,     /* folder of `slotpress export` */
    SP_FILE_TOKENS,     /* tokens.h5 */
    SP_FILE_SLOTS,      /* slots.h5 */
    SP_FILE_CHECKPOINT, /* step folder */
    SP_FILE_RUN,        /* run folder: step folders, metrics.jsonl */
    SP_FILE_METRICS,    /* metrics.jsonl */
    SP_FILE_CONFIG,     /* .yaml */
    SP_FILE_JSON,       /* another .json file */
    SP_FILE_TEXT,       /* .txt, .jsonl, also .gz and .zst; .parquet */
} sp_file_kind;

/* Looks at `path`, no deeper than it takes to tell the kind. SP_IO: it cannot be read; SP_BAD_DATA:
   nothing that we know. */
SP_NODISCARD sp_status sp_file_kind_of(sp_file_kind *kind, const char *path);
