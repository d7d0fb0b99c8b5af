#include "cli/evaluation_tables.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static double real_of(const json_t *result, const char *name) {
    return json_number_value(json_object_get(result, name));
}

static long long count_of(const json_t *result, const char *name) {
    return (long long)json_integer_value(json_object_get(result, name));
}

static void print_reconstruction(const json_t *result) {
    static const struct {
        const char *name, *note;
    } rows[] = {
        {"bleu", "corpus BLEU as sacrebleu, 0-100"},
        {"bleu_sentence", "mean sentence BLEU, 0-100"},
        {"rouge_l", "ROUGE-L F, 0-1"},
        {"rouge_l_stem", "with Porter stems, 0-1"},
        {"exact_match", "segments, 0-1"},
        {"token_accuracy", "text given, 0-1"},
        {"perplexity", "text given"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (json_object_get(result, rows[i].name) != NULL)
            printf("  %-15s %10.4f   %s\n", rows[i].name, real_of(result, rows[i].name),
                   rows[i].note);
}

static void print_lengths(const json_t *lengths) {
    const json_t *length;
    size_t i;
    printf("  tokens     segments     bleu  rouge_l    exact perplexity\n");
    json_array_foreach(lengths, i, length) printf(
        "  %4lld-%-4lld %9lld %8.2f %8.4f %8.4f %10.2f\n", count_of(length, "min_tokens"),
        count_of(length, "max_tokens"), count_of(length, "segments"), real_of(length, "bleu"),
        real_of(length, "rouge_l"), real_of(length, "exact_match"), real_of(length, "perplexity"));
}

void sp_print_reconstruction(const json_t *result) {
    const json_t *made, *sample;
    size_t i, k;
    json_array_foreach(json_object_get(result, "by_ratio"), i, made) {
        const char *slots = json_string_value(json_object_get(made, "slots"));
        printf("%sreconstruction of %lld %s segments at %lldx", i > 0 ? "\n" : "",
               count_of(made, "segments"), json_string_value(json_object_get(made, "split")),
               count_of(made, "ratio"));
        if (slots != NULL)
            printf(", %s of '%s'", json_string_value(json_object_get(made, "dtype")), slots);
        printf("\n");
        print_reconstruction(made);
        print_lengths(json_object_get(made, "by_length"));
        json_array_foreach(json_object_get(made, "samples"), k, sample) printf(
            "\nsegment %lld of document '%s'\n  text:           %s\n  reconstruction: %s\n",
            count_of(sample, "segment"), json_string_value(json_object_get(sample, "document")),
            json_string_value(json_object_get(sample, "reference")),
            json_string_value(json_object_get(sample, "reconstruction")));
    }
}

void sp_print_predictions(const json_t *result) {
    printf("%s of %lld predictions\n", json_string_value(json_object_get(result, "task")),
           count_of(result, "count"));
    if (json_object_get(result, "bleu") != NULL)
        print_reconstruction(result);
    else
        printf("  %-15s %10.4f   0-100\n  %-15s %10.4f   exact match, 0-100\n"
               "  %-15s %10lld   questions without a prediction\n"
               "  %-15s %10lld   predictions without a question\n",
               "f1", real_of(result, "f1"), "em", real_of(result, "em"), "missing",
               count_of(result, "missing"), "unknown", count_of(result, "unknown"));
}

/* In 18 columns. */
static void print_method_name(const json_t *method) {
    if (json_object_get(method, "ratio") != NULL)
        printf("  compressed %4lldx", count_of(method, "ratio"));
    else
        printf("  %-16s", json_string_value(json_object_get(method, "method")));
}

static void print_texts(const json_t *sample) {
    const json_t *compressed = json_object_get(sample, "compressed"), *text;
    size_t i;
    printf("  full:       %s\n  none:       %s\n",
           json_string_value(json_object_get(sample, "full")),
           json_string_value(json_object_get(sample, "none")));
    json_array_foreach(compressed, i, text) printf("  compressed: %s\n", json_string_value(text));
}

/* Of a task that has written its contexts and asked nothing; false: it has asked. */
static bool print_written(const json_t *result, const char *items) {
    if (json_object_get(result, "written") == NULL) return false;
    printf("%lld contexts of %lld %s of %s: '%s'\n", count_of(result, "contexts"),
           count_of(result, "count"), items, json_string_value(json_object_get(result, "data")),
           json_string_value(json_object_get(result, "written")));
    return true;
}

/* Ends a method's line with the slot file that it read, if it is of one. */
static void print_slots(const json_t *method) {
    const char *slots = json_string_value(json_object_get(method, "slots"));
    printf("%s%s\n", slots != NULL ? "   " : "", slots != NULL ? slots : "");
}

void sp_print_qa(const json_t *result) {
    const json_t *method, *sample;
    size_t i;
    if (print_written(result, "questions")) return;
    printf("%lld questions of %s\n  %-16s %8s %8s %14s\n", count_of(result, "count"),
           json_string_value(json_object_get(result, "data")), "context", "f1", "em",
           "rows a context");
    json_array_foreach(json_object_get(result, "methods"), i, method) {
        print_method_name(method);
        printf(" %8.2f %8.2f %14.1f", real_of(method, "f1"), real_of(method, "em"),
               real_of(method, "context_rows"));
        print_slots(method);
    }
    json_array_foreach(json_object_get(result, "samples"), i, sample) {
        printf("\n%s\n  accepted:   %s\n", json_string_value(json_object_get(sample, "question")),
               json_string_value(json_array_get(json_object_get(sample, "answers"), 0)));
        print_texts(sample);
    }
}

void sp_print_icl(const json_t *result) {
    const json_t *method, *sample;
    size_t i;
    if (print_written(result, "examples")) return;
    printf("%lld examples of %s after %lld demonstrations of %lld tokens\n  %-16s %9s %8s\n",
           count_of(result, "count"), json_string_value(json_object_get(result, "data")),
           count_of(result, "demonstrations"), count_of(result, "demonstration_tokens"), "context",
           "accuracy", "rows");
    json_array_foreach(json_object_get(result, "methods"), i, method) {
        print_method_name(method);
        printf(" %9.2f %8lld", real_of(method, "accuracy"), count_of(method, "context_rows"));
        print_slots(method);
    }
    json_array_foreach(json_object_get(result, "samples"), i, sample) {
        printf("\n%s\n  wanted:     %s\n", json_string_value(json_object_get(sample, "prompt")),
               json_string_value(json_object_get(sample, "answer")));
        print_texts(sample);
    }
}

void sp_print_roleplay(const json_t *result) {
    const json_t *method;
    size_t i;
    if (print_written(result, "dialogues")) return;
    printf("replies in %lld dialogues of %s\n  %-16s %10s %14s\n", count_of(result, "count"),
           json_string_value(json_object_get(result, "data")), "context", "perplexity",
           "rows a context");
    json_array_foreach(json_object_get(result, "methods"), i, method) {
        print_method_name(method);
        printf(" %10.4f %14.1f", real_of(method, "perplexity"), real_of(method, "context_rows"));
        print_slots(method);
    }
}

void sp_print_efficiency(const json_t *result) {
    const json_t *plain = json_object_get(result, "plain"), *method;
    size_t i;
    printf("%lld contexts of %lld tokens, %lld new ones, on each of %lld ranks; seconds\n"
           "  %-16s %11s %9s %9s %10s %10s\n  %-16s %11s %9.4f %9.4f %10.4f %10.4f\n",
           count_of(result, "batch"), count_of(result, "input_tokens"),
           count_of(result, "new_tokens"), count_of(result, "ranks"), "", "compression", "prefill",
           "decode", "one-shot", "amortised", "plain", "", real_of(plain, "prefill_s"),
           real_of(plain, "decode_s"), real_of(plain, "total_s"), real_of(plain, "total_s"));
    json_array_foreach(json_object_get(result, "compressed"), i, method) {
        print_method_name(method);
        printf(" %11.4f %9.4f %9.4f %10.4f %10.4f\n", real_of(method, "compression_s"),
               real_of(method, "prefill_s"), real_of(method, "decode_s"),
               real_of(method, "one_shot_s"), real_of(method, "amortised_s"));
    }
    json_array_foreach(json_object_get(result, "compressed"), i, method) {
        printf("%lldx: %.2f times as fast as plain one-shot, %.2f amortised; ",
               count_of(method, "ratio"), real_of(method, "one_shot_speedup"),
               real_of(method, "amortised_speedup"));
        if (json_is_null(json_object_get(method, "break_even_uses")))
            printf("it never pays\n");
        else
            printf("pays from %.0f uses of a context on\n", real_of(method, "break_even_uses"));
    }
}

/* "  decoder.boundaries: false (true); ..." */
static void print_changes(const json_t *changes) {
    const size_t flags = JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15);
    const json_t *change;
    size_t i;
    json_array_foreach(changes, i, change) {
        char *value = json_dumps(json_object_get(change, "value"), flags);
        char *base = json_dumps(json_object_get(change, "base"), flags);
        if (value != NULL && base != NULL)
            printf("%s%s: %s (%s)", i > 0 ? "; " : "  ",
                   json_string_value(json_object_get(change, "key")), value, base);
        free(base);
        free(value);
    }
}

void sp_print_ablation(const json_t *result) {
    const bool has_answers = json_object_get(result, "methods") != NULL;
    const json_t *rows = json_object_get(result, "rows"), *row;
    size_t i;
    printf("reconstruction of %lld %s segments of '%s'",
           count_of(json_array_get(rows, 0), "segments"),
           json_string_value(json_object_get(result, "split")),
           json_string_value(json_object_get(result, "tokens")));
    if (has_answers)
        printf("; %lld questions of %s", count_of(result, "count"),
               json_string_value(json_object_get(result, "data")));
    printf("\n  %-24s %6s %8s %8s %8s %10s", "", "ratio", "bleu", "rouge_l", "exact", "perplexity");
    if (has_answers) printf(" %8s %8s", "f1", "em");
    printf("  what differs (base)\n");
    json_array_foreach(json_object_get(result, "methods"), i, row)
        printf("  %-24s %6s %8s %8s %8s %10s %8.2f %8.2f\n",
               json_string_value(json_object_get(row, "method")), "", "", "", "", "",
               real_of(row, "f1"), real_of(row, "em"));
    json_array_foreach(rows, i, row) {
        printf("  %-24s %5lldx %8.2f %8.4f %8.4f %10.2f",
               json_string_value(json_object_get(row, "name")), count_of(row, "ratio"),
               real_of(row, "bleu"), real_of(row, "rouge_l"), real_of(row, "exact_match"),
               real_of(row, "perplexity"));
        if (has_answers) printf(" %8.2f %8.2f", real_of(row, "f1"), real_of(row, "em"));
        print_changes(json_object_get(row, "changes"));
        printf("\n");
    }
}
