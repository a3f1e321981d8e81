"""A user's own table of recordings, CSV, TSV or audformat: a row for each, with file, emotion, and so on."""

import codecs
import csv
import difflib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple
from unicodedata import normalize

from dataloader.corpora.listing import list_files, readable
from dataloader.corpora.utterance import UNKNOWN, Corpus, CorpusError, Utterance
from dataloader.decode import SOUND_SUFFIXES
from utils.emotions import emotion_code, in_order
from utils.errors import many, remarks, some

SEPARATORS = "\t;,|"
SUFFIXES = (".csv", ".tsv")
DATABASE = "db.yaml"  # of audformat
LARGEST = 2**28  # bytes; a million rows have about a third
# Usual names of columns, small and without anything between words; where the first is there, it is meant.
USUAL = {
    "file": "file path filename filepath fileid wav wavfile wavpath audio audiofile audiopath recording "
    "datei",
    "emotion": "emotion emotions emotionlabel label labels class category affect emotionalstate",
    "speaker": "speaker speakerid spk spkid actor actorid subject subjectid participant participantid "
    "clientid sprecher",
    "sentence": "sentence sentenceid text textid normalizedtext rawtext transcript transcription satz",
    "split": "split subset partition set datasplit",
}
FIRST_WILL_DO = ("file", "sentence")  # of several such columns; of others one must be named
NEEDED = ("file", "emotion")


class Table(NamedTuple):
    """Names of columns, and rows of as many values; `lines` says where each stands in the file."""

    path: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]
    warnings: tuple[str, ...] = ()


def read_table(place: Path, chosen: Mapping[str, str | None]) -> Corpus:
    """List the utterances of a table; no sound is read.

    Files are looked for from the table's folder; one that is not where its row says is found by its name
    (whatever the suffix and the folders in front), where only one below that folder fits. Warnings name rows
    and files that are left out.

    Args:
        place: the table, a folder with one, or a folder with a database of audformat.
        chosen: `data.columns`, role → name of a column; None for a column that is not to be used.

    Returns:
        A Corpus `table-STEM`. Utterances have the emotion's word as it stands there, and the value of the
        column `split` in `subset`; they are called as their file in the table, without suffix.
    """
    table = load_table(place)
    column = {role: _column(table, role, chosen) for role in USUAL}
    values = {
        role: [row[number] if number is not None else "" for row in table.rows]
        for role, number in column.items()
    }
    for role in values.keys() - {"file"}:
        values[role] = [normalize("NFC", value) for value in values[role]]
    paths, warnings = _found(values["file"], table.path.parent)
    warnings += table.warnings
    rows_of: dict[Path, list[int]] = {}
    empty: dict[str, list[str]] = {"file": [], "emotion": []}
    for row, (entry, word) in enumerate(zip(values["file"], values["emotion"], strict=True)):
        if not entry:
            empty["file"].append(f"line {table.lines[row]}")
        elif entry not in paths:
            continue
        elif word.casefold() in ("", "nan"):
            empty["emotion"].append(entry)
        else:
            rows_of.setdefault(paths[entry], []).append(row)
    words = {path: {emotion_code(values["emotion"][row]) for row in rows} for path, rows in rows_of.items()}
    torn = [path for path in rows_of if len(words[path]) > 1]
    doubles = [path for path, rows in rows_of.items() if len(rows) > 1 and path not in torn]
    unlisted = _beside(set(paths.values()))
    warnings += _remarks(
        (empty["file"], "row", "without a file, left out"),
        (empty["emotion"], "row", "without an emotion, left out"),
        ([path.name for path in torn], "file", "with several emotions in the table, left out"),
        ([path.name for path in doubles], "file", "with several rows, of which the first counts"),
        ([path.name for path in unlisted], "sound file", "beside the others without a row, left out"),
    )
    rows = [rows[0] for path, rows in rows_of.items() if path not in torn]
    if not rows:
        hints = ". ".join([f"{table.path} names no recording that can be used", *warnings])
        named = table.columns[column["file"] or 0]
        cure = f'"data.columns={{file: NAME}}", if {named} is not their column'
        place = "in the table's folder and below: copy it to where they are"
        raise CorpusError(f"{hints}. Files are looked for {place}, or say {cure}.")
    names = _names(values["file"], rows, table.path.parent)
    utterances = [
        Utterance(
            paths[values["file"][row]],
            emotion_code(word := values["emotion"][row]),
            values["speaker"][row] or UNKNOWN,
            values["sentence"][row] or UNKNOWN,
            name,
            word=word,
            subset=values["split"][row].casefold(),
        )
        for row, name in zip(rows, names, strict=True)
    ]
    return Corpus(
        f"table-{table.path.stem if table.path.name != DATABASE else table.path.resolve().parent.name}",
        table.path,
        tuple(sorted(utterances, key=lambda utterance: utterance.name)),
        in_order(utterance.emotion for utterance in utterances),
        tuple(warnings),
    )


