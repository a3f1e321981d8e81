"""Tables and a plot of what training.benchmark has measured; the records are described there."""

from functools import partial
from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from utils.plots.style import COLOURS, WIDTH, with_look

FIT_FROM = 750  # frames; shorter signals say more of the fixed costs of a call than of how it grows


def show_machine(machine: dict) -> str:
    """Two lines."""
    memory = "" if machine["memory_bytes"] is None else f", {machine['memory_bytes'] / 2**30:.1f} GiB"
    load = "" if machine["load"] is None else f", load {machine['load']:.1f} at the start"
    gpu = "" if machine["gpu"] is None else f" ({machine['gpu']})"
    versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "numpy", "librosa"))
    return (
        f"{machine['cpu']}, {machine['cores']} cores{memory}{load}\n"
        f"device {machine['device']}{gpu}, {machine['threads']} threads, Python {machine['python']}, "
        f"{versions}, {machine['system']}"
    )


def fit_exponent(sizes: list[int], values: list[float]) -> float | None:
    """The p of values ∝ sizes^p, by least squares of the logarithms; None from fewer than two points."""
    if len(sizes) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(values), deg=1)[0])


def series(
    records: list[dict], algorithm: str, quantity: str, start: int = 0
) -> tuple[list[int], list[float]]:
    """Frame counts from `start` on, and the median "seconds" or the "peak_bytes" there, of one algorithm."""
    points = [r for r in records if r["algorithm"] == algorithm and r["frames"] >= start]
    points = [r for r in points if r[quantity] is not None]
    values = [median(r["seconds"]) if quantity == "seconds" else r[quantity] for r in points]
    return [r["frames"] for r in points], values


