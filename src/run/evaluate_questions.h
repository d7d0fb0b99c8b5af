/* Questions on a text and their accepted answers, from the files in which the data sets are
   published, as they are (.json or .jsonl, also .gz and .zst):

       SQuAD v1.1 and v2.0, AdversarialQA, XQuAD   {"data": [{"paragraphs": [{context, qas}]}]}
       HotpotQA                                    [{_id, question, answer, context: [[title, [sentences]]]}]
       Natural Questions, simplified               a line each: document_text, question_text, annotations
       Natural Questions, original                 the same with document_tokens
       NQ-open, with and without passages          question, answer or answers, ctxs
       anything alike                              id, context, question, answers

   A context of several passages is one text: title, line feed, passage, with a blank line between
   passages. Documents of Natural Questions lose their HTML tokens; their accepted answers are the
   short answers of all annotations, yes or no where that is the answer, and `answer_strings`. */
#pragma once

#include "base/json.h"
#include "text/answer.h"

#include <stdbool.h>

typedef struct sp_qa_question {
    const char *id;                /* the item's own; NULL: none */
    size_t index;                  /* of the question in the file, from 0 */
    size_t context_number;         /* questions on one context follow each other, with one number */
    sp_answer_text context;        /* empty: none */
    sp_answer_text question;       /* terminated */
    const sp_answer_text *answers; /* [n_answers] */
    size_t n_answers;
} sp_qa_question; /* borrowed until the next one is read */

typedef struct sp_question_reader sp_question_reader; /* opaque */

/* Opens `path` (borrowed until close). SP_IO: cannot be opened; SP_BAD_DATA: not JSON. */
SP_NODISCARD sp_status sp_question_reader_open(sp_question_reader **reader, const char *path);
void sp_question_reader_close(sp_question_reader *reader); /* NULL is fine */

/* Reads the next question; *is_end, and *question untouched, after the last. Questions of Natural
   Questions without a short answer are passed over. SP_BAD_DATA: none of the forms above; the message
   says where. */
SP_NODISCARD sp_status sp_question_reader_next(sp_question_reader *reader, sp_qa_question *question,
                                               bool *is_end);

/* What the file, of which a question was read, turned out to be: "SQuAD", "HotpotQA", "NQ" or "QA",
   static; and how its script scores. */
const char *sp_question_reader_form(const sp_question_reader *reader);
sp_answer_rule sp_question_reader_rule(const sp_question_reader *reader);
