/* Journals of tokens. Their frames carry hashes, which no random change passes; so an input is a list
   of frames without them, and the file is made of it:

       u8 kind, u8 flags, u16 n_bytes, payload [n_bytes]

   Flags say whether the payload is packed first, whether where the block begins is put in as it is (it
   counts only then), and what of the frame is falsified. An input that begins with "SPTOKJN1"
   is the file as it is. */
#include "io/tokens_journal_frame.h"
#include "tests/fuzz/input_file.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum {
    IS_PACKED = 1,
    HAS_PLACE = 2,
    RAW_BYTES_FALSE = 4,
    PACKED_BYTES_FALSE = 8,
    HASH_FALSE = 16,
    PAYLOAD_HASH_FALSE = 32
};

static const sp_tokens_stream streams[] = {{"first", "digest", 100}, {"second", "digest", 70000}};
static const sp_tokens_job job = {
    .work = "work", .segment_tokens = 4, .streams = streams, .n_streams = 2};

/* ---- the file ---- */

typedef struct image {
    uint8_t *bytes; /* owned */
    size_t n, capacity;
    uint64_t begin; /* of the block */
} image;

static void put(image *file, const void *data, size_t n_bytes) {
    if (file->capacity - file->n < n_bytes) {
        file->capacity = 2 * (file->n + n_bytes);
        file->bytes = realloc(file->bytes, file->capacity);
        if (file->bytes == NULL) abort();
    }
    if (n_bytes > 0) memcpy(file->bytes + file->n, data, n_bytes);
    file->n += n_bytes;
}

static void put_frame(image *file, uint8_t kind, uint8_t flags, const uint8_t *payload, size_t n) {
    uint8_t made[ZSTD_COMPRESSBOUND(UINT16_MAX)];
    size_t n_made = n;
    if (flags & IS_PACKED)
        n_made = ZSTD_compress(made, sizeof made, payload, n, 1);
    else if (n > 0)
        memcpy(made, payload, n);
    if (kind == SP_JOURNAL_BLOCK && (flags & HAS_PLACE) && n_made >= sizeof(sp_journal_counts))
        memcpy(made + offsetof(sp_journal_counts, begin), &file->begin, sizeof file->begin);
    sp_journal_frame frame = {.kind = kind,
                              .packed_bytes = (uint32_t)n_made,
                              .raw_bytes = (uint32_t)n,
                              .payload_hash = XXH3_64bits(made, n_made)};
    if (flags & RAW_BYTES_FALSE) frame.raw_bytes ^= 1U << (flags >> 3);
    if (flags & PACKED_BYTES_FALSE) frame.packed_bytes ^= 1U << (flags >> 3);
    if (flags & PAYLOAD_HASH_FALSE) frame.payload_hash++;
    frame.hash = sp_journal_frame_hash(&frame, file->n) + ((flags & HASH_FALSE) != 0);
    put(file, &frame, sizeof frame);
    put(file, made, n_made);
    if (kind == SP_JOURNAL_BLOCK) file->begin = file->n;
}

static void make_file(image *file, const uint8_t *data, size_t n_bytes) {
    enum { FRAME_HEAD = 4 };
    char *head = NULL;
    size_t head_len = 0;
    if (sp_journal_head_make(&head, &head_len, &job) != SP_OK) abort();
    put(file, head, head_len);
    free(head);
    file->begin = file->n;
    while (n_bytes >= FRAME_HEAD) {
        const size_t wanted = (size_t)data[2] | (size_t)data[3] << 8, left = n_bytes - FRAME_HEAD;
        const size_t n = wanted < left ? wanted : left;
        put_frame(file, data[0], data[1], data + FRAME_HEAD, n);
        data += FRAME_HEAD + n;
        n_bytes = left - n;
    }
}

/* ---- reading ---- */

/* Reads all of a record, for the sanitizers to see. */
static uint64_t sum_record(const sp_tokens_record *record) {
    if (record->is_document) return strlen(record->id);
    uint64_t sum = 0;
    for (size_t s = 0; s < job.n_streams; s++)
        for (size_t i = 0; i < record->n_ids[s]; i++) sum += (uint64_t)record->ids[s][i];
    return sum;
}

static void read_block(sp_journal *journal, const sp_tokens_block *block) {
    static volatile uint64_t sum;
    if (sp_journal_seek(journal, block) != SP_OK) return;
    for (bool is_end = false; !is_end;) {
        sp_tokens_record record;
        if (sp_journal_next(journal, &record, &is_end) != SP_OK) return;
        if (!is_end) sum = sum + sum_record(&record);
    }
}

static size_t read_journal(const char *path) {
    sp_journal *journal = NULL;
    const sp_tokens_block *blocks = NULL;
    if (sp_journal_open(&journal, path, &job) != SP_OK) return 0;
    const size_t n = sp_journal_blocks(journal, &blocks);
    for (size_t b = 0; b < n; b++) read_block(journal, &blocks[b]);
    sp_journal_close(journal);
    return n;
}

/* The writer keeps the blocks that the reader finds, and no more. */
static void resume_journal(const char *path, size_t n_blocks) {
    sp_journal_writer *writer = NULL;
    const sp_tokens_block *blocks = NULL;
    if (sp_journal_writer_open(&writer, path, &job) != SP_OK) {
        if (n_blocks > 0) __builtin_trap();
        return;
    }
    if (sp_journal_writer_blocks(writer, &blocks) != n_blocks) __builtin_trap();
    sp_journal_writer_close(writer);
    if (read_journal(path) != n_blocks) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    image file = {0};
    if (n_bytes >= 8 && memcmp(data, "SPTOKJN1", 8) == 0)
        put(&file, data, n_bytes);
    else
        make_file(&file, data, n_bytes);
    const char *path = fuzz_input_file(file.bytes, file.n);
    resume_journal(path, read_journal(path));
    free(file.bytes);
    return 0;
}
