#include "user_input.h"

#include "model.h"
#include "quantization.h"

namespace kd {

bool user_input(int8_t* input) {
  // Read your sensor here and quantize each value, for example:
  //
  //   for (size_t i = 0; i < kInputBytes; ++i) {
  //     input[i] = quantize(read_my_sensor(i), kInputScale, kInputZeroPoint);
  //   }
  //   return true;
  //
  // The values must be scaled exactly as in training.
  (void)input;
  return false;
}

}  // namespace kd
