/* A channel at a time: a band of its rows is gathered in scratch as halfwords, with the padding around it, and then each
 * SMLAD makes two MACs of a row. Two outputs at once share the inputs' words; where the second window begins at an odd
 * halfword, its weights are shifted by one.
 *
 * Instructions: 3 x 3 with stride 1: 15 for each output, with stride 2: 20; other windows about 3 for each MAC and 20 for
 * each output. To gather, 3 for each input.
 *
 * Overlap: the output may begin where the input does. A channel writes over its own bytes alone, each behind the rows
 * that have been gathered; the rows that two bands share are kept in scratch.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O2") /* whatever the project asks for */
#endif

#include "depthwise_dsp.h"

#include <stddef.h>

#include "dsp.h"

/* What a band of a channel needs: the assembly reads it by these offsets. */
typedef struct {
  int32_t sums[2];              /*  0: to begin with, twice the same */
  int32_t multiplier;           /*  8 */
  int32_t half;                 /* 12 */
  int32_t scale;                /* 16 */
  int32_t zero_point;           /* 20 */
  int32_t step_now;             /* 24: set by the assembly */
  const int16_t *end_now;       /* 28: likewise */
  int32_t step;                 /* 32: from an output to the next */
  int32_t pairs_bytes;          /* 36: of the first scratch row, from the first window to behind the last whole pair */
  int32_t odd_bytes;            /* 40: 4 where a single output is left, else 0 */
  int32_t output_row_end;       /* 44: from behind the last pair of outputs to the next row */
  int32_t rows;                 /* 48 */
  int32_t input_row_end;        /* 52: from behind the last pair of inputs to the next row */
  const int16_t *input[3];      /* 56, 60, 64: rows of the first window */
  int8_t *output;               /* 68 */
  const uint32_t *weights;      /* 72: [3][4] */
  int32_t stride;               /* 76 */
} kd_depthwise_dsp_tile;

/* The assembly below has these as numbers. */
typedef char kd_depthwise_dsp_layout[sizeof(void *) == 4 && offsetof(kd_depthwise_dsp_tile, stride) == 76 ? 1 : -1];

enum { HALF = 1, PARAMETERS = 3 };

/* Row `in` of two windows side by side; `a` has weights 0 and 1, `b` 1 and 2. */
#define KD_DEPTHWISE_DSP_PAIR(in, a, b)                                   \
  "ldrd r10, r11, [" in "], #4\n\t"     /* inputs 0 and 1, 2 and 3 */     \
  "smlad r12, " a ", r10, r12\n\t"      /* first window: 0 and 1 */       \
  "smlabt lr, " a ", r10, lr\n\t"       /* second window: 0 by input 1 */ \
  "smlatb r12, " b ", r11, r12\n\t"     /* first window: 2 by input 2 */  \
  "smlad lr, " b ", r11, lr\n\t"        /* second window: 1 and 2 */

/* Row `in` of one window; `a` has weights 0 and 1, `b` 2 and nothing. */
#define KD_DEPTHWISE_DSP_ONE(in, a, b)  \
  "ldrd r10, r11, [" in "], #4\n\t"     \
  "smlad r12, " a ", r10, r12\n\t"      \
  "smlad r12, " b ", r11, r12\n\t"

