/* Bilinear resizing of int8 images by tables of positions and weights. */
#ifndef KD_RESIZE_BILINEAR_H
#define KD_RESIZE_BILINEAR_H

#include <stdint.h>

/* Tables of three values for each output row (and column): byte offset of the lower neighbour, of the upper one, and the
 * upper one's weight in 1/1024; the lower one's is the rest. Weights may leave 0..1024 where both neighbours are one. */
typedef struct {
  int32_t images;
  int32_t image;    /* bytes of one image of the input */
  int32_t channels; /* bytes of a pixel */
  int32_t row_count;
  int32_t column_count;
  const int32_t *rows;    /* [row_count][3] */
  const int32_t *columns; /* [column_count][3] */
} kd_resize_bilinear_args;

void kd_resize_bilinear(const kd_resize_bilinear_args *args, const int8_t *input, int8_t *output);

#endif /* KD_RESIZE_BILINEAR_H */
