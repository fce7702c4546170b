/* Runs every model of a batch on its inputs. batch.h, written for each batch, has their table.
 *
 * "inputs": an int32, the first model to run, and then the inputs of each model from there on. "outputs": all outputs in
 * the same order. The arena is filled with a new pattern before each run, so that nothing read before it is written
 * goes unseen.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"

typedef struct {
  void (*invoke_in)(int8_t *arena);
  int32_t arena_bytes, input_offset, input_bytes, output_offset, output_bytes, runs;
} kd_batch_model;

#include "batch.h"

int main(void) {
  const int inputs = kd_io_open_to_read("inputs");
  const int outputs = kd_io_open_to_write("outputs");
  int32_t first = 0;
  uint32_t pattern = 1;
  if (!kd_io_read(inputs, &first, sizeof first)) {
    return 1;
  }
  for (int32_t m = first; m < MODELS; m++) {
    const kd_batch_model *model = &models[m];
    int8_t *arena = malloc((size_t)model->arena_bytes); /* of its very size, for AddressSanitizer */
    if (arena == NULL) {
      return 1;
    }
    for (int32_t run = 0; run < model->runs; run++) {
      pattern = pattern * 1664525u + 1013904223u;
      memset(arena, (int)(pattern >> 24), (size_t)model->arena_bytes);
      if (!kd_io_read(inputs, arena + model->input_offset, (size_t)model->input_bytes)) {
        return 1;
      }
      model->invoke_in(arena);
      if (!kd_io_write(outputs, arena + model->output_offset, (size_t)model->output_bytes)) {
        return 1;
      }
    }
    free(arena);
#ifndef KD_EMULATED
    fflush(NULL); /* what is done stands in the file, should the next one die */
#endif
  }
  kd_io_close(outputs);
  return 0;
}
