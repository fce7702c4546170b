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
  // The values must be what the model saw in training: input_values in README.md, "Where it comes from", tells how they
  // follow from what the data set stores. For a bare .tflite it is not there: ask whoever trained the model.
  (void)input;
  return false;
}

}  // namespace kd
