/* Eight channels at a time; each input word is prepared as dsp.h says and meets eight words of weights. Channels that
 * make no group of eight, and those whose sums dsp.h's packing cannot hold, are computed two by two.
 *
 * Instructions per MAC: 31 / 32 in a group, 3 / 128 for its loop, and 6 for each output over the depth (8 where each
 * channel has its own multiplier, 2 more where ties matter). Others: about 2, and 25 for each output.
 *
 * Overlap: none. All outputs read all of the input.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O2") /* whatever the project asks for */
#endif

#include "fully_connected_dsp.h"

#include <stddef.h>

#include "dsp.h"

/* What the groups need: kd_fully_connected_dsp_groups reads it by these offsets. */
typedef struct {
  const int8_t *input;       /*  0 */
  int32_t skip;              /*  4: bytes of the four unrolled steps to pass over in the first round */
  const int8_t *input_end;   /*  8 */
  const int32_t *parameters; /* 12 */
  const int32_t *end;        /* 16: of the parameters */
  int8_t *output;            /* 20 */
  int32_t multiplier;        /* 24 */
  int32_t scale;             /* 28 */
  int32_t half;              /* 32: KD_DSP_HALF */
  int32_t zero_point;        /* 36 */
  int32_t ties;              /* 40 */
} kd_fully_connected_dsp_tile;

/* The assembly below has these as numbers. */
typedef char kd_fully_connected_dsp_layout
    [sizeof(void *) == 4 && offsetof(kd_fully_connected_dsp_tile, ties) == 40 ? 1 : -1];

enum { KD_FULLY_CONNECTED_DSP_CHANNELS = 8, KD_FULLY_CONNECTED_DSP_STEP_BYTES = 124, KD_FULLY_CONNECTED_DSP_STEPS = 4 };

/* Weights of two channels with the input of r4 (even) and lr (odd). */
#define KD_FULLY_CONNECTED_DSP_TWO(a, b)                        \
  "ldrd r2, r3, [r1], #8\n\t"        /* weights */              \
  "smlad " a ", r2, r4, " a "\n\t"   /* by even inputs */       \
  "smlad " b ", r3, r4, " b "\n\t"                              \
  "sxtb16 r2, r2\n\t"                /* odd weights */          \
  "sxtb16 r3, r3\n\t"                                           \
  "smlad " a ", r2, lr, " a "\n\t"   /* by odd inputs */        \
  "smlad " b ", r3, lr, " b "\n\t"

/* One step: four inputs, eight channels. r0: input, r1: weights, r5-r12: sums. */
#define KD_FULLY_CONNECTED_DSP_STEP                             \
  "ldr lr, [r0], #4\n\t"             /* inputs */               \
  "sxtb16 r4, lr\n\t"                /* even ones */            \
  "eor lr, lr, #0x007f007f\n\t"      /* odd ones */             \
  KD_FULLY_CONNECTED_DSP_TWO("r5", "r6")                        \
  KD_FULLY_CONNECTED_DSP_TWO("r7", "r8")                        \
  KD_FULLY_CONNECTED_DSP_TWO("r9", "r10")                       \
  KD_FULLY_CONNECTED_DSP_TWO("r11", "r12")

#define KD_FULLY_CONNECTED_DSP_EACH(use) \
  use("r5") use("r6") use("r7") use("r8") use("r9") use("r10") use("r11") use("r12")

