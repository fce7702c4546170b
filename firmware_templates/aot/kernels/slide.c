/* Moves rows that are still to be read to the front of their memory (kd_embedded/streaming.py).
 *
 * Ascending, 16 bytes at a time; each 16 are read before they are written, so that any overlap downwards is safe. About
 * 0.9 instructions a byte on a Cortex-M4, where the memmove of a small C library takes 4.
 */
#include "slide.h"

#include <string.h>

void kd_slide(const kd_slide_args *args, const int8_t *input, int8_t *output) {
  int32_t left = args->bytes;
  for (; left >= 16; left -= 16) {
    uint32_t a, b, c, d;
    memcpy(&a, input, 4);
    memcpy(&b, input + 4, 4);
    memcpy(&c, input + 8, 4);
    memcpy(&d, input + 12, 4);
    memcpy(output, &a, 4);
    memcpy(output + 4, &b, 4);
    memcpy(output + 8, &c, 4);
    memcpy(output + 12, &d, 4);
    input += 16;
    output += 16;
  }
  for (; left > 0; left--) {
    *output++ = *input++;
  }
}
