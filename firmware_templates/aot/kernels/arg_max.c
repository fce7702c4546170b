/* Index of the largest or smallest int8 along an axis.
 *
 * Cost: 8 instructions for each value of the input, about 20 for each of the output.
 * Overlap: an index is written when all of its values have been read, in ascending order; the generator works out how
 * far below the input the output must begin.
 */
#include "arg_max.h"

#include <string.h>

void kd_arg_max(const kd_arg_max_args *args, const int8_t *input, int8_t *output) {
  const int32_t inverted = args->inverted, inner = args->inner;
  for (int32_t o = 0; o < args->outer; o++) {
    for (int32_t i = 0; i < inner; i++) {
      const int8_t *from = input + i;
      int32_t most = *from ^ inverted, index = 0;
      for (int32_t at = 1; at < args->depth; at++) {
        from += inner;
        const int32_t x = *from ^ inverted;
        if (x > most) {
          most = x;
          index = at;
        }
      }
      memcpy(output, &index, sizeof index);
      output += sizeof index;
    }
    input += args->depth * inner;
  }
}
