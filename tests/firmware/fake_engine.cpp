// Stands for the engine on the host. A golden input gives its golden output; any other gives its first bytes back.
// The tensors are of exactly their size, so that the address sanitizer sees each byte too many.
// KD_FAKE=begin or invoke makes that call fail, KD_FAKE=wrong makes the last output of golden vector 3 one too large.
#include <stdlib.h>
#include <string.h>

#include <memory>

#include "engine.h"
#include "golden_vectors.h"
#include "model.h"

namespace kd {
namespace {

std::unique_ptr<int8_t[]> input;
std::unique_ptr<int8_t[]> output;

bool fake(const char* what) {
  const char* wanted = getenv("KD_FAKE");
  return wanted != nullptr && strcmp(wanted, what) == 0;
}

}  // namespace

const char* engine_begin() {
  if (fake("begin")) {
    return "begin failed";
  }
  input.reset(new int8_t[kInputBytes]);
  output.reset(new int8_t[kOutputBytes]);
  return nullptr;
}

int8_t* engine_input() { return input.get(); }

const char* engine_invoke() {
  if (fake("invoke")) {
    return "invoke failed";
  }
  for (size_t i = 0; i < kOutputBytes; ++i) {
    output[i] = i < kInputBytes ? input[i] : int8_t(0);
  }
  for (size_t vector = 0; vector < kGoldenCount; ++vector) {
    if (memcmp(input.get(), golden_inputs[vector], kInputBytes) == 0) {
      memcpy(output.get(), golden_outputs[vector], kOutputBytes);
      if (vector == 3 && fake("wrong")) {
        output[kOutputBytes - 1] = static_cast<int8_t>(output[kOutputBytes - 1] + 1);
      }
    }
  }
  memset(input.get(), 0x55, kInputBytes);  // as a real engine may, whose input shares its memory with others
  return nullptr;
}

const int8_t* engine_output() { return output.get(); }
size_t engine_arena_bytes() { return 4096; }
size_t engine_arena_used_bytes() { return 1234; }
const char* engine_name() { return "fake"; }

}  // namespace kd
