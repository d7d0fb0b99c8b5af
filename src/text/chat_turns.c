#include "text/chat_turns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sp_status append(sp_chat_ids *to, const sp_encoding *encoding) {
    if (to->n + encoding->n > to->capacity) {
        const size_t capacity = 2 * (to->n + encoding->n);
        int32_t *grown = realloc(to->ids, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu tokens", capacity);
        to->ids = grown;
        to->capacity = capacity;
    }
    for (size_t i = 0; i < encoding->n; i++) to->ids[to->n++] = encoding->ids[i];
    return SP_OK;
}

static sp_status add_text(sp_chat_turns *turns, sp_chat_ids *to, const sp_tokenizer *tokenizer,
                          const char *text, size_t n_bytes, sp_encode_options options) {
    SP_TRY(sp_tokenizer_encode(tokenizer, &turns->encoding, text, n_bytes, options));
    return append(to, &turns->encoding);
}

/* ---- with a template ---- */

/* The template's own text. */
static sp_status add_frame(sp_chat_turns *turns, sp_chat_ids *to, const sp_tokenizer *tokenizer,
                           const char *text, bool is_first) {
    return add_text(turns, to, tokenizer, text, strlen(text),
                    (sp_encode_options){.is_continuation = !is_first});
}

/* No continuation: where a message begins a word, SentencePiece's kinds have a space. */
static sp_status add_content(sp_chat_turns *turns, sp_chat_ids *to, const sp_chat_template *chat,
                             const sp_tokenizer *tokenizer, const char *text) {
    size_t n_bytes = strlen(text);
    if (chat->trims) sp_chat_trim(&text, &n_bytes);
    return add_text(turns, to, tokenizer, text, n_bytes,
                    (sp_encode_options){.specials_are_plain = true});
}

/* What stands between an answer and the next user's text: the end of the turn, the line's end that the
   template puts behind one, and the header of a user's turn, which is the last piece of `before`. */
static sp_status make_between(char **text, const sp_chat_template *chat) {
    const char *header = chat->before, *opening = chat->tokens[0];
    const size_t n_end = strlen(chat->end_of_turn);
    const bool has_newline =
        strncmp(chat->after, chat->end_of_turn, n_end) == 0 && chat->after[n_end] == '\n';
    for (const char *at = opening != NULL ? strstr(header, opening) : NULL; at != NULL;
         at = strstr(at + 1, opening))
        header = at;
    if (asprintf(text, "%s%s%s", chat->end_of_turn, has_newline ? "\n" : "", header) < 0)
        return sp_fail(SP_FAILURE, "no memory for a chat template");
    return SP_OK;
}

static sp_status add_first(sp_chat_turns *turns, const sp_chat_template *chat,
                           const sp_tokenizer *tokenizer, const sp_chat_message *system,
                           const char *user) {
    char *joined = NULL;
    if (system == NULL) return add_content(turns, &turns->prompt, chat, tokenizer, user);
    if (asprintf(&joined, "%s\n\n%s", system->content, user) < 0)
        return sp_fail(SP_FAILURE, "no memory for a system message");
    const sp_status status = add_content(turns, &turns->prompt, chat, tokenizer, joined);
    free(joined);
    return status;
}

static sp_status encode_frames(sp_chat_turns *turns, const sp_chat_template *chat,
                               const sp_tokenizer *tokenizer, const sp_chat_message *system,
                               const sp_chat_message *messages, size_t n, const char *between) {
    SP_TRY(add_frame(turns, &turns->before, tokenizer, chat->before, true));
    SP_TRY(add_first(turns, chat, tokenizer, system, messages[0].content));
    for (size_t i = 1; i + 1 < n; i += 2) {
        SP_TRY(add_frame(turns, &turns->prompt, tokenizer, chat->after, false));
        SP_TRY(add_content(turns, &turns->prompt, chat, tokenizer, messages[i].content));
        SP_TRY(add_frame(turns, &turns->prompt, tokenizer, between, false));
        SP_TRY(add_content(turns, &turns->prompt, chat, tokenizer, messages[i + 1].content));
    }
    SP_TRY(add_frame(turns, &turns->prompt, tokenizer, chat->after, false));
    return add_content(turns, &turns->answer, chat, tokenizer, messages[n - 1].content);
}

static sp_status encode_by_template(sp_chat_turns *turns, const sp_chat_template *chat,
                                    const sp_tokenizer *tokenizer, const sp_chat_message *system,
                                    const sp_chat_message *messages, size_t n) {
    char *between = NULL;
    const char *missing = sp_chat_template_missing_token(chat, tokenizer);
    if (missing != NULL)
        return sp_fail(SP_BAD_DATA,
                       "chat template '%s' needs the token '%s', which the tokenizer does not have",
                       chat->name, missing);
    sp_tokenizer_find(tokenizer, chat->end_of_turn, &turns->end);
    SP_TRY(make_between(&between, chat));
    const sp_status status = encode_frames(turns, chat, tokenizer, system, messages, n, between);
    free(between);
    return status;
}

/* ---- a transcript ---- */

static sp_status encode_plainly(sp_chat_turns *turns, const sp_tokenizer *tokenizer,
                                const sp_chat_message *system, const sp_chat_message *messages,
                                size_t n) {
    const sp_encode_options plain = {.specials_are_plain = true, .is_continuation = true};
    char *text = NULL, *answer = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (out == NULL) return sp_fail(SP_FAILURE, "no memory for a transcript");
    if (system != NULL) fprintf(out, "%s: %s\n", system->speaker, system->content);
    for (size_t i = 0; i + 1 < n; i++)
        fprintf(out, "%s: %s\n", messages[i].speaker, messages[i].content);
    fprintf(out, "%s:", messages[n - 1].speaker);
    sp_status status = SP_OK;
    if (fclose(out) != 0 || asprintf(&answer, " %s", messages[n - 1].content) < 0) {
        answer = NULL;
        status = sp_fail(SP_FAILURE, "no memory for a transcript");
    }
    if (status == SP_OK) status = add_text(turns, &turns->prompt, tokenizer, text, n_bytes, plain);
    if (status == SP_OK)
        status = add_text(turns, &turns->answer, tokenizer, answer, strlen(answer), plain);
    free(answer);
    free(text);
    return status;
}

sp_status sp_chat_turns_encode(sp_chat_turns *turns, const sp_chat_template *chat,
                               const sp_tokenizer *tokenizer, const sp_chat_message *system,
                               const sp_chat_message *messages, size_t n) {
    turns->before.n = turns->prompt.n = turns->answer.n = 0;
    if (chat == NULL) return encode_plainly(turns, tokenizer, system, messages, n);
    return encode_by_template(turns, chat, tokenizer, system, messages, n);
}

void sp_chat_turns_free(sp_chat_turns *turns) {
    sp_encoding_free(&turns->encoding);
    free(turns->answer.ids);
    free(turns->prompt.ids);
    free(turns->before.ids);
    *turns = (sp_chat_turns){0};
}
