"""kd.toml to a frozen ``RunSpec``. Unknown keys are refused with their place and the nearest right name."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from kd_embedded.artifacts import sha256_bytes
from kd_embedded.errors import ConfigError
from kd_embedded.precision import Precision

_Share = Annotated[float, Field(ge=0.0, le=1.0)]
_Count = Annotated[int, Field(ge=1)]
_Positive = Annotated[float, Field(gt=0.0)]


class _Section(BaseModel):
    """A table of kd.toml: immutable, no unknown keys, no silent conversions such as "3" to 3, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _pair(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _once(value: object) -> object:
    """A list as a tuple, without what stands in it twice."""
    return tuple(item for i, item in enumerate(value) if item not in value[:i]) if isinstance(value, list) else value


class ProjectSpec(_Section):
    """[project]: what is built, where, and for which boards."""

    name: str = Field("digits", description="Names the model in the firmware.")
    seed: int = Field(1, ge=0, lt=2**31, description="Splits, weights and the order of samples follow from it.")
    out: str = Field("runs/digits", min_length=1, description="The run folder, relative to this file.")
    boards: tuple[str, ...] = Field(
        ("esp32", "nano33ble"), min_length=1, description="Firmware is made for each; `kd-embedded boards` lists them."
    )

    _boards = field_validator("boards", mode="before")(_once)

    @field_validator("name")
    @classmethod
    def _legal_name(cls, value: str) -> str:
        from kd_embedded.codegen.names import identifier

        try:
            return identifier(value)
        except ConfigError as error:
            raise ValueError(f"{error.what}: {error.todo}") from None


class DataSpec(_Section):
    """[data]: samples, classes, and their three splits."""

    source: str = Field(
        "sklearn:digits", description='"sklearn:digits", "sklearn:diabetes", "npz:FILE" or "images:FOLDER".'
    )
    task: Literal["classification", "regression", "autoencoder"] = Field(
        "classification",
        description='"classification", "regression" (numbers), or "autoencoder" (its inputs again: finds anomalies).',
    )
    anomalies: tuple[str, ...] = Field(
        (), description="autoencoder only. Classes of the source that are anomalies: in the test split alone."
    )
    unlabelled: str = Field(
        "", description='Further inputs for the soft targets alone: "npz:FILE" (its array x) or "images:FOLDER".'
    )
    val_fraction: float = Field(
        0.15,
        gt=0.0,
        lt=1.0,
        description="Share of the samples outside the test split that validates, where the source has no such split.",
    )
    test_fraction: float = Field(
        0.2, gt=0.0, lt=1.0, description="Share kept for the final test, where the source has no test split of its own."
    )
    max_per_class: int = Field(0, ge=0, description="Use at most this many samples of a class per split; 0: all.")
    scale: float = Field(
        0.0,
        ge=0.0,
        description="Models see stored value * scale + offset; 0: 1/255 for bytes, for sklearn:digits 1/16, for "
        "sklearn:diabetes what makes the variance 1, else 1.",
    )
    offset: float = Field(0.0, description="See scale.")
    image_size: tuple[_Count, _Count] = Field((32, 32), description="images: only. Height and width after resizing.")
    color: Literal["rgb", "grayscale"] = Field("rgb", description='images: only. "rgb" or "grayscale".')

    _size = field_validator("image_size", mode="before")(_pair)
    _anomalies = field_validator("anomalies", mode="before")(_once)

    @model_validator(mode="after")
    def _images_alone(self) -> DataSpec:
        if not any(source.startswith("images:") for source in (self.source, self.unlabelled)):
            for key in ("image_size", "color"):
                if getattr(self, key) != DataSpec.model_fields[key].default:
                    raise ValueError(f'{key} goes with "images:FOLDER": leave it out')
        return self


class FitSpec(_Section):
    """How a model is trained; the keys that [[teacher]] and [distill] share."""

    epochs: int = Field(60, ge=1, description="Passes over the training data, at most.")
    batch_size: int = Field(64, ge=1, description="Samples in a step.")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adamw", description='"adam", "adamw" or "sgd" (Nesterov).')
    learning_rate: float = Field(0.003, gt=0.0, description="At its peak.")
    schedule: Literal["cosine", "constant"] = Field("cosine", description='"cosine" (to zero) or "constant".')
    warmup_epochs: int = Field(2, ge=0, description="Epochs over which the learning rate rises from zero.")
    weight_decay: float = Field(0.0005, ge=0.0, description="Decoupled; kernels only.")
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="Share of each label spread over all classes.")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description='"balanced" weighs each class by the inverse of its frequency.'
    )
    patience: int = Field(
        0,
        ge=0,
        description="Stop after this many epochs without a better validation; 0: never. The best epoch is kept.",
    )
    augment_flip: bool = Field(False, description="Mirror images left to right at random.")
    augment_shift: int = Field(0, ge=0, description="Shift images by up to this many pixels, edges filled with zero.")
    augment_noise: float = Field(0.0, ge=0.0, description="Standard deviation of Gaussian noise added to the input.")
    mixup: float = Field(
        0.0, ge=0.0, description="Mix pairs of samples and their labels, shares by Beta(mixup, mixup); 0: not."
    )
    augment_seed: int = Field(
        1, ge=0, lt=2**31, description="Of flips, shifts, noise and mixup alone; weights and order follow project.seed."
    )

    @property
    def augments(self) -> bool:
        return self.augment_flip or self.augment_shift > 0 or self.augment_noise > 0.0 or self.mixup > 0.0


