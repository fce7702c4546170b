/* Softmax of int8 rows. */
#ifndef KD_SOFTMAX_H
#define KD_SOFTMAX_H

#include <stdint.h>

typedef struct {
  int32_t rows;
  int32_t depth;      /* values of a row, 1 to 4095 */
  int32_t multiplier; /* from differences to exponents: see exponential.h */
  int32_t shift;
  int32_t lowest;
} kd_softmax_args;

/* Output scale 1/256, zero point -128. */
void kd_softmax(const kd_softmax_args *args, const int8_t *input, int8_t *output);

#endif /* KD_SOFTMAX_H */
