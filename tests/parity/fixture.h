/* What the parity tests read: JSON and safetensors under tests/fixtures (tools/make_fixtures.py). */
#pragma once

#include "base/json.h"
#include "io/mapping.h"
#include "tensor/tensor_table.h"

typedef struct fixture {
    json_t *json;
    sp_mapping mapping;
    sp_tensor_table tensors;
} fixture;

/* Reads tests/fixtures/NAME.json and NAME.safetensors; fails the test if it cannot. */
void fixture_open(fixture *f, const char *json_name, const char *tensors_name);
void fixture_close(fixture *f);

/* A tensor's values, owned, and their number. */
float *fixture_tensor(const fixture *f, const char *name, size_t *n_values);

/* A number by path, "constant.lr" with an index, or a member. */
double fixture_number(const json_t *object, const char *key);
double fixture_number_at(const json_t *object, const char *key, size_t index);

/* ||a - b|| / max(||b||, floor): what a tensor of gradients differs by. */
double relative_difference(const float *a, const float *b, size_t n, double floor);
double norm_of(const float *a, size_t n);
