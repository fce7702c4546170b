#include "Arduino.h"

FakeSerial Serial;

int main() {
  setup();
  loop();
  return Serial.baud == 115200 ? 0 : 1;
}
