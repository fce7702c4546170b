"""Each recipe against its closed form in NumPy, finite differences, its authors' numbers, and its invariances."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kd_embedded import keras_files, recipes
from kd_embedded.errors import ConfigError, KdError, ModelError

Array = NDArray[Any]

LOGITS = ("dist", "dkd", "kd", "kd_ls", "mse", "teacher_assistant")
MAPS = ("attention", "hints")


def _float32(values: Any) -> Any:
    return values.astype(np.float32) if isinstance(values, np.ndarray) else values


def _loss(name: str, student: Any, teacher: Any, labels: Array, temperature: float = 4.0, **parameters: float) -> Any:
    """The soft loss, float32 [N], after the warm-up."""
    batch = recipes.Batch(labels, student, _float32(teacher), temperature, 1.0)
    return recipes.get(name).soft_loss(batch, recipes.parameters(name, parameters))


def _loss_of_maps(name: str, student: list[Any], teacher: list[Any], **parameters: float) -> Any:
    batch = recipes.Batch(None, None, None, 4.0, 1.0, tuple(student), tuple(map(_float32, teacher)))
    return recipes.get(name).soft_loss(batch, recipes.parameters(name, parameters))


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _kl(log_p: Array, log_q: Array) -> Array:
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def _kd(student: Array, teacher: Array, labels: Array, t: float) -> Array:
    return t**2 * _kl(_log_softmax(teacher / t), _log_softmax(student / t))


def _kd_ls(student: Array, teacher: Array, labels: Array, t: float) -> Array:
    def z(logits: Array) -> Array:
        return (logits - logits.mean(1, keepdims=True)) / np.maximum(logits.std(1, ddof=1, keepdims=True), 0.01)

    return 10.0 * _kd(z(student), z(teacher), labels, 2.0)


def _dkd(student: Array, teacher: Array, labels: Array, t: float) -> Array:
    losses = []
    for label, p, q in zip(labels, teacher / t, student / t, strict=True):
        p_others, q_others = np.delete(p, label), np.delete(q, label)
        p_pair, q_pair = (
            np.array([logits[label], np.log(np.exp(others - others.max()).sum()) + others.max()])
            for logits, others in ((p, p_others), (q, q_others))
        )
        target = _kl(_log_softmax(p_pair), _log_softmax(q_pair))
        losses.append(t**2 * (target + 2.0 * _kl(_log_softmax(p_others), _log_softmax(q_others))))
    return np.array(losses)


def _dist(student: Array, teacher: Array, labels: Array, t: float) -> Array:
    p, q = np.exp(_log_softmax(teacher / t)), np.exp(_log_softmax(student / t))

    def rho(x: Array, y: Array) -> float:
        x, y = x - x.mean(), y - y.mean()
        return float(x @ y / max(1e-4, np.linalg.norm(x)) / max(1e-4, np.linalg.norm(y)))

    inter = np.array([1.0 - rho(a, b) for a, b in zip(p, q, strict=True)])
    intra = np.mean([1.0 - rho(a, b) for a, b in zip(p.T, q.T, strict=True)])
    return t**2 * 2.0 * (inter + intra)


def _mse(student: Array, teacher: Array, labels: Array, t: float) -> Array:
    return ((student - teacher) ** 2).sum(1) / 2 / student.shape[1]


CLOSED_FORMS = {"kd": _kd, "teacher_assistant": _kd, "kd_ls": _kd_ls, "dkd": _dkd, "dist": _dist, "mse": _mse}


def _hints(student: Array, teacher: Array) -> Array:
    return ((student - teacher) ** 2).reshape(len(student), -1).mean(1)


def _attention(student: Array, teacher: Array) -> Array:
    def look(maps: Array) -> Array:
        energy = (maps**2).sum(-1).reshape(len(maps), -1)
        return energy / np.linalg.norm(energy, axis=1, keepdims=True)

    return 0.5 * (1.0 - (look(student) * look(teacher)).sum(1))


CLOSED_FORMS_OF_MAPS = {"hints": _hints, "attention": _attention}


def _case(seed: int, samples: int, classes: int, spread: float = 3.0) -> tuple[Array, Array, Array]:
    """Logits of a student and a teacher, rounded to float32, and labels."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, spread, (2, samples, classes)).astype(np.float32).astype(np.float64)
    return logits[0], logits[1], generator.integers(0, classes, samples)


