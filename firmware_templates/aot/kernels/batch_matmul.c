/* Products of int8 matrices, portable: y becomes the weights of a dense layer, its columns behind each other, and the
 * sums are those of a dense layer. With zero points zx and zy a sum of (x - zx)(y - zy) is one of x y, less zx times
 * the column's sum, less zy times the row's, plus depth zx zy.
 *
 * Cost: that of fully_connected for each MAC and output, and on Armv7-M about 4 instructions for each value of x (9
 * where it lies by columns), 11 for each of y (13 where it is copied), once for all matrices of x that follow with the
 * same y.
 * Overlap: rows are written in ascending order, each while its row of x is read, so it must end where that begins:
 * address(x) - address(output) >= (k + 1) * columns - k * depth for each k below the number of rows of all matrices.
 * All of a matrix y is read before, where it is copied: what is written of the first k must end where the next begins,
 * address(y) - address(output) >= k * (rows - depth) * columns for each k below the number of matrices.
 */
#include "batch_matmul.h"

#include <stddef.h>

#include "broadcast.h"
#include "sums.h"

typedef struct {
  const kd_batch_matmul_args *args;
  int32_t *bias;        /* of each column: depth zx zy - zx times its sum */
  int8_t *weights;      /* y's columns */
  int8_t *row;          /* of x */
  const int8_t **ready; /* the y for which bias and weights are */
} kd_batch_matmul_state;

/* Makes bias and, unless they lie so already, the weights. */
static void kd_batch_matmul_prepare(const kd_batch_matmul_state *state, const int8_t *y) {
  const kd_batch_matmul_args *args = state->args;
  const int32_t depth = args->depth, columns = args->columns, is_columns = args->y_is_columns;
  const int32_t step = is_columns != 0 ? 1 : columns;
  int8_t *to = state->weights;
  for (int32_t c = 0; c < columns; c++) {
    const int8_t *from = is_columns != 0 ? y + c * depth : y + c;
    uint32_t sum = 0;
    for (int32_t k = 0; k < depth; k++) {
      const int32_t value = *from;
      sum += (uint32_t)(args->zero_point_y - value);
      if (is_columns == 0) {
        *to++ = (int8_t)value;
      }
      from += step;
    }
    state->bias[c] = kd_signed(sum * (uint32_t)args->zero_point_x);
  }
}

/* One matrix. */
static void kd_batch_matmul_one(const void *arguments, const int8_t *x, const int8_t *y, int8_t *output) {
  const kd_batch_matmul_state *state = arguments;
  const kd_batch_matmul_args *args = state->args;
  const int32_t depth = args->depth, rows = args->rows, columns = args->columns;
  const int8_t shift = (int8_t)args->shift;
  if (*state->ready != y) {
    kd_batch_matmul_prepare(state, y);
    *state->ready = y;
  }
  const int8_t *weights = args->y_is_columns != 0 ? y : state->weights;
  for (int32_t i = 0; i < rows; i++) {
    const int8_t *row = x + i * depth;
    if (args->x_is_columns != 0) {
      for (int32_t k = 0; k < depth; k++) {
        state->row[k] = x[k * rows + i];
      }
      row = state->row;
    }
    uint32_t start = 0;
    if (args->zero_point_y != 0) {
      for (int32_t k = 0; k < depth; k++) {
        start -= (uint32_t)(args->zero_point_y * row[k]);
      }
    }
    kd_sums(row, weights, depth, columns, start, state->bias, &args->multiplier, &shift, 0, args->zero_point, output);
    output += columns;
  }
}

void kd_batch_matmul(const kd_batch_matmul_args *args, const int8_t *x, const int8_t *y, int8_t *output,
                     void *scratch) {
  const int8_t *ready = NULL;
  kd_batch_matmul_state state;
  state.args = args;
  state.bias = scratch;
  state.weights = (int8_t *)(state.bias + args->columns);
  state.row = state.weights + (args->y_is_columns != 0 ? 0 : args->columns * args->depth);
  state.ready = &ready;
  kd_broadcast(kd_batch_matmul_one, &state, args->rows * args->columns, args->loops, args->loop, x, y, output);
}
