#include "tests/fuzz/read_text.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* What was read: the documents, in one number, and what was lost. */
typedef struct outcome {
    uint64_t hash, n_documents, n_lost_rows, n_losses;
} outcome;

static void add(outcome *read, const void *data, size_t n_bytes) {
    read->hash = XXH3_64bits_withSeed(data, n_bytes, read->hash);
}

static void add_document(outcome *read, const sp_document *document) {
    read->n_documents++;
    add(read, document->text, document->n_bytes);
    add(read, document->id, strlen(document->id));
    /* Who has an id needs no number, and in a range that nobody counted there is none. */
    if (!document->has_own_id) add(read, &document->row, sizeof document->row);
    add(read, &document->is_unwanted, sizeof document->is_unwanted);
}

static void add_loss(outcome *read, sp_text_reader *reader) {
    uint64_t row = 0, n_rows = 0;
    sp_text_reader_lost_rows(reader, &row, &n_rows);
    read->n_losses++;
    read->n_lost_rows += n_rows;
    if (n_rows == 0) return;
    add(read, &row, sizeof row);
    const char *id = sp_text_reader_row_id(reader, row);
    add(read, id, strlen(id));
}

static void read_unit(outcome *read, const char *path, const sp_text_unit *unit,
                      const sp_text_options *options) {
    sp_text_reader *reader = NULL;
    sp_status status = sp_text_reader_open(&reader, path, unit, options);
    if (status != SP_OK) {
        read->n_losses++;
        return;
    }
    for (bool end = false; !end;) {
        sp_document document;
        status = sp_text_reader_next(reader, &document, &end);
        if (status == SP_BAD_DATA)
            add_loss(read, reader);
        else if (status != SP_OK)
            abort(); /* neither memory nor the system is short */
        else if (!end)
            add_document(read, &document);
    }
    sp_text_reader_close(reader);
}

void fuzz_read_text(const char *path, uint64_t range_bytes, const sp_text_options *options) {
    sp_text_unit *units = NULL;
    size_t n_units = 0;
    outcome whole = {0}, in_units = {0};
    const sp_status status = sp_text_units(&units, &n_units, path, range_bytes, options);
    read_unit(&whole, path, NULL, options);
    if (status == SP_OK) {
        for (size_t i = 0; i < n_units; i++) read_unit(&in_units, path, &units[i], options);
        if (memcmp(&whole, &in_units, sizeof whole) != 0) __builtin_trap();
    } else if (whole.n_documents > 0) {
        __builtin_trap();
    }
    free(units);
}