/* The high word of sum * multiplier, + half; `OWN`: the next multiplier is loaded first. */
#define KD_FULLY_CONNECTED_DSP_MULTIPLY(sum) "smmla " sum ", " sum ", r0, r3\n\t"
#define KD_FULLY_CONNECTED_DSP_MULTIPLY_OWN(sum) "ldr r0, [r4], #4\n\t" KD_FULLY_CONNECTED_DSP_MULTIPLY(sum)
/* 128 less where that is negative: -1 or 0 to r0, times 128. */
#define KD_FULLY_CONNECTED_DSP_TIE(high) "asr r0, " high ", #31\n\tadd " high ", " high ", r0, lsl #7\n\t"
/* Times a power of two: the high word, rounded, which is a shift to the right; + zero point. */
#define KD_FULLY_CONNECTED_DSP_SCALE(high) "smmlar " high ", " high ", r2, lr\n\t"
#define KD_FULLY_CONNECTED_DSP_SCALE_OWN(high) "ldr r2, [r4], #4\n\t" KD_FULLY_CONNECTED_DSP_SCALE(high)
/* To int8, and to the output. */
#define KD_FULLY_CONNECTED_DSP_STORE(out) "ssat " out ", #8, " out "\n\tstrb " out ", [r0], #1\n\t"

/* All groups of eight channels from tile->parameters to tile->end. */
KD_DSP_ASSEMBLY static void kd_fully_connected_dsp_groups(
    __attribute__((unused)) const kd_fully_connected_dsp_tile *tile,
    __attribute__((unused)) const uint32_t *weights) {
  __asm__ volatile(
      "push {r4-r11, lr}\n\t"
      "sub sp, sp, #44\n\t"
      "ldmia r0, {r2-r12}\n\t"   /* the tile... */
      "stmia sp, {r2-r12}\n\t"   /* ... where sp finds it */
      "1:\n\t"                   /* eight channels */
      "ldr r4, [sp, #12]\n\t"    /* parameters */
      "ldmia r4!, {r5-r12}\n\t"  /* what the sums begin with */
      "str r4, [sp, #12]\n\t"    /* parameters: multipliers, if there are any */
      "ldrd r0, r2, [sp]\n\t"    /* input, and how many bytes of steps to pass over */
      "add pc, r2\n\t"           /* pc reads as the address behind the nop */
      "nop\n\t"
      "2:\n\t" /* a round of four steps */
      ".rept 4\n\t" KD_FULLY_CONNECTED_DSP_STEP ".endr\n\t"
      "ldr r2, [sp, #8]\n\t"       /* end of the input */
      "cmp r0, r2\n\t"
      "bne.w 2b\n\t"
      "ldr r4, [sp, #12]\n\t"      /* parameters */
      "ldrd r0, r2, [sp, #24]\n\t" /* multiplier and scale of all channels, or 0 */
      "ldrd r3, lr, [sp, #32]\n\t" /* half, zero point */
      "cmp r0, #0\n\t"
      "bne.w 3f\n\t"
      KD_FULLY_CONNECTED_DSP_EACH(KD_FULLY_CONNECTED_DSP_MULTIPLY_OWN)
      "b.w 4f\n\t"
      "3:\n\t"
      KD_FULLY_CONNECTED_DSP_EACH(KD_FULLY_CONNECTED_DSP_MULTIPLY)
      "4:\n\t"
      "ldr r0, [sp, #40]\n\t" /* do ties matter? */
      "cbz r0, 5f\n\t"
      KD_FULLY_CONNECTED_DSP_EACH(KD_FULLY_CONNECTED_DSP_TIE)
      "5:\n\t"
      "cbnz r2, 6f\n\t"
      KD_FULLY_CONNECTED_DSP_EACH(KD_FULLY_CONNECTED_DSP_SCALE_OWN)
      "b 7f\n\t"
      "6:\n\t"
      KD_FULLY_CONNECTED_DSP_EACH(KD_FULLY_CONNECTED_DSP_SCALE)
      "7:\n\t"
      "str r4, [sp, #12]\n\t" /* parameters of the next group */
      "ldr r0, [sp, #20]\n\t" /* output */
      KD_FULLY_CONNECTED_DSP_EACH(KD_FULLY_CONNECTED_DSP_STORE)
      "str r0, [sp, #20]\n\t"
      "ldr r2, [sp, #16]\n\t" /* end of the parameters */
      "cmp r4, r2\n\t"
      "bne.w 1b\n\t"
      "add sp, sp, #44\n\t"
      "pop {r4-r11, pc}\n\t");
}