def table(title: str, head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table that is aligned for a terminal too; the first column to the left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        texts = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        return f"| {' | '.join(texts)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([f"{title}\n", line(head), line(rule), *map(line, rows)])


def number(value: float) -> str:
    """Three significant digits, or all before the point: 0.123, 12.3, 1234."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def spread(times: list[float]) -> str:
    """Half of the range, as a share of the median."""
    if len(times) == 1:
        return "(once)"
    return f"±{50 * (max(times) - min(times)) / median(times):.0f} %"


def milliseconds(times: list[float] | None) -> str:
    """Median and spread; a dash for None."""
    return "–" if times is None else f"{number(1000 * median(times))} {spread(times)}"


def ratio(slow: list[float] | None, fast: list[float] | None) -> str:
    """How many times faster, by the medians; a dash where either is None."""
    return "–" if slow is None or fast is None else f"×{number(median(slow) / median(fast))}"


def show_networks(records: list[dict]) -> str:
    """One table for each batch size."""
    texts = []
    for batch in dict.fromkeys(record["batch"] for record in records):
        rows = [record for record in records if record["batch"] == batch]
        columns = list(rows[0]["seconds"])  # CkTIM's: it has all
        ours = [column for column in columns if column not in ("baseline", "direct")]
        head = ["network", "TABs", *columns, *(f"baseline / {column}" for column in ours)]
        body = []
        for row in rows:
            times = row["seconds"]
            cells = [row["network"], str(row["blocks"]), *(milliseconds(times.get(name)) for name in columns)]
            body.append([*cells, *(ratio(times["baseline"], times[name]) for name in ours)])
        repetitions = len(rows[0]["seconds"]["baseline"])
        texts.append(table(f"Batch {batch}, milliseconds ({repetitions} repetitions)", head, body))
    return "\n\n".join(texts)


def show_frames(records: list[dict]) -> str:
    """Time and memory of both algorithms at each length, and the fitted exponents."""
    at = {(record["algorithm"], record["frames"]): record for record in records}
    lengths = sorted({record["frames"] for record in records})
    rows = []
    for frames in lengths:
        points = [at.get((algorithm, frames), {}) for algorithm in ("direct", "fft")]
        times = [point.get("seconds") for point in points]
        peaks = [point.get("peak_bytes") for point in points]
        memory = ["–" if peak is None else number(peak / 1e6) for peak in peaks]
        rows.append([str(frames), *map(milliseconds, times), ratio(*times), *memory])
    head = ["frames", "direct (ms)", "fft (ms)", "direct / fft", "direct (peak MB)", "fft (peak MB)"]
    lines = [table("CkTIM with 1 TAB at batch 1, forward and backward", head, rows), ""]
    for algorithm in ("direct", "fft"):
        fits = []
        for word, quantity in (("time", "seconds"), ("memory", "peak_bytes")):
            sizes, values = series(records, algorithm, quantity, FIT_FROM)
            exponent = fit_exponent(sizes, values)
            if exponent is not None:
                fits.append(f"{word} ∝ frames^{exponent:.2f}")
                fitted = f"{sizes[0]} to {sizes[-1]} frames"
        if fits:
            lines.append(f"{algorithm}, fitted over {fitted}: {', '.join(fits)}.")
        last = series(records, algorithm, "seconds")[0][-1]
        if last < lengths[-1]:
            lines.append(f"{algorithm} ends at {last} frames, where a call took too long to go on.")
    return "\n".join(lines)


def show_features(records: list[dict]) -> str:
    """Utterances per second, without and with the reading of files."""
    titles = {
        "memory": "MFCCs of waveforms in memory (decoding and resampling not included)",
        "files": "MFCCs of recordings on disk (48 kHz stereo; decoding and resampling included)",
    }
    texts = []
    for source, title in titles.items():
        rows = [record for record in records if record["source"] == source]
        librosas = rows[-1]["seconds"]
        body = [
            [
                row["way"],
                f"{number(row['utterances'] / median(row['seconds']))} {spread(row['seconds'])}",
                ratio(librosas, row["seconds"]),
            ]
            for row in rows
        ]
        title = f"{title}, {rows[0]['utterances']} of them"
        texts.append(table(title, ["", "utterances / s", "faster than librosa"], body))
    return "\n\n".join(texts)


def show_epoch(records: list[dict]) -> str:
    """The parts of an epoch, what 100 of them take, and how much more that is with augmentation."""
    parts = list(records[0]["parts"])
    rows, plain = [], {}
    for record in records:
        total = [sum(times) for times in zip(*record["parts"].values(), strict=True)]
        plain.setdefault((record["network"], record["blocks"]), total)
        cells = [number(1000 * median(record["parts"][part])) for part in parts]
        rows.append(
            [record["network"], str(record["blocks"]), record["training"], *cells, milliseconds(total)]
        )
        rows[-1].append(f"{100 * median(total) / 60:.1f} min")
        rows[-1].append(f"×{median(total) / median(plain[record['network'], record['blocks']]):.2f}")
    head = ["network", "TABs", "training", *parts, "whole epoch", "100 epochs", "of plain"]
    return table("An epoch with conf/config.yaml, milliseconds (files are not written)", head, rows)


@with_look
def plot(results: dict) -> Figure:
    """All that was measured, in panels of one figure.

    Args:
        results: section → records.
    """
    panels = []
    for section in ("steps", "inference"):
        for batch in dict.fromkeys(record["batch"] for record in results.get(section, ())):
            rows = [record for record in results[section] if record["batch"] == batch]
            title = f"{'Training step' if section == 'steps' else 'Inference'}, batch {batch}"
            panels.append(partial(draw_networks, rows, title))
    if "frames" in results:
        panels.append(partial(draw_frames, results["frames"], "seconds", 1e3, "time (ms)"))
        if any(record["peak_bytes"] is not None for record in results["frames"]):
            panels.append(partial(draw_frames, results["frames"], "peak_bytes", 1e-6, "peak memory (MB)"))
    if "features" in results:
        panels.append(partial(draw_features, results["features"]))
    if "epoch" in results:
        panels.append(partial(draw_epoch, results["epoch"]))
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(1.3 * WIDTH, 3.4 * rows), layout="constrained")
    figure.suptitle(results["machine"]["gpu"] or results["machine"]["cpu"])
    every_axes = figure.subplots(rows, 2, squeeze=False).flatten()
    for axes, draw in zip(every_axes, panels, strict=False):
        draw(axes)
    for axes in every_axes[len(panels) :]:
        axes.set_axis_off()
    return figure


def draw_networks(records: list[dict], title: str, axes: Axes) -> None:
    """The median of every column, with its range, for each network and depth."""
    columns = list(records[0]["seconds"])
    for index, column in enumerate(columns):
        places = [place for place, record in enumerate(records) if column in record["seconds"]]
        times = 1000 * np.array([records[place]["seconds"][column] for place in places])
        middles = np.median(times, axis=1)
        ranges = middles - times.min(axis=1), times.max(axis=1) - middles
        x = np.array(places) + 0.12 * (index - (len(columns) - 1) / 2)
        style = {"fmt": "osD^v"[index], "color": COLOURS[index], "markersize": 5, "label": column}
        axes.errorbar(x, middles, ranges, **style)
    axes.set_xticks(range(len(records)), [f"{record['network']}\n{record['blocks']}" for record in records])
    axes.grid(False, axis="x")
    axes.set(title=title, ylabel="time (ms, logarithmic)", xlabel="network and TABs", yscale="log")
    axes.set_xlim(-0.5, len(records) - 0.5)
    axes.legend()


def draw_frames(records: list[dict], quantity: str, unit: float, label: str, axes: Axes) -> None:
    """Time or memory against the frame count, both logarithmic."""
    for algorithm, marker, colour in (("direct", "s", COLOURS[1]), ("fft", "o", COLOURS[0])):
        frames, values = series(records, algorithm, quantity)
        exponent = fit_exponent(*series(records, algorithm, quantity, FIT_FROM))
        fit = "" if exponent is None else f", ∝ frames^{exponent:.2f}"
        style = {"marker": marker, "color": colour, "label": f"{algorithm}{fit}"}
        axes.plot(frames, unit * np.array(values), **style)
    lengths = sorted({record["frames"] for record in records})
    axes.set(xscale="log", yscale="log", xlabel="frames (logarithmic)", ylabel=f"{label}, logarithmic")
    axes.set_title("CkTIM with 1 TAB at batch 1, forward and backward")
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend()


def draw_features(records: list[dict], axes: Axes) -> None:
    """Utterances per second of every way."""
    for place, record in enumerate(records):
        rate = record["utterances"] / median(record["seconds"])
        colour = COLOURS[1] if record["way"] == "librosa" else COLOURS[0]
        axes.plot(rate, place, "o", color=colour)
        axes.annotate(number(rate), (rate, place), (6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(records)), [f"{record['source']}: {record['way']}" for record in records])
    axes.set(title="MFCC extraction", xlabel="utterances / s (logarithmic)", xscale="log")
    axes.invert_yaxis()
    axes.margins(x=0.15)  # room for the numbers


def draw_epoch(records: list[dict], axes: Axes) -> None:
    """An epoch's parts as one stacked bar a network."""
    names = [f"{record['network']}, {record['blocks']} TABs, {record['training']}" for record in records]
    left = np.zeros(len(records))
    for index, part in enumerate(records[0]["parts"]):
        seconds = np.array([median(record["parts"][part]) for record in records])
        axes.barh(names, seconds, left=left, color=COLOURS[index], label=part)
        left += seconds
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set(title="An epoch on features of EMOVO's size", xlabel="time (s)")
    axes.legend(ncols=2)
