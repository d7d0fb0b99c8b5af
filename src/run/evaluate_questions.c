#include "run/evaluate_questions.h"

#include "base/memory.h"
#include "run/evaluate_values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLACE_SIZE = 512 };

/* Text that grows. */
typedef struct text {
    char *bytes; /* [capacity], owned */
    size_t n_bytes, capacity;
} text;

struct sp_question_reader {
    const char *path;
    sp_value_stream *stream;
    json_t *root;  /* the present line, or the whole file; owned */
    bool is_squad; /* root is SQuAD's object: the next three say which question comes */
    size_t article, paragraph, qa;
    size_t item; /* of an array: which comes; else unused */
    bool is_first;
    const char *form;
    sp_answer_rule rule;
    size_t n_read, n_contexts;
    char *id;                /* of the present question, owned */
    text context;            /* made of several passages */
    text made;               /* answers made of tokens, one after the other */
    sp_answer_text *answers; /* [answer_capacity], owned */
    size_t n_answers, answer_capacity;
    char place[PLACE_SIZE]; /* for messages */
};

/* ---- parts of an item ---- */

static sp_status refuse(const sp_question_reader *r, const char *what) {
    return sp_fail(SP_BAD_DATA, "%s: %s", r->place, what);
}

static sp_status append(text *t, const char *bytes, size_t n_bytes) {
    if (t->n_bytes + n_bytes + 1 > t->capacity) {
        const size_t capacity = 2 * (t->n_bytes + n_bytes + 1);
        char *grown = realloc(t->bytes, capacity);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for a context");
        t->bytes = grown;
        t->capacity = capacity;
    }
    memcpy(t->bytes + t->n_bytes, bytes, n_bytes);
    t->n_bytes += n_bytes;
    return SP_OK;
}

static sp_status append_string(const sp_question_reader *r, text *t, const json_t *string) {
    if (!json_is_string(string)) return refuse(r, "a passage holds no text");
    return append(t, json_string_value(string), json_string_length(string));
}

static sp_answer_text text_of(const json_t *string) {
    return (sp_answer_text){json_string_value(string), json_string_length(string)};
}