def _difference(closed_form: Any, at: Array, step: float = 1e-5) -> Array:
    """The gradient of the sum of ``closed_form`` at ``at``, by central differences."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (closed_form(up).sum() - closed_form(down).sum()) / (2 * step)
    return gradient


def _compiled(loss: Any) -> Any:
    """(student, teacher) to the losses ``loss(student, teacher)`` and their gradient, compiled as the loop does it."""
    import tensorflow as tf

    @tf.function(reduce_retracing=True)
    def run(student: Any, teacher: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(student)
            losses = loss(student, teacher)
        return losses, tape.gradient(losses, student)

    return lambda *arrays: [found.numpy() for found in run(*(tf.constant(each, tf.float32) for each in arrays))]


def _gradient(loss: Any, at: Array) -> tuple[Array, Array]:
    """The losses ``loss(at)`` and their gradient."""
    losses, gradient = _compiled(lambda student, _: loss(student))(at, at)
    return losses, gradient


def test_every_recipe_is_tested_here() -> None:
    assert sorted(LOGITS + MAPS) == sorted(recipes.names())
    assert {name for name in recipes.names() if recipes.get(name).FEATURES} == set(MAPS)
    assert [name for name in recipes.names() if getattr(recipes.get(name), "ASSISTANT", False)] == ["teacher_assistant"]
    assert all(len(inspect.getdoc(recipes.get(name)) or "") > 200 for name in recipes.names())


@pytest.mark.parametrize("name", LOGITS)
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    samples=st.integers(2, 9),
    classes=st.integers(3, 12),
    spread=st.sampled_from([0.1, 1.0, 4.0, 300.0]),
    temperature=st.sampled_from([0.5, 1.0, 4.0, 20.0]),
)
def test_loss_is_the_closed_form(
    name: str, seed: int, samples: int, classes: int, spread: float, temperature: float
) -> None:
    student, teacher, labels = _case(seed, samples, classes, spread)
    found = _loss(name, student.astype(np.float32), teacher, labels, temperature).numpy()
    expected = CLOSED_FORMS[name](student, teacher, labels, temperature)
    assert found.shape == (samples,) and found.dtype == np.float32
    assert np.allclose(found, expected, rtol=1e-4, atol=2e-5 * max(1.0, temperature**2))


@pytest.mark.parametrize("name", MAPS)
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    samples=st.integers(1, 4),
    size=st.tuples(st.integers(1, 6), st.integers(2, 6)),
    channels=st.integers(1, 5),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_loss_of_maps_is_the_closed_form(
    name: str, seed: int, samples: int, size: tuple[int, int], channels: int, scale: float
) -> None:
    maps = np.random.default_rng(seed).normal(0, scale, (2, samples, *size, channels)).astype(np.float32)
    found = _loss_of_maps(name, [maps[0]], [maps[1]]).numpy()
    expected = CLOSED_FORMS_OF_MAPS[name](*maps.astype(np.float64))
    assert found.shape == (samples,) and np.allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("name", LOGITS)
def test_gradient_is_the_finite_difference_of_the_closed_form(name: str, temperature: float) -> None:
    student, teacher, labels = _case(3, 4, 6)
    _, found = _gradient(lambda logits: _loss(name, logits, teacher, labels, temperature), student)
    expected = _difference(lambda logits: CLOSED_FORMS[name](logits, teacher, labels, temperature), student)
    assert np.allclose(found, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", MAPS)
def test_gradient_of_maps_is_the_finite_difference_of_the_closed_form(name: str) -> None:
    student, teacher = np.random.default_rng(4).normal(0, 1, (2, 2, 3, 4, 2)).astype(np.float32).astype(np.float64)
    _, found = _gradient(lambda maps: _loss_of_maps(name, [maps], [teacher]), student)
    expected = _difference(lambda maps: CLOSED_FORMS_OF_MAPS[name](maps, teacher), student)
    assert np.allclose(found, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())


# The numbers below were computed in float64 by the authors' own code on the arrays of _waves and _wave_maps; these are
# the mean over the batch, the norm of its gradient in the student's logits, and the gradient's first element.
_AUTHORS = [
    # HobbitLong/RepDistiller b84f547c, distiller_zoo/KD.py, DistillKL(4); and megvii-research/mdistiller a08d46f1,
    # mdistiller/distillers/KD.py, kd_loss(temperature=4)
    ("kd", 4.0, {}, 7.307382104458095, 0.45394138105639853, -0.024473115801744185),
    # sunshangquan/logit-standardization-KD f6e5aa51, mdistiller/distillers/KD.py, kd_loss(temperature=2, logit_stand)
    ("kd_ls", 4.0, {"weight": 1.0}, 0.8987455046093178, 0.04543087243532968, -0.007513842069354327),
    # megvii-research/mdistiller a08d46f1, mdistiller/distillers/DKD.py, dkd_loss(alpha, beta, temperature)
    ("dkd", 4.0, {"alpha": 1.0, "beta": 8.0}, 62.0281003196675, 3.943871042066702, -0.1567879061439752),
    ("dkd", 4.0, {}, 15.69687024551898, 0.9862126058600533, -0.043682541998648586),
    ("dkd", 1.0, {"alpha": 0.5, "beta": 3.0}, 9.543735723585046, 0.7746165989400077, -0.004716092356450634),
    # hunto/image_classification_sota 6f7a70a1, a part of DIST_KD, lib/models/losses/dist_kd.py, DIST(beta, gamma, tau)
    ("dist", 4.0, {}, 58.35949161746635, 3.3812011299992455, -0.4890974400533461),
    ("dist", 1.0, {"gamma": 0.0}, 1.3902701637259822, 0.2858521780507852, -0.03992672355742144),
    ("dist", 1.0, {"beta": 0.0}, 1.4962500515492432, 0.1468272676196143, 0.029762722229502124),
    # hunto/DIST_KD 2418f18b, segmentation/losses/dist_kd.py, DIST(beta=2, gamma=2)
    ("dist", 1.0, {}, 2.886520215275225, 0.3544401477438116, -0.010164001327919312),
    # imirzadeh/Teacher-Assistant-Knowledge-Distillation 0f8168f, train.py, T * T * loss_KD at T = 4; its nn.KLDivLoss()
    # takes the mean over the ten classes too
    ("teacher_assistant", 4.0, {}, 10 * 0.7307382104458094, 10 * 0.045394138105639865, 10 * -0.002447311580174415),
    # jhoon-oh/kd_data 6aa1822, code/image_classfication/tools/losses.py, mse_logit; ours is Ba and Caruana's half of it
    ("mse", 4.0, {}, 17.58527578475639 / 2, 1.0827519194089472 / 2, -0.06211666183427248 / 2),
]


def _waves() -> tuple[Array, Array, Array]:
    i, j = np.meshgrid(np.arange(6), np.arange(10), indexing="ij")
    student, teacher = 3 * np.sin(1.0 + 2.3 * i + 1.7 * j), 5 * np.cos(0.5 + 1.9 * i + 2.9 * j)
    return student, teacher, np.array([3, 0, 9, 5, 5, 1])


@pytest.mark.parametrize(("name", "temperature", "parameters", "mean", "norm", "first"), _AUTHORS)
def test_loss_and_gradient_are_the_authors(
    name: str, temperature: float, parameters: dict[str, float], mean: float, norm: float, first: float
) -> None:
    student, teacher, labels = _waves()
    losses, gradient = _gradient(
        lambda logits: _loss(name, logits, teacher, labels, temperature, **parameters), student
    )
    gradient /= len(losses)
    assert losses.mean() == pytest.approx(mean, rel=1e-5)
    assert np.linalg.norm(gradient) == pytest.approx(norm, rel=1e-4)
    assert gradient[0, 0] == pytest.approx(first, rel=1e-3)


def _wave_maps(size: int, channels: int, phase: float) -> Array:
    """float64 [4, size, size, channels], a fifth of it zero."""
    n, h, w, c = np.meshgrid(np.arange(4), np.arange(size), np.arange(size), np.arange(channels), indexing="ij")
    return np.maximum(np.sin(phase + 0.7 * n + 1.3 * h + 2.1 * w + 0.9 * c) + 0.3, 0)


def test_losses_of_maps_are_the_authors() -> None:
    """Computed as _AUTHORS."""
    a8, b8, b7 = _wave_maps(8, 3, 0.1), _wave_maps(8, 5, 0.9), _wave_maps(7, 5, 0.4)
    a5, b3, c8 = _wave_maps(5, 2, 0.2), _wave_maps(3, 6, 0.6), _wave_maps(8, 5, 0.3)
    # HobbitLong/RepDistiller b84f547c, distiller_zoo/AT.py, Attention(p=2); the first is szagoruyko/attention-transfer
    # 893df548, utils.py, at_loss as well, the second megvii-research/mdistiller a08d46f1, mdistiller/distillers/AT.py
    for pairs, expected in (
        ([(a8, b8, 64)], 0.010232887085145286),
        ([(a8, b7, 49)], 0.0013220524732336007),
        ([(b7, a8, 49), (a5, b3, 9)], 0.025514810784873082),
    ):
        losses = [
            _loss_of_maps("attention", [_float32(student)], [teacher], weight=2.0 / pixels)
            for student, teacher, pixels in pairs
        ]
        assert np.mean(sum(losses)) == pytest.approx(expected, rel=1e-4)
    # HobbitLong/RepDistiller b84f547c, distiller_zoo/FitNet.py, HintLoss
    found = _loss_of_maps("hints", [c8.astype(np.float32)], [b8], weight=1.0)
    assert found.numpy().mean() == pytest.approx(0.11000059002234792, rel=1e-5)


@pytest.mark.parametrize("name", MAPS)
def test_pairs_of_layers_add_up(name: str) -> None:
    pairs = [(_wave_maps(8, 5, 0.9), _wave_maps(8, 5, 0.3)), (_wave_maps(3, 2, 0.2), _wave_maps(3, 2, 0.6))]
    each = [_loss_of_maps(name, [_float32(student)], [teacher]) for student, teacher in pairs]
    together = _loss_of_maps(name, [_float32(student) for student, _ in pairs], [teacher for _, teacher in pairs])
    assert np.allclose(together, each[0] + each[1], rtol=1e-5) and np.min(each) > 0.0


_EXTREMES = {
    "equal": np.zeros((3, 5)),
    "shifted": np.full((3, 5), 1e4),
    "one hot": np.eye(5)[:3] * 1e4,
    "opposite": np.eye(5)[[1, 2, 3]] * 1e4 - np.eye(5)[:3] * 1e4,
    "close": np.arange(15).reshape(3, 5) * 1e-6,
    "usual": np.arange(15).reshape(3, 5) % 4 * 1.5,
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", LOGITS)
def test_extreme_logits_give_finite_losses_and_gradients(name: str, count: int) -> None:
    run = _compiled(lambda student, teacher: _loss(name, student, teacher, np.arange(count)))
    for student in _EXTREMES.values():
        for teacher in _EXTREMES.values():
            losses, gradient = run(student[:count], teacher[:count])
            assert np.isfinite(losses).all() and np.isfinite(gradient).all() and (losses > -1e-3).all()


@pytest.mark.parametrize("name", MAPS)
def test_extreme_maps_give_finite_losses_and_gradients(name: str) -> None:
    run = _compiled(lambda student, teacher: _loss_of_maps(name, [student], [teacher]))
    for student in (0.0, 1e-12, 1.0, 1e4):
        for teacher in (0.0, 1.0, 1e4):
            losses, gradient = run(np.full((2, 3, 3, 2), student), np.full((2, 3, 3, 2), teacher))
            assert np.isfinite(losses).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["kd_ls", "dist"])
def test_a_student_that_says_nothing_yet_is_not_thrown_far(name: str) -> None:
    """Both losses do not change with the student's scale, so their gradient grows as its inverse: bounded here."""
    _, teacher, labels = _case(5, 4, 10)
    _, gradient = _gradient(lambda logits: _loss(name, logits, teacher, labels), np.zeros((4, 10)))
    assert 0.0 < np.abs(gradient).max() < 1e4


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.2, 20.0), shift=st.floats(-20.0, 20.0))
def test_standardized_logits_forget_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    student, teacher, labels = _case(seed, 5, 8)
    here = _loss("kd_ls", student.astype(np.float32), teacher, labels)
    there = _loss("kd_ls", (student * scale + shift).astype(np.float32), teacher / scale - shift, labels)
    assert np.allclose(here, there, rtol=1e-3, atol=1e-3)
    assert np.allclose(_loss("kd_ls", (teacher * scale + shift).astype(np.float32), teacher, labels), 0.0, atol=1e-4)


