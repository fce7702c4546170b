/* Dense layer on rows, portable.
 *
 * Cost: for each MAC 3 instructions on Armv7-M, 5 on Cortex-M0, 4.3 on RV32; for each output about 45 (Cortex-M0: 95).
 * Overlap: rows go from the last to the first, so the output may lie over the input if its rows end behind those still
 * to be read: end(output) - end(input) >= k * channels - (k - 1) * depth for each k from 1 to `rows`.
 */
#include "fully_connected.h"

#include "sums.h"

void kd_fully_connected(const kd_fully_connected_args *args, const int8_t *input, int8_t *output) {
  const int32_t depth = args->depth;
  for (int32_t row = args->rows - 1; row >= 0; row--) {
    const int8_t *x = input + row * depth;
    uint32_t start = 0;
    if (args->weights_zero_point != 0) {
      for (int32_t i = 0; i < depth; i++) {
        start -= (uint32_t)(args->weights_zero_point * x[i]);
      }
    }
    kd_sums(x, args->weights, depth, args->channels, start, args->bias, args->multipliers, args->shifts,
            args->per_channel, args->output_zero_point, output + row * args->channels);
  }
}
