/* Logarithm of the softmax of int8 rows. */
#ifndef KD_LOG_SOFTMAX_H
#define KD_LOG_SOFTMAX_H

#include <stdint.h>

typedef struct {
  int32_t rows;
  int32_t depth;      /* values of a row, 1 to 4095 */
  int32_t multiplier; /* from differences to exponents: see exponential.h */
  int32_t shift;
  int32_t lowest;
  int32_t reverse_multiplier; /* from exponents to differences */
  int32_t reverse_shift;      /* to the right */
} kd_log_softmax_args;

/* Output scale 1/16, zero point 127. */
void kd_log_softmax(const kd_log_softmax_args *args, const int8_t *input, int8_t *output);

#endif /* KD_LOG_SOFTMAX_H */
