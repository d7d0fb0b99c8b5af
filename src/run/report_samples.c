#include "run/report_samples.h"

#include "run/report_difference.h"
#include "run/report_html.h"

#include <string.h>

static void write_pieces(FILE *out, const sp_text_pieces *pieces, const char *tag) {
    bool is_marked = false;
    for (size_t i = 0; i < pieces->n; i++) {
        const sp_text_piece *piece = &pieces->items[i];
        if (is_marked == piece->is_common) {
            fprintf(out, "<%s%s>", is_marked ? "/" : "", tag);
            is_marked = !is_marked;
        }
        sp_html_text(out, piece->text, piece->n_bytes);
    }
    if (is_marked) fprintf(out, "</%s>", tag);
}

static sp_status write_sides(FILE *out, const json_t *reference, const json_t *made) {
    sp_text_pieces left = {0}, right = {0};
    const sp_status status =
        sp_text_compare(&left, json_string_value(reference), json_string_length(reference), &right,
                        json_string_value(made), json_string_length(made));
    if (status == SP_OK) {
        fputs("<div class=sides><div><p class=soft>text</p><div class=text>", out);
        write_pieces(out, &left, "del");
        fputs("</div></div><div><p class=soft>reconstruction</p><div class=text>", out);
        write_pieces(out, &right, "ins");
        fputs("</div></div></div>\n", out);
    }
    sp_text_pieces_free(&left);
    sp_text_pieces_free(&right);
    return status;
}

static void write_owner(FILE *out, const json_t *item) {
    static const char *const names[] = {"run", "data"};
    fputs("<p class=soft>", out);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const json_t *value = json_object_get(item, names[i]);
        if (!json_is_string(value)) continue;
        if (i > 0) fputs(", ", out);
        sp_html_value(out, value);
    }
    const json_t *ratio = json_object_get(item, "ratio");
    if (json_is_number(ratio)) fprintf(out, ", %g×", json_number_value(ratio));
}

static sp_status write_reconstruction(FILE *out, const json_t *item, const json_t *sample) {
    const json_t *reference = json_object_get(sample, "reference");
    const json_t *made = json_object_get(sample, "reconstruction");
    if (!json_is_string(reference) || !json_is_string(made)) return SP_OK;
    fputs("<div class=sample>", out);
    write_owner(out, item);
    const json_t *document = json_object_get(sample, "document");
    if (json_is_string(document)) {
        fputs(", document ", out);
        sp_html_value(out, document);
    }
    const json_t *segment = json_object_get(sample, "segment");
    if (json_is_integer(segment)) {
        fputs(", segment ", out);
        sp_html_value(out, segment);
    }
    if (json_equal(reference, made)) fputs(", exact", out);
    fputs("</p>\n", out);
    SP_TRY(write_sides(out, reference, made));
    fputs("</div>\n", out);
    return SP_OK;
}

static void write_row(FILE *out, const char *name, const json_t *value) {
    if (value == NULL || json_is_null(value)) return;
    fputs("<tr><td>", out);
    sp_html_string(out, name);
    fputs("</td><td class=text>", out);
    sp_html_value(out, value);
    fputs("</td></tr>\n", out);
}

/* The n-th compressed method's name, such as "compressed 4×". */
static void name_compressed(char *name, size_t size, const json_t *methods, size_t n) {
    snprintf(name, size, "compressed");
    for (size_t i = 0, seen = 0; i < json_array_size(methods); i++) {
        const json_t *ratio = json_object_get(json_array_get(methods, i), "ratio");
        if (json_is_number(ratio) && seen++ == n)
            snprintf(name, size, "compressed %g×", json_number_value(ratio));
    }
}

/* Answers of any task but reconstruction: a row for each text that there is. */
static void write_answers(FILE *out, const json_t *item, const json_t *sample) {
    static const char *const keys[] = {"id",      "prompt", "question", "answer",
                                       "answers", "full",   "none"};
    const json_t *compressed = json_object_get(sample, "compressed");
    const size_t n = json_array_size(compressed);
    fputs("<div class=sample>", out);
    write_owner(out, item);
    fputs("</p>\n<table>", out);
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
        write_row(out, keys[k], json_object_get(sample, keys[k]));
    for (size_t i = 0; i < n; i++) {
        char name[48];
        name_compressed(name, sizeof name, json_object_get(item, "methods"), i);
        write_row(out, name, json_array_get(compressed, i));
    }
    fputs("</table></div>\n", out);
}

sp_status sp_report_samples(FILE *out, const sp_report_results *results) {
    if (json_array_size(results->samples) == 0) return SP_OK;
    fputs("<h2>Samples</h2>\n<p class=soft><del>Struck out</del>: words of the text that the "
          "reconstruction lacks. <ins>Underlined</ins>: words that it has instead.</p>\n",
          out);
    for (size_t i = 0; i < json_array_size(results->samples); i++) {
        const json_t *item = json_array_get(results->samples, i);
        const char *task = json_string_value(json_object_get(item, "task"));
        const json_t *samples = json_object_get(item, "samples");
        const bool is_text = task != NULL && strcmp(task, "reconstruction") == 0;
        for (size_t s = 0; s < json_array_size(samples); s++) {
            if (is_text)
                SP_TRY(write_reconstruction(out, item, json_array_get(samples, s)));
            else
                write_answers(out, item, json_array_get(samples, s));
        }
    }
    return SP_OK;
}
