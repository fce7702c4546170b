"""Teachers of every kind: the soft targets of what they came from, and one line for what cannot be used."""

from __future__ import annotations

import importlib
import json
import string
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import absent
from numpy.typing import NDArray

from kd_embedded import data, keras_files, teachers
from kd_embedded.config import DataSpec, TeacherSpec
from kd_embedded.errors import ConfigError, KdError, ModelError, ToolError
from kd_embedded.teachers import _function, sklearn
from kd_embedded.teachers._trunk import preparation

Floats = NDArray[np.float32]

_GENERATOR = np.random.default_rng(0)
_X = _GENERATOR.random((120, 5, 4, 3), np.float32)
_Y = (_X.mean((1, 2, 3)) * 60).astype(np.int64) % 3
_DATA = data.Data(_X, _Y, ("low", "mid", "high"), np.full(120, data.FREE, np.int8), 1.0, 0.0)
_SPLITS = data.split(_DATA, DataSpec(), seed=1)
_WEIGHT = _GENERATOR.normal(0, 1, (60, 3)).astype(np.float32)
_ALL = np.arange(120)


def _job(folder: Path, data_set: data.Data = _DATA, **keys: Any) -> teachers.Job:
    spec = TeacherSpec(**keys)
    path = folder / "run" / f"teacher{teachers.kind(spec.kind).suffix(spec)}"

    def fit(*_: object) -> Any:
        raise AssertionError("nothing to fit")

    return teachers.Job(spec, folder, path, 1, data_set, _SPLITS, "the data", fit)


def _logits(folder: Path, **keys: Any) -> Floats:
    """What the teacher says of all samples, once it has been through the run folder."""
    job = _job(folder, **keys)
    assert teachers.make(job) == []
    return teachers.load(job).logits(_X, _ALL)


def _softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    found: NDArray[np.float64] = exponentials / exponentials.sum(-1, keepdims=True)
    return found


def _expected(x: Floats) -> Floats:
    """The model that is saved in several forms: its channels first, then flattened."""
    return np.moveaxis(x, -1, 1).reshape(len(x), -1) @ _WEIGHT


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        absent("PyTorch is not installed: the extra torch")


# --- scikit-learn