def load_table(place: Path) -> Table:
    """Read a CSV or TSV file, or a database of audformat; a CorpusError says why it is none."""
    if place.name == DATABASE or os.path.isfile(place / DATABASE):
        return _database(place.parent if place.name == DATABASE else place)
    return csv_table(_file(place))


def csv_table(path: Path) -> Table:
    """Read a CSV or TSV file, whatever its separator."""
    text = _text(path)
    text = re.sub(r"\A\s*sep=.\s*$", "", text, count=1, flags=re.MULTILINE)  # Excel's hint
    if not text.strip():
        raise CorpusError(f"{path} is empty: a first line with names of columns, and a row for each file.")
    separator = max(SEPARATORS, key=lambda mark: _separates(text.lstrip("\r\n"), mark))
    table = _parsed(text, separator)
    # A lone quotation mark swallows lines up to the next one.
    if isinstance(table, str) or any("\n" in value for row in table.rows for value in row):
        unquoted = _parsed(text, separator, csv.QUOTE_NONE)
        table = table if isinstance(unquoted, str) else unquoted
    if isinstance(table, str):
        raise CorpusError(f"{path}, {table}")
    if not table.rows:
        raise CorpusError(f"{path} has the columns {_shown(table.columns)}, and no row below them.")
    return table._replace(path=path)


def _database(folder: Path) -> Table:
    """All columns of a database's tables of whole files, and `split` where its tables are of splits."""
    try:
        import audformat
    except ImportError as error:
        problem = f"{folder} is a database of audformat, which `pip install audformat` reads."
        raise CorpusError(problem) from error
    if any(folder.glob("db.*.pkl")):
        raise CorpusError(f"{folder} has tables as .pkl, which may run code: save it as CSV or Parquet.")
    values: dict[str, dict[str, str]] = {}  # file → column → value
    torn: dict[str, str] = {}
    try:
        database = audformat.Database.load(str(folder))
        tables = {name: table for name, table in database.tables.items() if table.is_filewise}
        for table in tables.values():
            frame = table.get()
            if table.split_id is not None:
                frame = frame.assign(split=database.splits[table.split_id].type)
            for file, row in zip(frame.index, frame.to_dict("records"), strict=True):
                for column, value in row.items():
                    text = str(value)
                    if text in ("None", "nan", "<NA>", "NaT"):
                        continue
                    first = values.setdefault(file, {}).setdefault(column, text)
                    if first != text:
                        torn[column] = f"{column}: {first} or {text} for {file}"
    except Exception as error:  # YAML, CSV, Parquet, or these do not fit together
        raise CorpusError(f"{folder} cannot be read by audformat: {error}") from error
    columns = [one for one in dict.fromkeys(c for row in values.values() for c in row) if one not in torn]
    rows = [[file, *(row.get(column, "") for column in columns)] for file, row in values.items()]
    warnings = _remarks(
        (list(torn.values()), "column", "with other values in other tables of the database, not used"),
        (sorted(database.tables.keys() - tables.keys()), "table", "of segments of recordings, not used"),
    )
    return Table(folder / DATABASE, ["file", *columns], rows, list(range(1, len(rows) + 1)), tuple(warnings))


def _file(place: Path) -> Path:
    """The table itself, or the only one in a folder."""
    if os.path.isfile(place):
        return place
    if not os.path.isdir(place):
        state = "is neither a file nor a folder" if os.path.lexists(place) else "is not there"
        raise CorpusError(f"{place} {state}: name a CSV or TSV file in data.root.")
    try:
        tables = sorted(one for one in place.iterdir() if one.suffix.lower() in SUFFIXES and one.is_file())
    except OSError as error:
        raise CorpusError(f"{place} cannot be read ({error.strerror}).") from error
    if len(tables) == 1:
        return tables[0]
    there = f"the tables {some([one.name for one in tables])}" if tables else "no CSV or TSV file"
    raise CorpusError(f"{place} is a folder with {there}: name one file in data.root.")


