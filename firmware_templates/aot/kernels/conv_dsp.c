/* Four pixels at a time: their patches are gathered in scratch, prepared as dsp.h says, and then meet two channels of
 * weights at a time in a block of 4 x 2 sums, which fills the registers.
 *
 * Instructions per MAC: 23 / 32 in the block and 3 / 128 for its loop; 7.5 for each output (9.5 where ties matter) over
 * the depth; 1.6 for each element of a patch over the channels of the output (about 4 where the patch is copied first:
 * at the border, and where its rows are no whole words).
 *
 * Overlap: four patches are gathered before any output of theirs is written. So the output may lie over what no later
 * patch reads; `backward` goes from the last four pixels to the first.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O2") /* whatever the project asks for */
#endif

#include "conv_dsp.h"

#include <stddef.h>

#include "dsp.h"

enum { KD_CONV_DSP_PIXELS = 4 };

/* What the block needs: kd_conv_dsp_block reads it by these offsets. */
typedef struct {
  const uint32_t *patches;     /*  0: [words][2][KD_CONV_DSP_PIXELS]: even, then odd, of four inputs of each pixel */
  int32_t skip;                /*  4: bytes of the four unrolled steps to pass over in the first round */
  const uint32_t *patches_end; /*  8 */
  const int32_t *parameters;   /* 12 */
  const int32_t *end;          /* 16: of the parameters */
  int8_t *output;              /* 20 */
  int32_t stride;              /* 24: from a pixel of the output to the next */
  int32_t half;                /* 28: KD_DSP_HALF */
  int32_t zero_point;          /* 32 */
  int32_t ties;                /* 36 */
  const uint32_t *weights;     /* 40 */
} kd_conv_dsp_tile;

/* The assembly below has these as numbers. */
typedef char kd_conv_dsp_layout[sizeof(void *) == 4 && offsetof(kd_conv_dsp_tile, weights) == 40 ? 1 : -1];

enum { KD_CONV_DSP_STEP_BYTES = 92, KD_CONV_DSP_STEPS = 4 };

/* One step: four inputs of four pixels, two channels. r0: patches, r1: weights, r5-r8 and r9-r12: sums of a channel. */
#define KD_CONV_DSP_STEP                                                                   \
  "ldrd r2, r3, [r1], #8\n\t"  /* weights of both channels */                              \
  "ldrd r4, lr, [r0], #8\n\t"  /* even inputs of pixels 0 and 1 */                         \
  KD_CONV_DSP_MACS("r5", "r9", "r6", "r10")                                                \
  "ldrd r4, lr, [r0], #8\n\t"  /* even inputs of pixels 2 and 3 */                         \
  KD_CONV_DSP_MACS("r7", "r11", "r8", "r12")                                               \
  "ldrd r4, lr, [r0], #8\n\t"  /* odd inputs of pixels 0 and 1 */                          \
  "sxtb16 r2, r2\n\t"          /* odd weights of channel 0 */                              \
  "sxtb16 r3, r3\n\t"          /* odd weights of channel 1 */                              \
  KD_CONV_DSP_MACS("r5", "r9", "r6", "r10")                                                \
  "ldrd r4, lr, [r0], #8\n\t"  /* odd inputs of pixels 2 and 3 */                          \
  KD_CONV_DSP_MACS("r7", "r11", "r8", "r12")

/* Two pixels by two channels: the sums of the first pixel for both channels, then of the second. */
#define KD_CONV_DSP_MACS(a0, a1, b0, b1)                           \
  "smlad " a0 ", r2, r4, " a0 "\n\t" /* first pixel, channel 0 */  \
  "smlad " a1 ", r3, r4, " a1 "\n\t" /* first pixel, channel 1 */  \
  "smlad " b0 ", r2, lr, " b0 "\n\t" /* second pixel, channel 0 */ \
  "smlad " b1 ", r3, lr, " b1 "\n\t" /* second pixel, channel 1 */

/* `use` for each sum, with the constant of its channel: r0 or r2. */
#define KD_CONV_DSP_EACH(use)                                     \
  use("r5", "r0") use("r6", "r0") use("r7", "r0") use("r8", "r0") \
  use("r9", "r2") use("r10", "r2") use("r11", "r2") use("r12", "r2")

