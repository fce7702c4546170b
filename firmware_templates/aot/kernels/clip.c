/* Holds int8 values in a range.
 *
 * Cost: about 8 instructions a byte.
 * Overlap: element by element, so output and input may be the same memory.
 */
#include "clip.h"

#include "fixedpoint.h"

void kd_clip(const kd_clip_args *args, const int8_t *input, int8_t *output) {
  const int32_t low = args->low, high = args->high, count = args->count; /* which the output cannot overwrite */
  for (int32_t i = 0; i < count; i++) {
    output[i] = (int8_t)kd_clamp(input[i], low, high);
  }
}