def _text(path: Path) -> str:
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise CorpusError(f"{path} has {size:,} bytes, which is no table of recordings.")
        content = path.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # Excel's "Unicode text"
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        cure = "save the table as CSV (in Excel: CSV UTF-8), or unpack a zip"
        raise CorpusError(f"{path} is not UTF-8 text: {cure}.")
    return text


def _separates(text: str, mark: str) -> tuple[int, int]:
    """How many of the first lines have as many values as the very first (if two or more), and how many."""
    try:
        counts = [len(row) for row in csv.reader(text.splitlines()[:50], delimiter=mark) if row]
    except csv.Error:
        return 0, 0
    return (counts.count(counts[0]) if counts[0] > 1 else 0), counts[0]


def _parsed(text: str, separator: str, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> Table | str:
    """The table, or a sentence about the first line that does not fit."""
    how: dict[str, Any] = {"delimiter": separator, "quoting": quoting, "skipinitialspace": True}
    reader = csv.reader(io.StringIO(text, newline=""), **how)
    columns: list[str] = []
    rows, lines, number = [], [], 1
    try:
        for row in reader:
            row = [value.strip() for value in row]
            if any(row):
                while columns and len(row) > len(columns) and not row[-1]:
                    row.pop()
                if columns and len(row) != len(columns):
                    cure = "A value with the separator in it needs quotation marks around it."
                    there = f"{many(len(row), 'value')}, and the first line names {len(columns)} columns"
                    return f"line {number}: {there} (separated by {separator!r}). {cure}"
                if columns:
                    rows.append(row)
                    lines.append(number)
                columns = columns or row
            number = reader.line_num + 1
    except csv.Error as error:
        return f"line {number}: {error}. Is a quotation mark missing there?"
    return Table(Path(), columns, rows, lines)


def _column(table: Table, role: str, chosen: Mapping[str, str | None]) -> int | None:
    """The number of the column for a role; None where there is none, which a CorpusError says of NEEDED."""
    plain = [re.sub(r"[\W_]+", "", name).casefold() for name in table.columns]
    if role in chosen:
        wanted = chosen[role]
        found = [number for number, name in enumerate(table.columns) if name == wanted]
        small = [name.casefold() for name in table.columns]
        found = found or [n for n, name in enumerate(small) if name == str(wanted).casefold()]
        if wanted is not None and not found:
            close = difflib.get_close_matches(wanted, table.columns, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            problem = f"data.columns: no column is called {wanted}{hint}"
            raise CorpusError(f"{table.path}: {problem} Its columns: {_shown(table.columns)}.")
    else:
        names = USUAL[role].split()
        found = [number for name in names for number, one in enumerate(plain) if one == name]
        several = {plain[number] for number in found}
        if names[0] in several or role in FIRST_WILL_DO:
            found = [number for number in found if plain[number] == plain[found[0]]]
    if len(found) > 1:
        which = " or ".join(table.columns[number] for number in found)
        cure = f'say "data.columns={{{role}: {table.columns[found[0]]}}}"'
        cure = cure if len({table.columns[number] for number in found}) > 1 else "rename one of them"
        raise CorpusError(f"{table.path}: its column of {role}s may be {which}; {cure}.")
    if not found and role in NEEDED:
        there = f"it has {_shown(table.columns)}"
        cure = f'Say "data.columns={{{role}: NAME}}"; names stand in the first line.'
        cure = " ".join((cure, *table.warnings))
        raise CorpusError(f"{table.path}: no column is known to hold {role}s; {there}. {cure}")
    return found[0] if found else None


def _shown(columns: Sequence[str]) -> str:
    return some([repr(name[:40]) for name in columns], 20)


def _found(entries: Iterable[str], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """File as the table names it → where it is, without those that are nowhere; and warnings."""
    found: dict[str, Path] = {}
    for entry in dict.fromkeys(filter(None, entries)):
        places = (
            Path(os.path.normpath(folder / os.path.expanduser(one))) for one in (entry, _slashes(entry))
        )
        if place := next(filter(os.path.isfile, places), None):
            found[entry] = place
    missing = [entry for entry in dict.fromkeys(filter(None, entries)) if entry not in found]
    elsewhere, nowhere, several = list[str](), list[str](), list[str]()
    by_name: dict[str, list[Path]] = {}
    taken, exact = set(found.values()), bool(found)
    for path in list_files(folder).sounds if missing else ():
        for key in _keys(path.as_posix()) if path not in taken else ():
            by_name.setdefault(key, []).append(path)
    for entry in missing:
        keys = _keys(entry)[: 1 if exact else 2]  # beside files in their places, folders count
        known = next((by_name[key] for key in keys if key in by_name), [])
        fitting = _most_alike(PurePosixPath(_slashes(entry)), known)
        if len(fitting) == 1:
            found[entry] = fitting[0]
            elsewhere.append(f"{entry} is {os.path.relpath(fitting[0], folder)}")
        else:
            (several if fitting else nowhere).append(entry)
    return found, _remarks(
        (nowhere, "file", "of the table not there, left out"),
        (several, "file", "of the table not there, and several others called so, left out"),
        (elsewhere, "file", "not where the table says, but found by name"),
    )


def _remarks(*kinds: tuple[Sequence[str], str, str]) -> list[str]:
    """Remarks, with names as they can be shown."""
    shown = (([readable(name)[-100:] for name in names], noun, what) for names, noun, what in kinds)
    return remarks(*shown)


def plain_name(name: str) -> str:
    """A file's name in small letters, with slashes, and without the suffix of sound."""
    name = normalize("NFC", _slashes(name)).casefold()
    return next((name.removesuffix(suffix) for suffix in SOUND_SUFFIXES if name.endswith(suffix)), name)


def _slashes(entry: str) -> str:
    return entry.replace("\\", "/")


def _keys(name: str) -> list[str]:
    """A file's plain name with the folder around it, and alone."""
    parts = plain_name(name).split("/")
    return list(dict.fromkeys(("/".join(parts[-2:]), parts[-1])))


def _most_alike(wanted: PurePosixPath, paths: Sequence[Path]) -> list[Path]:
    """Those that end in most of the folders that are wanted, and of these the ones with the very name."""

    def likeness(path: Path) -> tuple[int, bool]:
        pairs = zip(reversed(wanted.parts[:-1]), reversed(path.parts[:-1]), strict=False)
        alike = sum(1 for _ in takewhile(lambda pair: pair[0].casefold() == pair[1].casefold(), pairs))
        return alike, path.name == wanted.name

    best = max(map(likeness, paths), default=None)
    return [path for path in paths if likeness(path) == best]


def _names(entries: Sequence[str], rows: Sequence[int], folder: Path) -> list[str]:
    """What utterances are called: their files without suffix, where these differ.

    Of absolute paths the table's folder is left out, or else the folder around all of them, so that names are
    the same where a corpus has moved.
    """
    paths = [os.path.normpath(re.sub(r"\A([A-Za-z]:)?/+", "/", _slashes(entry))) for entry in entries]
    folders = [os.path.dirname(path) for path in paths if path.startswith("/")]
    own, around = _slashes(os.path.abspath(folder)), os.path.commonpath(folders) if folders else ""
    top = own if f"{around}/".startswith(f"{own}/") else around
    whole = [paths[row].removeprefix(f"{top}/" if folders else "").lstrip("/") for row in rows]
    suffix = re.compile(rf"({'|'.join(map(re.escape, SOUND_SUFFIXES))})$", re.IGNORECASE)
    short = [suffix.sub("", name) for name in whole]
    count = Counter(short)
    return [one if count[one] == 1 else other for one, other in zip(short, whole, strict=True)]


def _beside(paths: set[Path]) -> list[Path]:
    """Sound files in the folders of recordings that are none of these."""
    beside: list[Path] = []
    for folder in sorted({path.parent for path in paths}):
        with suppress(OSError), os.scandir(folder) as entries:
            named = (Path(one.path) for one in entries if Path(one.name).suffix.lower() in SOUND_SUFFIXES)
            beside += sorted(path for path in named if path not in paths)
    return beside
