"""A teacher's logits: live, computed once, or kept for epochs of augmented inputs; killed anywhere, the same bytes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_embedded import artifacts, soft_targets, teachers
from kd_embedded.augment import Augmentation
from kd_embedded.config import FitSpec, parse_config
from kd_embedded.errors import ConfigError, KdError, ModelError
from kd_embedded.pipeline import Run
from kd_embedded.progress import Progress
from kd_embedded.stages import distill, plan, teach

_X = np.random.default_rng(0).random((300, 4, 4, 1), np.float32)
_TRAIN = np.arange(300)[::-1].copy()
_LABELLED = np.arange(300) % 5 > 0
_SPEC = FitSpec(augment_flip=True, augment_shift=1, augment_noise=0.1, mixup=0.2)
_WEIGHTS = np.random.default_rng(1).normal(0, 3, (16, 5)).astype(np.float32)


def _inputs(positions: NDArray[np.int64]) -> NDArray[np.float32]:
    return _X[_TRAIN[positions]]


class _Linear:
    """A teacher in NumPy that counts what it is asked, and may die of it."""

    model: Any = None

    def __init__(self, dies_after: int = 10**9) -> None:
        self.left, self.asked = dies_after, 0

    def logits(self, inputs: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        self.asked += len(inputs)
        return inputs.reshape(len(inputs), -1) @ _WEIGHTS


def _keep(folder: Path, teacher: _Linear, epochs: int = 3) -> None:
    soft_targets.keep(folder, lambda: teacher, Augmentation(_inputs, _LABELLED, _SPEC), _TRAIN, epochs, Progress())


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class _Offset(_Linear):
    def logits(self, inputs: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return super().logits(inputs, indices) - np.float32(70_000)


def test_large_logits_are_kept_as_they_are(tmp_path: Path) -> None:
    """As of a teacher that gives log-likelihoods: in float16 they would be coarse, or cut off."""
    teacher = _Offset()
    for _ in range(2):
        _keep(tmp_path, teacher, 1)
    live = soft_targets.live(_Offset(), _TRAIN)
    now = live(np.arange(300), Augmentation(_inputs, _LABELLED, _SPEC).inputs(np.arange(300), 0), 0)
    assert np.array_equal(soft_targets.replayed(tmp_path, 1)(np.arange(300), now, 0), now)
    assert teacher.asked == 300


def test_kept_logits_are_the_live_ones_as_float16(tmp_path: Path) -> None:
    _keep(tmp_path, _Linear())
    kept, live = soft_targets.replayed(tmp_path, 3), soft_targets.live(_Linear(), _TRAIN)
    augmentation = Augmentation(_inputs, _LABELLED, _SPEC)
    positions = np.random.default_rng(2).permutation(300)[:64]
    for epoch in range(3):
        now = live(positions, augmentation.inputs(positions, epoch), epoch)
        assert kept(positions, np.zeros(0, np.float32), epoch).dtype == np.float32
        assert np.allclose(kept(positions, np.zeros(0, np.float32), epoch), now, rtol=2**-11, atol=1e-6)
        assert np.array_equal(kept(positions, now, epoch), kept(positions, now, epoch + 3))
    assert not np.array_equal(kept(positions, now, 0), kept(positions, now, 1))


@pytest.mark.parametrize("asked", [1, 3, 5])
def test_a_killed_cache_is_completed_to_the_same_bytes(tmp_path: Path, asked: int) -> None:
    _keep(tmp_path / "whole", _Linear())
    with pytest.raises(KeyboardInterrupt):
        _keep(tmp_path / "killed", _Linear(dies_after=asked))
    whole_epochs = asked // 2  # of two batches each
    teacher = _Linear()
    _keep(tmp_path / "killed", teacher)
    assert teacher.asked == 300 * (3 - whole_epochs)
    assert _bytes(tmp_path / "killed") == _bytes(tmp_path / "whole")


def test_a_damaged_epoch_is_made_again_and_leftovers_go(tmp_path: Path) -> None:
    _keep(tmp_path, _Linear())
    whole, damaged = _bytes(tmp_path), tmp_path / "epoch_0001.npy"
    damaged.write_bytes(damaged.read_bytes()[:200])
    (tmp_path / ".kd-left").mkdir()
    teacher = _Linear()
    _keep(tmp_path, teacher)
    assert teacher.asked == 300
    assert _bytes(tmp_path) == whole


def test_logits_that_are_not_finite_are_one_line(tmp_path: Path) -> None:
    class _Broken(_Linear):
        def logits(self, inputs: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.full((len(inputs), 5), np.nan, np.float32)

    with pytest.raises(ModelError, match="NaN or infinity"):
        _keep(tmp_path, _Broken())
    assert not list(tmp_path.iterdir())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Digits, taught by two tiny teachers; the student is not distilled yet."""
    return _run(tmp_path, {})


