/* A corpus whose documents follow from their numbers, as a plain token file and in parts, in a folder
   of the test's own. What fails here fails the test. */
#pragma once

#include "io/tokens_part.h"
#include "io/tokens_writer.h"
#include "tests/temp_folder.h"

#include <stddef.h>
#include <stdint.h>

enum { PARTS_SEGMENT_TOKENS = 5, PARTS_N_STREAMS = 3 };

#define PARTS_TAG "8da2c20e" /* the first digits of the digest of the job "work" */

/* The folder, and in it the plain file and the index. */
extern char parts_dir[TEMP_PATH_SIZE], parts_plain[TEMP_PATH_SIZE], parts_index[TEMP_PATH_SIZE];

/* For a test's set-up and tear-down. */
int parts_set_up(void **state);
int parts_tear_down(void **state);

sp_tokens_job parts_job(const char *work);
uint64_t parts_mix(uint64_t value);         /* any number from any other */
size_t parts_n_segments(uint64_t document); /* 0: an empty one */

/* Where documents and segments go. */
typedef struct parts_sink {
    sp_tokens_writer *writer;
    sp_journal_writer *journal; /* NULL: the writer */
} parts_sink;

sp_status parts_put_document(const parts_sink *to, uint64_t document);

/* Writes documents [0, n_documents) as a plain file. */
void parts_write_plain(const char *path, uint64_t n_documents);

/* Blocks of documents [bounds[b], bounds[b + 1]), block b by writer owner[b]. */
typedef struct parts_split {
    size_t n_blocks, n_writers;
    uint64_t bounds[161];
    size_t owner[160];
} parts_split;

extern const parts_split parts_in_two; /* 50 documents */
parts_split parts_random_split(uint64_t seed, uint64_t n_documents);

/* The steps from a split to the index; `work` names the job. */
sp_status parts_open_journal(sp_journal_writer **journal, size_t writer, const char *work);
void parts_put_block(sp_journal_writer *journal, const parts_split *of, size_t block);
void parts_write_journals(const parts_split *of, const char *work);
sp_status parts_write_parts(const parts_split *of, const char *work);

/* All of them, for the job "work". */
void parts_write_index(const parts_split *of);

/* Every dataset, as HDF5 gives it, virtual ones through its own code. */
void parts_assert_same_datasets(const char *a, const char *b);

/* Through our reader, in an order that jumps. */
void parts_assert_same_reading(const char *a, const char *b);

/* Reads every segment of a token file. */
sp_status parts_read_all(const char *name);
