/* A channel at a time: a band of its rows is gathered in scratch as halfwords, with the padding around it, and each
 * SMLAD makes two MACs of a row. Outputs side by side share the inputs' words; where the second window of two begins at
 * an odd halfword, its weights are shifted by one.
 *
 * Instructions: for 3 x 3, 15 for each output with stride 1 and 20 with stride 2; for other windows 2 for each MAC (3.5
 * where the stride is not 1) and 25 for each output. To gather, 4 for each input. For each channel about 150.
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

enum { KD_DEPTHWISE_DSP_HALF = 1, KD_DEPTHWISE_DSP_PARAMETERS = 3 };

/* What a band of a channel needs: the assembly reads it by these offsets. */
typedef struct {
  int32_t sums[2];           /*  0: to begin with, twice the same; set by the assembly, as the next and `scale` are */
  int32_t multiplier;        /*  8 */
  int32_t half;              /* 12 */
  int32_t scale;             /* 16 */
  int32_t zero_point;        /* 20 */
  int32_t step_now;          /* 24: set by the assembly: of the outputs... */
  const int16_t *end_now;    /* 28: ... until there in the first scratch row */
  int32_t step;              /* 32: from an output to the next */
  int32_t pairs_bytes;       /* 36: of a scratch row, from the first window to behind the last whole pair of windows */
  int32_t odd_bytes;         /* 40: 4 where a single window is left, else 0 */
  int32_t output_row_end;    /* 44: from behind the last pair of outputs to the next row */
  int32_t rows;              /* 48: of outputs */
  int32_t input_row_end;     /* 52: from behind the last pair of windows to the next row */
  const int16_t *input[3];   /* 56, 60, 64: the scratch rows of the first window */
  int8_t *output;            /* 68 */
  const int8_t *weights;     /* 72: [3][3] */
  const int32_t *parameters; /* 76 */
} kd_depthwise_dsp_tile;

/* The assembly below has these as numbers. */
typedef char kd_depthwise_dsp_layout
    [sizeof(void *) == 4 && offsetof(kd_depthwise_dsp_tile, parameters) == 76 ? 1 : -1];

/* Three weights from lr on, times 4: `a` gets 0 and 1, `b` 1 and 2, as halfwords. */
#define KD_DEPTHWISE_DSP_WEIGHTS(a, b)                         \
  "ldrsb " a ", [lr], #1\n\t"              /* weight 0 */      \
  "ldrsb " b ", [lr], #1\n\t"              /* weight 1 */      \
  "ldrsb r11, [lr], #1\n\t"                /* weight 2 */      \
  "lsl " a ", " a ", #2\n\t"               /* 4 * weight 0 */  \
  "pkhbt " a ", " a ", " b ", lsl #18\n\t" /* and weight 1 */  \
  "lsl " b ", " b ", #2\n\t"               /* 4 * weight 1 */  \
  "pkhbt " b ", " b ", r11, lsl #18\n\t"   /* and weight 2 */

/* Scratch row `in` of two windows side by side; weights as above. */
#define KD_DEPTHWISE_DSP_PAIR(in, a, b)                                 \
  "ldrd r10, r11, [" in "], #4\n\t"   /* inputs 0 and 1, 2 and 3 */     \
  "smlad r12, " a ", r10, r12\n\t"    /* first window: 0 and 1 */       \
  "smlabt lr, " a ", r10, lr\n\t"     /* second window: 0 by input 1 */ \
  "smlatb r12, " b ", r11, r12\n\t"   /* first window: 2 by input 2 */  \
  "smlad lr, " b ", r11, lr\n\t"      /* second window: 1 and 2 */

/* Scratch row `in` of one window. */
#define KD_DEPTHWISE_DSP_ONE(in, a, b)                        \
  "ldrd r10, r11, [" in "], #4\n\t" /* inputs 0 and 1, 2 */   \
  "smlad r12, " a ", r10, r12\n\t"  /* weights 0 and 1 */     \
  "smlatb r12, " b ", r11, r12\n\t" /* weight 2 by input 2 */