class TeacherSpec(FitSpec):
    """One [[teacher]]; several of them are an ensemble whose soft targets are averaged."""

    kind: str = Field("keras", description="{kinds}; each reads its own keys.")
    weight: float = Field(1.0, gt=0.0, description="Its share in an ensemble, beside the weights of the others.")
    input_scale: tuple[float, ...] = Field(
        (1.0,),
        min_length=1,
        description="This teacher sees input * input_scale + input_offset; a number each, or one for each channel.",
    )
    input_offset: tuple[float, ...] = Field((0.0,), min_length=1, description="See input_scale.")
    arch: str = Field("cnn", description="A teacher of the zoo: {teachers}; not read where file or trunk is set.")
    width: float = Field(1.0, gt=0.0, description="Multiplies the channels of arch, or of a MobileNet trunk.")
    file: str = Field("", description="{file}")
    mode: Literal["train", "finetune", "frozen"] = Field(
        "train", description='"train" from new weights, "finetune" those of file, or use file "frozen".'
    )
    trunk: str = Field(
        "",
        description="Transfer learning: a .keras file, or a name in keras.applications (inputs 0 to 255); gets a head.",
    )
    weights: str = Field("", description="A file with the weights of a trunk from keras.applications, without its top.")
    finetune_epochs: int = Field(
        0,
        ge=0,
        description="trunk only. After epochs of the head alone, epochs of all but batch norm, at a tenth of the rate.",
    )
    allow_lambda: bool = Field(
        False, description="Load a file with Lambda layers, or a SavedModel: they run what their author put there."
    )
    estimator: tuple[str, ...] = Field(
        (), description='A classifier or regressor, "sklearn.MODULE.CLASS"; several are the steps of a pipeline.'
    )
    parameters: dict[str, Any] = Field(
        {}, description='Of the estimator; a text "sklearn.MODULE.CLASS" is such an estimator, "step__key" one of its.'
    )
    trusted: tuple[str, ...] = Field((), description="Types that a .skops file may name beside those skops knows.")
    allow_pickle: bool = Field(False, description="Load a .pkl or .joblib file; it can run any code as you.")
    layout: Literal["nchw", "nhwc"] = Field("nchw", description='Channels first, as "nchw", or last, as "nhwc".')
    function: str = Field("", description='"module:function" beside this file: float32 [N, ...] to [N, classes].')
    outputs: Literal["auto", "logits", "probabilities"] = Field("auto", description="{outputs}")
    precision: Precision = Field(
        "float32",
        description='Layers but the last compute in it; "mixed_bfloat16" is faster where the processor has bfloat16.',
    )

    epochs: int = Field(60, ge=1, description="Passes over the training data, at most.")
    batch_size: int = Field(32, ge=1, description="Samples in a step.")
    learning_rate: float = Field(0.002, gt=0.0, description="At its peak.")
    augment_shift: int = Field(1, ge=0, description="Shift images by up to this many pixels, edges filled with zero.")

    @classmethod
    def keys(cls, kind: str) -> tuple[str, ...]:
        """The keys that teachers of ``kind`` read, in the order of this class."""
        from kd_embedded import teachers

        read = {"kind", "weight", *teachers.kind(kind).KEYS}
        return tuple(key for key in cls.model_fields if key in read)

    @field_validator("input_scale", "input_offset", mode="before")
    @classmethod
    def _for_each_channel(cls, value: object) -> object:
        return (value,) if isinstance(value, int | float) else _pair(value)

    @field_validator("estimator", "trusted", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else _pair(value)

    @field_validator("parameters")
    @classmethod
    def _recordable(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("holds inf, nan or a date: give finite numbers (1e30 for inf), texts or lists") from None
        return value

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        from kd_embedded import teachers

        return _one_of(value, teachers.kinds())

    @field_validator("arch")
    @classmethod
    def _known_arch(cls, value: str) -> str:
        from kd_embedded.teachers import zoo

        return _one_of(value, zoo.names())

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> TeacherSpec:
        from kd_embedded import teachers

        unread = sorted(self.model_fields_set - set(self.keys(self.kind)))
        if unread:
            raise ValueError(f'{unread[0]} is not read by kind = "{self.kind}"')
        teachers.kind(self.kind).check_spec(self)
        return self


class StudentSpec(_Section):
    """[student]: the network that goes on the microcontroller."""

    arch: str = Field("tiny_cnn", description="A student of the zoo: {students}; not read where file is set.")
    width: float = Field(1.0, gt=0.0, le=16.0, description="Multiplies the channels of arch.")
    file: str = Field("", description="Your own .keras or .h5 model, relative to this file; empty: arch.")
    prune: float = Field(
        0.0, ge=0.0, le=0.9, description="Share of its channels that training takes away, the weakest first; 0: none."
    )

    @field_validator("arch")
    @classmethod
    def _known_arch(cls, value: str) -> str:
        from kd_embedded import students

        return _one_of(value, students.names())


class ExamineSpec(_Section):
    """[examine]: what is looked at before distilling."""

    probe_epochs: int = Field(
        10,
        ge=0,
        description="Epochs of the student on labels alone, to compare with; at most distill.epochs / 10; 0: none.",
    )


class DistillSpec(FitSpec):
    """[distill]: Loss = (1 - alpha) * CE(labels) + alpha * the soft loss of method; without classes, both MSE."""

    method: str = Field("kd", description='{recipes}, or "auto": picked by rule, and said why.')
    alpha: _Share = Field(0.7, description="Weight of the soft targets; 0 trains on the labels alone.")
    temperature: _Positive = Field(
        4.0,
        description="T, above 1 softer; read by kd, dkd, dist, teacher_assistant, and where kd stands in for another.",
    )
    parameters: dict[str, float] = Field({}, description="The recipe's own: {knobs}.")
    ensemble: Literal["probabilities", "logits"] = Field(
        "probabilities",
        description='What is averaged, of teachers or mirror images: "probabilities" or "logits".',
    )
    teacher_mirror: bool = Field(
        False, description="Images: a teacher answers with the mean over an image and its mirror image."
    )
    cache_epochs: int = Field(
        30,
        ge=0,
        description="Epochs of augmented inputs whose teacher logits are kept and replayed; 0: the teacher runs live.",
    )
    assistant_arch: str = Field("", description="teacher_assistant only. A student between the two; empty: arch.")
    assistant_width: float = Field(2.0, gt=0.0, le=16.0, description="teacher_assistant only. Multiplies its channels.")
    student_layers: tuple[str, ...] = Field(
        (), description="hints and attention only. Layers compared with those of teacher_layers; none: by resolution."
    )
    teacher_layers: tuple[str, ...] = Field((), description="See student_layers.")
    epochs: int = Field(150, ge=1, description="Passes over the training data, at most.")
    learning_rate: float = Field(0.01, gt=0.0, description="At its peak.")

    _layers = field_validator("student_layers", "teacher_layers", mode="before")(_pair)

    @field_validator("assistant_arch")
    @classmethod
    def _known_assistant(cls, value: str) -> str:
        from kd_embedded import students

        return value and _one_of(value, students.names())

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        from kd_embedded import recipes

        return _one_of(value, ("auto", *recipes.names()))

    @model_validator(mode="after")
    def _known_parameters(self) -> DistillSpec:
        from kd_embedded import recipes

        for keys, methods in _READ_BY.items():
            given = [key for key in keys if getattr(self, key) != DistillSpec.model_fields[key].default]
            if given and self.method not in methods:
                told = " or ".join(f'"{method}"' for method in methods)
                raise ValueError(f"{given[0]} goes with method = {told}: leave it out")
        if self.parameters and self.method == "auto":
            raise ValueError('parameters are those of one recipe, so name it instead of method = "auto"')
        try:
            recipes.parameters(self.method if self.parameters else "kd", self.parameters)
        except ConfigError as error:
            raise ValueError(f"{error.where.removeprefix('distill.')}: {error.what}: {error.todo}") from None
        return self


_READ_BY = {
    ("assistant_arch", "assistant_width"): ("teacher_assistant",),
    ("student_layers", "teacher_layers"): ("hints", "attention"),
}


class QuantizeSpec(_Section):
    """[quantize]: the student to full-int8 TFLite."""

    output: Literal["logits", "softmax"] = Field("logits", description='"logits", or "softmax" for probabilities.')
    representative_samples: _Count = Field(300, description="Training samples that calibrate the activation ranges.")
    dense: Literal["auto", "per-channel", "per-tensor"] = Field(
        "auto", description='Scales of Dense weights; "auto": per tensor where a chosen board\'s library needs it.'
    )
    calibration: Literal["auto", "converter", "minmax", "percentile", "mse", "entropy"] = Field(
        "auto",
        description='Ranges of activations: "minmax", "percentile", "mse", "entropy", or TensorFlow\'s "converter"; '
        '"auto": "minmax" where fake quantization knows every layer.',
    )
    qat_epochs: int = Field(
        -1,
        ge=-1,
        description="Epochs of fine-tuning with fake quantization, as [distill] trains; 0: none; -1: a tenth of its "
        "epochs, where fake quantization knows every layer.",
    )
    qat_learning_rate: float = Field(0.0003, gt=0.0, description="Of that fine-tuning by AdamW, at its peak.")

    @property
    def insists(self) -> bool:
        """Whether something is asked for that only fake quantization can do."""
        return self.qat_epochs > 0 or self.calibration not in ("auto", "converter")


class CodegenSpec(_Section):
    """[codegen]: the firmware projects."""

    engine: Literal["tflm", "aot"] = Field(
        "tflm", description='"tflm": TensorFlow Lite Micro; "aot": C compiled from the model ahead of time.'
    )
    optimize: Literal["speed", "ram", "size"] = Field(
        "speed", description='aot only: for few instructions ("speed"), few bytes of RAM or little code ("size").'
    )
    golden_vectors: int = Field(8, ge=8, le=64, description="Test inputs compiled in for the selftest.")

    @model_validator(mode="after")
    def _engine_optimizes(self) -> CodegenSpec:
        if self.optimize != "speed" and self.engine != "aot":
            raise ValueError('optimize goes with engine = "aot": leave it out')
        return self


class BudgetSpec(_Section):
    """[budgets]: exit code 1 where the result misses one."""

    min_accuracy: _Share = Field(0.0, description="Of the int8 student on the test split, 0 to 1; 0: any.")
    max_accuracy_drop: _Share = Field(1.0, description="From the teacher to the int8 student, 0 to 1; 1: any.")
    max_mse: float = Field(
        0.0, ge=0.0, description="No classes only: mean squared error of the int8 student on the test split; 0: any."
    )
    min_auc: _Share = Field(0.0, description="autoencoder only: of the int8 student's error as a score; 0: any.")
    max_flash_kib: float = Field(
        0.0,
        ge=0.0,
        description="Model, golden vectors and what the board allows for framework and runtime, on every board; "
        "0: none.",
    )
    max_ram_kib: float = Field(
        0.0, ge=0.0, description="Arena and what the board allows for framework and runtime, on every board; 0: none."
    )


class RunSpec(_Section):
    """The whole of kd.toml."""

    project: ProjectSpec = ProjectSpec()
    data: DataSpec = DataSpec()
    teacher: tuple[TeacherSpec, ...] = Field(default_factory=lambda: (TeacherSpec(),), min_length=1)
    student: StudentSpec = StudentSpec()
    examine: ExamineSpec = ExamineSpec()
    distill: DistillSpec = DistillSpec()
    quantize: QuantizeSpec = QuantizeSpec()
    codegen: CodegenSpec = CodegenSpec()
    budgets: BudgetSpec = BudgetSpec()

    @field_validator("teacher", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, dict) else value

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, value: object) -> object:
        """Where there are no classes, other recipes and ensembles are the default."""
        if not isinstance(value, dict):
            return value
        data, distill = value.get("data", {}), value.get("distill", {})
        task = data.get("task") if isinstance(data, dict) else getattr(data, "task", None)
        if task in ("regression", "autoencoder") and isinstance(distill, dict):
            return {**value, "distill": {"method": "mse", "ensemble": "logits", **distill}}
        return value

    @model_validator(mode="after")
    def _settings_of_the_task(self) -> RunSpec:
        from kd_embedded import tasks

        tasks.check(self)
        return self

    @model_validator(mode="after")
    def _augmented_teachers(self) -> RunSpec:
        from kd_embedded import teachers

        fixed = [one.kind for one in self.teacher if not teachers.augments(one.kind)]
        if fixed and self.distill.alpha and (self.distill.augments or self.distill.teacher_mirror):
            raise ValueError(
                f'a teacher of kind = "{fixed[0]}" knows no augmented inputs: switch augment_*, mixup and '
                "teacher_mirror off in [distill]"
            )
        return self

    @model_validator(mode="after")
    def _what_the_recipe_needs(self) -> RunSpec:
        from kd_embedded import recipes

        spec = self.distill
        if not spec.alpha or spec.method == "auto":
            return self
        recipe = recipes.get(spec.method)
        if recipe.FEATURES and not _has_feature_maps(self.teacher):
            raise ValueError(
                f'{spec.method} compares feature maps of one Keras model: have one [[teacher]] of kind = "keras", no '
                "SavedModel, or take a recipe of logits such as kd"
            )
        if recipe.FEATURES and spec.teacher_mirror:
            raise ValueError(f"{spec.method} compares feature maps, which have no mean over mirror images")
        if recipes.has_assistant(spec.method) and self.student.file and not spec.assistant_arch:
            raise ValueError("the student is a file, so name distill.assistant_arch, between student and teacher")
        return self


def _has_feature_maps(specs: tuple[TeacherSpec, ...]) -> bool:
    from kd_embedded import teachers

    return [one.kind for one in specs] == ["keras"] and teachers.kind("keras").suffix(specs[0]) == ".keras"


def config_sha256(spec: RunSpec) -> str:
    """Hex SHA-256 of the settings: comments, defaults spelled out and the place of the run folder do not change it."""
    settings = spec.model_dump(mode="json", exclude={"project": {"out"}})
    return sha256_bytes(json.dumps(settings, sort_keys=True).encode())


def load_config(path: Path) -> RunSpec:
    """Reads and validates kd.toml. Raises ConfigError with the place, the mistake and the nearest right name."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError("no such file", where=str(path), todo="`kd-embedded init` writes one") from None
    except IsADirectoryError:
        raise ConfigError("is a folder, not a file", where=str(path), todo=f"name {path}/kd.toml") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text: {error.reason}", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", where=str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    return parse_config(document, str(path))


def parse_config(document: Mapping[str, Any], where: str) -> RunSpec:
    """Validates a parsed kd.toml; the first mistake becomes a ConfigError."""
    try:
        return RunSpec.model_validate(document)
    except ValidationError as error:
        raise _explain(error, where) from None


def _explain(error: ValidationError, where: str) -> ConfigError:
    found = error.errors(include_url=False)
    inner = {each["loc"][:depth] for each in found for depth in range(len(each["loc"]))}
    problems = [each for each in found if each["loc"] not in inner]  # a list short of what is wrong in it is no other
    first = problems[0]
    parts = first["loc"]
    place = ".".join(f"[{part + 1}]" if isinstance(part, int) else part for part in parts).replace(".[", "[")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return ConfigError(f"unknown key {place}{more}", where=where, todo=_nearest_key(parts))
    message = first["msg"].removeprefix("Value error, ").replace("Tuple", "List").removesuffix(", not 0")
    given = first["input"]
    shown = f", not {json.dumps(given, ensure_ascii=False)}" if isinstance(given, str | int | float | bool) else ""
    if first["type"] == "unknown":
        shown = ""
    elif first["type"] in _SHOULD_BE:
        message = f"should be {_SHOULD_BE[first['type']]}"
    elif first["type"] != "value_error":  # pydantic's own words
        message = f"{message[:1].lower()}{message[1:]}"
    told = f"{message}{shown}{more}"
    return ConfigError(f"{place}: {told}" if place else told, where=where)


_SHOULD_BE = {"tuple_type": "a list, in brackets", "model_type": "a table", "dict_type": "a table"}


def _nearest_key(parts: tuple[int | str, ...]) -> str:
    *tables, key = [part for part in parts if isinstance(part, str)]
    return nearest(key, tuple(_fields(RunSpec, tables)))


def _fields(section: type[BaseModel], tables: list[str]) -> Iterator[str]:
    for table in tables:
        section = SECTIONS[table]
    yield from section.model_fields


SECTIONS: Mapping[str, type[_Section]] = {
    "project": ProjectSpec,
    "data": DataSpec,
    "teacher": TeacherSpec,
    "student": StudentSpec,
    "examine": ExamineSpec,
    "distill": DistillSpec,
    "quantize": QuantizeSpec,
    "codegen": CodegenSpec,
    "budgets": BudgetSpec,
}


def nearest(name: str, known: tuple[str, ...]) -> str:
    """What to do about a wrong ``name``: the nearest right one, or all there are."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def _one_of(value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise PydanticCustomError(
            "unknown", "{value} is not known: {todo}", {"value": f'"{value}"', "todo": nearest(value, known)}
        )
    return value