def test_standardized_logits_do_not_read_the_temperature_of_the_loop() -> None:
    student, teacher, labels = _case(1, 5, 8)
    one, four = (_loss("kd_ls", student.astype(np.float32), teacher, labels, t) for t in (1.0, 4.0))
    assert np.array_equal(one, four)
    other = _loss("kd_ls", student.astype(np.float32), teacher, labels, 4.0, base_temperature=4.0)
    assert not np.allclose(four, other, rtol=0.01)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), temperature=st.sampled_from([1.0, 4.0]))
def test_decoupled_terms_make_up_the_plain_divergence(seed: int, temperature: float) -> None:
    """KD = TCKD + (1 - p(target)) NCKD, section 3.1 of the paper."""
    student, teacher, labels = _case(seed, 6, 7)
    student = student.astype(np.float32)
    of_target = _loss("dkd", student, teacher, labels, temperature, alpha=1.0, beta=0.0)
    of_others = _loss("dkd", student, teacher, labels, temperature, alpha=0.0, beta=1.0)
    rest = 1.0 - np.exp(_log_softmax(teacher / temperature))[np.arange(6), labels]
    assert np.allclose(of_target + rest * of_others, _loss("kd", student, teacher, labels, temperature), atol=1e-4)


def test_decoupled_loss_fades_in() -> None:
    student, teacher, labels = _case(2, 4, 5)
    student, teacher = student.astype(np.float32), teacher.astype(np.float32)

    def at(progress: float, **parameters: float) -> Any:
        batch = recipes.Batch(labels, student, teacher, 4.0, progress)
        return recipes.get("dkd").soft_loss(batch, recipes.parameters("dkd", parameters)).numpy()

    assert not at(0.0).any()
    assert np.allclose(at(5 / 240), at(1.0) / 4, rtol=1e-5)
    assert np.array_equal(at(0.5), at(1.0)) and np.array_equal(at(0.0, warmup=0.0), at(1.0))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.floats(-10.0, 10.0))
