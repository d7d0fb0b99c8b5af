/* Export of slots: a slot file's documents as rows of the decoder's input, f32, for other servers of
   the decoder (llama.cpp's embedding batches, vLLM's prompt embeddings).

   A document is [n, d_dec]: the slots of its segments, through the converter; or with markers, for
   each segment, [<mem>] its slots [</mem>], the exact rows that the decoder was trained to read
   after BOS.

       npy          OUTPUT is one file where one document is named; else a folder with one file a
                    document, and index.json: {ID: FILE}. A file is named as its document, with
                    all but letters, digits, '_', '-' and inner '.' as %XX; a name too long for a
                    file system is cut and closed with '~' and a number
       safetensors  OUTPUT is one file, a tensor a document, named as it */
#pragma once

#include "base/json.h"

#include <stdbool.h>

typedef enum sp_rows_format { SP_ROWS_NPY, SP_ROWS_SAFETENSORS } sp_rows_format;

typedef struct sp_export_slots_job {
    const char *checkpoint;       /* run or step folder; its models are not opened */
    const char *slots;            /* slot file */
    const char *const *documents; /* [n_documents] ids; none: all of the file */
    size_t n_documents;
    sp_rows_format format;
    bool has_markers;
    const char *output;
} sp_export_slots_job;

/* Writes the rows; *result, owned, is an object: output, documents, rows, d. SP_USAGE: there is no
   such document, or one is named twice; SP_BAD_DATA: another compressor made the slots, or an id
   stands twice in a file of which all is wanted; SP_IO. Files written before a failure stay. */
SP_NODISCARD sp_status sp_export_slots(json_t **result, const sp_export_slots_job *job);