def test_a_forest_is_trained_saved_and_loaded_as_the_one_it_is(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier

    parameters = {"n_estimators": 12, "max_depth": 4}
    logits = _logits(
        tmp_path, kind="sklearn", estimator="sklearn.ensemble.RandomForestClassifier", parameters=parameters
    )
    forest = RandomForestClassifier(random_state=1, **parameters)
    forest.fit(_X[_SPLITS.train].reshape(len(_SPLITS.train), -1), _Y[_SPLITS.train])
    assert np.allclose(_softmax(logits), forest.predict_proba(_X.reshape(120, -1)), atol=1e-5)


def test_a_classifier_trained_again_is_the_same_file_without_dates_and_addresses(tmp_path: Path) -> None:
    spec = {"kind": "sklearn", "estimator": "sklearn.ensemble.GradientBoostingClassifier"}
    files = []
    for name in ("first", "second"):
        job = _job(tmp_path / name, **spec, parameters={"n_estimators": 2})
        teachers.make(job)
        files.append(job.path.read_bytes())
    assert files[0] == files[1]
    with zipfile.ZipFile(tmp_path / "first" / "run" / "teacher.skops") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        identities = [
            int(part.split(b",")[0].split(b"}")[0]) for part in archive.read("schema.json").split(b'"__id__": ')[1:]
        ]
    assert max(identities) == len(set(identities)) - 1  # numbered, in the order they come
    other = _job(tmp_path / "other", **spec, parameters={"n_estimators": 2, "random_state": 3, "subsample": 0.5})
    teachers.make(other)
    assert other.path.read_bytes() != files[0]


def test_pipelines_nested_estimators_and_their_seeds() -> None:
    spec = TeacherSpec(
        kind="sklearn",
        estimator=("sklearn.preprocessing.StandardScaler", "sklearn.calibration.CalibratedClassifierCV"),
        parameters={
            "calibratedclassifiercv__estimator": "sklearn.svm.SVC",
            "calibratedclassifiercv__estimator__C": 7.0,
            "calibratedclassifiercv__cv": 3,
        },
    )
    found = sklearn.build(spec, 5)
    assert found.get_params()["calibratedclassifiercv__estimator__C"] == 7.0
    assert found.get_params()["calibratedclassifiercv__estimator__random_state"] == 5
    others = {"estimator__C": 3.0, "estimator": "sklearn.linear_model.LogisticRegression"}
    one_of_all = TeacherSpec(kind="sklearn", estimator="sklearn.multiclass.OneVsRestClassifier", parameters=others)
    assert sklearn.build(one_of_all, 5).get_params()["estimator__C"] == 3.0
    assert sklearn.build(one_of_all, 5).get_params()["estimator__random_state"] == 5
    own = {"n_estimators": 2, "random_state": 9}
    forest = TeacherSpec(kind="sklearn", estimator="sklearn.ensemble.RandomForestClassifier", parameters=own)
    assert sklearn.build(forest, 5).random_state == 9


def test_weights_of_samples_reach_the_classifier(tmp_path: Path) -> None:
    """Samples of weight 0 might as well not be there."""
    weights = np.where(_Y == 2, 0.0, 1.0).astype(np.float32)
    weighted = data.Data(_X, _Y, _DATA.class_names, _DATA.part, 1.0, 0.0, weights)
    for estimator in (
        "sklearn.ensemble.RandomForestClassifier",
        ("sklearn.preprocessing.StandardScaler", "sklearn.naive_bayes.GaussianNB"),
    ):
        job = _job(tmp_path, weighted, kind="sklearn", estimator=estimator)
        teachers.make(job)
        assert not (teachers.load(job).logits(_X, _ALL).argmax(1) == 2).any()


def test_a_classifier_that_cannot_weigh_samples_says_so(tmp_path: Path) -> None:
    weights = np.where(_Y == 2, 0.5, 1.0).astype(np.float32)
    spec = {"kind": "sklearn", "estimator": "sklearn.neighbors.KNeighborsClassifier"}
    for given in (weights, np.ones(len(_Y), np.float32)):
        job = _job(tmp_path, data.Data(_X, _Y, _DATA.class_names, _DATA.part, 1.0, 0.0, given), **spec)
        if given.min() == given.max():
            teachers.make(job)
            continue
        with pytest.raises(ModelError, match="KNeighborsClassifier cannot weigh samples, and the data does"):
            teachers.make(job)


def _own(folder: Path, name: str, labels: Any = None) -> Any:
    import joblib
    import skops.io
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    labels = np.array(_DATA.class_names)[_Y] if labels is None else labels
    function = np.sqrt if name == "function.skops" else None
    model = make_pipeline(FunctionTransformer(function), LogisticRegression()).fit(_X.reshape(120, -1), labels)
    (joblib.dump if name.endswith(".joblib") else skops.io.dump)(model, folder / name)
    return model


@pytest.mark.parametrize("name", ["own.skops", "own.joblib"])
def test_a_classifier_of_the_users_own_with_its_columns_by_name(tmp_path: Path, name: str) -> None:
    model = _own(tmp_path, name)
    logits = _logits(tmp_path, kind="sklearn", file=name, allow_pickle=name.endswith(".joblib"))
    by_name = dict(zip(model.classes_, model.predict_proba(_X.reshape(120, -1)).T, strict=True))
    assert list(by_name) != list(_DATA.class_names)
    assert np.allclose(_softmax(logits), np.stack([by_name[c] for c in _DATA.class_names], 1), atol=1e-5)


def test_skops_files_of_the_usual_classifiers_need_no_list_of_types(tmp_path: Path) -> None:
    import skops.io
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    inputs = _X.reshape(120, -1)
    for model in (
        GradientBoostingClassifier(n_estimators=2),
        HistGradientBoostingClassifier(max_iter=2),
        KNeighborsClassifier(algorithm="kd_tree"),
        KNeighborsClassifier(algorithm="ball_tree"),
        MLPClassifier((4,), max_iter=2, solver="adam"),
        CalibratedClassifierCV(SVC(), cv=2),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(inputs, _Y)
        skops.io.dump(model, tmp_path / "own.skops")
        logits = _logits(tmp_path, kind="sklearn", file="own.skops")
        assert np.allclose(_softmax(logits), np.clip(model.predict_proba(inputs), 1e-7, 1), atol=1e-5), model


def test_a_skops_file_with_types_of_others_is_refused_by_name(tmp_path: Path) -> None:
    import skops.io
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(_X.reshape(120, -1), _Y)
    model.extra = string.Template("x")
    skops.io.dump(model, tmp_path / "own.skops")
    with pytest.raises(
        ModelError, match="own.skops: names types that skops does not trust: string.Template: list them"
    ):
        _logits(tmp_path, kind="sklearn", file="own.skops")
    assert np.isfinite(_logits(tmp_path, kind="sklearn", file="own.skops", trusted="string.Template")).all()


def test_a_pickle_needs_a_flag_and_is_told_why() -> None:
    with pytest.raises(
        ValueError, match=r"own.pkl is a pickle, and loading one runs whatever code its author put there"
    ):
        TeacherSpec(kind="sklearn", file="own.pkl")
    assert TeacherSpec(kind="sklearn", file="own.pkl", allow_pickle=True).allow_pickle


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"estimator": "sklearn.ensemble.RandomForrest"}, "scikit-learn has no sklearn.ensemble.RandomForrest"),
        ({"estimator": "sklearn.datasets.load_iris"}, "sklearn.datasets.load_iris is no estimator"),
        ({"estimator": "sklearn.svm.LinearSVC"}, "is a LinearSVC without probabilities"),
        (
            {"estimator": "sklearn.tree.DecisionTreeClassifier", "parameters": {"max_dept": 3}},
            "sklearn.tree.DecisionTreeClassifier: unknown parameter max_dept: did you mean max_depth?",
        ),
        (
            {"estimator": "sklearn.tree.DecisionTreeClassifier", "parameters": {"max_depth": "deep"}},
            "sklearn.tree.DecisionTreeClassifier: cannot be trained: InvalidParameterError",
        ),
        (
            {"estimator": "sklearn.ensemble.VotingClassifier"},
            "sklearn.ensemble.VotingClassifier: VotingClassifier needs estimators: give it in parameters, or save",
        ),
        ({"file": "damaged.skops"}, "damaged.skops: cannot be loaded: BadZipFile"),
        ({"file": "damaged.joblib", "allow_pickle": True}, "damaged.joblib: cannot be loaded: "),
        ({"file": "two.skops"}, "two.skops: knows the classes 0, 1: the data has 0, 1, 2"),
        ({"file": "absent.skops"}, "cannot be read: No such file"),
    ],
)
def test_a_bad_classifier_is_one_line(tmp_path: Path, keys: dict[str, Any], says: str) -> None:
    for name in ("damaged.skops", "damaged.joblib"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 cut")
    _own(tmp_path, "two.skops", _Y % 2)
    _refuses(tmp_path, {"kind": "sklearn", **keys}, says)


def test_labels_by_number_are_not_mistaken_for_names_in_another_order(tmp_path: Path) -> None:
    """As of folders 1, 10, 2: by name they sort otherwise than the numbers that a classifier was fitted on."""
    numbers = replace(_DATA, class_names=("1", "10", "2"))
    model = _own(tmp_path, "own.skops", np.array([1, 10, 2])[_Y])
    job = _job(tmp_path, numbers, kind="sklearn", file="own.skops")
    with pytest.raises(
        ModelError, match="knows 1, 2, 10, which may be names or positions of the data's classes 1, 10, 2"
    ):
        teachers.make(job)
    for labels in (_Y.astype(np.float32), _Y):
        model = _own(tmp_path, "own.skops", labels)
        found = _softmax(_logits(tmp_path, kind="sklearn", file="own.skops"))
        assert np.allclose(found, model.predict_proba(_X.reshape(120, -1)), atol=1e-5)
    two = replace(_DATA, y=_Y % 2, class_names=("no", "yes"))
    _own(tmp_path, "own.skops", _Y % 2 == 1)
    teachers.make(_job(tmp_path, two, kind="sklearn", file="own.skops"))


def _refuses(folder: Path, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(KdError) as caught:
        _logits(folder, **keys)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


# --- ONNX


def _onnx(
    path: Path,
    *,
    batch: int | str = "n",
    softmax: bool = False,
    second: bool = False,
    dtype: int = 1,
    nhwc: bool = False,
) -> None:
    """Gemm of the flattened input, as a graph of its own."""
    from onnx import TensorProto, helper, numpy_helper, save

    made = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.INT64: np.int64}
    weight = numpy_helper.from_array(_WEIGHT.astype(made[dtype]), "w")
    shape = [batch, 5, 4, 3] if nhwc else [batch, 3, 5, 4]
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["z"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["z"], ["p"], axis=-1))
    nodes.append(helper.make_node("ArgMax", ["z"], ["label"], axis=-1, keepdims=0))
    outputs = [helper.make_tensor_value_info("p" if softmax else "z", dtype, [batch, 3])]
    outputs.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, [batch]))
    if second:
        outputs.append(helper.make_tensor_value_info("flat", dtype, [batch, 60]))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", dtype, shape)], outputs, [weight])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