def test_correlation_of_the_teacher_with_itself_is_no_loss(seed: int, shift: float) -> None:
    _, teacher, labels = _case(seed, 6, 7)
    teacher = teacher.astype(np.float32)
    assert np.allclose(_loss("dist", teacher, teacher, labels), 0.0, atol=1e-4)
    assert np.allclose(_loss("dist", teacher + np.float32(shift), teacher, labels), 0.0, atol=1e-3)


def test_correlation_over_the_batch_is_in_every_sample() -> None:
    student, teacher, labels = _case(1, 6, 7)
    found = _loss("dist", student.astype(np.float32), teacher, labels, beta=0.0).numpy()
    assert found[0] > 0.0 and (found == found[0]).all()


@pytest.mark.parametrize("name", ["kd", "dkd", "mse"])
def test_the_teacher_itself_is_the_minimum(name: str) -> None:
    student, teacher, labels = _case(1, 6, 7)
    _, gradient = _gradient(lambda logits: _loss(name, logits, teacher, labels), teacher)
    assert np.allclose(_loss(name, teacher.astype(np.float32), teacher, labels), 0.0, atol=1e-5)
    assert np.abs(gradient).max() < 1e-5 < _loss(name, student.astype(np.float32), teacher, labels).numpy().min()


def test_regressing_logits_is_plain_distillation_at_a_high_temperature() -> None:
    """Hinton et al. 2015, section 2.1, for logits of mean zero in each row."""
    student, teacher, labels = _case(1, 6, 7)
    student, teacher = (x - x.mean(1, keepdims=True) for x in (student, teacher))
    _, plain = _gradient(lambda logits: _loss("kd", logits, teacher, labels, 300.0), student)
    _, regression = _gradient(lambda logits: _loss("mse", logits, teacher, labels), student)
    assert np.allclose(plain, regression, rtol=0.05, atol=0.02)