static sp_status add_answer(sp_question_reader *r, sp_answer_text answer) {
    if (r->n_answers == r->answer_capacity) {
        const size_t capacity = 2 * r->n_answers + 8;
        sp_answer_text *grown = realloc(r->answers, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for answers");
        r->answers = grown;
        r->answer_capacity = capacity;
    }
    r->answers[r->n_answers++] = answer;
    return SP_OK;
}

/* A string, {"text": string}, {"text": [string]}, or an array of these. */
static sp_status add_answers(sp_question_reader *r, const json_t *value) {
    if (json_is_string(value)) return add_answer(r, text_of(value));
    if (json_is_object(value)) {
        const json_t *texts = json_object_get(value, "text");
        if (json_is_string(texts)) return add_answer(r, text_of(texts));
        if (json_is_array(texts)) return add_answers(r, texts);
    }
    if (!json_is_array(value)) return refuse(r, "an answer is no text");
    const json_t *answer;
    size_t i;
    json_array_foreach(value, i, answer) {
        if (json_is_array(answer)) return refuse(r, "an answer is no text");
        SP_TRY(add_answers(r, answer));
    }
    return SP_OK;
}

/* HotpotQA's [[title, [sentences]]]. */
static sp_status join_paragraphs(sp_question_reader *r, const json_t *paragraphs) {
    const json_t *paragraph, *sentence;
    size_t i, k;
    json_array_foreach(paragraphs, i, paragraph) {
        const json_t *sentences = json_array_get(paragraph, 1);
        if (!json_is_array(sentences)) return refuse(r, "a paragraph is not [title, [sentences]]");
        if (i > 0) SP_TRY(append(&r->context, "\n\n", 2));
        SP_TRY(append_string(r, &r->context, json_array_get(paragraph, 0)));
        SP_TRY(append(&r->context, "\n", 1));
        json_array_foreach(sentences, k, sentence) SP_TRY(append_string(r, &r->context, sentence));
    }
    return SP_OK;
}

/* [{title, text}] */
static sp_status join_passages(sp_question_reader *r, const json_t *passages) {
    const json_t *passage;
    size_t i;
    if (!json_is_array(passages)) return refuse(r, "'ctxs' is no array");
    json_array_foreach(passages, i, passage) {
        const json_t *title = json_object_get(passage, "title");
        if (i > 0) SP_TRY(append(&r->context, "\n\n", 2));
        if (json_string_length(title) > 0) {
            SP_TRY(append_string(r, &r->context, title));
            SP_TRY(append(&r->context, "\n", 1));
        }
        SP_TRY(append_string(r, &r->context, json_object_get(passage, "text")));
    }
    return SP_OK;
}

/* ---- Natural Questions: a document of tokens, some of them HTML ---- */

typedef struct token {
    sp_answer_text text;
    bool is_html;
} token;

typedef struct tokens {
    token *items; /* [n], owned */
    size_t n;
} tokens;

static bool looks_like_html(const char *bytes, size_t n_bytes) {
    return n_bytes > 2 && bytes[0] == '<' && bytes[n_bytes - 1] == '>';
}

/* Tokens with a blank between each two. */
static sp_status split_tokens(tokens *out, const json_t *document) {
    const char *bytes = json_string_value(document);
    const size_t n_bytes = json_string_length(document);
    size_t n = 1;
    for (size_t i = 0; i < n_bytes; i++) n += bytes[i] == ' ';
    void *items = NULL;
    SP_TRY(sp_alloc_array(&items, n, sizeof *out->items, "a document's tokens"));
    *out = (tokens){.items = items};
    for (size_t i = 0, begin = 0; i <= n_bytes; i++) {
        if (i < n_bytes && bytes[i] != ' ') continue;
        out->items[out->n++] =
            (token){{bytes + begin, i - begin}, looks_like_html(bytes + begin, i - begin)};
        begin = i + 1;
    }
    return SP_OK;
}

static sp_status read_tokens(const sp_question_reader *r, tokens *out, const json_t *document) {
    void *items = NULL;
    if (!json_is_array(document)) return refuse(r, "'document_tokens' is no array");
    SP_TRY(sp_alloc_array(&items, json_array_size(document), sizeof *out->items,
                          "a document's tokens"));
    *out = (tokens){.items = items};
    const json_t *item;
    size_t i;
    json_array_foreach(document, i, item) {
        const json_t *string = json_object_get(item, "token");
        if (!json_is_string(string)) return refuse(r, "a token of the document is no text");
        out->items[out->n++] =
            (token){text_of(string), json_is_true(json_object_get(item, "html_token"))};
    }
    return SP_OK;
}

static sp_status join_tokens(text *out, const tokens *document, size_t begin, size_t end) {
    bool is_first = true;
    for (size_t i = begin; i < end; i++) {
        const token *t = &document->items[i];
        if (t->is_html || t->text.n_bytes == 0) continue;
        if (!is_first) SP_TRY(append(out, " ", 1));
        is_first = false;
        SP_TRY(append(out, t->text.text, t->text.n_bytes));
    }
    return SP_OK;
}

static sp_status add_span(sp_question_reader *r, const tokens *document, const json_t *span) {
    size_t begin = SIZE_MAX, end = SIZE_MAX;
    SP_TRY(sp_json_get_size(&begin, span, "start_token", r->path));
    SP_TRY(sp_json_get_size(&end, span, "end_token", r->path));
    if (begin > end || end > document->n)
        return refuse(r, "a short answer lies beyond the document's tokens");
    const size_t at = r->made.n_bytes;
    SP_TRY(join_tokens(&r->made, document, begin, end));
    /* The text may still move: its place is an offset until all answers are there. */
    return add_answer(r, (sp_answer_text){NULL, r->made.n_bytes - at});
}

static sp_status add_annotations(sp_question_reader *r, const tokens *document,
                                 const json_t *annotations) {
    const json_t *annotation, *span;
    size_t i, k;
    r->made.n_bytes = 0;
    json_array_foreach(annotations, i, annotation) {
        const json_t *spans = json_object_get(annotation, "short_answers");
        json_array_foreach(spans, k, span) SP_TRY(add_span(r, document, span));
    }
    for (size_t a = 0, at = 0; a < r->n_answers; at += r->answers[a++].n_bytes)
        r->answers[a].text = r->made.bytes + at;
    json_array_foreach(annotations, i, annotation) {
        const char *word = json_string_value(json_object_get(annotation, "yes_no_answer"));
        if (word == NULL) continue;
        if (strcmp(word, "YES") == 0) SP_TRY(add_answer(r, (sp_answer_text){"yes", 3}));
        if (strcmp(word, "NO") == 0) SP_TRY(add_answer(r, (sp_answer_text){"no", 2}));
    }
    return SP_OK;
}

static sp_status read_document(sp_question_reader *r, const json_t *item) {
    const json_t *plain = json_object_get(item, "document_text");
    tokens document = {0};
    sp_status status = json_is_string(plain)
                           ? split_tokens(&document, plain)
                           : read_tokens(r, &document, json_object_get(item, "document_tokens"));
    if (status == SP_OK) status = join_tokens(&r->context, &document, 0, document.n);
    if (status == SP_OK)
        status = add_annotations(r, &document, json_object_get(item, "annotations"));
    free(document.items);
    SP_TRY(status);
    const json_t *strings = json_object_get(item, "answer_strings");
    return strings != NULL ? add_answers(r, strings) : SP_OK;
}

/* ---- items ---- */

static const char *const id_names[] = {"id", "_id", "example_id", NULL};

static bool has(const json_t *item, const char *name) {
    const json_t *value = json_object_get(item, name);
    return value != NULL && !json_is_null(value);
}

static sp_status read_question(sp_question_reader *r, sp_qa_question *question,
                               const json_t *item) {
    const json_t *value =
        json_object_get(item, has(item, "question") ? "question" : "question_text");
    if (json_is_object(value)) value = json_object_get(value, "text");
    if (!json_is_string(value)) return refuse(r, "there is no question");
    question->question = text_of(value);
    free(r->id);
    r->id = NULL;
    SP_TRY(sp_value_id(&r->id, item, id_names, r->place));
    question->id = r->id;
    return SP_OK;
}

static void finish(sp_question_reader *r, sp_qa_question *question) {
    question->answers = r->answers;
    question->n_answers = r->n_answers;
    question->index = r->n_read++;
}

/* An item that has all by itself. */
static sp_status read_item(sp_question_reader *r, sp_qa_question *question, const json_t *item) {
    sp_qa_question made = {.context_number = r->n_contexts++};
    const json_t *context = json_object_get(item, "context");
    r->n_answers = r->context.n_bytes = 0;
    SP_TRY(read_question(r, &made, item));
    if (has(item, "document_text") || has(item, "document_tokens")) {
        r->form = "NQ";
        SP_TRY(read_document(r, item));
    } else {
        if (json_is_array(context)) {
            r->form = "HotpotQA";
            SP_TRY(join_paragraphs(r, context));
        } else if (json_is_string(context)) {
            SP_TRY(append_string(r, &r->context, context));
        } else if (has(item, "context")) {
            return refuse(r, "'context' is neither text nor paragraphs");
        } else {
            r->form = "NQ";
            if (has(item, "ctxs")) SP_TRY(join_passages(r, json_object_get(item, "ctxs")));
        }
        const json_t *answers = json_object_get(item, has(item, "answers") ? "answers" : "answer");
        if (answers == NULL) return refuse(r, "there is no answer");
        SP_TRY(add_answers(r, answers));
    }
    made.context = (sp_answer_text){r->context.bytes, r->context.n_bytes};
    finish(r, &made);
    *question = made;
    return SP_OK;
}

/* Of SQuAD's object, as the three counters say. */
static const json_t *find_paragraph(sp_question_reader *r) {
    const json_t *articles = json_object_get(r->root, "data");
    for (; r->article < json_array_size(articles); r->article++, r->paragraph = 0) {
        const json_t *article = json_array_get(articles, r->article);
        const json_t *paragraphs = json_object_get(article, "paragraphs");
        for (; r->paragraph < json_array_size(paragraphs); r->paragraph++, r->qa = 0) {
            const json_t *paragraph = json_array_get(paragraphs, r->paragraph);
            if (r->qa < json_array_size(json_object_get(paragraph, "qas"))) return paragraph;
        }
    }
    return NULL;
}

static sp_status read_squad(sp_question_reader *r, sp_qa_question *question, bool *is_end) {
    const json_t *paragraph = find_paragraph(r);
    *is_end = paragraph == NULL;
    if (*is_end) return SP_OK;
    (void)snprintf(r->place, sizeof r->place, "'%s', article %zu, paragraph %zu, question %zu",
                   r->path, r->article, r->paragraph, r->qa);
    const json_t *context = json_object_get(paragraph, "context");
    if (!json_is_string(context)) return refuse(r, "the paragraph has no context");
    if (r->qa == 0) r->n_contexts++;
    const json_t *qa = json_array_get(json_object_get(paragraph, "qas"), r->qa++);
    sp_qa_question made = {.context_number = r->n_contexts - 1, .context = text_of(context)};
    r->n_answers = 0;
    SP_TRY(read_question(r, &made, qa));
    if (!json_is_array(json_object_get(qa, "answers"))) return refuse(r, "there are no answers");
    SP_TRY(add_answers(r, json_object_get(qa, "answers")));
    finish(r, &made);
    *question = made;
    return SP_OK;
}

/* Version 2 has questions without an answer, and says so of each. */
static bool is_version_2(const json_t *root) {
    const char *version = json_string_value(json_object_get(root, "version"));
    if (version != NULL) return strncmp(version, "v2", 2) == 0 || strncmp(version, "2", 1) == 0;
    const json_t *article, *paragraph, *qa;
    size_t i, j, k;
    json_array_foreach(json_object_get(root, "data"), i, article) {
        const json_t *paragraphs = json_object_get(article, "paragraphs");
        json_array_foreach(paragraphs, j, paragraph) {
            const json_t *qas = json_object_get(paragraph, "qas");
            json_array_foreach(qas, k, qa) if (has(qa, "is_impossible")) return true;
        }
    }
    return false;
}

static void begin_file(sp_question_reader *r) {
    r->is_first = false;
    r->is_squad = json_is_array(json_object_get(r->root, "data"));
    if (!r->is_squad) return;
    r->form = "SQuAD";
    if (is_version_2(r->root)) r->rule = SP_ANSWER_SQUAD_2;
}

/* The next item by itself: of an array, or the line. NULL after the last. */
static const json_t *next_item(sp_question_reader *r) {
    if (json_is_array(r->root)) {
        (void)snprintf(r->place, sizeof r->place, "'%s', item %zu", r->path, r->item);
        return json_array_get(r->root, r->item++);
    }
    (void)snprintf(r->place, sizeof r->place, "'%s', line %zu", r->path,
                   sp_value_stream_line(r->stream));
    return r->root;
}

/* Reads a line, unless the present value still has items. */
static sp_status advance(sp_question_reader *r) {
    if (!r->is_first && (r->is_squad || json_is_array(r->root))) return SP_OK;
    json_decref(r->root);
    r->root = NULL;
    SP_TRY(sp_value_stream_next(r->stream, &r->root));
    if (r->is_first) begin_file(r);
    return SP_OK;
}

sp_status sp_question_reader_next(sp_question_reader *r, sp_qa_question *question, bool *is_end) {
    for (;;) {
        sp_qa_question made;
        SP_TRY(advance(r));
        if (r->is_squad) return read_squad(r, question, is_end);
        const json_t *item = next_item(r);
        *is_end = item == NULL;
        if (*is_end) return SP_OK;
        if (!json_is_object(item)) return refuse(r, "not an object with a question");
        SP_TRY(read_item(r, &made, item));
        if (made.n_answers > 0 || strcmp(r->form, "NQ") != 0) {
            *question = made;
            return SP_OK;
        }
    }
}

sp_status sp_question_reader_open(sp_question_reader **reader, const char *path) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **reader, "questions"));
    sp_question_reader *made = block;
    made->path = path;
    made->is_first = true;
    made->form = "QA";
    const sp_status status = sp_value_stream_open(&made->stream, path);
    if (status == SP_OK)
        *reader = made;
    else
        sp_question_reader_close(made);
    return status;
}

void sp_question_reader_close(sp_question_reader *r) {
    if (r == NULL) return;
    sp_value_stream_close(r->stream);
    json_decref(r->root);
    free(r->id);
    free(r->context.bytes);
    free(r->made.bytes);
    free(r->answers);
    free(r);
}

const char *sp_question_reader_form(const sp_question_reader *r) { return r->form; }
sp_answer_rule sp_question_reader_rule(const sp_question_reader *r) { return r->rule; }
