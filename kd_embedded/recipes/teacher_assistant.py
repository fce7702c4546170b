"""Mirzadeh et al., AAAI 2020, "Improved Knowledge Distillation via Teacher Assistant".

A chain and not a loss of its own: a model between the two in size learns from the teacher, and the student learns from
that assistant, each by plain distillation (kd). It is for students far smaller than their teacher; the assistant is
``distill.assistant_arch`` and ``distill.assistant_width``.
"""

from __future__ import annotations

from kd_embedded.recipes.kd import FEATURES, PARAMETERS, soft_loss

ASSISTANT = True

__all__ = ["ASSISTANT", "FEATURES", "PARAMETERS", "soft_loss"]