def test_attention_forgets_the_scale_of_the_maps() -> None:
    student, teacher = np.random.default_rng(1).normal(0, 1, (2, 3, 4, 4, 2)).astype(np.float32)
    found = _loss_of_maps("attention", [student], [teacher])
    assert np.allclose(found, _loss_of_maps("attention", [student * np.float32(7)], [teacher / 3]), rtol=1e-4)
    assert np.allclose(_loss_of_maps("attention", [teacher * np.float32(5)], [teacher]), 0.0, atol=1e-6)


def test_with_two_classes_some_recipes_are_plain_distillation() -> None:
    for name in recipes.names():
        assert recipes.effective(name, 3) == (name, "")
        used, reason = recipes.effective(name, 2)
        assert (used, bool(reason)) == (("kd", True) if name in ("kd_ls", "dkd", "dist") else (name, False))
        assert not reason or reason.startswith(f"{name} falls back to kd with two classes: ")


def test_with_two_classes_those_recipes_would_teach_nothing() -> None:
    """The reasons that ``effective`` gives are so: no gradient, or no term."""
    student, teacher, labels = _case(1, 6, 2)
    _, standardized = _gradient(lambda logits: _loss("kd_ls", logits, teacher, labels), student)
    _, others = _gradient(lambda logits: _loss("dkd", logits, teacher, labels, alpha=0.0), student)
    _, inter = _gradient(lambda logits: _loss("dist", logits, teacher, labels, gamma=0.0), student)
    assert max(np.abs(gradient).max() for gradient in (standardized, others, inter)) < 1e-3


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("kd_sl", {}, "distill.method: no such recipe: 'kd_sl' (did you mean 'kd_ls'?): use one of attention, dist,"),
        ("auto", {}, "distill.method: no such recipe: 'auto'"),
        (
            "dkd",
            {"bata": 1.0},
            "distill.parameters.bata: dkd has no such parameter (did you mean 'beta'?): its parameters",
        ),
        ("kd", {"beta": 1.0}, "distill.parameters.beta: kd has no such parameter: leave it out"),
        ("dkd", {"beta": -1.0}, "distill.parameters.beta: is -1.0: give a number 0 or more"),
        ("hints", {"weight": float("nan")}, "distill.parameters.weight: is nan: give a number 0 or more"),
        ("kd_ls", {"base_temperature": 0.0}, "distill.parameters.base_temperature: is 0.0: give a number above 0"),
    ],
)
def test_wrong_names_and_values_are_refused_in_one_line(name: str, given: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipes.parameters(name, given)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_parameters_are_the_defaults_and_what_is_given() -> None:
    assert recipes.parameters("dkd", {"beta": 8}) == {"alpha": 1.0, "beta": 8.0, "warmup": 20 / 240}
    assert recipes.parameters("dkd", {}) == dict(recipes.get("dkd").PARAMETERS)


# Feature maps of Keras models


def _model(kind: str, arch: str, shape: tuple[int, ...] = (8, 8, 1)) -> Any:
    import keras

    keras_files.start_tensorflow()
    keras.utils.set_random_seed(1)
    return importlib.import_module(f"kd_embedded.{kind}.{arch}").build(shape, 10, 1.0)


def _small(name: str, *sizes: int, channels: int = 3) -> Any:
    """A Keras model of one convolution at each of ``sizes`` (its layers conv0, conv1, ...), and logits."""
    import keras
    from keras import layers

    x = inputs = keras.Input((sizes[0], sizes[0], 1))
    for index, (size, last) in enumerate(zip(sizes, (sizes[0], *sizes), strict=False)):
        x = layers.Conv2D(channels, 1 + last - size, activation="relu", name=f"conv{index}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name=name)


def _inputs(size: int) -> Array:
    return np.random.default_rng(1).normal(0, 1, (4, size, size, 1)).astype(np.float32)


def test_stages_are_paired_by_resolution() -> None:
    from kd_embedded.recipes._features import connect

    student = _model("students", "resnet8", (32, 32, 3))
    teacher = _small("teacher", 31, 20, 17, 15, 7, 3)
    found = connect("attention", student, teacher, seed=1)
    assert found.layers == (("block1_out", "conv0"), ("block2_out", "conv2"), ("block3_out", "conv4"))
    assert connect("hints", student, teacher, seed=1).layers == (("block2_out", "conv2"),)
    assert connect("hints", _small("s", 8), teacher, seed=1).layers == (("conv0", "conv4"),)


def test_a_stage_ends_in_an_activation() -> None:
    from keras import Input, Model, layers

    from kd_embedded.recipes._features import connect

    inputs = Input((8, 8, 1))
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(layers.Conv2D(4, 3, padding="same")(inputs)))
    x = layers.MaxPooling2D(name="down")(layers.Conv2D(4, 3, padding="same", name="before_pooling")(x))
    student = Model(inputs, layers.Dense(10)(layers.Flatten()(x)))
    found = connect("attention", student, student, seed=1)
    assert found.layers == (("relu", "relu"), ("down", "down"))  # nothing but the pooling at 4x4


def test_connected_models_give_the_logits_and_maps_of_the_originals() -> None:
    from kd_embedded.recipes._features import connect

    student, teacher, inputs = _small("s", 8, 6, 3), _small("t", 8, 5, 3, channels=7), _inputs(8)
    found = connect("attention", student, teacher, seed=1)
    assert found.layers == (("conv0", "conv0"), ("conv1", "conv1"), ("conv2", "conv2"))
    for connected, model in ((found.student, student), (found.teacher, teacher)):
        logits, *maps = connected(inputs)
        assert np.array_equal(logits, model(inputs))
        assert np.array_equal(maps[0], model.get_layer("conv0")(inputs))
        assert [each.shape[1] for each in maps] == [8, 6 if model is student else 5, 3]


@pytest.mark.parametrize("wrap", ["model", "sequential"])
def test_a_teacher_within_a_model_is_entered(wrap: str) -> None:
    import keras

    from kd_embedded.recipes._features import connect

    inner, front, inputs = _small("inner", 8, 4), keras.layers.Rescaling(2.0, 1.0), _inputs(8)
    if wrap == "model":
        x = keras.Input((8, 8, 1))
        teacher = keras.Model(x, inner(front(x), training=False), name="outer")
    else:
        teacher = keras.Sequential([keras.Input((8, 8, 1)), front, inner])
    found = connect("attention", _small("s", 8, 4), teacher, seed=1)
    logits, first, _ = found.teacher(inputs)
    assert found.layers == (("conv0", "conv0"), ("conv1", "conv1"))
    assert np.array_equal(logits, teacher(inputs)) and np.array_equal(first, inner.get_layer("conv0")(inputs * 2 + 1))


def test_a_student_within_a_model_trains_in_the_same_mode() -> None:
    import keras

    from kd_embedded.recipes._features import connect

    x, inputs = keras.Input((8, 8, 1)), _inputs(8)
    trunk = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.BatchNormalization(), keras.layers.ReLU()])
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, name="own")(trunk(x)))
    student = keras.Model(x, keras.layers.Dense(10)(y))
    found = connect("attention", student, _small("t", 6), student_layers=["own"], teacher_layers=["conv0"], seed=1)
    here, there = found.student(inputs, training=True)[0], student(inputs, training=True)
    assert np.array_equal(here, there) and not np.allclose(here, student(inputs), atol=1e-3)


