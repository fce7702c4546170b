// Where your sensor meets the model. You write the function in user_input.cpp, which regenerating never overwrites.
#ifndef KD_USER_INPUT_H_
#define KD_USER_INPUT_H_

#include <stdint.h>

namespace kd {

// Fills input[0] to input[kInputBytes - 1] with one sample, in the order of the input's shape, the last index fastest.
// Returns false where there is nothing to give. The command `sample` calls it, then runs the model.
bool user_input(int8_t* input);

}  // namespace kd

#endif  // KD_USER_INPUT_H_