@pytest.mark.parametrize("batch", ["n", 1, 50])
@pytest.mark.parametrize("dtype", [1, 11])
def test_an_onnx_teacher_gives_what_its_model_does(tmp_path: Path, batch: int | str, dtype: int) -> None:
    _onnx(tmp_path / "own.onnx", batch=batch, dtype=dtype)
    logits = _logits(tmp_path, kind="onnx", file="own.onnx", input_scale=2.0, input_offset=-1.0)
    assert logits.dtype == np.float32
    assert np.allclose(logits, _expected(_X * 2 - 1), atol=1e-5)


def test_an_onnx_teacher_that_has_its_channels_last(tmp_path: Path) -> None:
    _onnx(tmp_path / "own.onnx", nhwc=True)
    logits = _logits(tmp_path, kind="onnx", file="own.onnx", layout="nhwc", input_scale=2.0, input_offset=-1.0)
    assert np.allclose(_softmax(logits), _softmax((_X * 2 - 1).reshape(120, -1) @ _WEIGHT), atol=1e-5)


_BY_CHANNEL = {"input_scale": (2.0, 3.0, 0.5), "input_offset": (-1.0, 0.0, 4.0)}


def test_each_channel_may_have_its_own_scale(tmp_path: Path) -> None:
    import keras

    _onnx(tmp_path / "own.onnx")
    seen = _X * np.array([2.0, 3.0, 0.5], np.float32) + np.array([-1.0, 0.0, 4.0], np.float32)
    assert np.allclose(_logits(tmp_path, kind="onnx", file="own.onnx", **_BY_CHANNEL), _expected(seen), atol=1e-5)
    keras_files.start_tensorflow()
    model = keras.Sequential([keras.Input((5, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.save(tmp_path / "own.keras")
    own = {"kind": "keras", "file": "own.keras", "mode": "frozen"}
    assert np.allclose(_logits(tmp_path, **own, **_BY_CHANNEL), model(seen), atol=1e-5)
    with pytest.raises(
        ConfigError, match=r"teacher\.input_offset: has 2 numbers, the data 3 channels: give one number"
    ):
        teachers.check_scale(TeacherSpec(**own, input_offset=(1.0, 2.0)), 3)


def test_probabilities_become_logits_of_the_same_soft_targets(tmp_path: Path) -> None:
    _onnx(tmp_path / "own.onnx", softmax=True)
    expected = _softmax(_expected(_X))
    for outputs in ("auto", "probabilities"):
        assert np.allclose(
            _softmax(_logits(tmp_path, kind="onnx", file="own.onnx", outputs=outputs)), expected, atol=1e-5
        )
    as_told = _logits(tmp_path, kind="onnx", file="own.onnx", outputs="logits")
    assert np.allclose(as_told, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"second": True}, "own.onnx: has x tensor(float), label tensor(int64), z tensor(float), flat tensor(float)"),
        ({"dtype": 7}, "own.onnx: has x tensor(int64)"),
        ({"nhwc": True}, "own.onnx: fails on inputs [64, 5, 4, 3]: InvalidArgument"),
        (None, "own.onnx: cannot be loaded: InvalidProtobuf"),
    ],
)
def test_a_bad_onnx_model_is_one_line(tmp_path: Path, keys: dict[str, Any] | None, says: str) -> None:
    if keys is None:
        (tmp_path / "own.onnx").write_bytes(b"no model")
    else:
        _onnx(tmp_path / "own.onnx", **keys)
    _refuses(tmp_path, {"kind": "onnx", "file": "own.onnx"}, says)


# --- PyTorch


def _torch_model() -> Any:
    torch = _torch()
    linear = torch.nn.Linear(60, 3, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(_WEIGHT.T.copy()))
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), linear)


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_a_torch_teacher_gives_what_its_model_does(tmp_path: Path, suffix: str) -> None:
    torch, model = _torch(), _torch_model()
    if suffix == ".pt":
        torch.jit.script(model).save(tmp_path / "own.pt")  # in training mode, as it was made
    else:
        batch = {0: torch.export.Dim("batch")}
        torch.export.save(
            torch.export.export(model.eval(), (torch.zeros(2, 3, 5, 4),), dynamic_shapes=[batch]), tmp_path / "own.pt2"
        )
    logits = _logits(tmp_path, kind="torch", file=f"own{suffix}")
    assert np.allclose(logits, _expected(_X), atol=1e-5)
    with torch.no_grad():
        itself = model.eval()(torch.from_numpy(np.ascontiguousarray(np.moveaxis(_X, -1, 1)))).numpy()
    assert np.allclose(_softmax(logits), _softmax(itself), atol=1e-5)


