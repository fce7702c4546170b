/* Picks rows and columns of an image by tables: GATHER along any axis, nearest-neighbour resizing. */
#ifndef KD_GATHER_H
#define KD_GATHER_H

#include <stdint.h>

/* For each of `planes` images of `plane` bytes: output row r, column c is the run at rows[r] + columns[c]. */
typedef struct {
  int32_t planes;
  int32_t plane; /* bytes of one image of the input */
  int32_t row_count;
  int32_t column_count;
  int32_t run;           /* bytes picked at a time, 1 or more */
  const int32_t *rows;   /* row_count offsets in bytes within an image */
  const int32_t *columns; /* column_count offsets in bytes within a row */
} kd_gather_args;

void kd_gather(const kd_gather_args *args, const int8_t *input, int8_t *output);

#endif /* KD_GATHER_H */
