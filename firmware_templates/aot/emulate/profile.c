/* Called by a model compiled with KD_PROFILE before each kernel, with the index of its op, and at the end with -1.
 *
 * Writes the indices to the file "ops"; with KD_EMULATE_DUMP also the whole arena, each time, to the file "arenas".
 */
#include <stdint.h>

#include "io.h"
#include "kd_emulate_model.h"

void kd_profile(int32_t op);

void kd_profile(int32_t op) {
  static int ops = -1;
#ifdef KD_EMULATE_DUMP
  static int arenas = -1;
#endif
  if (ops < 0) {
    ops = kd_io_open_to_write("ops");
  }
  (void)kd_io_write(ops, &op, sizeof op);
#ifdef KD_EMULATE_DUMP
  if (arenas < 0) {
    arenas = kd_io_open_to_write("arenas");
  }
  (void)kd_io_write(arenas, kd_engine_arena(), KD_ENGINE_ARENA_BYTES);
#endif
}