def _run(base: Path, settings: dict[str, Any], data: dict[str, Any] | None = None) -> Run:
    quick = {"arch": "mlp", "width": 0.05, "epochs": 2}
    spec = parse_config(
        {
            "project": {"out": "out"},
            "data": data or {"max_per_class": 12},
            "teacher": [quick, {**quick, "width": 0.1}],
            "student": {"arch": "mlp", "width": 0.25},
            "examine": {"probe_epochs": 1},
            "distill": {"epochs": 3, "augment_shift": 1, "cache_epochs": 2, **settings},
        },
        "kd.toml",
    )
    run = Run(spec, base, Progress())
    run.open_folder(fresh=False)
    for stage in (plan.STAGE, teach.STAGE):
        run.execute(stage)
    return run


def test_logits_that_the_disk_has_no_room_for_are_told_before_the_teacher_is_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soft_targets.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setattr(teach, "load_teachers", None)
    for run.workers in (0, 2):
        with pytest.raises(KdError, match=r"the teacher's logits of 2 epochs need 0.0 GB, and 0.0 are free: lower"):
            soft_targets.of_run(run)


def test_the_clean_logits_of_an_ensemble_are_computed_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    train, val = soft_targets.clean(run)
    parts, ensemble = teach.splits(run), teach.load_teachers(run)
    assert np.allclose(train, ensemble.logits(run.data.inputs(parts.train), parts.train), atol=1e-5)
    assert np.allclose(val, ensemble.logits(run.data.inputs(parts.val), parts.val), atol=1e-5)
    assert soft_targets.members(run)[0].shape == (2, *train.shape)
    monkeypatch.setattr(teach, "load_teachers", None)  # nobody is asked again
    assert np.array_equal(soft_targets.clean(run)[0], train)


def test_inputs_of_another_scale_are_other_inputs(tmp_path: Path) -> None:
    """The file, the splits and a frozen teacher stay the same."""
    run = _run(tmp_path / "first", {})
    teacher = run.path("teacher.keras").rename(tmp_path / "own.keras")
    found = []
    for scale in (0.0, 0.5):
        document = run.spec.model_dump(exclude={"teacher", "data"}) | {
            "data": {"max_per_class": 12, "scale": scale},
            "teacher": [{"file": str(teacher), "mode": "frozen"}],
        }
        rescaled = Run(parse_config(document, "kd.toml"), tmp_path, Progress())
        rescaled.open_folder(fresh=False)
        for stage in (plan.STAGE, teach.STAGE):
            rescaled.execute(stage)
        soft_targets.of_run(rescaled)
        found.append(soft_targets.clean(rescaled)[0])
        del rescaled
    assert not np.allclose(*found)
    assert len([*(tmp_path / "out" / artifacts.SOFT_TARGETS).iterdir()]) == 2


def test_a_worker_takes_another_teacher_up(run: Run) -> None:
    """Under the same kd.toml, in the same place: the key alone tells."""
    soft_targets._TAKEN_UP.clear()
    where = {"spec": run.spec.model_dump_json(exclude_unset=True), "base": str(run.base)}
    first = soft_targets.shard(key="first", val=True, first=0, last=1, **where)["logits"]
    one, other = (run.path(name) for name in teach.files(run))
    swapped = one.read_bytes(), other.read_bytes()
    one.write_bytes(swapped[1])
    other.write_bytes(swapped[0])
    second = soft_targets.shard(key="second", val=True, first=0, last=1, **where)["logits"]
    assert np.allclose(first, second[::-1]) and not np.allclose(first, second)
    soft_targets._TAKEN_UP.clear()


def test_kept_outputs_that_are_no_classes_are_not_rounded(tmp_path: Path) -> None:
    pressure = (1013 + np.random.default_rng(0).normal(size=(80, 6))).astype(np.float32)
    np.savez(tmp_path / "data.npz", x_train=pressure)
    document = {
        "project": {"out": "out"},
        "data": {"source": "npz:data.npz", "task": "autoencoder"},
        "teacher": {"arch": "mlp", "width": 0.05, "epochs": 1, "augment_shift": 0},
        "student": {"arch": "autoencoder"},
        "distill": {"epochs": 2, "augment_noise": 0.1},
    }
    run = Run(parse_config(document, "kd.toml"), tmp_path, Progress())
    run.open_folder(fresh=False)
    for stage in (plan.STAGE, teach.STAGE):
        run.execute(stage)
    soft_targets.of_run(run)
    (kept,) = run.path(artifacts.SOFT_TARGETS).iterdir()
    assert np.load(kept / "epoch_0000.npy").dtype == np.float32


