#include "text/chat_template.h"

#include <string.h>

#define LLAMA3_USER "<|start_header_id|>user<|end_header_id|>\n\n"
#define LLAMA3_ASSISTANT "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"

/* One whose marks are among another's comes after it. */
const sp_chat_template sp_chat_templates[SP_N_CHAT_TEMPLATES] = {
    {
        .name = "llama3.1",
        .has_bos = true,
        .trims = true,
        .before = "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
                  "December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>" LLAMA3_USER,
        .after = LLAMA3_ASSISTANT,
        .end_of_turn = "<|eot_id|>",
        .tokens = {"<|start_header_id|>", "<|end_header_id|>"},
        .words = "Cutting Knowledge Date",
    },
    {
        .name = "llama3",
        .has_bos = true,
        .trims = true,
        .before = LLAMA3_USER,
        .after = LLAMA3_ASSISTANT,
        .end_of_turn = "<|eot_id|>",
        .tokens = {"<|start_header_id|>", "<|end_header_id|>"},
    },
    {
        .name = "mistral-v3", /* [INST] is a token: Mistral-7B-Instruct-v0.3 and Nemo */
        .has_bos = true,
        .before = "[INST]",
        .after = "[/INST]",
        .end_of_turn = "</s>",
        .tokens = {"[INST]", "[/INST]"},
    },
    {
        .name = "mistral-v1", /* [INST] is text: v0.1 and v0.2 */
        .has_bos = true,
        .before = "[INST]",
        .after = " [/INST]",
        .end_of_turn = "</s>",
        .model_type = "mistral",
        .words = "[INST]",
    },
    {
        .name = "qwen2.5",
        .before = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
                  "assistant.<|im_end|>\n<|im_start|>user\n",
        .after = "<|im_end|>\n<|im_start|>assistant\n",
        .end_of_turn = "<|im_end|>",
        .model_type = "qwen2",
        .tokens = {"<|im_start|>", "<|im_end|>"},
    },
    {
        .name = "phi3",
        .before = "<|user|>\n",
        .after = "<|end|>\n<|assistant|>\n",
        .end_of_turn = "<|end|>",
        .model_type = "phi3",
        .tokens = {"<|user|>", "<|assistant|>"},
    },
};

const char *sp_chat_template_missing_token(const sp_chat_template *chat,
                                           const sp_tokenizer *tokenizer) {
    const char *const needed[] = {chat->tokens[0], chat->tokens[1], chat->end_of_turn};
    int32_t id;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (needed[i] != NULL && !sp_tokenizer_find(tokenizer, needed[i], &id)) return needed[i];
    return NULL;
}

const sp_chat_template *sp_chat_template_recognise(const sp_tokenizer *tokenizer,
                                                   const char *model_type, const char *published) {
    for (size_t i = 0; i < SP_N_CHAT_TEMPLATES; i++) {
        const sp_chat_template *chat = &sp_chat_templates[i];
        if (chat->model_type != NULL && strcmp(chat->model_type, model_type) != 0) continue;
        if (chat->words != NULL && (published == NULL || strstr(published, chat->words) == NULL))
            continue;
        if (sp_chat_template_missing_token(chat, tokenizer) == NULL) return chat;
    }
    return NULL;
}

void sp_chat_trim(const char **text, size_t *n_bytes) {
    static const char blanks[] = " \t\n\v\f\r";
    const size_t n_first = strspn(*text, blanks);
    *text += n_first;
    *n_bytes -= n_first;
    while (*n_bytes > 0 && strchr(blanks, (*text)[*n_bytes - 1]) != NULL) --*n_bytes;
}

static sp_status encode(sp_chat_turn *turn, const sp_chat_template *chat,
                        const sp_tokenizer *tokenizer, const char *prompt) {
    const char *missing = sp_chat_template_missing_token(chat, tokenizer);
    if (missing != NULL)
        return sp_fail(SP_BAD_DATA,
                       "chat template '%s' needs the token '%s', which the tokenizer "
                       "does not have",
                       chat->name, missing);
    sp_tokenizer_find(tokenizer, chat->end_of_turn, &turn->end_of_turn);
    size_t n_bytes = strlen(prompt);
    if (chat->trims) sp_chat_trim(&prompt, &n_bytes);
    SP_TRY(sp_tokenizer_encode(tokenizer, &turn->before, chat->before, strlen(chat->before),
                               (sp_encode_options){0}));
    /* No continuation: where the prompt begins a word, SentencePiece's kinds have a space. */
    SP_TRY(sp_tokenizer_encode(tokenizer, &turn->prompt, prompt, n_bytes,
                               (sp_encode_options){.specials_are_plain = true}));
    return sp_tokenizer_encode(tokenizer, &turn->after, chat->after, strlen(chat->after),
                               (sp_encode_options){.is_continuation = true});
}

sp_status sp_chat_turn_encode(sp_chat_turn *turn, const sp_chat_template *chat,
                              const sp_tokenizer *tokenizer, const char *prompt) {
    const sp_status status = encode(turn, chat, tokenizer, prompt);
    if (status != SP_OK) sp_chat_turn_free(turn);
    return status;
}

void sp_chat_turn_free(sp_chat_turn *turn) {
    sp_encoding_free(&turn->after);
    sp_encoding_free(&turn->prompt);
    sp_encoding_free(&turn->before);
    *turn = (sp_chat_turn){0};
}
