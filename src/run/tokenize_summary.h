/* What a tokenizing run counted. Every document has a row and a number; those that are left out
   have no segments, and each of them counts in one place, the first that applies. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "io/tokens_journal.h"
#include "run/unit_reader.h"

#include <stddef.h>
#include <stdint.h>

/* What is counted block by block, and kept with it (io/tokens_journal.h). */
typedef struct sp_tokenize_tallies {
    uint64_t n_bytes;    /* of text that was tokenized */
    uint64_t n_unwanted; /* documents of which a condition failed */
    uint64_t n_lost;     /* to damage, as far as anybody knows */
    uint64_t n_empty;
    uint64_t n_oversized;
    uint64_t n_duplicates;
    uint64_t n_not_utf8;    /* not UTF-8 throughout; kept as they are */
    uint64_t n_short_tails; /* segments left out: too few tokens */
    sp_losses losses;       /* damage that was skipped; in the end also whole files */
} sp_tokenize_tallies;

_Static_assert(sizeof(sp_tokenize_tallies) <= SP_TOKENS_N_TALLIES * sizeof(uint64_t),
               "tallies are kept as numbers");

/* Totals over all ranks, and over runs that were interrupted. */
typedef struct sp_tokenize_summary {
    uint64_t n_files;
    uint64_t n_unlisted_files; /* not in the list of sums; read all the same */
    uint64_t n_documents, n_segments;
    sp_tokenize_tallies tallies;
    uint64_t *n_tokens;    /* [n_streams], owned: in segments */
    uint64_t n_new_tokens; /* of the stream that cuts, by this run */
    double seconds;        /* of this run */
    bool was_done;         /* by an earlier run: this one changed nothing */
} sp_tokenize_summary;

void sp_tokenize_summary_free(sp_tokenize_summary *summary);

/* The counts, without what is of one run only, as a JSON object in *object, owned; the streams'
   names [n_streams] are its keys of tokens. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_tokenize_summary_as_json(json_t **object,
                                                   const sp_tokenize_summary *summary,
                                                   const char *const *names, size_t n_streams);

/* The other way round, into an empty summary; `where` names the text in messages. SP_BAD_DATA: it
   is no such object. */
SP_NODISCARD sp_status sp_tokenize_summary_parse(sp_tokenize_summary *summary, const char *text,
                                                 const char *const *names, size_t n_streams,
                                                 const char *where);