/* The rows of a band, 3 x 3, stride 1 or 2. r0-r2: rows of the input, r3: output, r4-r9: weights, r12 and lr: sums. */
KD_DSP_ASSEMBLY static void kd_depthwise_dsp_rows(
    __attribute__((unused)) const kd_depthwise_dsp_tile *tile) {
  __asm__ volatile(
      "push {r4-r11, lr}\n\t"
      "sub sp, sp, #80\n\t"
      "mov lr, sp\n\t"
      "ldmia r0!, {r1-r10}\n\t" /* the tile, copied to where sp finds it */
      "stmia lr!, {r1-r10}\n\t"
      "ldmia r0, {r1-r10}\n\t"
      "stmia lr, {r1-r10}\n\t"
      "add r0, sp, #56\n\t"
      "ldmia r0, {r0-r3, r12, lr}\n\t" /* input, output, weights, stride */
      "cmp lr, #2\n\t"
      "ite eq\n\t"
      "addeq lr, r12, #8\n\t" /* the words of weights: 0 and 1; 2 */
      "addne lr, r12, #12\n\t" /* or 0 and 1; 1 and 2 */
      "ldr r4, [r12]\n\t"
      "ldr r6, [r12, #16]\n\t"
      "ldr r8, [r12, #32]\n\t"
      "ldr r5, [lr]\n\t"
      "ldr r7, [lr, #16]\n\t"
      "ldr r9, [lr, #32]\n\t"
      "1:\n\t" /* a row */
      "ldrd r10, r11, [sp, #32]\n\t"
      "add r11, r11, r0\n\t"
      "strd r10, r11, [sp, #24]\n\t" /* step and end of its whole pairs */
      "ldr r10, [sp, #76]\n\t"
      "cmp r10, #2\n\t"
      "beq.n 5f\n\t"
      "ldr r11, [sp, #36]\n\t"
      "cmp r11, #0\n\t"
      "beq.n 3f\n\t"
      "2:\n\t" /* two outputs */
      "ldrd r12, lr, [sp]\n\t"
      KD_DEPTHWISE_DSP_PAIR("r0", "r4", "r5")
      KD_DEPTHWISE_DSP_PAIR("r1", "r6", "r7")
      KD_DEPTHWISE_DSP_PAIR("r2", "r8", "r9")
      "ldrd r10, r11, [sp, #8]\n\t"      /* multiplier, half */
      "smmla r12, r12, r10, r11\n\t"
      "smmla lr, lr, r10, r11\n\t"
      "ldrd r10, r11, [sp, #16]\n\t"     /* scale, zero point */
      "smmlar r12, r12, r10, r11\n\t"
      "smmlar lr, lr, r10, r11\n\t"
      "ssat r12, #8, r12\n\t"
      "ssat lr, #8, lr\n\t"
      "ldrd r10, r11, [sp, #24]\n\t"     /* step, end */
      "strb lr, [r3, r10]\n\t"
      "strb r12, [r3]\n\t"               /* the last, for a single output has step 0 */
      "add r3, r3, r10, lsl #1\n\t"
      "cmp r0, r11\n\t"
      "bne.n 2b\n\t"
      "3:\n\t"
      "ldrd r10, r11, [sp, #40]\n\t"     /* bytes of a single output; end of the output's row */
      "cmp r10, #0\n\t"
      "beq.n 4f\n\t"
      "ldr r12, [sp, #24]\n\t"
      "cmp r12, #0\n\t"
      "beq.n 4f\n\t"
      "mov r12, #0\n\t"
      "add r10, r10, r0\n\t"
      "strd r12, r10, [sp, #24]\n\t"
      "b.n 2b\n\t"
      "4:\n\t"
      "add r3, r3, r11\n\t"
      "ldrd r10, r11, [sp, #48]\n\t"     /* rows left; end of the input's row */
      "add r0, r0, r11\n\t"
      "add r1, r1, r11\n\t"
      "add r2, r2, r11\n\t"
      "subs r10, r10, #1\n\t"
      "str r10, [sp, #48]\n\t"
      "bne.n 1b\n\t"
      "add sp, sp, #80\n\t"
      "pop {r4-r11, pc}\n\t"
      "5:\n\t" /* one output of stride 2 */
      "ldr r12, [sp]\n\t"
      KD_DEPTHWISE_DSP_ONE("r0", "r4", "r5")
      KD_DEPTHWISE_DSP_ONE("r1", "r6", "r7")
      KD_DEPTHWISE_DSP_ONE("r2", "r8", "r9")
      "ldrd r10, r11, [sp, #8]\n\t"
      "smmla r12, r12, r10, r11\n\t"
      "ldrd r10, r11, [sp, #16]\n\t"
      "smmlar r12, r12, r10, r11\n\t"
      "ssat r12, #8, r12\n\t"
      "ldrd r10, r11, [sp, #24]\n\t"
      "strb r12, [r3]\n\t"
      "add r3, r3, r10\n\t"
      "cmp r0, r11\n\t"
      "bne.n 5b\n\t"
      "b.n 3b\n\t");
}