/* The rows of a band, 3 x 3, `stride` 1 or 2. r0-r2: scratch rows, r3: output, r4-r9: weights, r12 and lr: sums. */
KD_DSP_ASSEMBLY static void kd_depthwise_dsp_rows(__attribute__((unused)) const kd_depthwise_dsp_tile *tile,
                                                  __attribute__((unused)) int32_t stride) {
  __asm__ volatile(
      "push {r4-r11, lr}\n\t"
      "sub sp, sp, #80\n\t"
      "mov lr, sp\n\t"
      "ldmia r0!, {r2-r11}\n\t"      /* the tile, its first half... */
      "stmia lr!, {r2-r11}\n\t"      /* ... where sp finds it */
      "ldmia r0, {r2-r11}\n\t"       /* its second half */
      "stmia lr, {r2-r11}\n\t"
      "str r1, [sp, #72]\n\t"        /* stride, in place of the weights... */
      "mov lr, r10\n\t"              /* ... which are here */
      "ldmia r11, {r3-r5}\n\t"       /* parameters: sum, multiplier, scale */
      "strd r3, r3, [sp]\n\t"        /* sums to begin with */
      "str r4, [sp, #8]\n\t"         /* multiplier */
      "str r5, [sp, #16]\n\t"        /* scale */
      "add r0, sp, #56\n\t"
      "ldmia r0, {r0-r3}\n\t"        /* scratch rows, output */
      KD_DEPTHWISE_DSP_WEIGHTS("r4", "r5")
      KD_DEPTHWISE_DSP_WEIGHTS("r6", "r7")
      KD_DEPTHWISE_DSP_WEIGHTS("r8", "r9")
      "1:\n\t"                       /* a row */
      "ldrd r10, r11, [sp, #32]\n\t" /* step, bytes of whole pairs */
      "ldr lr, [sp, #72]\n\t"        /* stride */
      "add r12, r11, r0\n\t"         /* end of the whole pairs */
      "strd r10, r12, [sp, #24]\n\t" /* step and end for now */
      "cmp lr, #2\n\t"
      "beq.n 5f\n\t"
      "cmp r11, #0\n\t"              /* a row of a single output */
      "beq.n 3f\n\t"
      "2:\n\t"                       /* two outputs */
      "ldrd r12, lr, [sp]\n\t"       /* sums to begin with */
      KD_DEPTHWISE_DSP_PAIR("r0", "r4", "r5")
      KD_DEPTHWISE_DSP_PAIR("r1", "r6", "r7")
      KD_DEPTHWISE_DSP_PAIR("r2", "r8", "r9")
      "ldrd r10, r11, [sp, #8]\n\t"  /* multiplier, half */
      "smmla r12, r12, r10, r11\n\t" /* high word of sum * multiplier, + half */
      "smmla lr, lr, r10, r11\n\t"
      "ldrd r10, r11, [sp, #16]\n\t"   /* scale, zero point */
      "smmlar r12, r12, r10, r11\n\t"  /* the shift to the right, rounded, + zero point */
      "smmlar lr, lr, r10, r11\n\t"
      "ssat r12, #8, r12\n\t"        /* to int8 */
      "ssat lr, #8, lr\n\t"
      "ldrd r10, r11, [sp, #24]\n\t" /* step, end */
      "strb lr, [r3, r10]\n\t"       /* the second output */
      "strb r12, [r3]\n\t"           /* the first, over it where the step is 0, for a single output */
      "add r3, r3, r10, lsl #1\n\t"
      "cmp r0, r11\n\t"
      "bne.n 2b\n\t"
      "3:\n\t"                       /* behind the whole pairs, or behind a single output */
      "ldrd r10, r11, [sp, #40]\n\t" /* bytes of a single window, end of the output's row */
      "cmp r10, #0\n\t"              /* none is left */
      "beq.n 4f\n\t"
      "ldr r12, [sp, #24]\n\t"       /* step: 0 if it has just been done */
      "cmp r12, #0\n\t"
      "beq.n 4f\n\t"
      "mov r12, #0\n\t"
      "add r10, r10, r0\n\t"         /* end of the single window */
      "strd r12, r10, [sp, #24]\n\t" /* step and end for now */
      "b.n 2b\n\t"
      "4:\n\t"                       /* to the next row */
      "add r3, r3, r11\n\t"          /* output */
      "ldrd r10, r11, [sp, #48]\n\t" /* rows left, end of the input's row */
      "add r0, r0, r11\n\t"          /* scratch rows */
      "add r1, r1, r11\n\t"
      "add r2, r2, r11\n\t"
      "subs r10, r10, #1\n\t"
      "str r10, [sp, #48]\n\t"
      "bne.n 1b\n\t"
      "add sp, sp, #80\n\t"
      "pop {r4-r11, pc}\n\t"
      "5:\n\t"                       /* one output of stride 2; as above */
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

/* A channel's weights, times 4: [kernel_rows][words][4], two for the first window and two for the second, which may be
 * shifted by one. What is written for no channel is 0. */
static void kd_depthwise_dsp_weights(const kd_depthwise_dsp_args *args, const int8_t *from, int16_t *to) {
  const int32_t odd = args->stride_columns & 1;
  for (int32_t ky = args->kernel_rows; ky > 0; ky--) {
    const int8_t *const end = from + args->kernel_columns;
    int16_t *at = to;
    while (end - from >= 2) {
      const int16_t a = (int16_t)(4 * *from++), b = (int16_t)(4 * *from++);
      at[0] = a;
      at[1] = b;
      at[2 + odd] = a;
      at[odd != 0 ? 6 : 3] = b;
      at += 4;
    }
    if (from < end) {
      at[0] = at[2 + odd] = (int16_t)(4 * *from++);
    }
    to += 4 * args->words;
  }
}

/* To `sums` the products of one row of four windows with stride 1; they share their words in pairs. */
static void kd_depthwise_dsp_four(const int16_t *row, const int16_t *weights, int32_t words, int32_t sums[4]) {
  int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3], w, v, x, y;
  __asm__ volatile(
      "1:\n\t"
      "ldrd %[w], %[v], [%[weights]], #8\n\t" /* two weights for the first of a pair, and for the second */
      "ldrd %[x], %[y], [%[row]], #4\n\t"     /* two inputs for the first pair, and for the second */
      "subs %[words], %[words], #1\n\t"
      "smlad %[a], %[w], %[x], %[a]\n\t"
      "smlad %[b], %[v], %[x], %[b]\n\t"
      "smlad %[c], %[w], %[y], %[c]\n\t"
      "smlad %[d], %[v], %[y], %[d]\n\t"
      "bne 1b\n\t"
      : [weights] "+r"(weights), [row] "+r"(row), [words] "+r"(words), [a] "+r"(a), [b] "+r"(b), [c] "+r"(c),
        [d] "+r"(d), [w] "=&r"(w), [v] "=&r"(v), [x] "=&r"(x), [y] "=&r"(y)
      :
      : "cc", "memory");
  sums[0] = a;
  sums[1] = b;
  sums[2] = c;
  sums[3] = d;
}

/* The same of two windows, the second's words `second` bytes on. */
static void kd_depthwise_dsp_two(const int16_t *row, const int16_t *weights, int32_t words, int32_t second,
                                 int32_t sums[4]) {
  int32_t a = sums[0], b = sums[1], w, v, x;
  __asm__ volatile(
      "1:\n\t"
      "ldrd %[w], %[v], [%[weights]], #8\n\t"
      "ldr %[x], [%[row], %[second]]\n\t"
      "subs %[words], %[words], #1\n\t"
      "smlad %[b], %[v], %[x], %[b]\n\t"
      "ldr %[x], [%[row]], #4\n\t"
      "smlad %[a], %[w], %[x], %[a]\n\t"
      "bne 1b\n\t"
      : [weights] "+r"(weights), [row] "+r"(row), [words] "+r"(words), [a] "+r"(a), [b] "+r"(b), [w] "=&r"(w),
        [v] "=&r"(v), [x] "=&r"(x)
      : [second] "r"(second)
      : "cc", "memory");
  sums[0] = a;
  sums[1] = b;
}

/* `count` outputs from their sums. */
static void kd_depthwise_dsp_finish(const kd_depthwise_dsp_args *args, const int32_t *parameters, const int32_t *sums,
                                    int32_t count, int8_t *output) {
  const int32_t multiplier = parameters[1], scale = parameters[2], zero_point = args->output_zero_point;
  const int32_t ties = args->ties, step = args->output_step;
  for (const int32_t *const end = sums + count; sums != end; sums++) {
    *output = kd_dsp_output(*sums, multiplier, scale, KD_DEPTHWISE_DSP_HALF, ties, zero_point);
    output += step;
  }
}

/* A row of outputs, any window. `rows` is the first of the scratch rows that it reads. */
KD_APART static void kd_depthwise_dsp_row(const kd_depthwise_dsp_args *args, const int16_t *all_weights,
                                          const int32_t *parameters, const int16_t *rows, int8_t *output) {
  const int32_t stride = args->stride_columns, words = args->words;
  const int32_t most = stride == 1 ? 4 : 2; /* outputs at once */
  for (int32_t left = args->output_columns; left > 0; left -= most) {
    const int16_t *weights = all_weights;
    const int16_t *row = rows;
    int32_t sums[4] = {parameters[0], parameters[0], parameters[0], parameters[0]};
    for (int32_t ky = args->kernel_rows; ky > 0; ky--) {
      if (stride == 1) {
        kd_depthwise_dsp_four(row, weights, words, sums);
      } else {
        kd_depthwise_dsp_two(row, weights, words, 2 * (stride & ~1), sums);
      }
      weights += 4 * words;
      row += 2 * args->row_words;
    }
    kd_depthwise_dsp_finish(args, parameters, sums, left < most ? left : most, output);
    output += most * args->output_step;
    rows += most * stride;
  }
}

static void kd_depthwise_dsp_fill(int16_t *to, int32_t value, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    to[i] = (int16_t)value;
  }
}

