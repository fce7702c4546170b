/* Holds int8 values in a range: the activation of a layer whose kernel saturates to int8 only. */
#ifndef KD_CLIP_H
#define KD_CLIP_H

#include <stdint.h>

typedef struct {
  int32_t low;
  int32_t high;
  int32_t count;
} kd_clip_args;

/* output[i] = input[i] held in low to high, for `count` values; both may be the same memory. */
void kd_clip(const kd_clip_args *args, const int8_t *input, int8_t *output);

#endif /* KD_CLIP_H */
