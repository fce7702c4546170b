/* Table-driven copy of int8.
 *
 * Cost: what memcpy takes (1 instruction a byte or less), and about 20 for each run.
 * Overlap: none. The output must not share memory with the input.
 */
#include "gather.h"

#include <string.h>

#include "fixedpoint.h"

void kd_gather(const kd_gather_args *args, const int8_t *input, int8_t *output) {
  const size_t run = (size_t)args->run;
  for (int32_t p = 0; p < args->planes; p++) {
    for (int32_t r = 0; r < args->row_count; r++) {
      const int8_t *row = input + args->rows[r];
      for (int32_t c = 0; c < args->column_count; c++) {
        memcpy(output, row + args->columns[c], run);
        output += run;
      }
    }
    input += args->plane;
  }
}
