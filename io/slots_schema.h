/* Names in a slot file, for its reader and its writers; what they hold is in io/slots_file.h. */
#pragma once

#define SP_SLOTS_FORMAT "slotpress-slots"
#define SP_SLOTS_PART_FORMAT "slotpress-slots-part"

/* attributes of the root */
#define SP_SLOTS_SPACE "space"
#define SP_SLOTS_DTYPE "dtype"
#define SP_SLOTS_D "d"
#define SP_SLOTS_RATIO "ratio"
#define SP_SLOTS_COMPRESSOR_DIGEST "compressor_digest"
#define SP_SLOTS_HAS_TEXT "has_text"
#define SP_SLOTS_REFINED "refined"
#define SP_SLOTS_DIGEST "digest"
#define SP_SLOTS_DIGEST_SUM "digest_sum" /* of a part */
#define SP_SLOTS_JOB_DIGEST "job_digest"
#define SP_SLOTS_PART_DIGEST "part_digest:%s" /* of an index, for each part */

/* groups and datasets */
#define SP_SLOTS_GROUP "/slots"
#define SP_SLOTS_VALUES "/slots/values"
#define SP_SLOTS_SCALES "/slots/scale"
#define SP_SLOTS_SEGMENTS "/segments"
#define SP_SLOTS_DOC "/segments/doc"
#define SP_SLOTS_BYTE_BEGIN "/segments/byte_begin"
#define SP_SLOTS_BYTE_LEN "/segments/byte_len"
#define SP_SLOTS_TOKENS "/segments/tokens"
#define SP_SLOTS_SLOT_BEGIN "/segments/slot_begin"
#define SP_SLOTS_TEXT_BEGIN "/segments/text_begin"
#define SP_SLOTS_DOCUMENTS "/documents"
#define SP_SLOTS_DOCUMENT_ID "/documents/id"
#define SP_SLOTS_DOCUMENT_HASH "/documents/hash"
#define SP_SLOTS_DOCUMENTS_BY_ID "/documents/by_id"
#define SP_SLOTS_TEXT "/text"
#define SP_SLOTS_TEXT_BYTES "/text/bytes"

enum {
    SP_SLOTS_MAX_D = 1 << 20, /* values of a slot; far above any model's width */
    SP_SLOTS_DIGEST_SIZE = 128
};

/* How spaces are spelled, in the order of their enum. */
static const char *const sp_slots_spaces[] = {"memory", "slots"};
