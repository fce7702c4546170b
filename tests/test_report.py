"""report.html: self-contained, the same bytes again, nothing unescaped, every figure that of an artifact."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from kd_embedded import artifacts, examine, metrics, report, report_pictures
from kd_embedded.codegen.arena import Arena
from kd_embedded.codegen.folder import write_project
from kd_embedded.config import RunSpec, parse_config
from kd_embedded.errors import KdError
from kd_embedded.pipeline import Run, hash_path
from kd_embedded.progress import Progress
from kd_embedded.stages.report import STAGE
from kd_embedded.tflite.analyze import analyze
from kd_embedded.validate import validate

_TINY = Path(__file__).parent / "data" / "tiny.tflite"
_NASTY = ('a "quoted" <script>alert(1)</script>', "two\nlines & 'more'", "🦊 */ {{ 7 * 7 }} </style>")
_VOID = {"meta", "br", "img"}
_HISTORY = [
    {"loss": 9.0 / n, "accuracy": 1 - 0.7 / n, "val_loss": 0.2 / n, "val_accuracy": 1 - 0.8 / n} for n in range(1, 21)
]
_HISTORY[-1]["kept"] = 1.0


class Page(HTMLParser):
    """A parsed page; every tag must be closed in order. ``named`` are the texts of elements with the class name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.named: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self._text = ""
        self.feed(text)
        self.close()
        assert not self._open
        self.text = " ".join(self._text.replace("\N{NO-BREAK SPACE}", " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {key: value or "" for key, value in attrs}
        self.tags.append((tag, attributes))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if attributes.get("class") == "name":
            self.named.append("")
        if tag not in _VOID:
            self._open.append((tag, attributes))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag
        if tag in ("td", "th"):
            self.rows[-1][-1] = self.rows[-1][-1].strip()

    def handle_data(self, data: str) -> None:
        inside = [tag for tag, _ in self._open]
        if "style" not in inside:
            self._text += data
        if {"td", "th"} & set(inside):
            self.rows[-1][-1] += data.replace("\N{NO-BREAK SPACE}", " ")
        if self._open and self._open[-1][1].get("class") == "name":
            self.named[-1] += data

    @property
    def values(self) -> set[float]:
        """The exact figures that stand behind those shown."""
        return {float(attributes["value"]) for tag, attributes in self.tags if tag == "data"}


def _examination() -> dict[str, Any]:
    """What the stage before distilling leaves: a teacher of three classes, two labels that it doubts."""
    generator = np.random.default_rng(9)
    labels = {name: np.arange(count) % 3 for name, count in (("train", 90), ("val", 30))}
    logits = {name: 3 * np.eye(3)[y] + generator.normal(size=(len(y), 3)) for name, y in labels.items()}
    teacher = {
        **{name: examine.figures(logits[name], labels[name]) for name in labels},
        "lineup": {"taken_for": [], "as_read": None, "above_chance": 0.9, "never": []},
    }
    png = examine.picture(np.arange(48.0).reshape(4, 4, 3), 0.0, 47.0)
    assert png is not None
    doubt = {"index": 17, "name": "a/<17>.png", "label": 0, "teacher": 1, "confidence": 0.9375}
    return {
        "teachers": [{"name": "cnn", "parameters": 4321, **teacher}],
        "ensemble": {**teacher, "soft_targets": examine.soft_targets(logits["train"], labels["train"], 4.0)},
        "student_probe": {"epochs": 10, "val_accuracy": 0.8125, "key": "k"},
        "data": {
            "samples": {"train": 90, "unlabelled": 0, "val": 30, "test": 60},
            "classes": [{"name": name, "train": 30 + index, "val": 10} for index, name in enumerate(_NASTY)],
            "imbalance": 32 / 30,
            "duplicates": {
                "within": {"train": 4, "unlabelled": 0, "val": 0, "test": 0},
                "between": {"train_unlabelled": 0, "train_val": 0, "train_test": 7, "val_test": 0},
                "examples": [{"indices": [3, 95], "splits": ["train", "test"], "names": ["<3>", "95"]}],
            },
            "conflicts": {"inputs": 0, "samples": 0, "examples": []},
            "suspects": {
                "searched": {"train": 90, "val": 30},
                "found": {"train": 1, "val": 1},
                "surest": {"train": {"samples": 45, "wrong": 2, "expected": 0.375, "error": 0.05}},
                "worst": [
                    {"split": "train", **doubt, "png": base64.b64encode(png).decode()},
                    {"split": "val", **doubt, "index": 18, "name": "18", "values": [0.0, 2.0, -1.0]},
                ],
            },
        },
        "warnings": [f"7 of 60 test samples are copies, {_NASTY[0]}."],
    }


def _spec(**tables: Any) -> RunSpec:
    return parse_config({"project": {"name": "fox", "boards": ["nano33ble", "esp32"]}, **tables}, "kd.toml")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run folder with what the stages before the report leave in it; nothing in it was trained."""
    run = Run(_spec(budgets={"min_accuracy": 0.01}), tmp_path_factory.mktemp("project"), Progress())
    run.open_folder(fresh=False)
    run.path(artifacts.STUDENT_INT8).write_bytes(_TINY.read_bytes())
    for name in (artifacts.SPLITS, f"{artifacts.TEACHER}.keras", artifacts.STUDENT):
        run.path(name).write_bytes(name.encode())
    generator = np.random.default_rng(5)
    x, y = generator.integers(-128, 128, (60, 8, 8, 1), dtype=np.int8), generator.integers(0, 3, 60)
    scores = generator.normal(size=(2, 60, 3))
    document = validate(
        run.path(artifacts.STUDENT_INT8), x, y, class_names=_NASTY, teacher_logits=scores[0], student_logits=scores[1],
        budgets=run.spec.budgets, sizes={"esp32": (400_000, 40_000)},
    )  # fmt: skip
    document["arena"] = {"bytes": 1760, "probed": True}
    artifacts.write_json(run.path(artifacts.VALIDATION), document)
    artifacts.write_json(run.path(artifacts.PLAN), {"student": "tiny_cnn", "parameters": 1234})
    artifacts.write_json(run.path(artifacts.EXAMINATION), _examination())
    artifacts.write_json(run.path(artifacts.TEACHER_HISTORY), [_HISTORY])
    artifacts.write_json(run.path(artifacts.STUDENT_HISTORY), _HISTORY)
    about = {"tool": "kd-embedded 9.9", "engine": "tflm"}
    for board in run.boards:
        write_project(run.path(artifacts.FIRMWARE) / board.name, {"README.md": "readme\n"}, {}, about)
    converter = {"softmax": True, "representative_samples": 300}
    run.state["quantize"] = {
        "key": "k",
        "sections": "cd" * 32,
        "seed": 1,
        "read": {artifacts.STUDENT: "ef" * 32},
        "wrote": {artifacts.STUDENT_INT8: "ab" * 32},
        "tool": "kd-embedded 9.9",
        "versions": {"python": "3.11"},
        "converter": converter,
        "ptq": {"val_accuracy": 0.9},
        "qat": {"val_accuracy": 0.925},
        "chosen": "qat",
    }
    run.state["distill"] = {"key": "k", "wrote": {}, "recipe": "dkd", "why": "picked by method = auto: it is sure"}
    run.state["distill"]["unpruned_parameters"] = 2468
    run.store()
    return run


@pytest.fixture(scope="module")
def found(run: Run) -> report.Artifacts:
    return report.read(run.folder, run.spec)


@pytest.fixture(scope="module")
def text(found: report.Artifacts) -> str:
    return report.render(found)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def _with(found: report.Artifacts, **changes: Any) -> report.Artifacts:
    return replace(found, validation={**found.validation, **changes})


def _leaves(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def test_the_stage_writes_the_same_bytes_again(run: Run, text: str) -> None:
    assert run.execute(STAGE) is True
    assert run.path(artifacts.REPORT).read_text(encoding="utf-8") == text
    assert run.execute(STAGE) is False
    again = Run(run.spec, run.base, Progress())
    run.path(artifacts.REPORT).unlink()
    assert again.execute(STAGE) is True
    assert again.state["report"]["wrote"] == {artifacts.REPORT: hash_path(again.path(artifacts.REPORT))}
    assert again.path(artifacts.REPORT).read_text(encoding="utf-8") == text


def test_what_is_missing_is_told(run: Run, tmp_path: Path) -> None:
    other = Run(run.spec, tmp_path, Progress())
    other.open_folder(fresh=False)
    with pytest.raises(KdError, match="report needs it and it is not there"):
        other.execute(STAGE)


def test_it_loads_nothing(text: str, page: Page) -> None:
    shown = re.sub(r'src="data:image/png;base64,[A-Za-z0-9+/]+=*"', "", text)
    assert not re.search(r"https?:|//[a-z]|@import|data:[a-z]", shown.replace("img-src data:", ""))
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {f"#{attributes.get('id')}" for _, attributes in page.tags}
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "image", "base"}
    for tag, attributes in page.tags:
        assert tag == "img" or "src" not in attributes
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert "srcset" not in attributes
        assert not any(key.startswith("on") for key in attributes)
        assert attributes.get("href", "#").startswith("#") and attributes.get("xlink:href", "#").startswith("#")
    assert any(attributes.get("content", "").startswith("default-src 'none'") for _, attributes in page.tags)


def test_ids_are_unique_and_links_arrive(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 10
    links = [attributes["href"][1:] for tag, attributes in page.tags if tag == "a"]
    assert links == [attributes["id"] for tag, attributes in page.tags if tag == "section"]


def test_names_are_text_and_nothing_else(page: Page) -> None:
    assert page.named[:3] == list(_NASTY)
    titles = [attributes["title"] for tag, attributes in page.tags if tag == "th" and "title" in attributes]
    assert titles == [*_NASTY, *_NASTY]
    assert "{{ 7 * 7 }}" in page.text


def test_every_figure_is_the_artifacts(found: report.Artifacts, page: Page) -> None:
    document = found.validation
    quoted = {key: value for key, value in document.items() if key not in ("confusion", "top_confusions", "budgets")}
    assert set(_leaves(quoted)) <= page.values
    costs = analyze(found.graph)
    assert {costs.macs, costs.weight_bytes, found.graph.model_bytes, found.arena.bytes} <= page.values
    for op in costs.ops:
        row = [str(op.index), op.name, "×".join(map(str, op.output_shape)), f"{op.macs:,}", "", f"{op.weight_bytes:,}"]
        assert row in page.rows
    assert ["", "In all", "", f"{costs.macs:,}", "", f"{costs.weight_bytes:,}"] in page.rows
    for size in report.board_sizes(found):
        sizes = (size.fit.flash_bytes, size.board.flash_bytes, size.fit.ram_bytes, size.board.ram_bytes)
        row = [f"{'● ' if size.chosen else ''}{size.board.name}", *(f"{count / 1024:,.1f} KiB" for count in sizes)]
        assert [*row, f"{size.fit.arena_bytes:,}", f"{size.fit.scratch_bytes:,}", "fits"] in page.rows
        assert set(sizes) <= page.values
    matrix = [[str(count) if count else "" for count in row] for row in document["confusion"]]
    assert [row[1:] for row in page.rows if row[0] in _NASTY and len(row) == 4 and "%" not in "".join(row)] == matrix
    assert [document["budgets"][0]["name"], page.rows[_row(page, "Accuracy, at least")][-1]] == ["min_accuracy", "met"]
    for words in ("converter settings", "representative_samples", "ab" * 32, found.graph.sha256, "1,234 parameters"):
        assert words.lower() in page.text.lower()
    for package, version in found.record["versions"].items():
        assert f"{package} {version}" in page.text


def _row(page: Page, first: str) -> int:
    return next(index for index, row in enumerate(page.rows) if row[0] == first)


def test_teacher_and_data_stand_in_it_with_what_was_warned_of(found: report.Artifacts, page: Page) -> None:
    teacher, data = found.examination["teachers"][0], found.examination["data"]
    for split, told in (("train", "training"), ("val", "validation")):
        entry = teacher[split]
        shares = [f"{100 * entry[name]:.2f} %" for name in ("accuracy", "confidence", "ece")]
        assert [told, str(entry["samples"]), *shares, f"{entry['nll']:.3f}"] in [row[2:] for row in page.rows]
        assert {entry[name] for name in ("accuracy", "confidence", "ece", "nll")} <= page.values
    assert ["Student on the labels alone, 10 epochs", "", "validation", "30", "81.25 %", "", "", ""] in page.rows
    assert set(found.examination["ensemble"]["soft_targets"].values()) <= page.values
    for index, name in enumerate(_NASTY):
        assert [name, str(30 + index), "10"] in page.rows
    assert ["test samples that are also training samples", "7"] in page.rows
    row = ["training samples with another label, of the 45 the teacher is surest of (its confidence allows for 0.375)"]
    assert [*row, "2"] in page.rows
    assert not any("unlabelled" in row[0] for row in page.rows)
    assert found.examination["warnings"][0] in page.text and "1 thing was warned of" in page.text
    assert "recipe dkd; picked by method = auto: it is sure" in page.text
    assert "1,234 parameters, pruned from 2,468" in page.text
    assert "Fine-tuned with fake quantization: 92.50 % of the validation samples right, exported" in page.text
    assert "Quantized after training: 90.00 % of the validation samples rightFine-tuned" in page.text
    assert [attributes["src"].partition(",")[2] for tag, attributes in page.tags if tag == "img"] == [
        data["suspects"]["worst"][0]["png"]
    ]
    assert "training: a/<17>.png" in page.text and "validation: 18" in page.text and "93.75 %" in page.text
    assert "no label was read. Some that are: <3>, 95." in page.text
    assert ("polyline", "0.0,31.3 48.0,2.0 96.0,46.0") in {(t, a.get("points")) for t, a in page.tags}


def test_an_examination_that_found_nothing_reads_well(found: report.Artifacts) -> None:
    examination = _examination()
    suspects = {"searched": {}, "found": {}, "surest": {}, "worst": []}
    examination |= {"warnings": [], "student_probe": None, "data": {**examination["data"], "suspects": suspects}}
    examination["teachers"] *= 2
    page = Page(report.render(replace(found, examination=examination, spec=_spec(teacher=[{}, {}]), teachers=[[], []])))
    assert "Nothing to warn of was found." in page.text and "warned of" not in page.text
    assert "its classes do not line up" in page.text and "None" not in page.text
    firsts = [row[0] for row in page.rows if row[2:3] == ["training"]]
    assert firsts == ["Teacher 1 cnn", "Teacher 2 cnn", "Ensemble"]


def test_a_reliability_picture_tells_its_bins() -> None:
    bins = [{"samples": 0, "accuracy": None, "confidence": None}] * 14
    svg = report_pictures.reliability([*bins, {"samples": 9, "accuracy": 0.5, "confidence": 0.95}], "Teacher")
    assert 'aria-label="Teacher: accuracy by confidence, 9 in all"' in svg and svg.count("var(--val)") == 1
    Page(svg)


def test_the_whole_configuration_reads_back(found: report.Artifacts, page: Page) -> None:
    import tomllib

    config = tomllib.loads(report.config_text(found.spec))
    assert parse_config(config, "report").model_dump(exclude={"project": {"out"}}) == found.spec.model_dump(
        exclude={"project": {"out"}}
    )
    assert "alpha = 0.7" in page.text


def test_the_commands_are_those_of_each_project(page: Page) -> None:
    for board in ("esp32", "nano33ble"):
        for verb in ("build", "flash", "monitor"):
            command = f"kd-embedded {verb} {shlex.quote(f'firmware/{board}')}"
            assert command in page.text
        assert f"pio run -d firmware/{board} -t upload" in page.text
    assert "selftest: PASS 8/8" in page.text and "pico" not in page.text.partition("Flash it Typed")[2]


def _interpreters(different: int = 0, refused: str | None = None) -> dict[str, Any]:
    def entry(against: str | None, count: int) -> dict[str, Any]:
        compared = None if against is None else 180
        most = None if against is None else min(count, 1)
        return {
            "accuracy": 0.9,
            "against": against,
            "bytes_compared": compared,
            "bytes_different": None if against is None else count,
            "max_difference": most,
            "refused": None,
        }

    tflm = {**entry(None if refused else "builtin_ref", different), "refused": refused}
    reference = None if refused else "tflm"
    return {
        "builtin_ref": entry(reference, different),
        "default": entry(reference or "builtin_ref", 7),
        "tflm": tflm,
    }


def _budget(measured: float | None, limit: float = 0.95) -> dict[str, Any]:
    met = measured is not None and measured >= limit
    return {"name": "min_accuracy", "board": None, "limit": limit, "measured": measured, "met": met}


_RELU6 = {"op_index": 3, "op_name": "RELU6", "tensor": "act", "bytes_different": 5, "max_difference": 1}
_PROVEN = {
    "oracle": "builtin_ref",
    "standard": "builtin_ref",
    "reference_departures": [],
    "missing_proof": [],
    "first_difference": None,
    "interpreters": _interpreters(),
    "budgets": [],
}
_EQUAL = "all 180 output bytes are equal."
_MISS = "Budget min_accuracy is missed: 0.9, and the limit is 0.95."
_NO_WHEEL = "TFLM did not run here (no wheel): that the board computes these bytes is not shown."


@pytest.mark.parametrize(
    ("changes", "kind", "title", "words"),
    [
        ({}, "good", "Proven", [_EQUAL, "No budget was set."]),
        ({"budgets": [_budget(0.96)]}, "good", "Proven", [_EQUAL, "The budget is met."]),
        ({"budgets": [_budget(0.96)] * 2}, "good", "Proven", ["All 2 budgets are met."]),
        ({"budgets": [_budget(0.9)]}, "bad", "Proven, but a budget is missed", [_EQUAL, _MISS]),
        (
            {"budgets": [_budget(0.9), _budget(None)]},
            "bad",
            "Proven, but 2 budgets are missed",
            [_MISS, "could not be measured"],
        ),
        (
            {"interpreters": _interpreters(5), "first_difference": _RELU6},
            "bad",
            "Wrong on the board",
            ["BUILTIN_REF and TFLM differ in 5 of 180 bytes, by up to 1; op 3 (RELU6, tensor act) is the first"],
        ),
        (
            {"interpreters": _interpreters(5), "budgets": [_budget(0.9)]},
            "bad",
            "Wrong on the board, and a budget is missed",
            ["no single op", _MISS],
        ),
        (
            {"interpreters": _interpreters(refused="no wheel"), "missing_proof": [_NO_WHEEL]},
            "warn",
            "Not proven",
            [_NO_WHEEL, "with the interpreters below"],
        ),
        (
            {
                **{"interpreters": _interpreters(5), "standard": None, "oracle": "tflm"},
                "missing_proof": ["tflite-runtime is not installed."],
            },
            "warn",
            "Not proven",
            ["TensorFlow Lite Micro itself", "tflite-runtime is not installed."],
        ),
        (
            {"missing_proof": [_NO_WHEEL], "budgets": [_budget(0.9)]},
            "bad",
            "Not proven, and a budget is missed",
            [_NO_WHEEL, _MISS],
        ),
        ({"interpreters": _interpreters(refused="gone")}, "warn", "Not proven", ["a proof is missing"]),
    ],
)
def test_the_verdict(found: report.Artifacts, changes: Any, kind: str, title: str, words: list[str]) -> None:
    document = {**found.validation, **_PROVEN, **changes}
    verdict = report.verdict(document)
    assert (verdict.kind, verdict.title) == (kind, title)
    for word in words:
        assert word in " ".join(verdict.lines)


def test_a_difference_and_a_refusal_are_in_the_table(found: report.Artifacts) -> None:
    parted = Page(
        report.render(_with(found, **_PROVEN | {"interpreters": _interpreters(5), "first_difference": _RELU6}))
    )
    assert "The first op to differ: op 3 (RELU6), tensor act: 5 bytes, by up to 1." in parted.text
    assert ["TensorFlow Lite Micro", "90.00 %", "BUILTIN_REF", "180", "5", "1"] in parted.rows
    refused = Page(report.render(_with(found, **_PROVEN | {"interpreters": _interpreters(refused="no wheel")})))
    assert ["TensorFlow Lite Micro", "did not run: no wheel"] in refused.rows
    assert any(row[0].startswith("BUILTIN_REF") and row[2:] == ["nothing to compare it with"] for row in refused.rows)


def test_where_builtin_ref_is_wrong_the_page_names_the_op(found: report.Artifacts) -> None:
    departure = {"op_index": 3, "op_name": "FULLY_CONNECTED", "why": "a dense layer on more than two axes"}
    changes = _PROVEN | {"standard": "reference", "oracle": "tflm", "reference_departures": [departure]}
    entries = _interpreters(0)
    changes["interpreters"] = {**entries, "tflm": {**entries["tflm"], "against": "reference"}}
    document = {**found.validation, **changes}
    (proof, *_) = report.verdict(document).lines
    assert proof.startswith("kd-embedded's integer references and TensorFlow Lite Micro both ran the int8 model")
    told = Page(report.render(_with(found, **changes))).text
    assert "Op 3 (FULLY_CONNECTED): a dense layer on more than two axes. So TensorFlow Lite Micro and kd-emb" in told


def test_a_hundred_classes(found: report.Artifacts) -> None:
    generator = np.random.default_rng(8)
    names = [f"class number {index}" for index in range(100)]
    labels, predicted = generator.integers(0, 100, (2, 3000))
    matrix = metrics.confusion(predicted, labels, 100)
    document = {
        "per_class": metrics.per_class(matrix, names),
        "confusion": matrix.tolist(),
        "top_confusions": metrics.top_confusions(matrix, names),
    }
    page = Page(report.render(_with(found, **document)))
    rows = [row for row in page.rows if len(row) == 101 and row[0]]
    assert [row[0] for row in rows] == [f"{index} {name}" for index, name in enumerate(names)]
    assert [[int(cell or 0) for cell in row[1:]] for row in rows] == matrix.tolist()
    assert "many" in next(
        attributes["class"] for tag, attributes in page.tags if "matrix" in attributes.get("class", "")
    )


def test_so_many_classes_that_no_browser_shows_their_matrix(found: report.Artifacts) -> None:
    names = [f"class number {index}" for index in range(201)]
    matrix = np.eye(201, dtype=np.int64)
    document = {"per_class": metrics.per_class(matrix, names), "confusion": matrix.tolist(), "top_confusions": []}
    page = Page(report.render(_with(found, **document)))
    assert "The confusion matrix of so many classes stands in validation.json." in page.text
    assert not [attributes for _, attributes in page.tags if "matrix" in attributes.get("class", "")]


def test_absent_figures_read_well(found: report.Artifacts) -> None:
    unknown = _with(
        found,
        accuracy={"teacher": None, "student_float": None, "student_int8": 1.0},
        drop=dict.fromkeys(found.validation["drop"]),
        agreement=dict.fromkeys(found.validation["agreement"]),
        top_confusions=[],
        per_class=[{"name": name, "samples": 0, "recall": None, "precision": None} for name in _NASTY],
        budgets=[_budget(None)],
    )
    page = Page(report.render(unknown))
    assert "Teacher not measured" in page.text and "The teacher's accuracy was not measured" in page.text
    assert "Nothing was misclassified." in page.text and "could not be measured" in page.text
    assert "None" not in page.text
    unlabelled = _with(found, confusion=None, per_class=None, top_confusions=None, interval95=None)
    assert "The samples had no labels" in Page(report.render(unlabelled)).text


def test_a_frozen_teacher_and_an_ensemble(found: report.Artifacts) -> None:
    teachers = [{"mode": "frozen", "file": "own.keras"}, {"arch": "mlp"}, {"mode": "finetune", "file": "own.keras"}]
    several = replace(found, spec=_spec(teacher=teachers), teachers=[[], _HISTORY[:1], _HISTORY[:2]])
    page = Page(report.render(several))
    assert "Teacher 1 It was frozen: taken as it is, and not trained." in page.text
    assert "own.keras; frozen, used as it is" in page.text and "own.keras; fine-tuned" in page.text
    assert "Teacher 2: 1 epoch; epoch 1 was kept, with 20.00 %" in page.text
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 2 + 2 + 2 + 2 + 3
    forest = {"kind": "sklearn", "estimator": "sklearn.ensemble.RandomForestClassifier"}
    page = Page(report.render(replace(found, spec=_spec(teacher=forest), teachers=[[]])))
    assert "sklearn.ensemble.RandomForestClassifier; kind sklearn" in page.text
    assert "Teacher It was not trained in epochs." in page.text
    alone = replace(found, spec=_spec(distill={"alpha": 0.0}), student=[])
    page = Page(report.render(alone))
    assert "labels alone (alpha 0)" in page.text and "No epoch is on record." in page.text


def test_the_kept_epoch_is_that_of_the_last_phase(found: report.Artifacts) -> None:
    """A trunk's head is trained before the trunk is, a pruned student may have been better before it was whole."""
    history = [dict(_HISTORY[0], val_accuracy=share) for share in (0.5, 0.95, 0.9, 0.8)]
    history[1]["kept"] = history[2]["kept"] = 1.0
    page = Page(report.render(replace(found, student=history)))
    assert "Student: 4 epochs; epoch 3 was kept, with 90.00 % on the validation samples." in page.text


def test_a_board_that_is_too_small_says_why(found: report.Artifacts) -> None:
    large = replace(found, arena=Arena(200_000, probed=False))
    page = Page(report.render(large))
    (esp32,) = [size for size in report.board_sizes(large) if size.board.name == "esp32"]
    assert not esp32.fit.fits and f"{esp32.board.title} {esp32.fit.reason}." in page.text
    assert page.rows[_row(page, "● esp32")][-1] == "does not fit"
    assert "an estimate, for no TensorFlow Lite Micro interpreter was at hand" in page.text


def test_bars_beyond_the_budget_are_cut_off_and_told() -> None:
    bars = [
        report_pictures.Bar("small", True, False, (3000, 9000), 4000),
        report_pictures.Bar("large", False, True, (10,), 4000),
    ]
    svg = report_pictures.sizes(bars, "Flash")
    assert ">300.0 %<" in svg and ">0.2 %<" in svg and "var(--bad)" in svg
    assert 'aria-label="Flash: small 300.0 %; large 0.2 %"' in svg


def test_pictures_do_not_follow_the_users_matplotlibrc() -> None:
    first = report_pictures.curve(_HISTORY, "loss", 'A & "B" <c>', 19)
    with matplotlib.rc_context({"lines.linewidth": 9.0, "font.size": 30.0, "svg.fonttype": "path"}):
        assert report_pictures.curve(_HISTORY, "loss", 'A & "B" <c>', 19) == first
        assert matplotlib.rcParams["font.size"] == 30.0
    assert 'aria-label="A &amp; &quot;B&quot; &lt;c>: loss by epoch' in first
    assert "<metadata" not in first and "#0f0" not in first.lower()
    Page(first)


def test_figures_keep_their_exact_value() -> None:
    share = 0.9916434540389972
    assert report.percent(share) == f'<data value="{share}">99.16\N{NO-BREAK SPACE}%</data>'
    assert ">\N{MINUS SIGN}0.28" in report.points(0.002785)
    assert ">+1.00" in report.points(-0.01) and ">±0.00" in report.points(0.00001) and ">±0.00" in report.points(-1e-9)
    assert json.loads(re.findall('value="([^"]+)"', report.kib(437_808))[0]) == 437_808
