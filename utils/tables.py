"""Tables that read well in a terminal, in a notebook and in a spreadsheet, and figures in words."""

import csv
import html
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

NOTHING = "–"  # where there is no figure
FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")  # a cell that a spreadsheet may run
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Table:
    """Rows of heading → text, all with the same headings. A notebook shows HTML, print() shows text."""

    rows: Sequence[Mapping[str, str]]
    caption: str
    notes: Sequence[str] = ()  # lines below it

    @classmethod
    def of(cls, headings: Sequence[str], rows: Iterable[Sequence[str]], *about: Any) -> "Table":
        """A table of rows of texts, one for each heading; then caption and notes."""
        return cls([dict(zip(headings, row, strict=True)) for row in rows], *about)

    def _columns(self) -> list[tuple[list[str], bool]]:
        """Heading and texts of each column, and whether these are figures, which stand to the right."""
        columns = [[name, *(row[name] for row in self.rows)] for name in (self.rows or [{}])[0]]
        return [(one, all(text[:1] in f"+-0123456789{NOTHING}" for text in one[1:])) for one in columns]

    def __str__(self) -> str:
        shown = []
        for (heading, *texts), figures in self._columns():
            width = max(map(len, (heading, *texts)))
            side = str.rjust if figures else str.ljust
            shown.append([side(text, width) for text in (heading, "-" * width, *texts)])
        lines = ["  ".join(line).rstrip() for line in zip(*shown, strict=True)] or ["(nothing to show)"]
        return "\n".join([self.caption, *lines, *self.notes])

    def _repr_html_(self) -> str:
        """Headings and texts of several words may take several lines; figures stay whole."""
        lines: list[str] = [""] * (len(self.rows) + 1)
        for texts, figures in self._columns():
            for line, text in enumerate(texts):
                tag, wrap = ("td", not figures) if line else ("th", True)
                style = f"padding: 2px 8px; text-align: {'right' if figures else 'left'}; white-space: "
                style += "normal" if wrap and " " in text else "nowrap"
                lines[line] += f'<{tag} style="{style}">{html.escape(text)}</{tag}>'
        head, *body = (f"<tr>{line}</tr>" for line in lines)
        table = f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
        table = f'<div style="overflow-x: auto">{table}</div>' if self.rows else "<p>(nothing to show)</p>"
        notes = "".join(f"<p><em>{html.escape(note)}</em></p>" for note in self.notes)
        caption = f"<p><strong>{html.escape(self.caption)}</strong></p>" if self.caption else ""
        return f"{caption}{table}{notes}"


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV. Text that a spreadsheet would run as a formula has an apostrophe in front; numbers not."""
    lines: list[str] = []
    # a terminator with \r, so that \r is quoted too
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n")
    writer.writerows([_disarmed(str(cell)) for cell in row] for row in rows)
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)


def _disarmed(cell: str) -> str:
    return f"'{cell}" if FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def unique(names: Iterable[str]) -> list[str]:
    """Names of columns or files, made different in any case of letters: a second `label` is `label_2`."""
    found: dict[str, str] = {}
    for name in names:
        choice, number = name, 1
        while (key := unicodedata.normalize("NFC", choice).casefold()) in found:
            number += 1
            choice = f"{name}_{number}"
        found[key] = choice
    return list(found.values())


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is; the name of a file may hold HTML, a link or a formula."""
    return re.sub(r"([\\`*_\[\]<>&$|~#!])", r"\\\1", text)


def percent(value: float) -> str:
    """0.8125 → `81.2 %`."""
    return f"{100 * value:.1f} %"


def percent_range(low: float, high: float) -> str:
    """(0.73, 0.8812) → `73.0 – 88.1 %`."""
    return f"{100 * low:.1f} – {100 * high:.1f} %"
