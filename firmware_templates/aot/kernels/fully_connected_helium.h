/* FULLY_CONNECTED on int8 with Helium. */
#ifndef KD_FULLY_CONNECTED_HELIUM_H
#define KD_FULLY_CONNECTED_HELIUM_H

#include <stdint.h>

typedef struct {
  const int8_t *weights;      /* [outputs][depth] */
  const int32_t *bias;        /* [outputs], then 0 to a multiple of 4; the input's zero point is folded in */
  const int32_t *multipliers; /* [outputs], likewise */
  const int8_t *shifts;       /* [outputs], likewise; -31 to 0 */
  int32_t rows;               /* the batch: input [rows][depth], output [rows][outputs] */
  int32_t depth;
  int32_t outputs;
  int32_t output_zero_point;
  int32_t low; /* range of the output */
  int32_t high;
} kd_fully_connected_helium_args;

void kd_fully_connected_helium(const kd_fully_connected_helium_args *args, const int8_t *input, int8_t *output);

#endif /* KD_FULLY_CONNECTED_HELIUM_H */
