"""The run folder: what is redone and what is not, and who may write where. Stages here are small and train nothing."""

from pathlib import Path
from typing import Any

import pytest

from kd_embedded import __version__, artifacts, pipeline
from kd_embedded.config import RunSpec, parse_config
from kd_embedded.errors import KdError
from kd_embedded.pipeline import Run, Stage
from kd_embedded.progress import Progress


def _run(folder: Path, **tables: Any) -> Run:
    return Run(parse_config(tables, "kd.toml"), folder, Progress())


def _stage(name: str, reads: tuple[str, ...] = (), **keys: Any) -> Stage:
    def work(run: Run) -> None:
        text = "".join(run.path(read).read_text() for read in reads)
        artifacts.write_text(run.path(f"{name}.txt"), f"{text}{name} {run.spec.distill.alpha}\n")

    return Stage(name, keys.pop("sections", ()), lambda run: (f"{name}.txt",), work, reads=lambda run: reads, **keys)


_FIRST = _stage("first", sections=("distill",))
_SECOND = _stage("second", ("first.txt",))


def _both(run: Run) -> list[bool]:
    run.open_folder(fresh=False)
    return [run.execute(_FIRST), run.execute(_SECOND)]


def test_a_stage_is_redone_only_when_something_it_reads_has_changed(tmp_path: Path) -> None:
    assert _both(_run(tmp_path)) == [True, True]
    assert _both(_run(tmp_path)) == [False, False]
    assert _both(_run(tmp_path, student={"width": 2.0})) == [False, False]
    assert _both(_run(tmp_path, distill={"alpha": 0.5})) == [True, True]
    assert _both(_run(tmp_path, distill={"alpha": 0.5}, project={"seed": 2})) == [True, True]
    run = _run(tmp_path, distill={"alpha": 0.5}, project={"seed": 2})
    run.path("second.txt").write_text("changed by hand")
    assert _both(run) == [False, True]
    run.path("first.txt").unlink()
    del run
    assert _both(_run(tmp_path, distill={"alpha": 0.5}, project={"seed": 2})) == [True, False]


def test_what_other_versions_made_stands_and_is_told_once(tmp_path: Path) -> None:
    class Told(Progress):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def say(self, text: str) -> None:
            self.lines.append(text)

    assert _both(_run(tmp_path)) == [True, True]
    path = _run(tmp_path).path(artifacts.RUN)
    document = artifacts.read_json(path)
    for entry in document["stages"].values():
        entry["tool"], entry["versions"]["keras"] = "kd-embedded 0.0.1", "2.0"
    artifacts.write_json(path, document)
    run = _run(tmp_path)
    run.progress = told = Told()
    assert _both(run) == [False, False]
    (line,) = told.lines
    assert line.startswith(f"  first was made by kd-embedded 0.0.1 (now {__version__}), keras 2.0 (now 3.")
    assert line.endswith("and stands; --fresh makes all anew")


def test_a_stage_that_fails_leaves_no_account_of_itself(tmp_path: Path) -> None:
    def fail(run: Run) -> None:
        raise KdError("no")

    run = _run(tmp_path)
    run.open_folder(fresh=False)
    run.execute(_FIRST)
    with pytest.raises(KdError):
        run.execute(Stage("broken", (), lambda run: (), fail))
    del run
    assert list(_run(tmp_path).state) == ["first"]


