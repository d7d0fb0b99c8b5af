#include "io/slots_rows.h"

#include "base/memory.h"
#include "io/slots_schema.h"

#include <assert.h>
#include <stdlib.h>

/* Some chunks of each column: a look into the file reads no more, a walk through it little at a time. */
enum { BLOCK_ROWS = 8192 };

/* For the chunk of a column that a block ends in. */
enum { CACHE_BYTES = 1 << 17 };

typedef struct sp_slots_block {
    size_t begin, n; /* segments [begin, begin + n); n is 0: none was read */
    uint64_t doc[BLOCK_ROWS + 1], byte_begin[BLOCK_ROWS + 1], text_begin[BLOCK_ROWS + 1];
    uint64_t slot_begin[BLOCK_ROWS + 1]; /* of the segment behind the block, too */
    uint32_t byte_len[BLOCK_ROWS], n_tokens[BLOCK_ROWS];
} sp_slots_block;

static const struct {
    const char *name;
    sp_hdf5_kind kind;
} schema[SP_SLOTS_ROW_COLUMNS] = {
    [SP_SLOTS_ROW_DOC] = {SP_SLOTS_DOC, SP_HDF5_U64},
    [SP_SLOTS_ROW_BYTE_BEGIN] = {SP_SLOTS_BYTE_BEGIN, SP_HDF5_U64},
    [SP_SLOTS_ROW_SLOT_BEGIN] = {SP_SLOTS_SLOT_BEGIN, SP_HDF5_U64},
    [SP_SLOTS_ROW_BYTE_LEN] = {SP_SLOTS_BYTE_LEN, SP_HDF5_U32},
    [SP_SLOTS_ROW_TOKENS] = {SP_SLOTS_TOKENS, SP_HDF5_U32},
    [SP_SLOTS_ROW_TEXT_BEGIN] = {SP_SLOTS_TEXT_BEGIN, SP_HDF5_U64},
};

static size_t n_blocks(const sp_slots_rows *rows) {
    return rows->n / BLOCK_ROWS + (rows->n % BLOCK_ROWS > 0);
}

sp_status sp_slots_rows_add(sp_slots_rows *rows, sp_hdf5_table *table, const char *path,
                            bool has_text, size_t n_slots) {
    void *at = NULL, *docs = NULL;
    *rows = (sp_slots_rows){.table = table, .path = path, .has_text = has_text, .n_slots = n_slots};
    for (int c = 0; c < SP_SLOTS_ROW_COLUMNS - (has_text ? 0 : 1); c++) {
        size_t n = 0;
        SP_TRY(sp_hdf5_table_add(table, &rows->columns[c], &n, schema[c].name, schema[c].kind, 0,
                                 CACHE_BYTES));
        if (c == 0) rows->n = n;
        if (n != rows->n)
            return sp_fail(SP_BAD_DATA, "'%s', '%s': %zu values where %zu belong", path,
                           schema[c].name, n, rows->n);
    }
    SP_TRY(sp_alloc(&at, sizeof *rows->at, "segments"));
    rows->at = at;
    SP_TRY(sp_alloc_array(&docs, n_blocks(rows), sizeof *rows->docs, "segments"));
    rows->docs = docs;
    return SP_OK;
}

void sp_slots_rows_free(sp_slots_rows *rows) {
    free(rows->docs);
    free(rows->at);
    *rows = (sp_slots_rows){0};
}

/* ---- a block ---- */

static sp_status read_columns(const sp_slots_rows *rows, size_t begin, size_t n) {
    sp_slots_block *at = rows->at;
    void *const columns[] = {at->doc,      at->byte_begin, at->slot_begin,
                             at->byte_len, at->n_tokens,   at->text_begin};
    for (int c = 0; c < SP_SLOTS_ROW_COLUMNS - (rows->has_text ? 0 : 1); c++) {
        const bool has_next = c == SP_SLOTS_ROW_SLOT_BEGIN && begin + n < rows->n;
        SP_TRY(sp_hdf5_table_read(rows->table, rows->columns[c], begin, n + (has_next ? 1 : 0),
                                  columns[c]));
    }
    if (begin + n == rows->n) at->slot_begin[n] = rows->n_slots;
    return SP_OK;
}

static sp_status read_block(const sp_slots_rows *rows, size_t block) {
    sp_slots_block *at = rows->at;
    const size_t begin = block * BLOCK_ROWS, left = rows->n - begin;
    const size_t n = left < BLOCK_ROWS ? left : BLOCK_ROWS;
    if (at->n > 0 && at->begin == begin) return SP_OK;
    at->n = 0;
    SP_TRY(read_columns(rows, begin, n));
    at->begin = begin;
    at->n = n;
    return SP_OK;
}

