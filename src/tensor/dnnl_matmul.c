#include "tensor/dnnl_matmul.h"

#include "base/memory.h"
#include "tensor/cpu.h"

#include <assert.h>
#include <stdlib.h>

#include <dnnl.h>

/* All that differs between the two C interfaces, as far as we use them. */
#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t layout;
static dnnl_status_t make_layout(layout *out, dnnl_dim_t rows, dnnl_dim_t columns,
                                 dnnl_data_type_t type, dnnl_dim_t row_stride,
                                 dnnl_dim_t column_stride) {
    const dnnl_dims_t dims = {rows, columns}, strides = {row_stride, column_stride};
    return dnnl_memory_desc_create_with_strides(out, 2, dims, type, strides);
}
static void free_layout(layout *self) { dnnl_memory_desc_destroy(*self); }
static const_dnnl_memory_desc_t layout_of(const layout *self) { return *self; }
static dnnl_status_t append_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
}
static dnnl_status_t describe(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const layout *x,
                              const layout *weight, const layout *y, dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(out, engine, *x, *weight, NULL, *y, attr);
}
#else
typedef dnnl_memory_desc_t layout;
static dnnl_status_t make_layout(layout *out, dnnl_dim_t rows, dnnl_dim_t columns,
                                 dnnl_data_type_t type, dnnl_dim_t row_stride,
                                 dnnl_dim_t column_stride) {
    const dnnl_dims_t dims = {rows, columns}, strides = {row_stride, column_stride};
    return dnnl_memory_desc_init_by_strides(out, 2, dims, type, strides);
}
static void free_layout(layout *self) { (void)self; }
static const dnnl_memory_desc_t *layout_of(const layout *self) { return self; }
static dnnl_status_t append_sum(dnnl_post_ops_t ops) { return dnnl_post_ops_append_sum(ops, 1); }
static dnnl_status_t describe(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const layout *x,
                              const layout *weight, const layout *y, dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t operation;
    const dnnl_status_t status = dnnl_matmul_desc_init(&operation, x, weight, NULL, y);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(out, &operation, attr, engine, NULL);
}
#endif

void sp_dnnl_gemm(const sp_gemm *size, bool a_transposed, bool b_transposed, float *y, size_t ld_y,
                  const float *a, size_t ld_a, const float *b, size_t ld_b) {
    const dnnl_status_t status =
        dnnl_sgemm(a_transposed ? 'T' : 'N', b_transposed ? 'T' : 'N', (dnnl_dim_t)size->m,
                   (dnnl_dim_t)size->n, (dnnl_dim_t)size->k, size->alpha, a, (dnnl_dim_t)ld_a, b,
                   (dnnl_dim_t)ld_b, size->beta, y, (dnnl_dim_t)ld_y);
    assert(status == dnnl_success); /* it refuses wrong shapes only */
    (void)status;
}

/* Below it oneDNN's own kernel is a plain loop. */
bool sp_dnnl_computes_f32(void) { return sp_cpu_may_use(SP_ISA_AVX2); }

bool sp_dnnl_computes_int8(void) { return sp_cpu_may_use(SP_ISA_AVX512_VNNI); }

void sp_dnnl_gemm_u8s8(int32_t *y, size_t ld_y, const uint8_t *x, const int8_t *weight, size_t m,
                       size_t n, size_t k) {
    const int32_t no_offset = 0;
    const dnnl_dim_t length = (dnnl_dim_t)k;
    const dnnl_status_t status =
        dnnl_gemm_u8s8s32('N', 'T', 'F', (dnnl_dim_t)m, (dnnl_dim_t)n, length, 1, x, length, 0,
                          weight, length, 0, 0, y, (dnnl_dim_t)ld_y, &no_offset);
    assert(status == dnnl_success); /* it refuses wrong shapes only */
    (void)status;
}

bool sp_dnnl_computes_bf16(void) { return sp_cpu_may_use(SP_ISA_AVX512_BF16); }