def test_training_the_connected_student_trains_the_student_and_leaves_its_file_as_it_is(tmp_path: Path) -> None:
    import tensorflow as tf

    from kd_embedded.recipes._features import connect

    student, teacher, inputs = _model("students", "tiny_cnn"), _small("t", 8, 4, 2, channels=5), _inputs(8)
    keras_files.save(student, tmp_path / "before.keras")
    found = connect("hints", student, teacher, seed=1)
    keras_files.save(student, tmp_path / "after.keras")
    assert (tmp_path / "before.keras").read_bytes() == (tmp_path / "after.keras").read_bytes()
    own = {id(variable) for variable in student.trainable_variables}
    extra = [variable for variable in found.student.trainable_variables if id(variable) not in own]
    assert [tuple(variable.shape) for variable in extra] == [(1, 1, 16, 5), (5,)]
    assert len(found.student.trainable_variables) == len(own) + 2
    before = student(inputs).numpy()
    with tf.GradientTape() as tape:
        _, *maps = found.student(inputs, training=True)
        loss = tf.reduce_mean(_loss_of_maps("hints", maps, [m.numpy() for m in found.teacher(inputs)[1:]]))
    assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(loss, extra))
    student.get_layer("conv1").kernel.assign_add(np.full((3, 3, 1, 8), 0.5, np.float32))
    assert not np.allclose(before, found.student(inputs)[0])
    assert np.array_equal(student(inputs), found.student(inputs)[0])


