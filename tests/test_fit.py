"""Fit: sums of known parts, and every reason against a board."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kd_embedded.boards import Board, load_board, load_boards
from kd_embedded.fit import ARENA_MARGIN_BYTES, GOLDEN_VECTORS, fit
from kd_embedded.tflite.graph import Graph, Op, QuantParams, Tensor
from kd_embedded.tflite.read import read_model


def dense(name: str = "FULLY_CONNECTED", *, scales: int = 1, model_bytes: int = 5000) -> Graph:
    quant = QuantParams((0.1,) * scales, (0,) * scales)
    shapes = ((1, 64), (10, 64), (1, 10))
    tensors = tuple(Tensor(index, f"t{index}", shape, "int8", quant, None) for index, shape in enumerate(shapes))
    return Graph("g", tensors, (Op(0, name, 1, (0, 1), (2,)),), (0,), (2,), model_bytes, "")


def smaller(board: Board, **changes: int) -> Board:
    return board.model_copy(update=changes)


def test_sums() -> None:
    board = load_board("nano33ble")
    found = fit(board, dense(), 2000)
    assert found.fits and found.reason == "" and found.scratch_bytes == 0
    assert found.arena_bytes == 3024 == 2000 + ARENA_MARGIN_BYTES  # whole 16 bytes already
    assert found.ram_bytes == 3024 + board.allowance.ram_bytes
    assert found.flash_bytes == 5000 + GOLDEN_VECTORS * 74 + board.allowance.flash_bytes
    assert fit(board, dense(), 2001).arena_bytes == 3040
    assert fit(board, dense(), 2000, golden_vectors=100).flash_bytes == 5000 + 7400 + board.allowance.flash_bytes


# residual: 10x10x8 with its border, filters 9x16x8, their rows 32x3x8, 10x10x8 filled up, margin 64, sums 8x4.
@pytest.mark.parametrize(
    ("name", "arena_bytes", "scratch"), [("residual", 4384, 3616), ("pretrainedResnet_quant", 54_000, 86_848)]
)
def test_scratch_is_part_of_the_arena(
    model_file: Callable[[str], Path], name: str, arena_bytes: int, scratch: int
) -> None:
    found = fit(load_board("esp32s3"), read_model(model_file(name)), arena_bytes)
    assert found.scratch_bytes == scratch
    assert found.arena_bytes == arena_bytes + scratch + ARENA_MARGIN_BYTES


def test_the_last_byte_decides() -> None:
    board = load_board("pico")
    found = fit(board, dense(), 2000)
    assert fit(smaller(board, flash_bytes=found.flash_bytes, ram_bytes=found.ram_bytes), dense(), 2000).fits
    tight = fit(smaller(board, flash_bytes=found.flash_bytes - 1, ram_bytes=found.ram_bytes - 1), dense(), 2000)
    assert not tight.fits
    flash, ram = tight.reason.split("; ")
    assert (
        flash.startswith("needs ") and "KiB of flash (model 4.9, 8 golden vectors 0.6, framework and runtime" in flash
    )
    assert ram.startswith("needs ") and "KiB of RAM (arena 2.0, kernel scratch 0.0, margin 1.0, framework" in ram


def test_an_op_the_library_lacks() -> None:
    found = fit(load_board("nano33ble"), dense("BATCH_MATMUL"), 2000)
    assert not found.fits
    assert found.reason == "Chirale_TensorFLowLite 2.0.0 has no BATCH_MATMUL (op 0)"
    assert fit(load_board("esp32"), dense("BATCH_MATMUL"), 2000).fits


def test_per_channel_dense() -> None:
    found = fit(load_board("teensy41"), dense(scales=10), 2000)
    assert not found.fits
    assert "per-channel weights wrongly (op 0)" in found.reason and 'dense = "per-tensor"' in found.reason
    assert fit(load_board("esp32"), dense(scales=10), 2000).fits


@pytest.mark.parametrize(("name", "arena_bytes"), [("tiny", 2752), ("hello_world_int8", 1072)])
def test_small_model_fits_everywhere(model_file: Callable[[str], Path], name: str, arena_bytes: int) -> None:
    graph = read_model(model_file(name))
    assert all(fit(board, graph, arena_bytes).fits for board in load_boards())
