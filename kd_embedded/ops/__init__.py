"""What is known of each op: its cost (one file per op that multiplies), and whether upstream TFLM has it.

Which methods a board's own library has stands in ``boards/tflm/*.toml``.

Sources cited as tensorflow/lite are those of TensorFlow v2.14.0, which tflite-runtime 2.14.0 is built from; a line is
where the function begins. Lines of headers are read in tensorflow/tflite-micro 33b54b3b, whose copies are of the weeks
before v2.14 was branched, those of .cc files proven by the lines that tflite-runtime's own checks report; a citation
without a line could not be proven so. google/gemmlowp's fixedpoint.h has had the same lines since fda83bdc (2020).
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from kd_embedded.ops.spec import OpSpec

# The builtin ops of tensorflow/lite/micro/micro_mutable_op_resolver.h, tflite-micro 90b983c2; the tflite-micro wheel
# registers the same ones (python/tflite_micro/python_ops_resolver.cc).
_TFLM = """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
    BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV
    DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED
    GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG
    LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG
    NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND
    SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE
    TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
"""
TFLM_OPS = frozenset(_TFLM.split())


@cache
def _specs() -> dict[str, OpSpec]:
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    found = (module.OP for module in modules if hasattr(module, "OP"))
    return {op.name: op for op in found}


def spec(name: str) -> OpSpec:
    """What is known of the op with the schema's ``name``; an op without a file of its own multiplies nothing."""
    return _specs().get(name, OpSpec(name))
