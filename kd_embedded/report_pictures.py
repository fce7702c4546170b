"""The report's pictures: training curves and sizes, as SVG that stands inside an HTML page.

Colours are the page's own CSS variables, so a picture follows light and dark; text stays text. The same figures give
the same bytes, whatever the user's matplotlibrc says.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kd_embedded.planner import Plan, Value

# Stand-ins that matplotlib writes and the page's CSS variables replace.
_COLOURS = {f"#0f{index:02x}f0": name for index, name in enumerate(("ink", "muted", "line", "bad", "train", "val"))}
_COLOURS |= {f"#f0{index:02x}0f": f"part{index}" for index in range(4)}
_HEX = {name: colour for colour, name in _COLOURS.items()}

_WIDTH = 460.0  # points; one SVG point is one CSS pixel at the picture's full size
_FONT = 12.0
_ROW = 26.0
_MAP = 230.0  # height of an arena's addresses
_MOST_SHARE = 1.6  # of a board's budget; a longer bar is cut off there


@dataclass(frozen=True)
class Bar:
    """One board's bar: ``parts`` are bytes in the order of the legend, ``limit`` the board's bytes."""

    name: str
    chosen: bool
    fits: bool
    parts: tuple[int, ...]
    limit: int


@contextmanager
def _drawing() -> Iterator[None]:
    """matplotlib as it comes, but that text stays text; what the user has set is back afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "font.size": _FONT})
        yield