/* The high word of sum * multiplier, + half. */
#define KD_CONV_DSP_MULTIPLY(sum, multiplier) "smmla " sum ", " sum ", " multiplier ", r3\n\t"
/* 128 less where that is negative: -1 or 0 to r0, times 128. */
#define KD_CONV_DSP_TIE(high, unused) "asr r0, " high ", #31\n\tadd " high ", " high ", r0, lsl #7\n\t"
/* Times a power of two: the high word, rounded, which is a shift to the right; + zero point. */
#define KD_CONV_DSP_SCALE(high, scale) "smmlar " high ", " high ", " scale ", lr\n\t"
/* To int8. */
#define KD_CONV_DSP_SATURATE(out, unused) "ssat " out ", #8, " out "\n\t"
/* The outputs of one more pixel: one row of the output on, behind the two channels. */
#define KD_CONV_DSP_STORE(channel_0, channel_1) \
  "add r0, r0, r2\n\t"                          \
  "strb " channel_0 ", [r0, #-2]\n\t"           \
  "strb " channel_1 ", [r0, #-1]\n\t"

/* All pairs of channels from tile->parameters to tile->end, for four pixels. */
KD_DSP_ASSEMBLY static void kd_conv_dsp_block(__attribute__((unused)) const kd_conv_dsp_tile *tile) {
  __asm__ volatile(
      "push {r4-r11, lr}\n\t"
      "sub sp, sp, #44\n\t"
      "ldmia r0, {r1-r11}\n\t"    /* the tile... */
      "stmia sp, {r1-r11}\n\t"    /* ... where sp finds it */
      "ldr r1, [sp, #40]\n\t"     /* weights */
      "1:\n\t"                    /* two channels */
      "ldr r4, [sp, #12]\n\t"     /* parameters */
      "ldrd r5, r9, [r4], #8\n\t" /* what the sums of pixel 0 begin with */
      "str r4, [sp, #12]\n\t"     /* parameters: multipliers */
      "mov r6, r5\n\t"            /* pixel 1, channel 0 */
      "mov r7, r5\n\t"            /* pixel 2 */
      "mov r8, r5\n\t"            /* pixel 3 */
      "mov r10, r9\n\t"           /* pixel 1, channel 1 */
      "mov r11, r9\n\t"           /* pixel 2 */
      "mov r12, r9\n\t"           /* pixel 3 */
      "ldrd r0, r2, [sp]\n\t"     /* patches, and how many bytes of steps to pass over */
      "add pc, r2\n\t"            /* pc reads as the address behind the nop */
      "nop\n\t"
      "2:\n\t"                                   /* a round... */
      ".rept 4\n\t" KD_CONV_DSP_STEP ".endr\n\t" /* ... of four steps */
      "ldr r2, [sp, #8]\n\t"                     /* end of the patches */
      "cmp r0, r2\n\t"
      "bne.w 2b\n\t"
      "ldrd r3, lr, [sp, #28]\n\t" /* half, zero point */
      "ldr r4, [sp, #12]\n\t"      /* parameters: multipliers */
      "ldmia r4!, {r0, r2}\n\t"    /* of channels 0 and 1 */
      KD_CONV_DSP_EACH(KD_CONV_DSP_MULTIPLY)
      "ldr r0, [sp, #36]\n\t"      /* do ties matter? */
      "cbz r0, 3f\n\t"
      KD_CONV_DSP_EACH(KD_CONV_DSP_TIE)
      "3:\n\t"
      "ldmia r4!, {r0, r2}\n\t"    /* scales of channels 0 and 1 */
      KD_CONV_DSP_EACH(KD_CONV_DSP_SCALE)
      KD_CONV_DSP_EACH(KD_CONV_DSP_SATURATE)
      "str r4, [sp, #12]\n\t"      /* parameters of the next two channels */
      "ldrd r0, r2, [sp, #20]\n\t" /* output, stride */
      "strb r9, [r0, #1]\n\t"      /* pixel 0, channel 1 */
      "strb r5, [r0], #2\n\t"      /* pixel 0, channel 0 */
      "str r0, [sp, #20]\n\t"      /* output of the next two channels */
      KD_CONV_DSP_STORE("r6", "r10") KD_CONV_DSP_STORE("r7", "r11") KD_CONV_DSP_STORE("r8", "r12")
      "ldr r2, [sp, #16]\n\t"      /* end of the parameters */
      "cmp r4, r2\n\t"
      "bne.w 1b\n\t"
      "add sp, sp, #44\n\t"
      "pop {r4-r11, pc}\n\t");
}

