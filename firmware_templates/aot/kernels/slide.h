/* Moves bytes to a lower address; the two regions may overlap. */
#ifndef KD_SLIDE_H
#define KD_SLIDE_H

#include <stdint.h>

typedef struct {
  int32_t bytes;
} kd_slide_args;

/* output <= input. */
void kd_slide(const kd_slide_args *args, const int8_t *input, int8_t *output);

#endif /* KD_SLIDE_H */
