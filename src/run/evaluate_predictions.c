#include "run/evaluate_predictions.h"

#include "base/log.h"
#include "run/evaluate_questions.h"
#include "run/evaluate_values.h"
#include "text/bleu.h"
#include "text/rouge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const id_names[] = {"id", "_id", "example_id", "question", NULL};

static sp_status refuse(const char *path, const sp_value_stream *stream, const char *what) {
    return sp_fail(SP_BAD_DATA, "'%s', line %zu: %s", path, sp_value_stream_line(stream), what);
}

static sp_status add_prediction(json_t *by_id, const char *id, json_t *text, const char *path,
                                const sp_value_stream *stream) {
    if (!json_is_string(text)) return refuse(path, stream, "a prediction is no text");
    if (json_object_get(by_id, id) != NULL)
        return sp_fail(SP_BAD_DATA, "'%s', line %zu: there is a prediction for '%s' already", path,
                       sp_value_stream_line(stream), id);
    if (json_object_set(by_id, id, text) == 0) return SP_OK;
    return sp_fail(SP_FAILURE, "no memory for predictions");
}

static sp_status add_map(json_t *by_id, json_t *value, const char *path,
                         const sp_value_stream *stream) {
    json_t *answers = json_object_get(value, "answer"), *text;
    const char *id;
    json_object_foreach(json_is_object(answers) ? answers : value, id, text)
        SP_TRY(add_prediction(by_id, id, text, path, stream));
    return SP_OK;
}

static sp_status add_line(json_t *by_id, json_t *value, const char *path,
                          const sp_value_stream *stream) {
    char *id = NULL, place[512];
    if (!json_is_object(value)) return refuse(path, stream, "not an object with id and prediction");
    json_t *text = json_object_get(value, "prediction");
    if (text == NULL) return add_map(by_id, value, path, stream);
    (void)snprintf(place, sizeof place, "'%s', line %zu", path, sp_value_stream_line(stream));
    SP_TRY(sp_value_id(&id, value, id_names, place));
    const sp_status status = id != NULL ? add_prediction(by_id, id, text, path, stream)
                                        : refuse(path, stream, "the prediction has no id");
    free(id);
    return status;
}

/* *by_id is an object of id and text, owned, on failure too. */
static sp_status read_predictions(json_t **by_id, const char *path) {
    sp_value_stream *stream = NULL;
    *by_id = json_object();
    SP_TRY(sp_value_stream_open(&stream, path));
    sp_status status = SP_OK;
    while (status == SP_OK) {
        json_t *value = NULL;
        status = sp_value_stream_next(stream, &value);
        if (status == SP_OK && value == NULL) break;
        if (status == SP_OK) status = add_line(*by_id, value, path, stream);
        json_decref(value);
    }
    sp_value_stream_close(stream);
    return status;
}

static const json_t *find_prediction(const json_t *by_id, const sp_qa_question *question) {
    char number[32];
    if (question->id != NULL) return json_object_get(by_id, question->id);
    const json_t *found = json_object_get(by_id, question->question.text);
    (void)snprintf(number, sizeof number, "%zu", question->index);
    return found != NULL ? found : json_object_get(by_id, number);
}

typedef struct answer_sums {
    sp_answer_score sum;
    size_t n_counted, n_found, n_missing;
} answer_sums;

static sp_status score_question(answer_sums *sums, const json_t *by_id,
                                const sp_qa_question *question, sp_answer_rule rule) {
    const json_t *text = find_prediction(by_id, question);
    sp_answer_score score = {0};
    if (text == NULL) {
        sums->n_missing++;
        sums->n_counted += rule != SP_ANSWER_SQUAD_2;
        return SP_OK;
    }
    const sp_answer_text prediction = {json_string_value(text), json_string_length(text)};
    SP_TRY(sp_answer_score_best(&score, prediction, question->answers, question->n_answers, rule));
    sums->sum.f1 += score.f1;
    sums->sum.exact += score.exact;
    sums->n_counted++;
    sums->n_found++;
    return SP_OK;
}

static void warn(const answer_sums *sums, size_t n_unknown, sp_answer_rule rule) {
    if (sums->n_missing > 0)
        sp_log(SP_LOG_WARNING, "%zu questions without a prediction %s", sums->n_missing,
               rule == SP_ANSWER_SQUAD_2 ? "do not count, as in SQuAD 2's script"
                                         : "score 0, as in SQuAD's script");
    if (n_unknown > 0)
        sp_log(SP_LOG_WARNING, "%zu predictions are for no question of the file", n_unknown);
}