/* Rows of a channel to halfwords in scratch: each has `count` columns, and `width` halfwords there. */
static void kd_depthwise_dsp_gather(const kd_depthwise_dsp_args *args, const int8_t *input, int32_t rows, int16_t *to,
                                    int32_t count, int32_t width) {
  const int32_t step = args->input_step;
  for (; rows > 0; rows--) {
    const int8_t *from = input;
    int16_t *at = to;
    int16_t *const end = to + (count & ~1);
    while (at != end) {
      at[0] = from[0];
      at[1] = from[step];
      from += 2 * step;
      at += 2;
    }
    if ((count & 1) != 0) {
      *at = *from;
    }
    input += args->input_row_step;
    to += width;
  }
}

/* The tile of the first channel's first band. */
static void kd_depthwise_dsp_begin(const kd_depthwise_dsp_args *args, kd_depthwise_dsp_tile *tile,
                                   const int16_t *rows) {
  const int32_t columns = args->output_columns;
  const int32_t one = args->stride_columns == 1 ? columns & 1 : 0;
  tile->sums[0] = tile->sums[1] = tile->multiplier = tile->scale = tile->step_now = 0;
  tile->end_now = NULL;
  tile->half = KD_DEPTHWISE_DSP_HALF;
  tile->zero_point = args->output_zero_point;
  tile->step = args->output_step;
  tile->pairs_bytes = args->stride_columns == 1 ? columns / 2 * 4 : 4 * columns;
  tile->odd_bytes = 4 * one;
  tile->output_row_end = args->output_row_step - (columns - one) * args->output_step;
  tile->input_row_end = 4 * args->row_words * args->stride_rows - tile->pairs_bytes - tile->odd_bytes;
  for (int32_t i = 0; i < 3; i++) {
    tile->input[i] = rows + 2 * i * args->row_words;
  }
  tile->weights = args->weights;
  tile->parameters = args->parameters;
}

