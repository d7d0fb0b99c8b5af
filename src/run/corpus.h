/* A corpus: all shards that a user names, in order, and what to take of them. run/blocks.h divides it,
   run/unit_reader.h reads it. */
#pragma once

#include "base/status.h"
#include "io/text_reader.h"
#include "mpi/world.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sp_on_error { SP_ON_ERROR_STOP, SP_ON_ERROR_SKIP } sp_on_error;

typedef struct sp_corpus_options {
    const char *const *names; /* [n_names]: files, folders, patterns (io/text_inputs.h) */
    size_t n_names;           /* at least 1 */
    sp_text_options text;
    const char *checksums; /* a list of SHA-256 sums (io/checksums.h); NULL: nothing is checked */
    sp_on_error on_error;  /* skip: what damage takes with it is left out, and counted */
} sp_corpus_options;

/* What is known of the files before any is read. */
typedef struct sp_corpus_counts {
    uint64_t n_files;
    uint64_t n_refused;  /* another sum than the listed one; not read */
    uint64_t n_unlisted; /* not in the list of sums; read all the same */
} sp_corpus_counts;

typedef struct sp_corpus sp_corpus; /* opaque */

/* Collective over `world`. Finds the shards (rank 0's view holds for all) and checks their sums, the
   files shared by the ranks, into *corpus on every rank, to be released by sp_corpus_close().
   `options` is borrowed until then. SP_IO: a name that is not there; SP_BAD_DATA: a file of an
   unknown kind, and without skipping, one with another sum; SP_USAGE: a .parquet that this build
   cannot read. */
SP_NODISCARD sp_status sp_corpus_open(sp_corpus **corpus, sp_world *world,
                                      const sp_corpus_options *options);
void sp_corpus_close(sp_corpus *corpus); /* NULL is fine */

/* All that follows is local. */
size_t sp_corpus_n_files(const sp_corpus *corpus);
const char *sp_corpus_path(const sp_corpus *corpus, size_t file); /* borrowed from the corpus */
uint64_t sp_corpus_n_bytes(const sp_corpus *corpus, size_t file); /* on disk */
/* When a file was last changed, in ns: with path and size what tells one from another. */
uint64_t sp_corpus_changed_ns(const sp_corpus *corpus, size_t file);
bool sp_corpus_is_refused(const sp_corpus *corpus, size_t file);
sp_corpus_counts sp_corpus_count(const sp_corpus *corpus);
const sp_corpus_options *sp_corpus_get_options(const sp_corpus *corpus); /* borrowed likewise */

/* Logs that damage, as the present message says, was skipped as `what`; the first times only. */
void sp_corpus_warn(sp_corpus *corpus, const char *what);