static sp_status score_file(json_t **result, sp_question_reader *reader, const json_t *by_id,
                            const sp_predictions_job *job) {
    answer_sums sums = {0};
    for (size_t n = 0; job->limit == 0 || n < job->limit; n++) {
        sp_qa_question question;
        bool is_end = false;
        SP_TRY(sp_question_reader_next(reader, &question, &is_end));
        if (is_end) break;
        SP_TRY(score_question(&sums, by_id, &question, sp_question_reader_rule(reader)));
    }
    if (sums.n_counted == 0)
        return sp_fail(SP_BAD_DATA, "'%s': no question %s", job->data,
                       sums.n_missing > 0 ? "has a prediction" : "in it");
    const double n = (double)sums.n_counted;
    const size_t n_predictions = json_object_size(by_id);
    const size_t n_unknown = n_predictions > sums.n_found ? n_predictions - sums.n_found : 0;
    warn(&sums, n_unknown, sp_question_reader_rule(reader));
    *result = json_pack("{s:s, s:s, s:f, s:f, s:I, s:I, s:I}", "task", "qa", "data",
                        sp_question_reader_form(reader), "f1", 100 * sums.sum.f1 / n, "em",
                        100 * sums.sum.exact / n, "count", (json_int_t)sums.n_counted, "missing",
                        (json_int_t)sums.n_missing, "unknown", (json_int_t)n_unknown);
    return *result != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a result");
}

sp_status sp_score_answers(json_t **result, const sp_predictions_job *job) {
    sp_question_reader *reader = NULL;
    json_t *by_id = NULL;
    sp_status status = sp_question_reader_open(&reader, job->data);
    if (status == SP_OK) status = read_predictions(&by_id, job->predictions);
    if (status == SP_OK) status = score_file(result, reader, by_id, job);
    json_decref(by_id);
    sp_question_reader_close(reader);
    return status;
}

typedef struct text_sums {
    sp_bleu bleu;
    double rouge_l;
    size_t n, n_exact;
} text_sums;

static sp_status score_pair(text_sums *sums, const json_t *value, const char *path,
                            const sp_value_stream *stream) {
    const json_t *made = json_object_get(value, "prediction");
    const json_t *wanted = json_object_get(value, "reference");
    if (!json_is_string(made)) return refuse(path, stream, "'prediction' is no text");
    if (!json_is_string(wanted)) return refuse(path, stream, "'reference' is no text");
    const char *made_text = json_string_value(made), *wanted_text = json_string_value(wanted);
    const size_t made_len = json_string_length(made), wanted_len = json_string_length(wanted);
    double rouge = 0;
    SP_TRY(sp_bleu_add(&sums->bleu, made_text, made_len, wanted_text, wanted_len));
    SP_TRY(sp_rouge_l(&rouge, made_text, made_len, wanted_text, wanted_len));
    sums->rouge_l += rouge;
    sums->n_exact += made_len == wanted_len && memcmp(made_text, wanted_text, made_len) == 0;
    sums->n++;
    return SP_OK;
}

static sp_status score_pairs(text_sums *sums, sp_value_stream *stream,
                             const sp_predictions_job *job) {
    while (job->limit == 0 || sums->n < job->limit) {
        json_t *value = NULL;
        SP_TRY(sp_value_stream_next(stream, &value));
        if (value == NULL) break;
        const sp_status status = score_pair(sums, value, job->predictions, stream);
        json_decref(value);
        SP_TRY(status);
    }
    if (sums->n > 0) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': no prediction in it", job->predictions);
}

sp_status sp_score_reconstructions(json_t **result, const sp_predictions_job *job) {
    text_sums sums = {0};
    sp_value_stream *stream = NULL;
    SP_TRY(sp_value_stream_open(&stream, job->predictions));
    const sp_status status = score_pairs(&sums, stream, job);
    sp_value_stream_close(stream);
    SP_TRY(status);
    const double n = (double)sums.n;
    *result = json_pack("{s:s, s:f, s:f, s:f, s:I}", "task", "reconstruction", "bleu",
                        sp_bleu_score(&sums.bleu), "rouge_l", sums.rouge_l / n, "exact_match",
                        (double)sums.n_exact / n, "count", (json_int_t)sums.n);
    return *result != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a result");
}
