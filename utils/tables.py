"""Tables that read well in a notebook, in a terminal and where notebooks are hosted."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NOTHING = "–"  # where there is no figure


@dataclass(frozen=True)
class Table:
    """Rows of texts under common headings. A notebook shows it as HTML, print() as text.

    Attributes:
        rows: heading → text; every row has the same headings.
        caption: what it shows.
        notes: lines below it.
    """

    rows: Sequence[Mapping[str, str]]
    caption: str
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        if not self.rows:
            return "\n".join([self.caption, "(nothing to show)", *self.notes])
        lines = [self._headings(), *self._cells()]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        lines.insert(1, ["-" * width for width in widths])
        sides = [str.rjust if figures else str.ljust for figures in self._figures()]
        text = []
        for line in lines:
            cells = (side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True))
            text.append("  ".join(cells).rstrip())
        return "\n".join([self.caption, *text, *self.notes])

    def _repr_html_(self) -> str:
        caption = f"<p><strong>{html.escape(self.caption)}</strong></p>"
        notes = "".join(f"<p><em>{html.escape(note)}</em></p>" for note in self.notes)
        if not self.rows:
            return f"{caption}<p>(nothing to show)</p>{notes}"
        sides = ["right" if figures else "left" for figures in self._figures()]
        head = _html_row("th", self._headings(), sides)
        body = "".join(_html_row("td", cells, sides) for cells in self._cells())
        table = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
        return f'{caption}<div style="overflow-x: auto">{table}</div>{notes}'

    def _headings(self) -> list[str]:
        return list(self.rows[0])

    def _cells(self) -> list[list[str]]:
        return [[row[heading] for heading in self._headings()] for row in self.rows]

    def _figures(self) -> list[bool]:
        """For each column whether it holds figures, which stand to the right; texts stand to the left."""
        return [
            all(not cell or cell[0].isdigit() or cell == NOTHING for cell in column)
            for column in zip(*self._cells(), strict=True)
        ]


def _html_row(tag: str, cells: Sequence[str], sides: Sequence[str]) -> str:
    """Headings and texts of several words may take several lines in a narrow window."""
    texts = []
    for cell, side in zip(cells, sides, strict=True):
        wraps = " " in cell and (tag == "th" or side == "left")
        style = f"text-align: {side}; white-space: {'normal' if wraps else 'nowrap'}"
        texts.append(f'<{tag} style="{style}">{html.escape(cell)}</{tag}>')
    return f"<tr>{''.join(texts)}</tr>"


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is; the name of a file may hold HTML, a link or a formula."""
    return re.sub(r"([\\`*_\[\]<>&$|~#!])", r"\\\1", text)


def percent(value: float) -> str:
    """0.8125 → `81.2 %`."""
    return f"{100 * value:.1f} %"


def percent_range(low: float, high: float) -> str:
    """(0.73, 0.8812) → `73.0 – 88.1 %`."""
    return f"{100 * low:.1f} – {100 * high:.1f} %"