def test_a_torchscript_teacher_that_has_its_channels_last(tmp_path: Path) -> None:
    torch = _torch()

    class OfPixels(torch.nn.Module):
        """Sums over the pixels what a layer makes of their channels."""

        def __init__(self) -> None:
            super().__init__()
            self.scores = torch.nn.Linear(3, 3)

        def forward(self, x: Any) -> Any:
            return torch.tanh(self.scores(x)).sum(dim=(1, 2))

    model = OfPixels().eval()
    torch.jit.trace(model, torch.zeros(2, 5, 4, 3)).save(tmp_path / "own.pt")
    logits = _logits(tmp_path, kind="torch", file="own.pt", layout="nhwc")
    with torch.no_grad():
        itself = model(torch.from_numpy(_X)).numpy()
    assert np.allclose(_softmax(logits), _softmax(itself), atol=1e-5)


def test_a_torch_file_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    torch = _torch()
    torch.save(_torch_model().state_dict(), tmp_path / "state.pt")
    (tmp_path / "own.pt2").write_bytes(b"no model")
    torch.jit.script(torch.nn.Flatten()).save(tmp_path / "flat.pt")
    _refuses(tmp_path, {"kind": "torch", "file": "state.pt"}, "a state_dict is no model")
    _refuses(tmp_path, {"kind": "torch", "file": "own.pt2"}, "own.pt2: cannot be loaded: ")
    _refuses(
        tmp_path, {"kind": "torch", "file": "flat.pt"}, "flat.pt: gives float32 [64, 60] for 64 inputs, the data has 3"
    )


@pytest.mark.parametrize(("kind", "package"), [("torch", "PyTorch"), ("onnx", "onnxruntime")])
def test_an_absent_extra_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, {"torch": "torch", "onnx": "onnxruntime"}[kind], None)
    file = f"own.{'pt' if kind == 'torch' else 'onnx'}"
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(
        ToolError, match=rf"needs {package}, which is not installed: pip install 'kd-embedded\[{kind}\]'"
    ):
        _logits(tmp_path, kind=kind, file=file)


def test_an_onnx_model_whose_weights_lie_in_another_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run folder's copy would not hold them, and a change of them would not be seen."""
    import onnx

    _onnx(tmp_path / "whole.onnx")
    model = onnx.load(tmp_path / "whole.onnx")
    place = {"save_as_external_data": True, "location": "own.data", "size_threshold": 0}
    onnx.save(model, tmp_path / "own.onnx", **place)
    assert (tmp_path / "own.data").stat().st_size == _WEIGHT.nbytes
    monkeypatch.chdir(tmp_path)  # where onnxruntime would look for them
    _refuses(tmp_path, {"kind": "onnx", "file": "own.onnx"}, "save it as one file (torch.onnx.export with external_")


def test_an_onnx_input_without_a_shape_takes_any_batch(tmp_path: Path) -> None:
    import onnx

    _onnx(tmp_path / "own.onnx")
    model = onnx.load(tmp_path / "own.onnx")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, tmp_path / "own.onnx")
    assert np.allclose(_logits(tmp_path, kind="onnx", file="own.onnx"), _expected(_X), atol=1e-5)


# --- a function of the user's own

_SOURCE = """
import numpy as np
import weights_beside

def scores(x):
    assert x.dtype == np.float32 and x.shape[1:] == (5, 4, 3)
    return np.moveaxis(x, -1, 1).reshape(len(x), -1) @ weights_beside.load()

def image(x):
    return x

def broken(x):
    raise ValueError("no such\\nthing")

def nan(x):
    return np.full((len(x), 3), np.nan)

def drops(x):
    return scores(x) * np.random.default_rng().integers(0, 2, (len(x), 3))

def batch(x):
    found = scores(x)
    return found - found[:1]

def sigmoids(x):
    return 1 / (1 + np.exp(-scores(x)))

table = [1]
"""


def _module(folder: Path, name: str = "own_teacher") -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / "weights.npy", _WEIGHT)
    place = str(folder / "weights.npy")
    (folder / "weights_beside.py").write_text(f"import numpy as np\ndef load():\n    return np.load({place!r})\n")
    (folder / f"{name}.py").write_text(_SOURCE)