def test_a_missing_artifact_names_the_way_out(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.open_folder(fresh=False)
    with pytest.raises(KdError, match="first.txt: second needs it and it is not there: `kd-embedded run` makes it"):
        run.execute(_SECOND)


def test_run_json_tells_versions_seed_config_and_hashes(tmp_path: Path) -> None:
    run = _run(tmp_path)
    _both(run)
    document = artifacts.read_json(run.path(artifacts.RUN))
    assert document["seed"] == 1
    assert document["config"]["distill"]["temperature"] == 4.0
    assert document["versions"]["keras"]
    assert document["stages"]["first"]["wrote"]["first.txt"] == pipeline.hash_path(run.path("first.txt"))


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "digits"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(KdError, match="exists and is no run folder"):
        _run(tmp_path).open_folder(fresh=True)
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_fresh_empties_a_folder_of_ours_and_leftovers_of_a_kill_go(tmp_path: Path) -> None:
    run = _run(tmp_path)
    _both(run)
    (run.folder / ".kd-cut").mkdir()
    (run.folder / "firmware" / ".kd-cut").mkdir(parents=True)
    (run.folder / ".kd-cut" / "student.keras").write_bytes(b"half")
    run.open_folder(fresh=False)
    assert not list(run.folder.rglob(".kd-*"))
    (run.folder / "firmware" / "pico").mkdir(parents=True)
    (run.folder / "firmware" / "pico" / "user_input.cpp").write_text("mine")
    run.path(".first0.checkpoint.npz").write_bytes(b"state")
    run.open_folder(fresh=True)
    assert sorted(path.name for path in run.folder.iterdir()) == ["firmware", "run.json"]
    assert (run.folder / "firmware" / "pico" / "user_input.cpp").read_text() == "mine"
    del run
    assert _both(_run(tmp_path)) == [True, True]


def test_a_kill_before_the_first_account_does_not_lock_the_user_out(tmp_path: Path) -> None:
    run = _run(tmp_path)
    (run.folder / ".kd-cut").mkdir(parents=True)
    assert _both(run) == [True, True]


@pytest.mark.parametrize("content", ['{"experiment": 7}', '["kd-embedded"]'])
def test_a_run_json_of_another_tool_makes_no_folder_ours(tmp_path: Path, content: str) -> None:
    run = _run(tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / "run.json").write_text(content)
    (run.folder / "thesis.txt").write_text("years")
    with pytest.raises(KdError, match="exists and is no run folder"):
        run.open_folder(fresh=True)
    assert (run.folder / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize("stages", ["null", "5", '{"first": 5}', '{"first": {}}', '{"first": {"key": "", "wrote": 5}}'])
def test_a_damaged_account_of_ours_is_no_account(tmp_path: Path, stages: str) -> None:
    run = _run(tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / "run.json").write_text(f'{{"tool": "kd-embedded 0.1.0", "stages": {stages}}}')
    assert _both(run) == [True, True]


@pytest.mark.parametrize("name", ["../thesis.txt", "a/../../thesis.txt", "ABSOLUTE"])
def test_what_an_account_names_outside_its_folder_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    run = _run(tmp_path, project={"out": "out"})
    (run.folder / "a").mkdir(parents=True)
    wrote = {str(tmp_path / "thesis.txt") if name == "ABSOLUTE" else name: ""}
    stages = {"first": {"key": "", "wrote": wrote}}
    artifacts.write_json(run.path(artifacts.RUN), {"tool": "kd-embedded 0.1.0", "stages": stages})
    run.open_folder(fresh=True)
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_a_mistake_leaves_no_folder_behind(tmp_path: Path) -> None:
    run = _run(tmp_path)
    with pytest.raises(KdError), run.opened(fresh=True):
        raise KdError("wrong data")
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_in_one_folder_are_one_too_many(tmp_path: Path) -> None:
    first = _run(tmp_path)
    first.open_folder(fresh=False)
    with pytest.raises(KdError, match="another kd-embedded works in it"):
        _run(tmp_path).open_folder(fresh=False)
    del first
    _run(tmp_path).open_folder(fresh=False)


def test_require_refuses_what_is_missing_or_stale(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.open_folder(fresh=False)
    with pytest.raises(KdError, match="first is missing or out of date: `kd-embedded run --until first` does it"):
        run.require(_FIRST)
    elsewhere = Run(run.spec, tmp_path, Progress(), "my plans/kd.toml")
    with pytest.raises(KdError, match="`kd-embedded run 'my plans/kd.toml' --until first` does it"):
        elsewhere.require(_FIRST)
    run.execute(_FIRST)
    run.require(_FIRST)
    del run
    with pytest.raises(KdError, match="out of date"):
        _run(tmp_path, distill={"alpha": 0.25}).require(_FIRST)


def test_the_users_files_in_a_project_are_no_part_of_its_hash(tmp_path: Path) -> None:
    from kd_embedded.codegen.folder import write_project

    write_project(tmp_path / "p", {"a.txt": "a"}, {"user.cpp": "mine"}, {})
    before = pipeline.hash_path(tmp_path / "p")
    (tmp_path / "p" / "user.cpp").write_text("changed")
    (tmp_path / "p" / ".vscode").write_text("settings")
    assert pipeline.hash_path(tmp_path / "p") == before
    (tmp_path / "p" / "a.txt").write_text("b")
    changed = pipeline.hash_path(tmp_path / "p")
    (tmp_path / "p" / "a.txt").unlink()
    assert len({before, changed, pipeline.hash_path(tmp_path / "p")}) == 3


def test_data_boards_files_and_tool_are_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.keras").write_bytes(b"1")
    stage = _stage(
        *("first",),
        needs_boards="chosen",
        needs_interpreters=True,
        needs_tool=True,
        needs_data=True,
        files=lambda run: ("own.keras",),
    )
    keys = {_run(tmp_path).key(stage)}
    keys.add(_run(tmp_path, project={"boards": ["pico"]}).key(stage))
    (tmp_path / "own.keras").write_bytes(b"2")
    keys.add(_run(tmp_path).key(stage))
    monkeypatch.setattr(pipeline, "__version__", "9.9.9")
    keys.add(_run(tmp_path).key(stage))
    monkeypatch.setattr("kd_embedded.data.fingerprint", lambda spec, base: "other data")
    keys.add(_run(tmp_path).key(stage))
    monkeypatch.setattr(pipeline, "_versions", lambda: {"tflite-micro": "2"})
    keys.add(_run(tmp_path).key(stage))
    assert len(keys) == 6
    (tmp_path / "own.keras").unlink()
    with pytest.raises(KdError, match="own.keras: no such file"):
        _run(tmp_path).key(stage)


def test_artifacts_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.bin"
    artifacts.write_bytes(path, b"whole")
    with pytest.raises(RuntimeError), artifacts.replacing(path) as temporary:
        temporary.write_bytes(b"ha")
        raise RuntimeError
    assert path.read_bytes() == b"whole"
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(KdError, match="cannot write: No space left on device"),
        artifacts.replacing(tmp_path / "file") as temporary,
    ):
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x" * 10)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "blocker").write_text("a file where a folder should be")
    with pytest.raises(KdError, match="blocker"):
        artifacts.write_text(tmp_path / "blocker" / "file", "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["blocker"]


def test_json_that_is_absent_or_broken_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(KdError, match="no such file"):
        artifacts.read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(KdError, match="cannot be read as JSON"):
        artifacts.read_json(tmp_path / "b.json")


def test_a_damaged_run_json_is_one_line_with_the_way_out(tmp_path: Path) -> None:
    run = Run(RunSpec(), tmp_path, Progress())
    run.folder.mkdir(parents=True)
    run.path(artifacts.RUN).write_text("{")
    with pytest.raises(
        KdError, match=r"run.json: cannot be read as JSON: .*: remove the whole folder, or set project.out"
    ):
        run.open_folder(fresh=False)


def test_the_default_run_is_the_digits_example() -> None:
    assert RunSpec().data.source == "sklearn:digits"
    assert Run(RunSpec(), Path(), Progress()).data_fingerprint
