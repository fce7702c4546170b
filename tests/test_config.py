"""kd.toml: defaults, and every mistake named with its place and the nearest right name."""

from pathlib import Path

import pytest

from kd_embedded.config import RunSpec, config_sha256, default_toml, load_config, parse_config
from kd_embedded.errors import ConfigError


def test_every_key_has_a_default_and_init_writes_each_with_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "kd.toml"
    path.write_text(default_toml({}, "title"))
    assert load_config(path) == RunSpec() == parse_config({}, "kd.toml")
    settings = [line for line in path.read_text().splitlines() if " = " in line and not line.startswith("#")]
    assert len(settings) > 50
    assert all("  # " in line and line.endswith((".", "all.")) for line in settings)


def test_comments_do_not_change_the_hash_and_settings_do() -> None:
    assert config_sha256(parse_config({}, "a")) == config_sha256(parse_config({"project": {"seed": 1}}, "b"))
    assert config_sha256(parse_config({"project": {"seed": 2}}, "a")) != config_sha256(RunSpec())


def test_several_teachers_are_an_ensemble_and_one_table_is_one_teacher() -> None:
    assert len(parse_config({"teacher": [{"arch": "cnn"}, {"arch": "mlp"}]}, "kd.toml").teacher) == 2
    assert parse_config({"teacher": {"arch": "mlp"}}, "kd.toml").teacher[0].arch == "mlp"


def test_a_board_named_twice_counts_once() -> None:
    assert parse_config({"project": {"boards": ["pico", "esp32", "pico"]}}, "kd.toml").project.boards == (
        "pico",
        "esp32",
    )


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"distill": {"temprature": 4}}, "unknown key distill.temprature: did you mean temperature?"),
        ({"distil": {}}, "unknown key distil: did you mean distill?"),
        ({"teacher": [{}, {"widht": 2.0}]}, "unknown key teacher[2].widht: did you mean width?"),
        ({"distill": {"alpha": 1.5}}, "distill.alpha: input should be less than or equal to 1, not 1.5"),
        ({"distill": {"epochs": 0}}, "distill.epochs: input should be greater than or equal to 1, not 0"),
        ({"distill": {"epochs": "ten"}}, 'distill.epochs: input should be a valid integer, not "ten"'),
        ({"distill": {"temperature": float("nan")}}, "distill.temperature: input should be a finite number"),
        ({"student": {"arch": "resnet9"}}, 'student.arch: "resnet9" is not known: did you mean resnet8?'),
        (
            {"distill": {"method": "teacher_assistant", "assistant_arch": "mlpp"}},
            'distill.assistant_arch: "mlpp" is not known: did you mean mlp?',
        ),
        ({"distill": {"assistant_arch": "mlp"}}, 'assistant_arch goes with method = "teacher_assistant": leave it out'),
        (
            {"distill": {"method": "dkd", "teacher_layers": ["a"]}},
            'teacher_layers goes with method = "hints" or "attention": leave',
        ),
        ({"data": {"color": "grayscale"}}, 'data: color goes with "images:FOLDER": leave it out'),
        (
            {"teacher": {"kind": "sklearn", "estimator": "sklearn.svm.SVC", "parameters": {"C": float("inf")}}},
            "teacher[1].parameters: holds inf, nan or a date: give finite numbers (1e30 for inf)",
        ),
        ({"codegen": {"optimize": "ram"}}, 'codegen: optimize goes with engine = "aot": leave it out'),
        ({"project": {"boards": 3}}, "project.boards: should be a list, in brackets, not 3"),
        ({"project": {"name": "мой"}}, 'not "мой"'),
        ({"data": 3}, "data: should be a table, not 3"),
        ({"teacher": [{"mode": "frozen"}]}, "needs file"),
        ({"teacher": [{"file": "own.keras"}]}, "file is set, so say mode"),
        ({"1": 2}, "unknown key 1: known: project, data"),
        ({"teacher": []}, "teacher: "),
        ({"project": {"boards": []}}, "project.boards: "),
        ({"project": {"name": "while"}}, "is a keyword of C"),
        ({"quantize": {"dense": "per-row"}}, "quantize.dense: "),
        ({"codegen": {"golden_vectors": 0}}, "codegen.golden_vectors: "),
        ({"data": 3}, "data: "),
    ],
)
def test_a_mistake_is_one_line_with_its_place(document: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(document, "kd.toml")
    assert str(caught.value).startswith("kd.toml: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "kd.toml"
    path.write_text("[project]\nseed = = 3\n")
    with pytest.raises(ConfigError, match="not valid TOML: .*line 2"):
        load_config(path)


@pytest.mark.parametrize("kind", ["absent", "folder", "binary"])
def test_a_file_that_is_no_config(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "kd.toml"
    if kind == "folder":
        path.mkdir()
    if kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="kd.toml"):
        load_config(path)
