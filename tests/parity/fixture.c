#include "tests/parity/fixture.h"

#include "io/safetensors.h"
#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>

static void path_of(char *path, size_t size, const char *name) {
    snprintf(path, size, "tests/fixtures/%s", name);
}

void fixture_open(fixture *f, const char *json_name, const char *tensors_name) {
    char path[256];
    size_t n_left_out = 0;
    *f = (fixture){0};
    path_of(path, sizeof path, json_name);
    if (sp_json_load_file(&f->json, path) != SP_OK) fail_msg("%s", sp_message());
    path_of(path, sizeof path, tensors_name);
    if (sp_mapping_open(&f->mapping, path) != SP_OK ||
        sp_safetensors_read(&f->tensors, &n_left_out, &f->mapping, path) != SP_OK ||
        sp_tensor_table_sort(&f->tensors) != SP_OK)
        fail_msg("%s", sp_message());
}

void fixture_close(fixture *f) {
    json_decref(f->json);
    sp_tensor_table_free(&f->tensors);
    sp_mapping_close(&f->mapping);
}

float *fixture_tensor(const fixture *f, const char *name, size_t *n_values) {
    const sp_tensor *tensor = sp_tensor_table_find(&f->tensors, name);
    if (tensor == NULL) fail_msg("no tensor '%s' in the fixture", name);
    *n_values = sp_tensor_n_values(tensor);
    float *values = malloc((*n_values + 1) * sizeof *values);
    assert_non_null(values);
    sp_tensor_read_rows(tensor, values, 0, *n_values / sp_tensor_row_values(tensor));
    return values;
}

double fixture_number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("no number '%s' in the fixture", key);
    return json_number_value(value);
}

double fixture_number_at(const json_t *object, const char *key, size_t index) {
    const json_t *value = json_array_get(json_object_get(object, key), index);
    if (!json_is_number(value)) fail_msg("no number %zu of '%s' in the fixture", index, key);
    return json_number_value(value);
}

double norm_of(const float *a, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)a[i];
    return sqrt(sum);
}

double relative_difference(const float *a, const float *b, size_t n, double floor) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += pow((double)a[i] - (double)b[i], 2);
    return sqrt(sum) / fmax(norm_of(b, n), floor);
}
