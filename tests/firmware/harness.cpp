// Runs the generated protocol on the host: standard input is what the serial port receives, standard output what it sends.
// With the argument `labels` it prints each label's bytes, each followed by a NUL; the clock ticks 100 us at every look.
#include <stdio.h>
#include <string.h>

#include "model.h"
#include "protocol.h"

namespace {

void write_out(const char* text, size_t size) { fwrite(text, 1, size, stdout); }

uint32_t now = 0xffffff9cu;  // 100 before it wraps around

uint32_t tick() {
  now += 100;
  return now;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "labels") == 0) {
    for (size_t i = 0; i < kd::kLabelCount; ++i) {
      fwrite(kd::kLabels[i], 1, strlen(kd::kLabels[i]) + 1, stdout);
    }
    return 0;
  }
  const kd::Port port = {write_out, tick};
  kd::Protocol protocol(port);
  protocol.begin();
  for (int c = getchar(); c != EOF; c = getchar()) {
    protocol.feed(static_cast<char>(c));
  }
  return 0;
}
