// What computes the model: one input tensor, one output tensor, both int8. Nothing here allocates memory.
#ifndef KD_ENGINE_H_
#define KD_ENGINE_H_

#include <stddef.h>
#include <stdint.h>

namespace kd {

// Prepares the model for its first run. Returns nullptr, or the reason why it cannot run; call it once.
const char* engine_begin();

// The input tensor, kInputBytes long, owned by the engine. A run may overwrite it: fill it anew before each one.
int8_t* engine_input();

// Runs the model on the input tensor. Returns nullptr, or the reason why it failed.
const char* engine_invoke();

// The output tensor, kOutputBytes long, owned by the engine, valid until the input is written again.
const int8_t* engine_output();

// The memory set aside for the tensors, and how much of it the library says it uses.
// The second figure leaves out what is needed only while the model is being prepared: do not size an arena by it.
size_t engine_arena_bytes();
size_t engine_arena_used_bytes();

// The library's name and version.
const char* engine_name();

}  // namespace kd

#endif  // KD_ENGINE_H_
