/* Functions of one int8 value, from a table: activations that stand alone, and requantization. */
#ifndef KD_LOOKUP_H
#define KD_LOOKUP_H

#include <stdint.h>

typedef struct {
  int32_t count;       /* values, 1 or more */
  const int8_t *table; /* 256 outputs: for the inputs 0 to 127, then for -128 to -1 */
} kd_lookup_args;

void kd_lookup(const kd_lookup_args *args, const int8_t *input, int8_t *output);

#endif /* KD_LOOKUP_H */
