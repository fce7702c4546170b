// Real numbers to int8 and back: real = scale * (q - zero_point). The model's own figures are in model.h.
#ifndef KD_QUANTIZATION_H_
#define KD_QUANTIZATION_H_

#include <math.h>
#include <stdint.h>

namespace kd {

// The nearest int8 (halves away from zero, as TensorFlow Lite's quantize rounds), clamped to [-128, 127].
// Not a number becomes the zero point, which stands for 0.
inline int8_t quantize(float real, float scale, int32_t zero_point) {
  float steps = real / scale;
  if (!(steps == steps)) {
    steps = 0.0f;
  }
  // Beyond 512 steps every zero point saturates; clamping first keeps the conversion to an integer in range.
  steps = steps < -512.0f ? -512.0f : (steps > 512.0f ? 512.0f : steps);
  const long q = lroundf(steps) + zero_point;
  return static_cast<int8_t>(q < -128 ? -128 : (q > 127 ? 127 : q));
}

inline float dequantize(int8_t q, float scale, int32_t zero_point) {
  return scale * static_cast<float>(static_cast<int32_t>(q) - zero_point);
}

}  // namespace kd

#endif  // KD_QUANTIZATION_H_
