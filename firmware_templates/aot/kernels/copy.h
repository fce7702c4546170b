/* Moves runs of bytes from a strided place to another: slices, joins, transposes, repeats, and what is made of them. */
#ifndef KD_COPY_H
#define KD_COPY_H

#include <stdint.h>

/* Five nested loops around a contiguous run. A step may be negative (reversed) or zero (repeated), in the input only.
 * Loops that are not needed stand first and have count 1. */
typedef struct {
  int32_t run;          /* bytes moved at a time, 1 or more */
  int32_t input_start;  /* index of the first byte in the input */
  int32_t output_start; /* and in the output */
  int32_t count0;       /* loops, the outermost first; each 1 or more */
  int32_t count1;
  int32_t count2;
  int32_t count3;
  int32_t count4;
  int32_t input_step0; /* bytes from one round of a loop to the next */
  int32_t input_step1;
  int32_t input_step2;
  int32_t input_step3;
  int32_t input_step4;
  int32_t output_step0;
  int32_t output_step1;
  int32_t output_step2;
  int32_t output_step3;
  int32_t output_step4;
} kd_copy_args;

void kd_copy(const kd_copy_args *args, const int8_t *input, int8_t *output);

#endif /* KD_COPY_H */
