/* Sets every byte of a tensor to one value: what padding is made of. */
#ifndef KD_FILL_H
#define KD_FILL_H

#include <stdint.h>

typedef struct {
  int32_t value; /* -128 to 127 */
  int32_t count; /* bytes */
} kd_fill_args;

void kd_fill(const kd_fill_args *args, int8_t *output);

#endif /* KD_FILL_H */
