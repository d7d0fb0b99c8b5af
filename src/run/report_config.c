#include "run/report_config.h"

#include "run/report_html.h"

#include <string.h>

/* The value at a key of a section or, for a key of a group in it, "group.key" being two names. */
static const json_t *value_of(const sp_report_run *run, const char *section, const char *group,
                              const char *key) {
    const json_t *values = json_object_get(run->config, section);
    if (group != NULL) values = json_object_get(values, group);
    return json_object_get(values, key);
}

static bool is_different(const sp_report_matter *matter, const char *section, const char *group,
                         const char *key) {
    const json_t *first = NULL;
    for (size_t r = 0; r < matter->n_runs; r++) {
        const sp_report_run *run = &matter->runs[r];
        const json_t *value = value_of(run, section, group, key);
        if (run->config == NULL) continue;
        if (first != NULL && !json_equal(first, value)) return true;
        if (first == NULL) first = value;
        if (first == NULL) return true;
    }
    return false;
}

static void write_row(FILE *out, const sp_report_matter *matter, const char *section,
                      const char *group, const char *key) {
    const bool differs = is_different(matter, section, group, key);
    fprintf(out, "<tr%s><td>", differs ? " class=differs" : "");
    sp_html_string(out, section);
    fputc('.', out);
    if (group != NULL) {
        sp_html_string(out, group);
        fputc('.', out);
    }
    sp_html_string(out, key);
    if (differs) fputs(" ≠", out);
    fputs("</td>", out);
    for (size_t r = 0; r < matter->n_runs; r++) {
        const json_t *value = value_of(&matter->runs[r], section, group, key);
        fputs("<td>", out);
        if (json_is_null(value))
            fputs("null", out);
        else
            sp_html_value(out, value);
        fputs("</td>", out);
    }
    fputs("</tr>\n", out);
}

/* Whether a run before `r` has the key, so that its row is there. */
static bool is_repeated(const sp_report_matter *matter, size_t r, const char *section,
                        const char *group, const char *key) {
    for (size_t i = 0; i < r; i++)
        if (value_of(&matter->runs[i], section, group, key) != NULL) return true;
    return false;
}

static void write_section(FILE *out, const sp_report_matter *matter, size_t r, const char *section,
                          const char *group, json_t *values) {
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(values, key, value) {
        if (json_is_object(value) && group == NULL)
            write_section(out, matter, r, section, key, value);
        else if (!is_repeated(matter, r, section, group, key))
            write_row(out, matter, section, group, key);
    }
}

void sp_report_config(FILE *out, const sp_report_matter *matter) {
    bool has_config = false;
    for (size_t r = 0; r < matter->n_runs; r++)
        has_config = has_config || matter->runs[r].config != NULL;
    if (!has_config) return;
    fputs("<h2>Configuration</h2>\n<details open><summary>Of the newest checkpoint</summary>\n"
          "<div class=wide><table>\n<tr><th>key</th>",
          out);
    for (size_t r = 0; r < matter->n_runs; r++) {
        fputs("<th class=run>", out);
        sp_html_string(out, matter->runs[r].path);
        fputs("</th>", out);
    }
    fputs("</tr>\n", out);
    for (size_t r = 0; r < matter->n_runs; r++) {
        const char *section = NULL;
        json_t *values = NULL;
        json_object_foreach(matter->runs[r].config, section, values)
            write_section(out, matter, r, section, NULL, values);
    }
    fputs("</table></div></details>\n", out);
}
