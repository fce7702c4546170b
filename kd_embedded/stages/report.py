"""Report: one page that quotes everything the run has made."""

from __future__ import annotations

from kd_embedded import artifacts, report
from kd_embedded.config import SECTIONS
from kd_embedded.pipeline import Run, Stage
from kd_embedded.stages import teach


def work(run: Run) -> None:
    """Writes report.html."""
    artifacts.write_text(run.path(artifacts.REPORT), report.render(report.read(run.folder, run.spec)))


STAGE = Stage(
    name="report",
    sections=tuple(SECTIONS),
    reads=lambda run: (
        artifacts.SPLITS,
        artifacts.PLAN,
        *teach.files(run),
        artifacts.TEACHER_HISTORY,
        artifacts.EXAMINATION,
        artifacts.STUDENT,
        artifacts.STUDENT_HISTORY,
        artifacts.STUDENT_INT8,
        artifacts.VALIDATION,
        *(f"{artifacts.FIRMWARE}/{board.name}" for board in run.boards),
    ),
    writes=lambda run: (artifacts.REPORT,),
    work=work,
    needs_boards="all",
    needs_tool=True,
)
