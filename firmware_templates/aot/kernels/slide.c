/* Moves rows that are still to be read to the front of their memory (kd_embedded/streaming.py).
 *
 * Cost: 1 instruction a byte.
 * Overlap: any, downwards.
 */
#include "slide.h"

#include "bytes.h"

void kd_slide(const kd_slide_args *args, const int8_t *input, int8_t *output) {
  kd_bytes_move(output, input, args->bytes);
}
