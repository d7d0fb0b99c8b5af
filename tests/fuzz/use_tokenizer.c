#include "tests/fuzz/use_tokenizer.h"

#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static void check(bool promise_is_kept) {
    if (!promise_is_kept) __builtin_trap();
}

static void check_encoding(const sp_tokenizer *tokenizer, const sp_encoding *encoding,
                           size_t n_bytes) {
    for (size_t i = 0; i < encoding->n; i++) {
        check(encoding->ids[i] >= 0 &&
              (size_t)encoding->ids[i] < sp_tokenizer_vocab_size(tokenizer));
        check(encoding->ends[i] <= n_bytes);
        check(i == 0 || encoding->ends[i] >= encoding->ends[i - 1]);
    }
    check(encoding->n == 0 || encoding->ends[encoding->n - 1] == n_bytes);
}

static void use(const sp_tokenizer *tokenizer, sp_encoding *encoding, const void *text,
                size_t n_bytes) {
    for (int i = 0; i < 4; i++) {
        const bool has_special = i % 2, is_continuation = i / 2;
        const sp_encode_options encode = {.specials_are_plain = !has_special,
                                          .is_continuation = is_continuation};
        const sp_decode_options decode = {.skips_special = has_special,
                                          .is_continuation = is_continuation};
        char *decoded = NULL;
        size_t n_decoded = 0;
        if (sp_tokenizer_encode(tokenizer, encoding, text, n_bytes, encode) != SP_OK) continue;
        check_encoding(tokenizer, encoding, n_bytes);
        check(sp_tokenizer_decode(tokenizer, &decoded, &n_decoded, encoding->ids, encoding->n,
                                  decode) == SP_OK);
        check(decoded[n_decoded] == '\0');
        free(decoded);
    }
}

void fuzz_use_tokenizer(const json_t *tokenizer_json, const uint8_t *text, size_t n_bytes) {
    static const char *const texts[] = {
        "",
        " ",
        "Hello, world's 12345 things!\r\n\n  \tEnd",
        "e\xCC\x81\xCC\xA7 \xEA\xB0\x80\xE1\x86\xA8 \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80",
        "<|im_start|>user\n<s>[INST] \xE2\x96\x81x [/INST]</s><|eot_id|>",
        "\xFF\xC3( \xE2\x82 \xF0\x9F aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    sp_tokenizer *tokenizer = NULL;
    sp_encoding encoding = {0};
    if (sp_tokenizer_create(&tokenizer, tokenizer_json, "input") != SP_OK) return;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        use(tokenizer, &encoding, texts[i], strlen(texts[i]));
    use(tokenizer, &encoding, "a\0b", 3);
    use(tokenizer, &encoding, text, n_bytes);
    sp_encoding_free(&encoding);
    sp_tokenizer_destroy(tokenizer);
}