/* An odd last channel, for `pixels` of the four. */
static void kd_conv_dsp_single(const kd_conv_dsp_tile *tile, const int32_t *parameters, const uint32_t *weights,
                               int8_t *output, int32_t pixels) {
  int32_t a = parameters[0], b = a, c = a, d = a;
  for (const uint32_t *x = tile->patches; x != tile->patches_end; x += 8) {
    const int16x2_t both = (int16x2_t)*weights, odd = __sxtb16((int8x4_t)*weights);
    weights++;
    a = __smlad(odd, (int16x2_t)x[4], __smlad(both, (int16x2_t)x[0], a));
    b = __smlad(odd, (int16x2_t)x[5], __smlad(both, (int16x2_t)x[1], b));
    c = __smlad(odd, (int16x2_t)x[6], __smlad(both, (int16x2_t)x[2], c));
    d = __smlad(odd, (int16x2_t)x[7], __smlad(both, (int16x2_t)x[3], d));
  }
  const int32_t sums[KD_CONV_DSP_PIXELS] = {a, b, c, d};
  for (int32_t i = 0; i < pixels; i++) {
    output[i * tile->stride] = kd_dsp_output(sums[i], parameters[1], parameters[2], KD_DSP_HALF, tile->ties,
                                               tile->zero_point);
  }
}

/* All channels of up to four pixels. */
static void kd_conv_dsp_group(const kd_conv_dsp_args *args, kd_conv_dsp_tile *tile, int8_t *output, int32_t pixels) {
  const int32_t pairs = args->outputs / 2;
  const int32_t *const end = args->parameters + 6 * pairs;
  int8_t spare[2 * KD_CONV_DSP_PIXELS] = {0};
  tile->parameters = args->parameters;
  tile->weights = args->weights;
  tile->end = end;
  tile->output = output;
  tile->stride = args->outputs;
  if (pairs > 0 && pixels == KD_CONV_DSP_PIXELS) {
    kd_conv_dsp_block(tile);
  } else {
    for (int32_t pair = 0; pair < pairs; pair++) { /* what the missing pixels give goes nowhere */
      tile->end = tile->parameters + 6;
      tile->output = spare;
      tile->stride = 2;
      kd_conv_dsp_block(tile);
      for (int32_t i = 0; i < 2 * pixels; i++) {
        output[(i >> 1) * args->outputs + 2 * pair + (i & 1)] = spare[i];
      }
      tile->parameters += 6;
      tile->weights += 2 * args->words;
    }
    tile->stride = args->outputs;
  }
  if ((args->outputs & 1) != 0) {
    kd_conv_dsp_single(tile, end, args->weights + 2 * pairs * args->words, output + args->outputs - 1, pixels);
  }
}

/* 4 * words inputs to a patch; `to` is its place among the pixels. */
static uint32_t *kd_conv_dsp_prepare(const int8_t *from, uint32_t *to, int32_t words) {
  for (; words >= 4; words -= 4) {
    for (int32_t i = 0; i < 4; i++) {
      const uint32_t x = kd_dsp_load(from + 4 * i);
      to[8 * i] = (uint32_t)kd_dsp_even(x);
      to[8 * i + KD_CONV_DSP_PIXELS] = (uint32_t)kd_dsp_odd(x);
    }
    from += 16;
    to += 32;
  }
  if (words > 0) {
    uint32_t even, odd;
    __asm__ volatile(
        "1:\n\t" /* as above, a word at a time: the compiler takes two instructions more */
        "ldr %[odd], [%[from]], #4\n\t"
        "subs %[words], %[words], #1\n\t"
        "sxtb16 %[even], %[odd]\n\t"
        "eor %[odd], %[odd], #0x007f007f\n\t"
        "str %[odd], [%[to], #16]\n\t"
        "str %[even], [%[to]], #32\n\t"
        "bne 1b\n\t"
        : [from] "+r"(from), [to] "+r"(to), [words] "+r"(words), [even] "=&r"(even), [odd] "=&r"(odd)
        :
        : "cc", "memory");
  }
  return to;
}

/* `count` bytes, by words where there is one; the last overlaps the one before. */
static void kd_conv_dsp_copy(int8_t *to, const int8_t *from, int32_t count) {
  if (count < 4) {
    for (int32_t i = 0; i < count; i++) {
      to[i] = from[i];
    }
    return;
  }
  int8_t *const last = to + count - 4;
  const int8_t *const last_from = from + count - 4;
  while (to < last) {
    memcpy(to, from, 4);
    to += 4;
    from += 4;
  }
  memcpy(last, last_from, 4);
}

