#include "run/named_tokenizer.h"

#include "io/model_source.h"

#include <string.h>

bool sp_named_tokenizer_is_spelled(const char *text) {
    const char *equals = strchr(text, '=');
    return equals != NULL && equals != text && equals[1] != '\0';
}

sp_status sp_named_tokenizer_open(sp_named_tokenizer *named, const char *text) {
    const char *equals = strchr(text, '=');
    if (!sp_named_tokenizer_is_spelled(text))
        return sp_fail(SP_USAGE, "--tokenizer: '%s' is not NAME=DIR", text);
    const size_t name_len = (size_t)(equals - text);
    if (name_len >= sizeof named->name)
        return sp_fail(SP_USAGE, "--tokenizer: the name in '%s' is longer than %zu bytes", text,
                       sizeof named->name - 1);
    sp_named_tokenizer made = {0};
    json_t *json = NULL;
    memcpy(made.name, text, name_len);
    SP_TRY(sp_tokenizer_json_load(&json, equals + 1));
    const sp_status status = sp_tokenizer_create(&made.tokenizer, json, equals + 1);
    json_decref(json);
    if (status == SP_OK) *named = made;
    return status;
}

void sp_named_tokenizer_close(sp_named_tokenizer *named) {
    sp_tokenizer_destroy(named->tokenizer);
    *named = (sp_named_tokenizer){0};
}

sp_status sp_named_tokenizer_find(const sp_named_tokenizer *named, const sp_tokens *tokens,
                                  size_t *stream) {
    size_t found = 0;
    SP_TRY(sp_tokens_find_stream(tokens, named->name, &found));
    if (strcmp(sp_tokens_tokenizer_digest(tokens, found), sp_tokenizer_digest(named->tokenizer)) !=
        0)
        return sp_fail(SP_USAGE, "'%s': its stream '%s' was made by another tokenizer",
                       sp_tokens_path(tokens), named->name);
    *stream = found;
    return SP_OK;
}