def test_a_function_beside_kd_toml_is_a_teacher_and_its_source_is_part_of_it(tmp_path: Path) -> None:
    _module(tmp_path)
    keys = {"kind": "python", "function": "own_teacher:scores"}
    path = list(sys.path)
    assert np.allclose(_logits(tmp_path, **keys), _expected(_X), atol=1e-5)
    assert sys.path == path
    job = _job(tmp_path, **keys)
    before = json.loads(job.path.read_text())
    assert before["function"] == "own_teacher:scores"
    assert teachers.kind("python").files(job.spec) == ("own_teacher.py",)
    _module(tmp_path / "other")
    (tmp_path / "other" / "own_teacher.py").write_text(_SOURCE.replace("@ weights", "@ -weights"))
    del sys.modules["weights_beside"]
    assert np.allclose(_logits(tmp_path / "other", **keys), -_expected(_X), atol=1e-5)
    after = json.loads(_job(tmp_path / "other", **keys).path.read_text())
    assert after["source_sha256"] != before["source_sha256"]
    np.save(tmp_path / "other" / "weights.npy", 3 * _WEIGHT)  # what the module reads: of that it knows when tried again
    assert np.allclose(_logits(tmp_path / "other", **keys), -3 * _expected(_X), atol=1e-5)
    again = json.loads(_job(tmp_path / "other", **keys).path.read_text())
    assert again["source_sha256"] == after["source_sha256"] and again["answers_sha256"] != after["answers_sha256"]
    np.save(tmp_path / "other" / "weights.npy", _WEIGHT)
    changed = _SOURCE.replace("return np", "return 2 * np")
    (tmp_path / "other" / "own_teacher.py").write_text(changed)  # where this process knows the old one
    assert np.allclose(_logits(tmp_path / "other", **keys), 2 * _expected(_X), atol=1e-5)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("own_teacher:absent", "own_teacher:absent: cannot be imported: AttributeError"),
        ("wrong_syntax:scores", "cannot be imported: SyntaxError"),
        ("own_teacher:image", "gives float32 [64, 5, 4, 3] for 64 inputs, the data has 3 classes"),
        ("own_teacher:broken", "fails on inputs [64, 5, 4, 3]: ValueError: no such"),
        ("own_teacher:nan", "gives NaN or infinity"),
        ("own_teacher:drops", "its answers depend on chance, or on what else is in the batch: give the same for the"),
        ("own_teacher:batch", "its answers depend on chance, or on what else is in the batch: give the same for the"),
        ("own_teacher:sigmoids", 'not to 1: set outputs = "probabilities" or "logits" for this teacher'),
        ("own_teacher:table", "fails on inputs [64, 5, 4, 3]: TypeError"),
        ("absent:scores", "cannot be read: No such file"),
        ("json:scores", "json:scores: cannot be imported: ImportError: another module is named json, rename the file"),
    ],
)
def test_a_bad_function_is_one_line(tmp_path: Path, function: str, says: str) -> None:
    _module(tmp_path)
    (tmp_path / "wrong_syntax.py").write_text("def scores(:")
    (tmp_path / "json.py").write_text(_SOURCE)
    _refuses(tmp_path, {"kind": "python", "function": function}, says)


# --- a file of logits


def _table(folder: Path, **arrays: Any) -> dict[str, Any]:
    whole = {"logits": _expected(_X), "data_sha256": "the data"} | arrays
    np.savez(folder / "own.npz", **{name: value for name, value in whole.items() if value is not None})
    return {"kind": "logits", "file": "own.npz"}


def test_a_file_of_logits_is_looked_up_by_position(tmp_path: Path) -> None:
    keys = _table(tmp_path)
    assert np.allclose(_logits(tmp_path, **keys), _expected(_X), atol=1e-6)
    order = np.random.default_rng(3).permutation(120)
    _table(tmp_path, logits=_softmax(_expected(_X))[order], indices=order)
    job = _job(tmp_path, **keys)
    teachers.make(job)
    teacher = teachers.load(job)
    some = np.array([7, 100, 3])
    assert np.allclose(_softmax(teacher.logits(_X[:3] * 0, some)), _softmax(_expected(_X))[some], atol=1e-5)
    assert teacher.model is None and not teachers.augments("logits") and teachers.augments("keras")


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"data_sha256": "other"}, "own.npz: was made for other data, by its data_sha256: make it again"),
        ({"data_sha256": None}, "own.npz: has no array data_sha256"),
        ({"logits": _expected(_X)[:119]}, "own.npz: has 119 rows, the data 120 samples"),
        ({"logits": _expected(_X)[:, :2]}, "logits have shape [120, 2] and dtype float32: give real numbers [K, 3]"),
        (
            {"logits": np.where(np.arange(120)[:, None] == 9, np.nan, 1.0) * np.ones((1, 3))},
            "row 9 of logits holds NaN",
        ),
        ({"indices": np.arange(119)}, "indices have shape [119]"),
        ({"indices": np.arange(120) // 2}, "indices are not 120 different positions in 0 to 119"),
        ({"indices": np.arange(1, 121)}, "indices are not 120 different positions"),
        ({"logits": _expected(_X)[1:], "indices": np.arange(1, 120)}, "has no row for 1 of 120 samples, 0 the first"),
    ],
)
def test_a_bad_file_of_logits_is_one_line(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    _refuses(tmp_path, _table(tmp_path, **arrays), says)


def test_a_damaged_file_of_logits_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "own.npz").write_bytes(b"PK")
    _refuses(tmp_path, {"kind": "logits", "file": "own.npz"}, "own.npz: is not a readable .npz")


