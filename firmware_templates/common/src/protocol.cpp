#include "protocol.h"

#include <string.h>

#include "board.h"
#include "engine.h"
#include "golden_vectors.h"
#include "model.h"
#include "user_input.h"

namespace kd {
namespace {

const char kHexDigits[] = "0123456789abcdef";

// The value of a hex digit, or -1.
int hex_value(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  if (c >= 'A' && c <= 'F') {
    return c - 'A' + 10;
  }
  return -1;
}

// The index of the largest output, the first of equals.
size_t argmax(const int8_t* values) {
  size_t best = 0;
  for (size_t i = 1; i < kOutputBytes; ++i) {
    if (values[i] > values[best]) {
      best = i;
    }
  }
  return best;
}

}  // namespace

Protocol::Protocol(const Port& port)
    : port_(port),
      engine_error_("not started"),
      state_(State::kCommand),
      word_(),
      word_size_(0),
      word_cut_(false),
      has_argument_(false),
      input_error_(InputError::kNone),
      input_error_char_('\0'),
      input_bytes_(0),
      half_byte_(false),
      high_digit_(0),
      out_(),
      out_size_(0) {}

void Protocol::begin() {
  engine_error_ = engine_begin();
  if (engine_ready()) {
    text("ready: ");
    text(kModelName);
    text(" on ");
    text(kBoardName);
    line(", type help");
  }
}

// ---- Reading a line, character by character

void Protocol::feed(char c) {
  if (c == '\n' || c == '\r') {
    end_of_line();
    return;
  }
  const bool blank = c == ' ' || c == '\t';
  switch (state_) {
    case State::kCommand:
      if (!blank) {
        take_word(c);
      } else if (word_size_ > 0) {
        state_ = word_is("infer") ? State::kInput : State::kArgument;
      }
      break;
    case State::kArgument:
      has_argument_ = has_argument_ || !blank;
      break;
    case State::kInput:
      take_input(c);
      break;
  }
}

void Protocol::take_word(char c) {
  if (word_size_ + 1 < kWordSize) {
    word_[word_size_++] = c;
  } else {
    word_cut_ = true;
  }
}

bool Protocol::word_is(const char* word) const {
  return !word_cut_ && strlen(word) == word_size_ && memcmp(word, word_, word_size_) == 0;
}

// One character of infer's argument. After the first mistake the rest of the line is skipped.
void Protocol::take_input(char c) {
  if (input_error_ != InputError::kNone || engine_error_ != nullptr) {
    return;
  }
  if (c == ' ' || c == '\t' || c == ',') {
    if (half_byte_) {
      input_error_ = InputError::kHalfByte;
    }
    return;
  }
  const int digit = hex_value(c);
  if (digit < 0) {
    input_error_ = InputError::kNotHex;
    input_error_char_ = c;
  } else if (input_bytes_ == kInputBytes) {
    input_error_ = InputError::kTooLong;
  } else if (!half_byte_) {
    high_digit_ = static_cast<uint8_t>(digit);
    half_byte_ = true;
  } else {
    const int value = high_digit_ * 16 + digit;
    engine_input()[input_bytes_++] = static_cast<int8_t>(value < 128 ? value : value - 256);
    half_byte_ = false;
  }
}

void Protocol::end_of_line() {
  if (word_size_ == 0) {
    // An empty line, or the LF of CR LF.
  } else if (word_is("infer")) {
    infer();
  } else if (has_argument_ && (word_is("help") || word_is("info") || word_is("sample") || word_is("selftest"))) {
    text("error: ");
    quoted(word_, word_size_);
    line(" takes no argument");
  } else if (word_is("help")) {
    help();
  } else if (word_is("info")) {
    info();
  } else if (word_is("sample")) {
    sample();
  } else if (word_is("selftest")) {
    selftest();
  } else {
    unknown_command();
  }
  state_ = State::kCommand;
  word_size_ = 0;
  word_cut_ = false;
  has_argument_ = false;
  input_error_ = InputError::kNone;
  input_bytes_ = 0;
  half_byte_ = false;
}

// ---- The commands

void Protocol::help() {
  line("help: help         this text");
  line("help: info         the model, its input and output, its memory, where it comes from");
  line("help: infer BYTES  run the model on one input, two hex digits a byte");
  line("help: sample       run the model on what user_input() gives");
  line("help: selftest     run the golden vectors and compare every output byte");
  line("help: end");
}

void Protocol::info() {
  info_text("model", kModelName);
  info_text("model_sha256", kModelSha256);
  info_number("model_bytes", kModelBytes);
  info_text("tool", kToolVersion);
  info_text("board", kBoardTitle);
  info_text("engine", engine_name());
  if (engine_error_ != nullptr) {
    info_text("engine_error", engine_error_);
  }
  info_text("input", kInputText);
  info_text("output", kOutputText);
  info_number("arena_bytes", engine_arena_bytes());
  info_number("arena_used_bytes", engine_arena_used_bytes());
  info_number("golden_vectors", kGoldenCount);
  info_text("golden_source", kGoldenSource);
  for (size_t i = 0; i < kLabelCount; ++i) {
    text("info: label ");
    number(static_cast<uint32_t>(i));
    put(' ');
    quoted(kLabels[i], strlen(kLabels[i]));
    end_line();
  }
  for (size_t i = 0; i < kProvenanceCount; ++i) {
    info_text(kProvenance[i].key, kProvenance[i].value);
  }
  line("info: end");
}

void Protocol::infer() {
  if (!engine_ready()) {
    return;
  }
  if (input_error_ == InputError::kNone && half_byte_) {
    input_error_ = InputError::kHalfByte;
  }
  if (input_error_ != InputError::kNone || input_bytes_ != kInputBytes) {
    input_error();
    return;
  }
  run_and_answer("infer");
}

void Protocol::sample() {
  if (!engine_ready()) {
    return;
  }
  if (!user_input(engine_input())) {
    line("error: sample: user_input() gave nothing: write it in src/user_input.cpp");
    return;
  }
  run_and_answer("sample");
}

void Protocol::run_and_answer(const char* command) {
  const uint32_t started = port_.micros();
  engine_error_ = engine_invoke();
  const uint32_t spent = port_.micros() - started;
  if (!engine_ready()) {
    return;
  }
  const int8_t* output = engine_output();
  const size_t index = argmax(output);
  text(command);
  text(": us=");
  number(spent);
  text(" index=");
  number(static_cast<uint32_t>(index));
  if (index < kLabelCount) {
    text(" label=");
    quoted(kLabels[index], strlen(kLabels[index]));
  }
  text(" output=");
  for (size_t i = 0; i < kOutputBytes; ++i) {
    if (i > 0) {
      put(',');
    }
    signed_number(output[i]);
  }
  end_line();
}

void Protocol::selftest() {
  if (!engine_ready()) {
    return;
  }
  size_t passed = 0;
  for (size_t vector = 0; vector < kGoldenCount && engine_error_ == nullptr; ++vector) {
    passed += selftest_passes(vector) ? 1u : 0u;
  }
  // Nothing compared is nothing shown.
  text(passed == kGoldenCount && passed > 0 ? "selftest: PASS " : "selftest: FAIL ");
  number(static_cast<uint32_t>(passed));
  put('/');
  number(static_cast<uint32_t>(kGoldenCount));
  end_line();
}

bool Protocol::selftest_passes(size_t vector) {
  memcpy(engine_input(), golden_inputs[vector], kInputBytes);
  const uint32_t started = port_.micros();
  engine_error_ = engine_invoke();
  const uint32_t spent = port_.micros() - started;
  text("selftest ");
  number(static_cast<uint32_t>(vector));
  if (engine_error_ != nullptr) {
    text(": FAIL ");
    line(engine_error_);
    return false;
  }
  const int8_t* output = engine_output();
  const int8_t* expected = golden_outputs[vector];
  size_t different = 0;
  size_t first = 0;
  for (size_t i = kOutputBytes; i-- > 0;) {
    if (output[i] != expected[i]) {
      ++different;
      first = i;
    }
  }
  if (different == 0) {
    text(": pass us=");
    number(spent);
    end_line();
    return true;
  }
  text(": FAIL output ");
  number(static_cast<uint32_t>(first));
  text(" is ");
  signed_number(output[first]);
  text(", expected ");
  signed_number(expected[first]);
  text("; ");
  number(static_cast<uint32_t>(different));
  text(" of ");
  number(static_cast<uint32_t>(kOutputBytes));
  line(" differ");
  return false;
}

// ---- Errors

// True when the engine can run; otherwise says why not.
bool Protocol::engine_ready() {
  if (engine_error_ == nullptr) {
    return true;
  }
  text("error: engine: ");
  line(engine_error_);
  return false;
}

void Protocol::unknown_command() {
  text("error: unknown command ");
  quoted(word_, word_size_);
  line(word_cut_ ? "...: type help" : ": type help");
}

void Protocol::input_error() {
  text("error: infer: ");
  if (input_error_ == InputError::kTooLong) {
    text("more bytes than the input has");
  } else if (input_error_ == InputError::kNone) {
    text("only ");
    number(static_cast<uint32_t>(input_bytes_));
    text(input_bytes_ == 1 ? " byte" : " bytes");
  } else {
    text("byte ");
    number(static_cast<uint32_t>(input_bytes_));
    if (input_error_ == InputError::kHalfByte) {
      text(" has one hex digit, not two");
    } else {
      text(" has ");
      quoted(&input_error_char_, 1);
      text(", no hex digit");
    }
  }
  text(": ");
  number(static_cast<uint32_t>(kInputBytes));
  line(" bytes are needed");
}

// ---- Writing: collected in a small buffer, so that USB sends lines rather than characters

void Protocol::put(char c) {
  if (out_size_ == kOutSize) {
    flush();
  }
  out_[out_size_++] = c;
}

void Protocol::flush() {
  port_.write(out_, out_size_);
  out_size_ = 0;
}

void Protocol::text(const char* text) {
  for (; *text != '\0'; ++text) {
    put(*text);
  }
}

void Protocol::number(uint32_t value) {
  char digits[10];
  size_t count = 0;
  do {
    digits[count++] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value > 0);
  while (count > 0) {
    put(digits[--count]);
  }
}

void Protocol::signed_number(int32_t value) {
  if (value < 0) {
    put('-');
  }
  number(value < 0 ? 0u - static_cast<uint32_t>(value) : static_cast<uint32_t>(value));
}

void Protocol::quoted(const char* text, size_t size) {
  put('"');
  for (size_t i = 0; i < size; ++i) {
    const unsigned char byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f || byte == '"' || byte == '\\') {
      put('\\');
      put('x');
      put(kHexDigits[byte >> 4]);
      put(kHexDigits[byte & 15]);
    } else {
      put(text[i]);
    }
  }
  put('"');
}

void Protocol::line(const char* line) {
  text(line);
  end_line();
}

void Protocol::end_line() {
  put('\n');
  flush();
}

void Protocol::info_text(const char* key, const char* value) {
  text("info: ");
  text(key);
  put(' ');
  line(value);
}

void Protocol::info_number(const char* key, size_t value) {
  text("info: ");
  text(key);
  put(' ');
  number(static_cast<uint32_t>(value));
  end_line();
}

}  // namespace kd
