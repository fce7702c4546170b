// The serial protocol: one command a line, answered in lines of plain text. No Arduino, no TensorFlow, no heap.
//
//   help            what can be typed
//   info            the model, its input and output, the memory it uses, where it comes from
//   infer BYTES     runs the model on one input: two hex digits a byte (int8, so ff is -1), in the order of the input's
//                   shape; spaces and commas between bytes are ignored. All of the input on one line.
//   sample          runs the model on what user_input() in user_input.cpp gives
//   selftest        runs the golden vectors that are compiled in and compares every output byte
//
// Lines may end in LF, CR or both, and may be as long as the input needs: characters go straight into the input
// tensor, nothing is stored. Wait for the answer before the next command: boards buffer few characters. A sender on USB
// can even outrun a board within one long line; the line is then answered as too short: send it in pieces with pauses.
//
// Answers, each with its last line:
//   help: TEXT ...      then   help: end
//   info: KEY VALUE ... then   info: end
//   infer: us=TIME index=ARGMAX label="NAME" output=Q,Q,...      (sample: ... likewise; no label where there are none)
//   selftest N: pass us=TIME   or   selftest N: FAIL ...         then   selftest: PASS 8/8   or   selftest: FAIL 7/8
//   error: WHAT         in place of any answer
// After a start: "ready: ..." or "error: engine: ...". Times are microseconds, outputs are int8 in decimal.
// In a label, quotes, backslashes and control bytes are written \xNN; all else is UTF-8 as it is.
// A line that begins otherwise was printed by a library: ignore it.
#ifndef KD_PROTOCOL_H_
#define KD_PROTOCOL_H_

#include <stddef.h>
#include <stdint.h>

namespace kd {

// What the protocol needs of the board.
struct Port {
  void (*write)(const char* text, size_t size);
  uint32_t (*micros)();  // a running clock; it may wrap around
};

class Protocol {
 public:
  explicit Protocol(const Port& port);

  // Starts the engine and says how that went.
  void begin();

  // Takes one received character; answers when a line is whole.
  void feed(char c);

 private:
  enum class State : uint8_t { kCommand, kArgument, kInput };
  enum class InputError : uint8_t { kNone, kNotHex, kHalfByte, kTooLong };
  static const size_t kWordSize = 16;  // the longest command, its terminator and some to show of an unknown one
  static const size_t kOutSize = 64;

  void end_of_line();
  void take_word(char c);
  void take_input(char c);
  bool word_is(const char* word) const;

  void help();
  void info();
  void infer();
  void sample();
  void selftest();
  bool selftest_passes(size_t vector);
  void run_and_answer(const char* command);
  void unknown_command();
  bool engine_ready();
  void input_error();

  void put(char c);
  void text(const char* text);
  void number(uint32_t value);
  void signed_number(int32_t value);
  void quoted(const char* text, size_t size);
  void line(const char* text);
  void end_line();
  void info_text(const char* key, const char* value);
  void info_number(const char* key, size_t value);
  void flush();

  Port port_;
  const char* engine_error_;
  State state_;
  char word_[kWordSize];
  size_t word_size_;
  bool word_cut_;
  bool has_argument_;
  InputError input_error_;
  char input_error_char_;
  size_t input_bytes_;
  bool half_byte_;
  uint8_t high_digit_;
  char out_[kOutSize];
  size_t out_size_;
};

}  // namespace kd

#endif  // KD_PROTOCOL_H_
