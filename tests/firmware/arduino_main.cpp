#include "Arduino.h"

FakeSerial Serial;

int main() {
  setup();
  loop();
#ifdef ARDUINO_ARCH_ESP32
  if (Serial.rx_buffer != 4096 || getArduinoLoopTaskStackSize() != 16384) {
    return 1;
  }
#else
  if (Serial.rx_buffer != 256) {
    return 1;
  }
#endif
  return Serial.baud == 115200 ? 0 : 1;
}
