/* Text shards in a folder of the test's own, and what a reader makes of them. What fails here fails the
   test. */
#pragma once

#include "io/text_reader.h"

#include <stddef.h>

/* For the set-up and tear-down of a group of tests. */
int shard_set_up(void **state);
int shard_tear_down(void **state);
const char *shard_folder(void); /* static */

/* Writes the file `name`; its path is static until the next call. */
const char *shard_put(const char *name, const void *data, size_t n_bytes);
const char *shard_put_text(const char *name, const char *text);

/* 60 lines of very different lengths, blank ones among them, as a .jsonl [*n_bytes], owned. */
char *shard_lines(size_t *n_bytes);

/* A listing, owned, has "own id|has it one?|text\n" for each document; *n_documents is set, or in
   shard_read_with() added to. */
sp_status shard_read_all(char **listing, size_t *n_documents, const char *path);
void shard_read_with(char **listing, const char *path, const sp_text_unit *unit,
                     const sp_text_options *options, size_t *n_documents);

/* Its listing is `expected`; or it is damaged, and the message says `expected` and names the file. */
void shard_assert_documents(const char *path, const char *expected);
void shard_assert_refused(const char *path, const char *expected);
