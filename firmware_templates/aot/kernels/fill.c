/* Fills an int8 tensor.
 *
 * Cost: 1 instruction a byte or less.
 * Overlap: it reads nothing.
 */
#include "fill.h"

#include "bytes.h"

void kd_fill(const kd_fill_args *args, int8_t *output) { kd_bytes_fill(output, args->value, args->count); }
