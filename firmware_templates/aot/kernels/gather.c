/* Table-driven copy of int8.
 *
 * Cost: 1 instruction a byte, and about 20 for each run.
 * Overlap: none. The output must not share memory with the input.
 */
#include "gather.h"

#include "bytes.h"

void kd_gather(const kd_gather_args *args, const int8_t *input, int8_t *output) {
  const int32_t run = args->run;
  for (int32_t p = 0; p < args->planes; p++) {
    for (int32_t r = 0; r < args->row_count; r++) {
      const int8_t *row = input + args->rows[r];
      for (int32_t c = 0; c < args->column_count; c++) {
        kd_bytes_move(output, row + args->columns[c], run);
        output += run;
      }
    }
    input += args->plane;
  }
}
