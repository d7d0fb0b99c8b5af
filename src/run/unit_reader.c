#include "run/unit_reader.h"

#include "base/memory.h"

#include <stdlib.h>

struct sp_unit_reader {
    sp_corpus *corpus;
    sp_text_reader *text; /* NULL: could not be opened, and is skipped */
    bool warns;
    sp_losses losses;
    uint64_t next_lost, n_lost; /* rows to hand out before more is read */
};

/* Damage that is skipped is no failure. */
static sp_status skip(sp_unit_reader *reader, sp_status status, sp_text_loss loss) {
    static const char *const what[] = {"the row", "the rest of the row group",
                                       "the rest of the file"};
    if (status != SP_BAD_DATA) return status;
    if (sp_corpus_get_options(reader->corpus)->on_error != SP_ON_ERROR_SKIP) return status;
    reader->losses.n_rows += loss == SP_LOST_ROW;
    reader->losses.n_groups += loss == SP_LOST_GROUP;
    reader->losses.n_files += loss == SP_LOST_FILE;
    if (reader->warns)
        sp_corpus_warn(reader->corpus, reader->text != NULL ? what[loss] : "the file");
    return SP_OK;
}

sp_status sp_unit_reader_open(sp_unit_reader **reader, sp_corpus *corpus, const sp_unit *unit,
                              sp_text_rows rows, uint64_t n_lines_before) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **reader, "a reader"));
    sp_unit_reader *made = block;
    made->corpus = corpus;
    made->warns = rows == SP_ROWS_NEEDED;
    sp_text_options options = sp_corpus_get_options(corpus)->text;
    sp_text_unit range = unit->range;
    options.gives_unwanted = true;
    options.rows = rows;
    range.n_rows_before = n_lines_before;
    const sp_status status =
        skip(made,
             sp_text_reader_open(&made->text, sp_corpus_path(corpus, (size_t)unit->file), &range,
                                 &options),
             SP_LOST_FILE);
    if (status == SP_OK)
        *reader = made;
    else
        sp_unit_reader_close(made);
    return status;
}

void sp_unit_reader_close(sp_unit_reader *reader) {
    if (reader == NULL) return;
    sp_text_reader_close(reader->text);
    free(reader);
}

static void give_lost_row(sp_unit_reader *reader, sp_input *input) {
    const uint64_t row = reader->next_lost++;
    reader->n_lost--;
    *input = (sp_input){SP_INPUT_LOST,
                        {.text = "", .id = sp_text_reader_row_id(reader->text, row), .row = row}};
}

sp_status sp_unit_reader_next(sp_unit_reader *reader, sp_input *input, bool *end) {
    *end = reader->text == NULL;
    if (*end) return SP_OK;
    while (reader->n_lost == 0) {
        sp_document document;
        const sp_status status = sp_text_reader_next(reader->text, &document, end);
        if (status == SP_OK) {
            if (!*end)
                *input = (sp_input){document.is_unwanted ? SP_INPUT_UNWANTED : SP_INPUT_WANTED,
                                    document};
            return SP_OK;
        }
        SP_TRY(skip(reader, status, sp_text_reader_loss(reader->text)));
        sp_text_reader_lost_rows(reader->text, &reader->next_lost, &reader->n_lost);
    }
    give_lost_row(reader, input);
    return SP_OK;
}

sp_losses sp_unit_reader_losses(const sp_unit_reader *reader) { return reader->losses; }

uint64_t sp_unit_reader_n_lines(const sp_unit_reader *reader) {
    return reader->text != NULL ? sp_text_reader_n_lines(reader->text) : 0;
}
