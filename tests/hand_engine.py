"""C with the interface of a generated model, written by hand, whose instructions can be counted on paper."""

from __future__ import annotations

from pathlib import Path

from kd_embedded.image import Engine, find_engine

_HEADER = """
#include <stdint.h>
#define HAND_INPUT_BYTES 16
#define HAND_OUTPUT_BYTES 4
#define HAND_INPUT_OFFSET 0
#define HAND_OUTPUT_OFFSET 16
#define HAND_ARENA_BYTES {arena}
int8_t *hand_input(void);
const int8_t *hand_output(void);
void hand_invoke(void);
"""
_SOURCE = """
#include "hand.h"
#include <string.h>

#ifdef KD_PROFILE
void kd_profile(int32_t op);
#define KD_OP(op) kd_profile(op);
#else
#define KD_OP(op)
#endif

static int32_t hand_arena[HAND_ARENA_BYTES / 4];
static const int8_t w_op0_weights[100] = {{1, 2, 3}};
static const int32_t c_op0_args[4] = {{7, 8, 9}};

int8_t *hand_input(void) {{ return (int8_t *)hand_arena; }}
const int8_t *hand_output(void) {{ return (const int8_t *)hand_arena + 16; }}

/* Two instructions each time round. */
__attribute__((noinline)) void hand_loop(uint32_t times);
void hand_loop(uint32_t times) {{
#if defined(__riscv)
  __asm__ volatile("1: addi %0, %0, -1\\n bnez %0, 1b\\n" : "+r"(times));
#elif defined(__arm__)
  __asm__ volatile(".syntax unified\\n 1: subs %0, #1\\n bne 1b\\n" : "+l"(times) : : "cc");
#else
  (void)times;
#endif
}}

void hand_invoke(void) {{
  int8_t *const out = hand_input() + 16;
  (void)w_op0_weights;
  (void)c_op0_args;
  KD_OP(0)
  {body}
  KD_OP(-1)
}}
"""
FIRST_FOUR = "memcpy(out, hand_input(), 4);"


def write(folder: Path, body: str = FIRST_FOUR, *, arena: int = 20) -> Engine:
    """An engine whose invoke does ``body``, C that writes four bytes to ``out``."""
    (folder / "hand.h").write_text(_HEADER.format(arena=arena), encoding="utf-8")
    (folder / "hand.c").write_text(_SOURCE.format(body=body), encoding="utf-8")
    return find_engine(folder)