/* Scratch for `count` rows of outputs from row `first`: of a channel at `input`. */
KD_APART static void kd_depthwise_dsp_scroll(const kd_depthwise_dsp_args *args, const int8_t *input, int16_t *rows,
                                             int32_t first, int32_t count) {
  const int32_t width = 2 * args->row_words;
  const int32_t room = width - args->padding_columns;
  const int32_t columns = args->input_columns < room ? args->input_columns : room;
  const int32_t top = first * args->stride_rows - args->padding_rows; /* row of the image at the top of scratch */
  int32_t from = top, to = top + (count - 1) * args->stride_rows + args->kernel_rows; /* rows to gather */
  if (args->band < args->output_rows) { /* else rows outside the image stay as they were filled at first */
    if (first > 0 && args->kernel_rows > args->stride_rows) {
      const int32_t shared = args->kernel_rows - args->stride_rows;
      memmove(rows, rows + args->band * args->stride_rows * width, (size_t)(2 * shared * width));
      from += shared;
    }
    for (int32_t y = from; y < to; y++) {
      if (y < 0 || y >= args->input_rows) {
        kd_depthwise_dsp_fill(rows + (y - top) * width, args->input_zero_point, width);
      }
    }
  }
  from = from > 0 ? from : 0;
  to = to < args->input_rows ? to : args->input_rows;
  kd_depthwise_dsp_gather(args, input + from * args->input_row_step, to - from,
                          rows + (from - top) * width + args->padding_columns, columns, width);
}

void kd_depthwise_dsp(const kd_depthwise_dsp_args *args, const int8_t *input, int8_t *output, void *scratch) {
  int16_t *const weights = scratch;
  int16_t *const rows = weights + 4 * args->kernel_rows * args->words;
  kd_depthwise_dsp_tile tile;
  kd_depthwise_dsp_begin(args, &tile, rows);
  memset(weights, 0, (size_t)(8 * args->kernel_rows * args->words));
  kd_depthwise_dsp_fill(rows, args->input_zero_point,
                        2 * args->row_words * ((args->band - 1) * args->stride_rows + args->kernel_rows));
  for (int32_t c = args->channels; c > 0; c--) {
    if (args->fast == 0) {
      kd_depthwise_dsp_weights(args, tile.weights, weights);
    }
    for (int32_t first = 0; first < args->output_rows; first += args->band) {
      const int32_t left = args->output_rows - first;
      const int32_t count = left < args->band ? left : args->band;
      kd_depthwise_dsp_scroll(args, input, rows, first, count);
      tile.output = output + first * args->output_row_step;
      if (args->fast != 0) {
        tile.rows = count;
        kd_depthwise_dsp_rows(&tile, args->stride_columns);
      } else {
        for (int32_t y = 0; y < count; y++) {
          kd_depthwise_dsp_row(args, weights, tile.parameters, rows + 2 * y * args->stride_rows * args->row_words,
                               tile.output + y * args->output_row_step);
        }
      }
    }
    tile.weights += args->kernel_rows * args->kernel_columns;
    tile.parameters += KD_DEPTHWISE_DSP_PARAMETERS;
    input++;
    output++;
  }
}