def default_toml(overrides: Mapping[str, Mapping[str, Any]], title: str) -> str:
    """A kd.toml with every key, its default or the value of ``overrides[section][key]``, and a one-line comment."""
    lines = [
        f"# {title}",
        "# Every key; those of other kinds of teachers are in docs/CONFIG.md. One that you delete takes its default.",
    ]
    for table, section in SECTIONS.items():
        about = (section.__doc__ or "").removeprefix(f"[{table}]: ")
        header = f"[[{table}]]" if table == "teacher" else f"[{table}]"
        lines += ["", f"# {about[:1].upper()}{about[1:]}", header, *_settings(table, overrides.get(table, {}))]
    return "\n".join(lines) + "\n"


def teacher_toml(kind: str) -> str:
    """The [[teacher]] table of one kind, as ``default_toml`` has it."""
    from kd_embedded import teachers

    about = " ".join((teachers.kind(kind).__doc__ or "").partition("\n\n")[0].partition(": ")[2].split())
    lines = [f"# {about[:1].upper()}{about[1:]}", "[[teacher]]", *_settings("teacher", {"kind": kind})]
    return "\n".join(lines) + "\n"


def _knobs(recipe: str) -> str:
    """``dist beta 2, gamma 2``; "" where it has none."""
    from kd_embedded import recipes

    found = recipes.get(recipe).PARAMETERS
    return f"{recipe} {', '.join(f'{name} {value:.3g}' for name, value in found.items())}" if found else ""


def _settings(table: str, values: Mapping[str, Any]) -> Iterator[str]:
    from kd_embedded import recipes, students, teachers
    from kd_embedded.teachers import zoo

    section = SECTIONS[table]
    keys: tuple[str, ...] = tuple(section.model_fields)
    words = {
        "kinds": ", ".join(f'"{kind}"' for kind in teachers.kinds()),
        "recipes": ", ".join(f'"{name}"' for name in recipes.names()),
        "knobs": "; ".join(filter(None, map(_knobs, recipes.names()))),
        "teachers": ", ".join(zoo.names()),
        "students": ", ".join(students.names()),
    }
    if table == "teacher":
        kind = values.get("kind", "keras")
        keys = TeacherSpec.keys(kind)
        words |= {name.lower(): getattr(teachers.kind(kind), name, "") for name in ("FILE", "OUTPUTS")}
    for key in sorted(keys, key=lambda key: key in FitSpec.model_fields):
        field = section.model_fields[key]
        comment = (field.description or "").format(**words)
        yield f"{key} = {toml_value(values.get(key, field.default))}  # {comment}"


def toml_value(value: Any) -> str:
    """``value`` as TOML writes it: text, numbers, lists, inline tables."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {toml_value(item)}' for key, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)