static int8_t kd_depthwise_dsp_output(const kd_depthwise_dsp_args *args, const int32_t *parameters, int32_t sum) {
  int32_t high = (int32_t)(((int64_t)sum * parameters[1]) >> 32) + HALF;
  high -= args->ties & (high >> 31);
  high = (int32_t)(((int64_t)high * parameters[2] + ((int64_t)1 << 31)) >> 32) + args->output_zero_point;
  return (int8_t)kd_clamp(high, -128, 127);
}

static int16x2_t kd_depthwise_dsp_load(const int16_t *from) {
  int16x2_t two;
  memcpy(&two, from, sizeof two);
  return two;
}

/* A row of outputs, any window. `rows` is the first of the scratch rows that it reads. */
static void kd_depthwise_dsp_row(const kd_depthwise_dsp_args *args, const uint32_t *weights, const int32_t *parameters,
                                 const int16_t *rows, int8_t *output) {
  const int32_t second = args->stride_columns >> 1; /* words to where the second window begins */
  for (int32_t x = 0; x < args->output_columns; x += 2) {
    const uint32_t *w = weights;
    const int16_t *row = rows;
    int32_t a = parameters[0], b = a;
    for (int32_t ky = 0; ky < args->kernel_rows; ky++) {
      for (int32_t i = 0; i < args->words; i++) {
        a = __smlad((int16x2_t)w[0], kd_depthwise_dsp_load(row + 2 * i), a);
        b = __smlad((int16x2_t)w[1], kd_depthwise_dsp_load(row + 2 * (i + second)), b);
        w += 2;
      }
      row += 2 * args->row_words;
    }
    output[0] = kd_depthwise_dsp_output(args, parameters, a);
    if (x + 1 < args->output_columns) {
      output[args->output_step] = kd_depthwise_dsp_output(args, parameters, b);
    }
    output += 2 * args->output_step;
    rows += 2 * args->stride_columns;
  }
}

/* The rows of a band of one channel, from the top of scratch. */
static void kd_depthwise_dsp_band(const kd_depthwise_dsp_args *args, const uint32_t *weights, const int32_t *parameters,
                                  const int16_t *rows, int8_t *output, int32_t count) {
  if (args->fast != 0) {
    const int32_t columns = args->output_columns;
    const int32_t one = args->stride_columns == 1 ? columns & 1 : 0;
    kd_depthwise_dsp_tile tile;
    tile.sums[0] = tile.sums[1] = parameters[0];
    tile.multiplier = parameters[1];
    tile.half = HALF;
    tile.scale = parameters[2];
    tile.zero_point = args->output_zero_point;
    tile.step_now = 0;
    tile.end_now = NULL;
    tile.step = args->output_step;
    tile.pairs_bytes = args->stride_columns == 1 ? columns / 2 * 4 : 4 * columns;
    tile.odd_bytes = 4 * one;
    tile.output_row_end = args->output_row_step - (columns - one) * args->output_step;
    tile.rows = count;
    tile.input_row_end = 4 * args->row_words * args->stride_rows - tile.pairs_bytes - tile.odd_bytes;
    for (int32_t i = 0; i < 3; i++) {
      tile.input[i] = rows + 2 * i * args->row_words;
    }
    tile.output = output;
    tile.weights = weights;
    tile.stride = args->stride_columns;
    kd_depthwise_dsp_rows(&tile);
    return;
  }
  for (int32_t y = 0; y < count; y++) {
    kd_depthwise_dsp_row(args, weights, parameters, rows + 2 * y * args->stride_rows * args->row_words,
                         output + y * args->output_row_step);
  }
}