def test_what_falls_outside_0_to_1_is_no_probability(tmp_path: Path) -> None:
    keys = _table(tmp_path) | {"outputs": "probabilities"}
    _refuses(tmp_path, keys, 'gives values outside 0 to 1: set outputs = "logits" for this teacher')
    rounded = _softmax(_expected(_X)).round(2)
    says = 'gives values from 0 to 1 that sum to 0.99 to 1.01, not to 1: set outputs = "probabilities" or'
    _refuses(tmp_path, _table(tmp_path, logits=rounded), says)
    told = _logits(tmp_path, **_table(tmp_path, logits=rounded), outputs="probabilities")
    assert np.allclose(np.exp(told), rounded, atol=1e-5)


def test_rows_that_nobody_asks_about_may_hold_anything(tmp_path: Path) -> None:
    """Here those of samples that ``max_per_class`` leaves out."""
    table = _softmax(_expected(_X))
    left = data.split(_DATA, DataSpec(max_per_class=10), seed=1)
    unused = np.setdiff1d(_ALL, np.concatenate([left.train, left.val, left.test]))
    table[unused[0]], table[unused[1]] = 0.0, np.nan
    job = replace(_job(tmp_path, **_table(tmp_path, logits=table)), splits=left)
    teachers.make(job)
    found = teachers.load(job).logits(_X[left.val], left.val)
    assert np.allclose(_softmax(found), table[left.val], atol=1e-5)


# --- Keras, beyond the files of test_keras_files


def _fitting(folder: Path, data_set: data.Data, phases: list[tuple[int, float, int]], **keys: Any) -> teachers.Job:
    """A job whose fits are real and short; ``phases`` gets epochs, learning rate and trainable weights of each."""
    from kd_embedded import training
    from kd_embedded.progress import Progress

    job = _job(folder, data_set, **keys)
    train, val = (data_set.inputs(part) for part in (_SPLITS.train, _SPLITS.val))
    samples = training.Samples(
        lambda i: train[i],
        data_set.y[_SPLITS.train],
        np.ones(len(train), np.float32),
        lambda i: val[i],
        data_set.y[_SPLITS.val],
    )

    def fit(model: Any, spec: Any, phase: int) -> training.History:
        phases.append((spec.epochs, spec.learning_rate, len(model.trainable_weights)))
        path = folder / f"{phase}.npz"
        return training.fit(
            *(model, samples, spec, training.Objective()),
            seed=1,
            checkpoint=path,
            key="",
            title="teacher",
            progress=Progress(),
        )

    return replace(job, fit=fit)


def _trunk(folder: Path) -> list[Floats]:
    import keras

    keras_files.start_tensorflow()
    keras.utils.set_random_seed(2)
    layers = [keras.Input((5, 4, 3)), keras.layers.Conv2D(6, 3, padding="same"), keras.layers.BatchNormalization()]
    model = keras.Sequential([*layers, keras.layers.ReLU()])
    model.save(folder / "trunk.keras")
    found: list[Floats] = model.get_weights()
    return found


def test_a_trunk_gets_a_head_and_is_fine_tuned_after_it(tmp_path: Path) -> None:
    before = _trunk(tmp_path)
    keys = {"kind": "keras", "trunk": "trunk.keras", "epochs": 3, "learning_rate": 0.02, "batch_size": 16}
    phases: list[tuple[int, float, int]] = []
    job = _fitting(tmp_path, _DATA, phases, **keys)
    history = teachers.make(job)
    assert phases == [(3, 0.02, 2)] and len(history) == 3
    model = teachers.load(job).model
    after = next(layer for layer in model.layers if layer.weights).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    job = _fitting(tmp_path, _DATA, phases, **keys, finetune_epochs=2, input_scale=2.0)
    history = teachers.make(job)
    assert phases[1:] == [(3, 0.02, 2), (2, 0.002, 4)] and len(history) == 5
    logits = teachers.load(job).logits(_X, _ALL)
    trunk = next(layer for layer in teachers.load(job).model.get_layer("teacher_transfer").layers if layer.weights)
    kernel, _, *normalization = trunk.get_weights()
    assert not np.array_equal(kernel, before[0])
    assert all(np.array_equal(a, b) for a, b in zip(before[2:], normalization, strict=True))
    assert logits.shape == (120, 3) and np.isfinite(logits).all()


def test_a_teacher_in_bfloat16_is_trained_stored_in_float32_and_answers_in_bfloat16(tmp_path: Path) -> None:
    keys = {"kind": "keras", "arch": "cnn", "width": 0.25, "epochs": 2}
    for name in ("exact", "mixed"):
        (tmp_path / name).mkdir()
    in_float32 = teachers.make(_fitting(tmp_path / "exact", _DATA, [], **keys))
    job = _fitting(tmp_path / "mixed", _DATA, [], **keys, precision="mixed_bfloat16")
    history = teachers.make(job)
    assert history[-1]["loss"] == pytest.approx(in_float32[-1]["loss"], rel=0.05)
    assert history != in_float32
    model = teachers.load(job).model
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    mixed, same = (teachers.load(each).logits(_X, _ALL) for each in (job, replace(job, spec=TeacherSpec(**keys))))
    assert not np.array_equal(mixed, same)
    np.testing.assert_allclose(mixed, same, atol=0.03 * np.abs(same).max())