/* bias + sum of products, modulo 2^32. */
static int32_t kd_fully_connected_dsp_one(const int8_t *input, const int8_t *weights, int32_t depth, int32_t bias) {
  const int8_t *const end = input + depth;
  int32_t sum = bias;
  while (end - input >= 4) {
    const uint32_t x = kd_dsp_load(input), w = kd_dsp_load(weights);
    sum = __smlad(kd_dsp_even(x), kd_dsp_even(w), sum);
    sum = __smlad(kd_dsp_high_bytes(x), kd_dsp_high_bytes(w), sum);
    input += 4;
    weights += 4;
  }
  while (input < end) {
    sum = kd_add(sum, *input++ * *weights++);
  }
  return sum;
}

/* The same for two channels whose weights follow each other; depth is a multiple of 4. */
static void kd_fully_connected_dsp_two(const int8_t *input, const int8_t *weights, int32_t depth, int32_t sums[2]) {
  const int8_t *const end = input + depth;
  int32_t a = sums[0], b = sums[1];
  for (; input != end; input += 4) {
    const uint32_t x = kd_dsp_load(input), v = kd_dsp_load(weights), w = kd_dsp_load(weights + depth);
    const int16x2_t even = kd_dsp_even(x), odd = kd_dsp_high_bytes(x);
    a = __smlad(odd, kd_dsp_high_bytes(v), __smlad(even, kd_dsp_even(v), a));
    b = __smlad(odd, kd_dsp_high_bytes(w), __smlad(even, kd_dsp_even(w), b));
    weights += 4;
  }
  sums[0] = a;
  sums[1] = b;
}

/* The output of a plain sum: requantized as 4 * sum, which is in range for more sums than 256 * sum. */
static int8_t kd_fully_connected_dsp_output(const kd_fully_connected_dsp_args *args, const int32_t *parameters,
                                            int32_t sum) {
  return kd_dsp_output((int32_t)((uint32_t)sum << 2), parameters[1], parameters[2], 1, args->ties != 0 ? 2 : 0,
                       args->output_zero_point);
}

void kd_fully_connected_dsp(const kd_fully_connected_dsp_args *args, const int8_t *input, int8_t *output) {
  const int32_t groups = args->groups, depth = args->depth;
  if (groups > 0) {
    kd_fully_connected_dsp_tile tile;
    tile.input = input;
    tile.skip = -(depth >> 2) & (KD_FULLY_CONNECTED_DSP_STEPS - 1);
    tile.skip *= KD_FULLY_CONNECTED_DSP_STEP_BYTES;
    tile.input_end = input + depth;
    tile.parameters = args->parameters;
    tile.end = args->parameters + groups * KD_FULLY_CONNECTED_DSP_CHANNELS * (args->multiplier != 0 ? 1 : 3);
    tile.output = output;
    tile.multiplier = args->multiplier;
    tile.scale = args->scale;
    tile.half = KD_DSP_HALF;
    tile.zero_point = args->output_zero_point;
    tile.ties = args->ties;
    kd_fully_connected_dsp_groups(&tile, args->weights);
    output += groups * KD_FULLY_CONNECTED_DSP_CHANNELS;
  }
  const int8_t *weights = args->rest_weights;
  const int32_t *parameters = args->rest_parameters;
  int32_t rest = args->rest;
  for (; rest >= 2 && (depth & 3) == 0; rest -= 2) {
    int32_t sums[2] = {parameters[0], parameters[3]};
    kd_fully_connected_dsp_two(input, weights, depth, sums);
    *output++ = kd_fully_connected_dsp_output(args, parameters, sums[0]);
    *output++ = kd_fully_connected_dsp_output(args, parameters + 3, sums[1]);
    weights += 2 * depth;
    parameters += 6;
  }
  for (; rest > 0; rest--) {
    const int32_t sum = kd_fully_connected_dsp_one(input, weights, depth, parameters[0]);
    *output++ = kd_fully_connected_dsp_output(args, parameters, sum);
    weights += depth;
    parameters += 3;
  }
}