/* A channel's weights as halfwords, times 4: [kernel_rows][words][2], for the first and the second of two windows. */
static void kd_depthwise_dsp_weights(const kd_depthwise_dsp_args *args, const int8_t *from, uint32_t *to) {
  const int32_t columns = args->kernel_columns;
  const int32_t shift = args->stride_columns & 1;
  for (int32_t ky = 0; ky < args->kernel_rows; ky++) {
    for (int32_t i = 0; i < 2 * args->words; i++) { /* windows' words in turn */
      const int32_t x = (i & ~1) - ((i & 1) != 0 ? shift : 0);
      const int32_t low = x >= 0 && x < columns ? from[x] : 0;
      const int32_t high = x + 1 < columns ? from[x + 1] : 0;
      to[i] = (uint32_t)(4 * low) % 65536u | (uint32_t)(4 * high) << 16;
    }
    from += columns;
    to += 2 * args->words;
  }
}

static void kd_depthwise_dsp_fill(int16_t *to, int32_t value, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    to[i] = (int16_t)value;
  }
}

/* `count` inputs of a channel to halfwords. */
static void kd_depthwise_dsp_gather(const int8_t *from, int32_t step, int16_t *to, int32_t count) {
  for (; count >= 4; count -= 4) {
    to[0] = from[0];
    to[1] = from[step];
    from += 2 * step;
    to[2] = from[0];
    to[3] = from[step];
    from += 2 * step;
    to += 4;
  }
  for (; count > 0; count--) {
    *to++ = *from;
    from += step;
  }
}

void kd_depthwise_dsp(const kd_depthwise_dsp_args *args, const int8_t *input, int8_t *output, void *scratch) {
  uint32_t *const weights = scratch;
  int16_t *const rows = (int16_t *)(weights + 2 * args->kernel_rows * args->words);
  const int32_t width = 2 * args->row_words;
  const int32_t room = width - args->padding_columns;
  const int32_t columns = args->input_columns < room ? args->input_columns : room;
  const int32_t shared = args->kernel_rows > args->stride_rows ? args->kernel_rows - args->stride_rows : 0;
  kd_depthwise_dsp_fill(rows, args->input_zero_point, width * ((args->band - 1) * args->stride_rows + args->kernel_rows));
  for (int32_t c = 0; c < args->channels; c++) {
    kd_depthwise_dsp_weights(args, args->weights + c * args->kernel_rows * args->kernel_columns, weights);
    for (int32_t first = 0; first < args->output_rows; first += args->band) {
      const int32_t left = args->output_rows - first;
      const int32_t count = left < args->band ? left : args->band;
      const int32_t needed = (count - 1) * args->stride_rows + args->kernel_rows;
      const int32_t top = first * args->stride_rows - args->padding_rows; /* row of the image at the top of scratch */
      if (first > 0) {
        memmove(rows, rows + args->band * args->stride_rows * width, (size_t)(2 * shared * width));
      }
      for (int32_t y = first > 0 ? shared : 0; y < needed; y++) {
        int16_t *const row = rows + y * width;
        if (top + y >= 0 && top + y < args->input_rows) {
          kd_depthwise_dsp_gather(input + (top + y) * args->input_row_step + c, args->input_step,
                                  row + args->padding_columns, columns);
        } else if (args->band < args->output_rows) {
          kd_depthwise_dsp_fill(row, args->input_zero_point, width);
        }
      }
      kd_depthwise_dsp_band(args, weights, args->parameters + PARAMETERS * c, rows,
                            output + first * args->output_row_step + c, count);
    }
  }
}