/* The patch whose first tap lies at row y, column x of the image. `bytes` has room for it as it is. */
KD_APART static void kd_conv_dsp_gather(const kd_conv_dsp_args *args, const int8_t *image, int32_t y, int32_t x,
                                        uint32_t *to, int8_t *bytes) {
  const int32_t channels = args->channels;
  const int32_t row = args->row_bytes;
  const int32_t beyond = x + args->kernel_width - args->input_width; /* columns on the right of the image */
  int32_t at = (y * args->input_width + x) * channels;               /* of the first tap, which may be outside */
  int32_t rows = args->kernel_height;
  if (x >= 0 && beyond <= 0 && y >= 0 && y + (rows - 1) * args->dilation_y < args->input_height) {
    if ((row & 3) == 0) {
      for (; rows > 0; rows--) {
        to = kd_conv_dsp_prepare(image + at, to, row >> 2);
        at += args->row_step;
      }
      return;
    }
    for (int8_t *copy = bytes; rows > 0; rows--) {
      kd_conv_dsp_copy(copy, image + at, row);
      copy += row;
      at += args->row_step;
    }
  } else {
    const int32_t left = x < 0 ? -x * channels : 0; /* bytes of padding */
    const int32_t right = beyond > 0 ? beyond * channels : 0;
    const int32_t inside = row - left - right;
    int8_t *copy = bytes;
    memset(bytes, (int)args->input_zero_point, (size_t)(rows * row));
    for (; rows > 0; rows--) {
      if (y >= 0 && y < args->input_height && inside > 0) {
        kd_conv_dsp_copy(copy + left, image + at + left, inside);
      }
      copy += row;
      at += args->row_step;
      y += args->dilation_y;
    }
  }
  (void)kd_conv_dsp_prepare(bytes, to, args->words);
}

/* The patches of `pixels` pixels of the output from the one numbered `first`. */
static void kd_conv_dsp_patches(const kd_conv_dsp_args *args, const int8_t *input, int32_t first, int32_t pixels,
                                uint32_t *to, int8_t *bytes) {
  if (args->pointwise != 0) {
    const int8_t *from = input + first * args->channels;
    for (; pixels > 0; pixels--) {
      (void)kd_conv_dsp_prepare(from, to++, args->words);
      from += args->channels;
    }
    return;
  }
  const int32_t width = args->output_width;
  const int32_t row = first / width;
  int32_t x = first % width * args->stride_x - args->padding_x;
  int32_t y = row % args->output_height * args->stride_y - args->padding_y;
  const int8_t *image = input + row / args->output_height * args->image_bytes;
  for (; pixels > 0; pixels--) {
    kd_conv_dsp_gather(args, image, y, x, to++, bytes);
    x += args->stride_x;
    if (x == width * args->stride_x - args->padding_x) {
      x = -args->padding_x;
      y += args->stride_y;
      if (y == args->output_height * args->stride_y - args->padding_y) {
        y = -args->padding_y;
        image += args->image_bytes;
      }
    }
  }
}

void kd_conv_dsp(const kd_conv_dsp_args *args, const int8_t *input, int8_t *output, void *scratch) {
  uint32_t *const patches = scratch;
  int8_t *const bytes = (int8_t *)(patches + 2 * KD_CONV_DSP_PIXELS * args->words);
  const int32_t groups = (args->pixels + KD_CONV_DSP_PIXELS - 1) / KD_CONV_DSP_PIXELS;
  kd_conv_dsp_tile tile;
  tile.patches = patches;
  tile.patches_end = patches + 2 * KD_CONV_DSP_PIXELS * args->words;
  tile.skip = -args->words & (KD_CONV_DSP_STEPS - 1);
  tile.skip *= KD_CONV_DSP_STEP_BYTES;
  tile.half = KD_DSP_HALF;
  tile.zero_point = args->output_zero_point;
  tile.ties = args->ties;
  if (args->pointwise == 0) {
    memset(bytes + 4 * (args->words - 1), 0, 4); /* beyond the end of the patch: the weights there are 0 */
  }
  for (int32_t group = 0; group < groups; group++) {
    const int32_t first = KD_CONV_DSP_PIXELS * (args->backward != 0 ? groups - 1 - group : group);
    const int32_t pixels = args->pixels - first < KD_CONV_DSP_PIXELS ? args->pixels - first : KD_CONV_DSP_PIXELS;
    kd_conv_dsp_patches(args, input, first, pixels, patches, bytes);
    kd_conv_dsp_group(args, &tile, output + first * args->outputs, pixels);
  }
}
