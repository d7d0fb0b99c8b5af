/* Times a tokenizer on one thread: documents to ids. One JSON line:

       bench_tokenizer TOKENIZER ROUNDS FILE...

   best and median MB (10^6 bytes) of text a second over so many rounds, and the tokens of one. The
   files' texts are cut into documents of some 2 KB: at the first line's end from there on. */
#include "base/clock.h"
#include "io/model_source.h"
#include "io/text_reader.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOCUMENT_BYTES = 2048, MOST_ROUNDS = 64 };

static void must(sp_status status) {
    if (status == SP_OK) return;
    fprintf(stderr, "bench_tokenizer: %s\n", sp_message());
    exit((int)status);
}

/* The texts of all files, one after the other, and where their documents end. */
typedef struct corpus {
    char *text;
    size_t *ends;
    size_t n_bytes, n_documents;
} corpus;

static void *grow(void *block, size_t n_bytes) {
    void *grown = realloc(block, n_bytes);
    if (grown == NULL) must(sp_fail(SP_FAILURE, "no memory: %zu bytes", n_bytes));
    return grown;
}

static void add_text(corpus *all, const char *text, size_t n_bytes) {
    all->text = grow(all->text, all->n_bytes + n_bytes);
    memcpy(all->text + all->n_bytes, text, n_bytes);
    all->ends = grow(all->ends, (all->n_documents + n_bytes / DOCUMENT_BYTES + 1) * sizeof(size_t));
    for (size_t begin = 0, end; begin < n_bytes; begin = end) {
        const size_t from = begin + DOCUMENT_BYTES;
        const char *line_end = from < n_bytes ? memchr(text + from, '\n', n_bytes - from) : NULL;
        end = line_end != NULL ? (size_t)(line_end - text) + 1 : n_bytes;
        all->ends[all->n_documents++] = all->n_bytes + end;
    }
    all->n_bytes += n_bytes;
}

static void add_file(corpus *all, const char *path) {
    sp_text_reader *reader = NULL;
    must(sp_text_reader_open(&reader, path, NULL, NULL));
    for (bool is_end = false; !is_end;) {
        sp_document document;
        must(sp_text_reader_next(reader, &document, &is_end));
        if (!is_end) add_text(all, document.text, document.n_bytes);
    }
    sp_text_reader_close(reader);
}

static double time_round(const sp_tokenizer *tokenizer, sp_encoding *encoding, const corpus *all,
                         size_t *n_tokens) {
    const double begin_s = sp_clock_seconds();
    size_t begin = 0;
    *n_tokens = 0;
    for (size_t i = 0; i < all->n_documents; i++) {
        must(sp_tokenizer_encode(tokenizer, encoding, all->text + begin, all->ends[i] - begin,
                                 (sp_encode_options){0}));
        *n_tokens += encoding->n;
        begin = all->ends[i];
    }
    return sp_clock_seconds() - begin_s;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    const size_t n_rounds = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (n_rounds == 0 || n_rounds > MOST_ROUNDS) {
        fprintf(stderr, "usage: bench_tokenizer TOKENIZER ROUNDS(1..%d) FILE...\n", MOST_ROUNDS);
        return SP_USAGE;
    }
    corpus all = {0};
    json_t *json = NULL;
    sp_tokenizer *tokenizer = NULL;
    sp_encoding encoding = {0};
    double seconds[MOST_ROUNDS];
    size_t n_tokens = 0;
    must(sp_tokenizer_json_load(&json, argv[1]));
    must(sp_tokenizer_create(&tokenizer, json, argv[1]));
    for (int i = 3; i < argc; i++) add_file(&all, argv[i]);
    for (size_t r = 0; r < n_rounds; r++)
        seconds[r] = time_round(tokenizer, &encoding, &all, &n_tokens);
    qsort(seconds, n_rounds, sizeof *seconds, compare);
    const double megabytes = (double)all.n_bytes / 1e6;
    printf("{\"mb_per_second_best\": %.2f, \"mb_per_second_median\": %.2f, \"bytes\": %zu, "
           "\"tokens\": %zu}\n",
           megabytes / seconds[0], megabytes / seconds[n_rounds / 2], all.n_bytes, n_tokens);
    sp_encoding_free(&encoding);
    sp_tokenizer_destroy(tokenizer);
    json_decref(json);
    free(all.ends);
    free(all.text);
    return 0;
}
