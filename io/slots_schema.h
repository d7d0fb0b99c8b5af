/* Names in a slot file, for its reader and its writer; what they hold is in io/slots_file.h. */
#pragma once

#define SP_SLOTS_FORMAT "slotpress-slots"

/* attributes of the root */
#define SP_SLOTS_SPACE "space"
#define SP_SLOTS_DTYPE "dtype"
#define SP_SLOTS_D "d"
#define SP_SLOTS_RATIO "ratio"
#define SP_SLOTS_COMPRESSOR_DIGEST "compressor_digest"

/* groups and datasets */
#define SP_SLOTS_GROUP "/slots"
#define SP_SLOTS_VALUES "/slots/values"
#define SP_SLOTS_SEGMENTS "/segments"
#define SP_SLOTS_DOC "/segments/doc"
#define SP_SLOTS_BYTE_BEGIN "/segments/byte_begin"
#define SP_SLOTS_BYTE_LEN "/segments/byte_len"
#define SP_SLOTS_TOKENS "/segments/tokens"
#define SP_SLOTS_SLOT_BEGIN "/segments/slot_begin"
#define SP_SLOTS_DOCUMENTS "/documents"
#define SP_SLOTS_DOCUMENT_ID "/documents/id"
#define SP_SLOTS_DOCUMENT_HASH "/documents/hash"

enum {
    SP_SLOTS_MAX_D = 1 << 20, /* values of a slot; far above any model's width */
    SP_SLOTS_DIGEST_SIZE = 128
};

/* How spaces and dtypes are spelled, in the order of their enums. */
static const char *const sp_slots_spaces[] = {"memory", "slots"};
static const char *const sp_slots_dtypes[] = {"f16", "bf16"};
