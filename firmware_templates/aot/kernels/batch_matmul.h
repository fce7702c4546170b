/* Products of int8 matrices that are both computed: BATCH_MATMUL. */
#ifndef KD_BATCH_MATMUL_H
#define KD_BATCH_MATMUL_H

#include <stdint.h>

/* output = x y for each pair of matrices, x [rows][depth], y [depth][columns]. */
typedef struct {
  int32_t rows, depth, columns;
  int32_t x_is_columns; /* 1: x lies as [depth][rows] */
  int32_t y_is_columns; /* 1: y lies as [columns][depth] */
  int32_t loops;        /* 1 to 3 */
  const int32_t *loop;  /* rounds, step in x, step in y of each, the innermost first: from matrix to matrix */
  int32_t zero_point_x;
  int32_t zero_point_y;
  int32_t zero_point;
  int32_t multiplier;
  int32_t shift; /* positive is to the left */
} kd_batch_matmul_args;

/* scratch: int32 [columns]; then, unless y_is_columns, int8 [columns][depth]; then, if x_is_columns, int8 [depth]. */
void kd_batch_matmul(const kd_batch_matmul_args *args, const int8_t *x, const int8_t *y, int8_t *output,
                     void *scratch);

#endif /* KD_BATCH_MATMUL_H */
