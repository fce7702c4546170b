// As much of an Arduino core as main.cpp uses, on standard input and output. Like mbed's, it defines abs as a macro.
#ifndef KD_TEST_ARDUINO_H_
#define KD_TEST_ARDUINO_H_

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define abs(x) ((x) > 0 ? (x) : -(x))
#define SET_LOOP_TASK_STACK_SIZE(size) \
  size_t getArduinoLoopTaskStackSize() { return size; }

size_t getArduinoLoopTaskStackSize();
void setup();
void loop();
inline unsigned long micros() { return 0; }
inline unsigned long millis() { return 0; }
inline void delay(unsigned long) {}

struct FakeSerial {
  unsigned long baud = 0;
  int next = -2;
  size_t rx_buffer = 256;
  void setRxBufferSize(size_t size) { rx_buffer = baud == 0 ? size : 0; }  // only before begin, as on the ESP32
  void begin(unsigned long rate) { baud = rate; }
  explicit operator bool() const { return baud != 0; }
  int available() {
    if (next == -2) {
      next = getchar();
    }
    return next == EOF ? 0 : 1;
  }
  int read() {
    const int c = next;
    next = -2;
    return c;
  }
  size_t write(const uint8_t* data, size_t size) { return fwrite(data, 1, size, stdout); }
};
extern FakeSerial Serial;

#endif  // KD_TEST_ARDUINO_H_