def test_mirrored_teachers_have_logits_of_their_own(run: Run) -> None:
    plain, _ = soft_targets.clean(run)
    soft_targets.of_run(run)
    parts, teacher = teach.splits(run), teach.load_teachers(run)
    mirrored = Run(
        run.spec.model_copy(update={"distill": run.spec.distill.model_copy(update={"teacher_mirror": True})}),
        run.base,
        Progress(),
    )
    found, _ = soft_targets.clean(mirrored)
    assert not np.allclose(found, plain)
    x = run.data.inputs(parts.train)
    members = [member.logits(shown, parts.train) for member in teacher.members for shown in (x, x[:, :, ::-1])]
    assert np.allclose(found, teachers.average(members, [1.0] * 4, "probabilities"), atol=1e-5)
    soft_targets.of_run(mirrored)
    assert len([*run.path(artifacts.SOFT_TARGETS).iterdir()]) == 2


@pytest.mark.parametrize(("key", "value"), [("augment_flip", True), ("augment_shift", 1)])
def test_rows_of_numbers_are_neither_flipped_nor_shifted(tmp_path: Path, key: str, value: Any) -> None:
    np.savez(tmp_path / "rows.npz", x_train=np.random.default_rng(0).normal(size=(60, 5)), y_train=np.arange(60) % 3)
    with pytest.raises(ConfigError, match=rf"distill\.{key}: is for images, and the data is none: leave it out"):
        _run(tmp_path, {"augment_shift": 0, key: value}, {"source": "npz:rows.npz"})


def test_a_live_teacher_that_gives_nan_is_named() -> None:
    class Nan(_Linear):
        def logits(self, inputs: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.where(indices[:, None] == _TRAIN[7], np.float32(np.nan), super().logits(inputs, indices))

    live = soft_targets.live(Nan(), _TRAIN)
    assert live(np.arange(7), _inputs(np.arange(7)), 0).shape == (7, 5)
    with pytest.raises(ModelError, match="the teacher: gives NaN or infinity"):
        live(np.arange(8), _inputs(np.arange(8)), 0)


def test_mirror_images_of_what_is_no_image_are_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x_train=np.random.default_rng(0).normal(size=(60, 5)), y_train=np.arange(60) % 3)
    said = r"distill\.teacher_mirror: is for images, and the data is none"
    with pytest.raises(ConfigError, match=said):
        _run(tmp_path, {"teacher_mirror": True}, {"source": "npz:rows.npz"})
    assert not (tmp_path / "out" / "teacher.keras").exists()
    run = _run(tmp_path, {"augment_shift": 0}, {"source": "npz:rows.npz"})
    run.spec.distill.__dict__["teacher_mirror"] = True
    with pytest.raises(ConfigError, match=said):
        teach.load_teachers(run)


def test_a_distilled_student_is_the_same_after_a_kill_with_kept_logits(tmp_path: Path) -> None:
    whole, killed = _run(tmp_path / "whole", {}), _run(tmp_path / "killed", {})
    whole.execute(distill.STAGE)
    _, period = soft_targets.of_run(killed)
    assert period == 2
    kept = next(killed.path(artifacts.SOFT_TARGETS).iterdir())
    (kept / "epoch_0001.npy").unlink()
    killed.execute(distill.STAGE)
    for name in (artifacts.STUDENT, artifacts.STUDENT_HISTORY):
        assert whole.path(name).read_bytes() == killed.path(name).read_bytes(), name
    assert (kept / "epoch_0001.npy").is_file()


def test_other_augmentation_has_a_cache_of_its_own_and_other_weights_share_it(run: Run) -> None:
    soft_targets.of_run(run)
    caches = run.path(artifacts.SOFT_TARGETS)
    for settings, count in (({"learning_rate": 0.5}, 1), ({"augment_seed": 7}, 2), ({"ensemble": "logits"}, 3)):
        changed = run.spec.distill.model_copy(update=settings)
        run.spec = run.spec.model_copy(update={"distill": changed})
        soft_targets.of_run(run)
        assert len(list(caches.iterdir())) == count, settings