/* ---- checking ---- */

/* What of the rows before a block matters in it. */
typedef struct end_so_far {
    uint64_t doc, slot_begin, n_text_bytes;
} end_so_far;

static sp_status check_block(const sp_slots_rows *rows, size_t n_documents, end_so_far *end) {
    const sp_slots_block *at = rows->at;
    for (size_t i = 0; i < at->n; i++) {
        const char *wrong = NULL;
        if (at->doc[i] >= n_documents) wrong = "its document is beyond /documents";
        if (at->doc[i] < end->doc) wrong = "its document falls";
        if (at->slot_begin[i] > rows->n_slots) wrong = "its slots are beyond the file's";
        if (at->slot_begin[i] < end->slot_begin) wrong = "its slots fall";
        if (at->byte_begin[i] > UINT64_MAX - at->byte_len[i]) wrong = "absurd text range";
        if (rows->has_text && at->text_begin[i] != end->n_text_bytes)
            wrong = "its text does not follow";
        *end = (end_so_far){at->doc[i], at->slot_begin[i], end->n_text_bytes + at->byte_len[i]};
        if (wrong != NULL)
            return sp_fail(SP_BAD_DATA, "'%s', segment %zu: %s", rows->path, at->begin + i, wrong);
    }
    return SP_OK;
}

sp_status sp_slots_rows_check(sp_slots_rows *rows, size_t n_documents, size_t n_text_bytes) {
    end_so_far end = {0};
    for (size_t b = 0; b < n_blocks(rows); b++) {
        SP_TRY(read_block(rows, b));
        if (b == 0 && rows->at->slot_begin[0] != 0)
            return sp_fail(SP_BAD_DATA, "'%s', '%s': does not begin at 0", rows->path,
                           SP_SLOTS_SLOT_BEGIN);
        SP_TRY(check_block(rows, n_documents, &end));
        rows->docs[b] = rows->at->doc[0];
    }
    if (rows->has_text && end.n_text_bytes != n_text_bytes)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': %zu bytes, the segments have %ju", rows->path,
                       SP_SLOTS_TEXT_BYTES, n_text_bytes, (uintmax_t)end.n_text_bytes);
    return SP_OK;
}

/* ---- looking ---- */

/* Blocks are read again after they were checked: what a file that was rewritten since then says is held
   to what is relied on. */
static sp_status check_row(const sp_slots_rows *rows, size_t i) {
    const sp_slots_block *at = rows->at;
    if (at->slot_begin[i] <= at->slot_begin[i + 1] && at->slot_begin[i + 1] <= rows->n_slots &&
        at->byte_begin[i] <= UINT64_MAX - at->byte_len[i])
        return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s', segment %zu: is not what it was", rows->path, at->begin + i);
}

sp_status sp_slots_rows_get(const sp_slots_rows *rows, size_t segment, sp_slots_segment *out,
                            uint64_t *text_begin) {
    assert(segment < rows->n);
    const sp_slots_block *at = rows->at;
    const size_t i = segment % BLOCK_ROWS;
    SP_TRY(read_block(rows, segment / BLOCK_ROWS));
    SP_TRY(check_row(rows, i));
    *out = (sp_slots_segment){.doc = at->doc[i],
                              .byte_begin = at->byte_begin[i],
                              .byte_len = at->byte_len[i],
                              .n_tokens = at->n_tokens[i],
                              .slot_begin = at->slot_begin[i],
                              .n_slots = at->slot_begin[i + 1] - at->slot_begin[i]};
    if (text_begin != NULL) *text_begin = rows->has_text ? at->text_begin[i] : 0;
    return SP_OK;
}

/* The first index of values [n], which rise, that is not below the wanted one. */
static size_t lower_bound(const uint64_t *values, size_t n, uint64_t wanted) {
    size_t begin = 0, end = n;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        if (values[middle] < wanted)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* It is in the block before the first that begins with such a document, or begins that one. */
sp_status sp_slots_rows_first(const sp_slots_rows *rows, uint64_t document, size_t *segment) {
    const size_t block = lower_bound(rows->docs, n_blocks(rows), document);
    *segment = 0;
    if (block == 0) return SP_OK;
    SP_TRY(read_block(rows, block - 1));
    *segment = rows->at->begin + lower_bound(rows->at->doc, rows->at->n, document);
    return SP_OK;
}