def test_a_trunk_of_keras_applications_with_a_local_file_of_weights(tmp_path: Path) -> None:
    import keras

    keras_files.start_tensorflow()
    keras.utils.set_random_seed(3)
    source = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.25)
    source.save_weights(tmp_path / "own.weights.h5")
    images = np.repeat(np.repeat(_X, 7, 1), 8, 2)[:, :32, :32]
    pixels = data.Data((images * 255).astype(np.uint8), _Y, _DATA.class_names, _DATA.part, 1 / 255, 0.0)
    keys = {"kind": "keras", "trunk": "MobileNet", "weights": "own.weights.h5", "width": 0.25, "epochs": 1}
    phases: list[tuple[int, float, int]] = []
    job = _fitting(tmp_path, pixels, phases, **keys, input_scale=255.0)
    teachers.make(job)
    model = teachers.load(job).model
    inner = next(layer for layer in model.get_layer("teacher_transfer").layers if layer.name == "trunk")
    scaled = pixels.x[:4].astype(np.float32) / 127.5 - 1  # what MobileNet was trained on
    head = model.get_layer("teacher_transfer").get_layer("logits")
    expected = head(np.asarray(source(scaled, training=False)).mean((1, 2)))
    assert np.allclose(teachers.load(job).logits(pixels.inputs(_ALL[:4]), _ALL[:4]), expected, atol=1e-4)
    assert inner.count_params() == source.count_params()
    for wrong, says in (
        ({"trunk": "MobileNett"}, "keras.applications has no 'MobileNett': did you mean MobileNet?"),
        ({"trunk": "ResNet50"}, "teacher.width: ResNet50 comes in one width: leave it out"),
        ({"trunk": "MobileNetV3Smal"}, "did you mean MobileNetV3Small?"),
        ({"width": 0.5}, "own.weights.h5: cannot be loaded: "),
    ):
        with pytest.raises(KdError) as caught:
            teachers.make(_fitting(tmp_path, pixels, phases, **{**keys, **wrong}))
        assert says in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="MobileNet: "):
        teachers.make(_fitting(tmp_path, _DATA, phases, **keys))


def test_inputs_are_prepared_as_each_network_of_keras_applications_wants_them() -> None:
    import keras

    keras_files.start_tensorflow()
    images = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    none = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()])
    assert np.allclose(preparation("MobileNetV2", none)(images.copy()), images / 127.5 - 1, atol=1e-6)
    assert np.allclose(preparation("MobileNetV3Small", none)(images.copy()), images)  # it does that itself
    # EfficientNet's own first layers, with what its weights hold as mean and variance.
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    own = keras.layers.Normalization(mean=mean, variance=deviation)
    trunk = keras.Sequential([keras.Input((4, 4, 3)), own])
    assert np.allclose(
        trunk(preparation("EfficientNetB0", trunk)(images) / 255), (images / 255 - mean) / deviation, atol=1e-4
    )
    fresh = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Normalization(mean=[0.0] * 3, variance=[1.0] * 3)])
    assert np.allclose(preparation("EfficientNetB0", fresh)(images.copy()), images)  # weights that never knew ImageNet


