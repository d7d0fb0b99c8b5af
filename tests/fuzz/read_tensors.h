/* Reads what a table offers, as a model's weights are read. */
#pragma once

#include "tensor/tensor_table.h"

/* Reads the first and the last rows of every tensor that has values. */
void fuzz_read_tensors(const sp_tensor_table *tensors);