/* One product, of any number of rows. That number is left open until execution: the kernel for it
   (gemm:jit) is as fast as those for a fixed one and is made once. */
typedef struct product {
    dnnl_primitive_t primitive;
    size_t n_x, n_y; /* columns of its input and output */
} product;

struct sp_dnnl_matmul {
    dnnl_engine_t engine;
    layout weight_forward, weight_backward;        /* [n_in, n_out] and [n_out, n_in] */
    dnnl_memory_t memory_forward, memory_backward; /* both over the caller's weight */
    product forward, backward, backward_add;
};

static dnnl_status_t make_attr(dnnl_primitive_attr_t *attr, bool adds) {
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(attr);
    if (status == dnnl_success && adds) {
        status = dnnl_post_ops_create(&ops);
        if (status == dnnl_success) status = append_sum(ops);
        if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*attr, ops);
        dnnl_post_ops_destroy(ops);
    }
    return status;
}

static dnnl_status_t make_product(product *out, dnnl_engine_t engine, const layout *weight,
                                  size_t n_x, size_t n_y, bool adds) {
    const dnnl_dim_t x_columns = (dnnl_dim_t)n_x, y_columns = (dnnl_dim_t)n_y;
    layout x, y;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t description = NULL;
    dnnl_status_t status =
        make_layout(&x, DNNL_RUNTIME_DIM_VAL, x_columns, dnnl_bf16, x_columns, 1);
    if (status != dnnl_success) return status;
    status = make_layout(&y, DNNL_RUNTIME_DIM_VAL, y_columns, dnnl_f32, y_columns, 1);
    if (status != dnnl_success) goto free_x;
    status = make_attr(&attr, adds);
    if (status == dnnl_success) status = describe(&description, engine, &x, weight, &y, attr);
    if (status == dnnl_success) status = dnnl_primitive_create(&out->primitive, description);
    out->n_x = n_x;
    out->n_y = n_y;
    dnnl_primitive_desc_destroy(description);
    dnnl_primitive_attr_destroy(attr);
    free_layout(&y);
free_x:
    free_layout(&x);
    return status;
}