def test_projectors_follow_the_seed() -> None:
    from kd_embedded.recipes._features import connect

    def kernel(seed: int) -> Array:
        found = connect("hints", _small("s", 8, 4), _small("t", 8, 4), seed=seed)
        weights: Array = found.student.get_layer("hint0").kernel.numpy()
        return weights

    assert np.array_equal(kernel(1), kernel(1)) and not np.array_equal(kernel(1), kernel(2))


def test_hints_of_vectors_where_there_are_no_maps() -> None:
    from kd_embedded.recipes._features import connect

    student, teacher = _model("students", "mlp"), _small("t", 8, 4)
    found = connect("hints", student, teacher, seed=1)
    assert found.layers == (("dense2", "pool"),)
    student_map, teacher_map = found.student(_inputs(8))[1], found.teacher(_inputs(8))[1]
    assert student_map.shape == teacher_map.shape == (4, 3)
    expected = ((student_map.numpy() - teacher_map.numpy()) ** 2).mean(1)
    assert np.allclose(_loss_of_maps("hints", [student_map], [teacher_map.numpy()]), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("recipe", "ours", "theirs", "message"),
    [
        ("hints", ["conv"], ["conv0"], "distill.student_layers: s has no layer 'conv' (did you mean 'conv"),
        (
            "hints",
            ["conv0"],
            ["xyz"],
            "distill.teacher_layers: t has no layer 'xyz': it has conv0, conv1, pool, logits:",
        ),
        ("hints", ["conv0"], [], "distill.student_layers: 1 layers of the student, 0 of the teacher: name as many in"),
        (
            "hints",
            ["conv0"],
            ["pool"],
            "distill.student_layers: conv0 gives [8, 8, 3], pool gives [3]: compare maps with",
        ),
        (
            "attention",
            ["pool"],
            ["pool"],
            "distill.student_layers: pool gives [3]: name a layer that gives [height, width",
        ),
    ],
)
def test_wrong_layers_are_refused_in_one_line(recipe: str, ours: list[str], theirs: list[str], message: str) -> None:
    from kd_embedded.recipes._features import connect

    with pytest.raises(KdError) as caught:
        connect(recipe, _small("s", 8, 4), _small("t", 8, 4), student_layers=ours, teacher_layers=theirs, seed=1)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_models_with_nothing_alike_are_refused_in_one_line() -> None:
    from kd_embedded.recipes._features import connect

    with pytest.raises(ModelError, match="^distill.method: s and mlp have no layers of about the same resolution"):
        connect("attention", _small("s", 8, 4), _model("students", "mlp"), seed=1)
    with pytest.raises(ModelError, match="which attention compares: name layers of both"):
        connect("attention", _small("s", 8), _small("t", 3), seed=1)


@pytest.mark.parametrize(("ours", "theirs"), [((8, 6), (4, 6)), ((7, 5), (3, 2)), ((3, 9), (5, 4)), ((5, 5), (5, 5))])
def test_the_larger_map_is_averaged_to_the_smaller(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    from kd_embedded.recipes._features import same_resolution

    generator = np.random.default_rng(1)
    maps = [generator.normal(0, 1, (2, *size, 3)).astype(np.float32) for size in (ours, theirs)]
    height, width = min(ours[0], theirs[0]), min(ours[1], theirs[1])
    for found, each in zip(same_resolution(*maps), maps, strict=True):
        expected = np.zeros((2, height, width, 3))
        for i, j in np.ndindex(height, width):
            rows = slice(int(np.floor(i * each.shape[1] / height)), int(np.ceil((i + 1) * each.shape[1] / height)))
            columns = slice(int(np.floor(j * each.shape[2] / width)), int(np.ceil((j + 1) * each.shape[2] / width)))
            expected[:, i, j] = each[:, rows, columns].mean((1, 2))
        assert np.allclose(found, expected, atol=1e-6)
