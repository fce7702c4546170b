"""`kd-embedded inputs`."""

from __future__ import annotations

from pathlib import Path

import click

from kd_embedded.cli import Outcome, _stages, verb
from kd_embedded.progress import Progress


@_stages.CONFIG
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.npz", help="Written."
)
@verb
def command(progress: Progress, config: Path, out: Path) -> Outcome:
    """Write what a teacher that lives elsewhere needs of CONFIG (kd.toml): inputs, labels, splits, the data's hash.

    FILE.npz holds x float32 [N, ...] as models see it, y int64 [N] (-1: unlabelled), split [N] ("train", "val", "test",
    "unlabelled", or "unused"), class_names and data_sha256; of a regression targets [N, D] too. Give the teacher's
    logits (or outputs) back as a file that holds logits [N, classes] and that data_sha256: [[teacher]] kind = "logits".
    """
    import numpy as np

    from kd_embedded import artifacts
    from kd_embedded.errors import ConfigError
    from kd_embedded.stages import teach

    if out.suffix != ".npz":
        raise ConfigError("should end in .npz", where=f"--out {out}")
    run = _stages.open_run(progress, config, ())
    data, splits, data_sha256 = run.data, run.splits, teach.inputs_sha256(run)
    split = np.full(len(data.x), "unused", "U10")
    for name in ("train", "val", "test"):
        split[getattr(splits, name)] = name
    split[data.unlabelled] = "unlabelled"
    numbers = {} if data.targets is None else {"targets": data.targets}
    artifacts.write_npz(
        out,
        **numbers,
        x=data.inputs(np.arange(len(data.x))),
        y=data.y,
        split=split,
        class_names=np.array(data.class_names),
        data_sha256=np.array(data_sha256),
    )
    counted = {name: int((split == name).sum()) for name in np.unique(split).tolist()}
    document = {
        "file": str(out),
        "samples": len(data.x),
        "input_shape": list(data.input_shape),
        data.noun: data.outputs,
        "splits": counted,
        "data_sha256": data_sha256,
    }
    counts = ", ".join(f"{count} {name}" for name, count in counted.items())
    return Outcome(document, f"wrote {out}: {len(data.x)} inputs of {list(data.input_shape)} ({counts})")