static dnnl_status_t make_matmul(sp_dnnl_matmul *matmul, const uint16_t *weight, size_t n_out,
                                 size_t n_in) {
    const dnnl_dim_t out = (dnnl_dim_t)n_out, in = (dnnl_dim_t)n_in;
    void *data = (void *)weight; /* only read; the library knows no const */
    dnnl_status_t status = dnnl_engine_create(&matmul->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = make_layout(&matmul->weight_forward, in, out, dnnl_bf16, 1, in);
    if (status == dnnl_success)
        status = make_layout(&matmul->weight_backward, out, in, dnnl_bf16, in, 1);
    if (status == dnnl_success)
        status = dnnl_memory_create(&matmul->memory_forward, layout_of(&matmul->weight_forward),
                                    matmul->engine, data);
    if (status == dnnl_success)
        status = dnnl_memory_create(&matmul->memory_backward, layout_of(&matmul->weight_backward),
                                    matmul->engine, data);
    if (status == dnnl_success)
        status = make_product(&matmul->forward, matmul->engine, &matmul->weight_forward, n_in,
                              n_out, false);
    if (status == dnnl_success)
        status = make_product(&matmul->backward, matmul->engine, &matmul->weight_backward, n_out,
                              n_in, false);
    if (status == dnnl_success)
        status = make_product(&matmul->backward_add, matmul->engine, &matmul->weight_backward,
                              n_out, n_in, true);
    return status;
}

sp_status sp_dnnl_matmul_create(sp_dnnl_matmul **matmul, const uint16_t *weight, size_t n_out,
                                size_t n_in) {
    void *self = NULL;
    SP_TRY(sp_alloc(&self, sizeof(sp_dnnl_matmul), "a oneDNN product"));
    const dnnl_status_t status = make_matmul(self, weight, n_out, n_in);
    if (status != dnnl_success) {
        sp_dnnl_matmul_destroy(self);
        return sp_fail(SP_FAILURE, "oneDNN makes no bf16 product of %zu x %zu: status %d", n_out,
                       n_in, (int)status);
    }
    *matmul = self;
    return SP_OK;
}

void sp_dnnl_matmul_destroy(sp_dnnl_matmul *matmul) {
    if (matmul == NULL) return;
    dnnl_primitive_destroy(matmul->backward_add.primitive);
    dnnl_primitive_destroy(matmul->backward.primitive);
    dnnl_primitive_destroy(matmul->forward.primitive);
    dnnl_memory_destroy(matmul->memory_backward);
    dnnl_memory_destroy(matmul->memory_forward);
    free_layout(&matmul->weight_backward);
    free_layout(&matmul->weight_forward);
    dnnl_engine_destroy(matmul->engine);
    free(matmul);
}

static dnnl_status_t wrap_rows(dnnl_memory_t *out, dnnl_engine_t engine, dnnl_data_type_t type,
                               size_t n_rows, size_t n_columns, void *data) {
    layout rows;
    const dnnl_dim_t columns = (dnnl_dim_t)n_columns;
    dnnl_status_t status = make_layout(&rows, (dnnl_dim_t)n_rows, columns, type, columns, 1);
    if (status != dnnl_success) return status;
    status = dnnl_memory_create(out, layout_of(&rows), engine, data);
    free_layout(&rows);
    return status;
}

/* The handles made here are a few words each; data stays where it is. A stream belongs to one
   thread at a time, so each call has its own and layers can be shared. */
static void execute(const product *op, dnnl_engine_t engine, dnnl_memory_t weight, float *y,
                    const uint16_t *x, size_t n_rows) {
    void *input = (void *)x; /* only read */
    dnnl_memory_t x_memory = NULL, y_memory = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_status_t status = wrap_rows(&x_memory, engine, dnnl_bf16, n_rows, op->n_x, input);
    if (status == dnnl_success) status = wrap_rows(&y_memory, engine, dnnl_f32, n_rows, op->n_y, y);
    if (status == dnnl_success)
        status = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, x_memory}, {DNNL_ARG_WEIGHTS, weight}, {DNNL_ARG_DST, y_memory}};
    if (status == dnnl_success)
        status = dnnl_primitive_execute(op->primitive, stream, 3, arguments);
    if (status == dnnl_success) status = dnnl_stream_wait(stream);
    assert(status == dnnl_success); /* shapes are ours, and checked when it was made */
    dnnl_stream_destroy(stream);
    dnnl_memory_destroy(y_memory);
    dnnl_memory_destroy(x_memory);
}

void sp_dnnl_matmul_forward(const sp_dnnl_matmul *matmul, float *y, const uint16_t *x,
                            size_t n_rows) {
    if (n_rows > 0) execute(&matmul->forward, matmul->engine, matmul->memory_forward, y, x, n_rows);
}

void sp_dnnl_matmul_backward(const sp_dnnl_matmul *matmul, float *dx, float beta,
                             const uint16_t *dy, size_t n_rows) {
    assert(beta == 0 || beta == 1);
    const product *op = beta == 0 ? &matmul->backward : &matmul->backward_add;
    if (n_rows > 0) execute(op, matmul->engine, matmul->memory_backward, dx, dy, n_rows);
}

static const char *kernel_name(const product *op) {
    const_dnnl_primitive_desc_t description = NULL;
    const char *name = NULL;
    dnnl_status_t status = dnnl_primitive_get_primitive_desc(op->primitive, &description);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_query(description, dnnl_query_impl_info_str, 0, (void *)&name);
    assert(status == dnnl_success); /* every primitive has a name */
    return name;
}

void sp_dnnl_matmul_kernel_names(const sp_dnnl_matmul *matmul,
                                 const char *names[SP_DNNL_N_PRODUCTS]) {
    names[0] = kernel_name(&matmul->forward);
    names[1] = kernel_name(&matmul->backward);
    names[2] = kernel_name(&matmul->backward_add);
}