def test_a_saved_model_folder_is_used_as_it_is(tmp_path: Path) -> None:
    import keras

    keras_files.start_tensorflow()
    model = keras.Sequential([keras.Input((5, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])
    model.export(tmp_path / "own", verbose=False)
    keys = {"kind": "keras", "file": "own", "mode": "frozen", "allow_lambda": True}
    logits = _logits(tmp_path, **keys)
    assert np.allclose(_softmax(logits), model(_X, training=False), atol=1e-5)
    packed = _job(tmp_path, **keys).path
    assert packed.name == "teacher.savedmodel.zip"
    (tmp_path / "none").mkdir()
    _refuses(tmp_path, {**keys, "file": "none"}, "none: is no Keras model: name a .keras or .h5 model")
    (tmp_path / "none" / "saved_model.pb").write_bytes(b"nothing")
    _refuses(tmp_path, {**keys, "file": "none"}, "none: cannot be loaded: ")
    whole = keras.Input((5, 4, 3), dtype="uint8")
    model = keras.Model(whole, model(keras.ops.cast(whole, "float32")))
    model.export(tmp_path / "bytes", verbose=False)
    _refuses(
        tmp_path, {**keys, "file": "bytes"}, "bytes: has an input of uint8, and augmented inputs are not whole: export"
    )


# --- ensembles


class _Fixed:
    model = None

    def __init__(self, logits: Floats, **keys: Any) -> None:
        self._logits = logits
        self.__dict__.update(keys)

    def logits(self, inputs: Floats, indices: NDArray[np.int64]) -> Floats:
        return self._logits[indices]


def test_an_ensemble_is_the_weighted_mean_in_either_space() -> None:
    first, second = (_GENERATOR.normal(0, 5, (9, 4)).astype(np.float32) for _ in range(2))
    members, indices = [_Fixed(first), _Fixed(second)], np.array([2, 0, 8])
    found = teachers.Ensemble(members, [3.0, 1.0], "probabilities").logits(_X[:3], indices)
    assert found.dtype == np.float32
    assert np.allclose(_softmax(found), (0.75 * _softmax(first) + 0.25 * _softmax(second))[indices], atol=1e-6)
    assert np.allclose(np.exp(found).sum(-1), 1.0, atol=1e-5)
    found = teachers.Ensemble(members, [3.0, 1.0], "logits").logits(_X[:3], indices)
    assert np.allclose(found, (0.75 * first + 0.25 * second)[indices], atol=1e-5)
    alone = teachers.Ensemble([_Fixed(first, model="a model")], [0.5])
    assert np.array_equal(alone.logits(_X[:9], np.arange(9)), first) and alone.model == "a model"
    assert teachers.Ensemble(members, [1, 1]).model is None


def test_an_ensemble_of_extreme_logits_stays_finite() -> None:
    sure = np.array([[900.0, -900.0]], np.float32)
    for space in ("probabilities", "logits"):
        assert np.isfinite(teachers.average([sure, -sure], [1.0, 1.0], space)).all()


@pytest.mark.parametrize("space", ["probabilities", "logits"])
def test_a_mirrored_teacher_is_the_mean_over_an_image_and_its_mirror_image(space: Any) -> None:
    class Columns(_Fixed):
        """Logits are sums of columns, so those of the mirror image stand in reverse."""

        def logits(self, inputs: Floats, indices: NDArray[np.int64]) -> Floats:
            return inputs.sum((1, 3))

    images = _GENERATOR.normal(0, 2, (5, 3, 4, 2)).astype(np.float32)
    plain = Columns(images, model="a model")
    found = teachers.Mirrored(plain, space).logits(images, np.arange(5))
    sums = images.sum((1, 3))
    if space == "logits":
        assert np.allclose(found, (sums + sums[:, ::-1]) / 2, atol=1e-5)
    else:
        assert np.allclose(_softmax(found), (_softmax(sums) + _softmax(sums)[:, ::-1]) / 2, atol=1e-6)
    assert teachers.Mirrored(plain).model == "a model"


# --- what all kinds share


@pytest.mark.parametrize("name", teachers.kinds())
def test_every_kind_documents_its_keys(name: str) -> None:
    from kd_embedded.config import teacher_toml

    text = teacher_toml(name)
    lines = [line for line in text.splitlines() if " = " in line and not line.startswith("#")]
    assert [line.split(" = ")[0] for line in lines] == sorted(
        TeacherSpec.keys(name), key=lambda key: key in TeacherSpec.__base__.model_fields
    )
    assert all("  # " in line and line.endswith((".", "all.")) for line in lines)
    assert f'kind = "{name}"' in text and text.startswith("# ")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"kind": "keras", "estimator": "sklearn.svm.SVC"}, 'estimator is not read by kind = "keras"'),
        ({"kind": "sklearn", "estimator": "sklearn.svm.SVC", "epochs": 3}, 'epochs is not read by kind = "sklearn"'),
        ({"kind": "sklearn"}, "needs estimator, or file: one of the two"),
        ({"kind": "sklearn", "file": "own.txt"}, "file should end in .skops"),
        ({"kind": "sklearn", "estimator": "os.system"}, "estimator 'os.system' is not of the form"),
        ({"kind": "onnx"}, "needs file, a model that ends in .onnx"),
        ({"kind": "torch", "file": "own.pth"}, "needs file, a model that ends in .pt or .pt2"),
        ({"kind": "python", "function": "own"}, 'needs function = "module:function"'),
        ({"kind": "python", "function": "../own:f"}, 'needs function = "module:function"'),
        ({"kind": "logits", "file": "own.csv"}, "needs file, that ends in .npz"),
        ({"kind": "logits", "file": "own.npz", "input_scale": 2.0}, 'input_scale is not read by kind = "logits"'),
        ({"kind": "teacher"}, "kind"),
        ({"file": "own.keras", "mode": "frozen", "trunk": "MobileNet"}, "file and trunk are both set"),
        ({"trunk": "MobileNet"}, "weights go with a trunk of keras.applications, which needs them"),
        ({"trunk": "own.keras", "weights": "own.h5"}, "a file has its own"),
        ({"finetune_epochs": 3}, "weights and finetune_epochs go with trunk"),
        ({"file": "folder", "mode": "finetune"}, "a SavedModel is a program of its author's and cannot be trained"),
        ({"file": "folder", "mode": "frozen"}, "allow_lambda = true if you trust it"),
        (
            {"file": "folder", "mode": "frozen", "allow_lambda": True, "precision": "mixed_bfloat16"},
            "precision goes with .keras and .h5 files",
        ),
        ({"file": "own.onnx", "mode": "frozen"}, 'own.onnx is no Keras model, so say kind = "onnx"'),
    ],
)
def test_keys_that_do_not_go_together_are_told(keys: dict[str, Any], says: str) -> None:
    from kd_embedded.config import parse_config
    from kd_embedded.errors import ConfigError

    with pytest.raises(ConfigError) as caught:
        parse_config({"teacher": [keys]}, "kd.toml")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_logits_and_augmentation_do_not_go_together() -> None:
    from kd_embedded.config import parse_config
    from kd_embedded.errors import ConfigError

    teacher = [{"kind": "logits", "file": "own.npz"}]
    for augmented in ({"augment_flip": True}, {"augment_noise": 0.1}, {"mixup": 0.2}, {"teacher_mirror": True}):
        with pytest.raises(ConfigError, match='a teacher of kind = "logits" knows no augmented inputs'):
            parse_config({"teacher": teacher, "distill": augmented}, "kd.toml")
    assert parse_config({"teacher": teacher, "distill": {"augment_flip": True, "alpha": 0.0}}, "kd.toml")


def test_a_fixed_batch_is_filled_up() -> None:
    seen: list[int] = []

    def run(batch: Floats) -> Floats:
        seen.append(len(batch))
        return batch.sum(1, keepdims=True)

    from kd_embedded.teachers.onnx import in_steps

    x = _GENERATOR.random((7, 2), np.float32)
    assert np.allclose(in_steps(run, x, 3), x.sum(1, keepdims=True))
    assert seen == [3, 3, 3]
    assert _function.reason(ValueError("")) == "ValueError"