@_drawing()
def curve(history: Sequence[Mapping[str, float]], figure: str, title: str, kept: int) -> str:
    """``figure`` ("loss" or "accuracy") of training and validation samples by epoch; ``kept`` is the epoch's index."""
    train, val = ([record[f"{part}{figure}"] for record in history] for part in ("", "val_"))
    epochs = range(1, len(history) + 1)
    canvas, axes = _figure(210.0, left=46.0, right=12.0, top=24.0, bottom=38.0)
    marker = "o" if len(history) < 3 else ""
    axes.plot(epochs, train, color=_HEX["train"], linewidth=1.3, linestyle=(0, (4, 2)), marker=marker, markersize=3)
    axes.plot(epochs, val, color=_HEX["val"], linewidth=1.6, marker=marker, markersize=3)
    axes.plot([kept + 1], [val[kept]], color=_HEX["val"], marker="o", markersize=5.5, linestyle="")
    axes.set_title(title, loc="left", fontsize=_FONT, color=_HEX["ink"], pad=9)
    axes.set_xlabel("epoch", color=_HEX["muted"], labelpad=3)
    axes.xaxis.set_major_locator(_ticker().MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.grid(True, axis="y", color=_HEX["line"], linewidth=0.8)
    if figure == "accuracy":
        axes.yaxis.set_major_locator(_ticker().MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
        # Most runs are at chance for an epoch or two; the axis is for what comes after.
        settled = [value for values in (train, val) for value in values[len(values) // 10 :]]
        room = 0.06 * (max(settled) - min(settled)) or 0.05
        axes.set_ylim(max(0.0, min(settled) - room), min(1.0, max(settled)) + room)
    elif min(train + val) > 0 and max(train + val) > 30 * min(train + val):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_locator(_ticker().NullLocator())
    return _svg(canvas, f"{title}: {figure}", f"{title}: {figure} by epoch, training and validation")


@_drawing()
def reliability(bins: Sequence[Mapping[str, Any]], title: str) -> str:
    """Accuracy by confidence (Guo et al. 2017, figure 1), a bar a bin; on the dashed line both are the same.

    ``bins`` are those of ``examine.figures``. Bars of less than a hundredth of the samples are pale.
    """
    whole = sum(entry["samples"] for entry in bins)
    canvas, axes = _figure(230.0, left=46.0, right=20.0, top=24.0, bottom=38.0)
    width = 1.0 / len(bins)
    for place, entry in enumerate(bins):
        if entry["samples"]:
            colour = _HEX["val" if 100 * entry["samples"] >= whole else "line"]
            axes.bar((place + 0.5) * width, entry["accuracy"], width=0.86 * width, color=colour)
            axes.plot([entry["confidence"]], [entry["accuracy"]], color=_HEX["ink"], marker="o", markersize=3)
    axes.plot([0, 1], [0, 1], color=_HEX["muted"], linewidth=1.0, linestyle=(0, (4, 2)))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.03)
    axes.set_title(title, loc="left", fontsize=_FONT, color=_HEX["ink"], pad=9)
    axes.set_xlabel("confidence", color=_HEX["muted"], labelpad=3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(_ticker().MultipleLocator(0.2))
        axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.grid(True, axis="y", color=_HEX["line"], linewidth=0.8)
    return _svg(canvas, f"{title}: reliability", f"{title}: accuracy by confidence, {whole} in all")


def line(values: Sequence[float]) -> str:
    """A sample that is no image, as the line of its values."""
    low, high = min(values), max(values)
    across, height = 96.0 / max(len(values) - 1, 1), 44.0 / ((high - low) or 1.0)
    points = " ".join(f"{index * across:.1f},{46.0 - (value - low) * height:.1f}" for index, value in enumerate(values))
    drawn = f'<polyline points="{points}" fill="none" stroke="var(--val)" stroke-width="1.3"/>'
    return f'<svg viewBox="0 0 96 48" role="img" aria-label="values from {low:g} to {high:g}">{drawn}</svg>'


@_drawing()
def sizes(bars: Sequence[Bar], title: str) -> str:
    """A bar for each board, from 0 to what it has, in stacked parts; a share that is too much is told in red."""
    left = 26.0 + 7.4 * max(len(bar.name) for bar in bars)
    canvas, axes = _figure(_ROW * len(bars) + 58.0, left=left, right=60.0, top=26.0, bottom=30.0)
    rows = range(len(bars))
    shares = [sum(bar.parts) / bar.limit for bar in bars]
    limit = min(_MOST_SHARE, max(1.0, *shares))
    axes.barh(rows, [1.0] * len(bars), height=0.56, color=_HEX["line"])
    for row, bar in enumerate(bars):
        start = 0.0
        for index, part in enumerate(bar.parts):
            end = min(start + part / bar.limit, limit)
            axes.barh(row, end - start, left=start, height=0.56, color=_HEX[f"part{index}"])
            start = end
        colour = _HEX["ink"] if shares[row] <= 1 else _HEX["bad"]
        axes.text(
            1.02,
            row,
            _percent(shares[row]),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=_FONT,
            color=colour,
        )
    if limit > 1:
        axes.axvline(1.0, color=_HEX["bad"], linewidth=1.2)
    axes.set_xlim(0, limit)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_title(title, loc="left", fontsize=_FONT, color=_HEX["ink"], pad=9, x=-(left - 2) / (_WIDTH - left - 60.0))
    axes.set_yticks(rows, [f"● {bar.name}" if bar.chosen else bar.name for bar in bars])
    for label, bar in zip(axes.get_yticklabels(), bars, strict=True):
        label.set_color(_HEX["bad"] if not bar.fits else _HEX["ink"] if bar.chosen else _HEX["muted"])
        label.set_fontweight("bold" if bar.chosen else "normal")
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.xaxis.set_major_locator(_ticker().MultipleLocator(0.25))
    axes.spines["left"].set_visible(False)
    told = "; ".join(f"{bar.name} {_percent(share)}" for bar, share in zip(bars, shares, strict=True))
    return _svg(canvas, title, f"{title}: {told}")


@_drawing()
def arena(plan: Plan, steps: Sequence[str], title: str) -> str:
    """The plan of an arena: steps across, addresses down. ``steps`` names each, mostly by its op.

    A value begins in the middle of the step that writes it and ends in the middle of the one that reads it last: where
    one begins at another's bytes, the step works in place. Scratch fills its step.
    """
    bottom = 24.0 + 6.2 * max((len(name) for name in steps), default=0)
    canvas, axes = _figure(_MAP + 26.0 + bottom, left=52.0, right=8.0, top=26.0, bottom=bottom)
    height = max(plan.arena_bytes, 1)
    for value in plan.values:
        begin, end = _span(value, len(steps))
        colour = _HEX["part2" if not value.tensors else "part1" if _is_edge(value, len(steps)) else "part0"]
        size = end - begin, value.bytes
        axes.add_patch(_rectangle((begin, value.offset), *size, facecolor=colour, edgecolor=_HEX["ink"], linewidth=0.4))
        text = f"{value.bytes:,}".replace(",", " ")
        wide = (end - begin) / (len(steps) + 1) * (_WIDTH - 60.0) > 5.6 * len(text) + 4.0
        if value.tensors and not _is_edge(value, len(steps)) and wide and value.bytes / height * _MAP > 12.0:
            middle = (begin + end) / 2, value.offset + value.bytes / 2
            axes.text(*middle, text, ha="center", va="center", fontsize=9.0, color=_HEX["ink"])
    axes.set_xlim(-0.5, len(steps) + 0.5)
    axes.set_ylim(height, 0)
    axes.set_title(title, loc="left", fontsize=_FONT, color=_HEX["ink"], pad=9)
    axes.set_xticks([i + 0.5 for i in range(len(steps))], steps, rotation=90, fontsize=8.0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
    axes.yaxis.set_major_locator(_ticker().MaxNLocator(6, integer=True))
    label = f"{title}: {len(plan.values)} values in {plan.arena_bytes} bytes over {len(steps)} steps"
    return _svg(canvas, title, label)


def _span(value: Value, steps: int) -> tuple[float, float]:
    if not value.tensors:
        return value.first, value.first + 1.0
    return max(value.first + 0.5, -0.5), min(max(value.last + 0.5, value.first + 1.0), steps + 0.5)


def _is_edge(value: Value, steps: int) -> bool:
    return value.first < 0 or value.last >= steps


def _rectangle(*place: Any, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(*place, **style)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _figure(height: float, *, left: float, right: float, top: float, bottom: float) -> tuple[Any, Any]:
    """A figure of _WIDTH x ``height`` and its axes, with margins in points."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(_WIDTH / 72, height / 72), dpi=72)
    axes: Any = canvas.add_axes(
        (left / _WIDTH, bottom / height, (_WIDTH - left - right) / _WIDTH, (height - top - bottom) / height)
    )
    canvas.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=_HEX["muted"], pad=5)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(_HEX["line"])
    return canvas, axes


def _svg(canvas: Any, salt: str, label: str) -> str:
    """``canvas`` as an SVG element: no prolog, no metadata, only the ids that it uses, colours by variable."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = salt
    stream = io.StringIO()
    canvas.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    used = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text))
    names = {name for pair in used for name in pair}
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in names else "", text)
    view = re.search(r'viewBox="[^"]+"', text)
    assert view is not None
    text = re.sub(r"<svg[^>]*>", f'<svg {view[0]} role="img" aria-label="{_attribute(label)}">', text, count=1)
    for colour, name in _COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    return text


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _ticker() -> Any:
    from matplotlib import ticker

    return ticker
