/* The linear layer as three matrix products (gemm.h). With y = x w^T, x (rows, in), w (out, in), y (rows,
 * out), the chain rule gives
 *
 *     dx[n, i] = sum over o of dy[n, o] w[o, i]     that is, dy w
 *     dw[o, i] = sum over n of dy[n, o] x[n, i]     that is, dy^T x
 *
 * and the bias, which is added to every row, collects dy over the rows. The products are described by
 * functions of their own, because experts.c runs them on a single thread. */
#include "recal/ops/linear.h"

#include "recal/ops/elementwise.h"

/* m = rows, n = out, k = in: B is w, stored (out, in), so it is transposed. */
Gemm linear_product(float *y, const float *x, const float *w, size_t rows, size_t in, size_t out) {
    return (Gemm){.b_transposed = true,
                  .m = rows,
                  .n = out,
                  .k = in,
                  .alpha = 1,
                  .a = x,
                  .lda = in,
                  .b = w,
                  .ldb = in,
                  .c = y,
                  .ldc = out};
}

/* m = rows, n = in, k = out: w as it is stored. beta decides between overwriting and adding. */
Gemm linear_input_gradient(float *dx, bool add, const float *dy, const float *w, size_t rows, size_t in,
                           size_t out) {
    return (Gemm){.m = rows,
                  .n = in,
                  .k = out,
                  .alpha = 1,
                  .beta = add,
                  .a = dy,
                  .lda = out,
                  .b = w,
                  .ldb = in,
                  .c = dx,
                  .ldc = in};
}

/* m = out, n = in, k = rows: dy is transposed. beta is 1, because gradients of weights are always added
 * to. */
Gemm linear_weight_gradient(float *dw, const float *dy, const float *x, size_t rows, size_t in, size_t out) {
    return (Gemm){.a_transposed = true,
                  .m = out,
                  .n = in,
                  .k = rows,
                  .alpha = 1,
                  .beta = 1,
                  .a = dy,
                  .lda = out,
                  .b = x,
                  .ldb = in,
                  .c = dw,
                  .ldc = in};
}

/* The bias is added afterwards in a second pass over y, which is cheap beside the product. */
void linear_forward(Pool *p, float *y, const float *x, const float *w, const float *bias, size_t rows,
                    size_t in, size_t out) {
    Gemm product = linear_product(y, x, w, rows, in, out);
    gemm(p, &product);
    if (bias) bias_forward(p, y, bias, rows, out);
}

void linear_backward(Pool *p, float *dx, bool add_dx, float *dw, float *dbias, const float *dy,
                     const float *x, const float *w, size_t rows, size_t in, size_t out) {
    if (dbias) bias_backward(p, dbias, dy, rows, out);
    if (dx) {
        Gemm product = linear_input_gradient(dx, add_dx, dy, w, rows, in, out);
        gemm(p, &product);
    }
    if (dw) {
        Gemm product = linear_weight_gradient(dw, dy, x, rows, in, out);
        gemm(p, &product);
    }
}
