/* Names in a token file, for its reader and its writer; what they hold is in io/tokens_file.h. */
#pragma once

#define SP_TOKENS_FORMAT "slotpress-tokens"
#define SP_TOKENS_PART_FORMAT "slotpress-tokens-part" /* of which an index makes one file */

/* attributes of the root, and of a stream */
#define SP_TOKENS_SEGMENT_TOKENS "segment_tokens"
#define SP_TOKENS_CUT_STREAM "cut_stream"
#define SP_TOKENS_DIGEST "digest"
#define SP_TOKENS_VOCAB_SIZE "vocab_size"
#define SP_TOKENS_TOKENIZER_DIGEST "tokenizer_digest"
#define SP_TOKENS_POSITION "position"
#define SP_TOKENS_JOB_DIGEST "job_digest"      /* of what a run made */
#define SP_TOKENS_SUMMARY "summary"            /* likewise */
#define SP_TOKENS_DIGEST_SUM "digest_sum"      /* of a part */
#define SP_TOKENS_PART_DIGEST "part_digest:%s" /* of an index: a part's name */

/* groups and datasets */
#define SP_TOKENS_SEGMENTS "/segments"
#define SP_TOKENS_DOC "/segments/doc"
#define SP_TOKENS_BYTE_BEGIN "/segments/byte_begin"
#define SP_TOKENS_BYTE_LEN "/segments/byte_len"
#define SP_TOKENS_STREAMS "/streams"
#define SP_TOKENS_IDS "ids"         /* in /streams/NAME */
#define SP_TOKENS_OFFSETS "offsets" /* in /streams/NAME */
#define SP_TOKENS_DOCUMENTS "/documents"
#define SP_TOKENS_DOCUMENT_ID "/documents/id"
#define SP_TOKENS_DOCUMENT_HASH "/documents/hash"
#define SP_TOKENS_SOURCES "/sources"
#define SP_TOKENS_SOURCE_PATH "/sources/path"
#define SP_TOKENS_SOURCE_BYTES "/sources/bytes"
#define SP_TOKENS_SOURCE_DOCUMENTS "/sources/documents"

enum {
    SP_TOKENS_MAX_ID = 65535,   /* bytes of a document's id */
    SP_TOKENS_OBJECT_SIZE = 96, /* of "/streams/NAME/offsets" with its NUL */
    SP_TOKENS_U16_VOCAB = 65536 /* the largest vocabulary whose ids fit u16 */
};
