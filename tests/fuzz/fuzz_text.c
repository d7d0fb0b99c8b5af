/* Text shards, .jsonl and .txt, plain, gzipped and by zstd. The first byte says which, and whether
   the rest is the file as it is, or is packed first: so that damage behind the packing is met too;
   its highest bit, whether a condition chooses. The second byte is the length of ranges. */
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/read_text.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

typedef enum packing { PLAIN, GZIP, ZSTD } packing;

typedef struct shard {
    const char *extension;
    packing packing;
} shard;

static const shard shards[] = {{".jsonl", PLAIN},    {".jsonl.gz", GZIP},  {".jsonl.zst", ZSTD},
                               {".txt", PLAIN},      {".txt.gz", GZIP},    {".txt.zst", ZSTD},
                               {".jsonl.gz", PLAIN}, {".jsonl.zst", PLAIN}};
enum { N_SHARDS = sizeof shards / sizeof shards[0] };

static size_t pack_gzip(uint8_t *out, size_t most, const uint8_t *data, size_t n_bytes) {
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)data,
                       .avail_in = (uInt)n_bytes,
                       .next_out = out,
                       .avail_out = (uInt)most};
    if (deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
        deflate(&stream, Z_FINISH) != Z_STREAM_END)
        abort();
    deflateEnd(&stream);
    return stream.total_out;
}

static void read_as(const shard *as, const sp_conditions *where, const uint8_t *data,
                    size_t n_bytes, uint64_t range_bytes) {
    const sp_text_options options = {.where = where, .gives_unwanted = true};
    const size_t most = ZSTD_compressBound(n_bytes) + 1024;
    uint8_t *packed = malloc(most);
    if (packed == NULL) abort();
    size_t n_packed = 0;
    if (as->packing == GZIP) n_packed = pack_gzip(packed, most, data, n_bytes);
    if (as->packing == ZSTD) n_packed = ZSTD_compress(packed, most, data, n_bytes, 1);
    const bool is_packed = as->packing != PLAIN;
    fuzz_read_text(
        fuzz_input_named(as->extension, is_packed ? packed : data, is_packed ? n_packed : n_bytes),
        range_bytes, &options);
    free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    static sp_condition condition;
    if (condition.name == NULL && sp_condition_parse(&condition, "n >= 2") != SP_OK) abort();
    if (n_bytes < 2) return 0;
    const sp_conditions where = {&condition, data[0] >> 7};
    read_as(&shards[data[0] % N_SHARDS], &where, data + 2, n_bytes - 2, 1 + (uint64_t)data[1]);
    return 0;
}
