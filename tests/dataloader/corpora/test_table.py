"""A user's own table of recordings, and a mapping of its words."""

import re
import shutil
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataloader.corpora.find import find_corpus, read_corpus
from dataloader.corpora.utterance import CorpusError
from dataloader.splits import draw_split
from utils.config import ConfigError, DataConfig, load_config
from utils.errors import UserError

SPEAKERS, WORDS = "abcde", {"angry": "rab", "happy": "gio", "Grantig": "grantig"}


def make(root: Path, text: str, files: str = "", name: str = "corpus.csv", encoding: str = "utf-8") -> Path:
    """A table, and empty files around it; it is read without a look into them."""
    for file in files.split():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    (root / name).write_text(text, encoding=encoding, newline="")
    return root / name


def large(root: Path, split=lambda speaker, take: "", takes: int = 4) -> Path:
    """A table of five speakers, three emotions and four takes, laid out as a folder corpus."""
    rows = [
        (f"{speaker}/{word}/{take}.wav", word, speaker, f"s{take}", split(speaker, take))
        for speaker, word, take in product(SPEAKERS, WORDS, range(takes))
    ]
    text = "\n".join(",".join(row) for row in [("file", "emotion", "speaker", "sentence", "split"), *rows])
    return make(root, text, " ".join(row[0] for row in rows))


def config(table: Path, *more: str) -> DataConfig:
    return load_config("conf/config.yaml", ["data.corpus=table", f"data.root={table}", *more]).data


def warned(corpus, text: str) -> str:
    (warning,) = [one for one in corpus.warnings if text in one]
    return warning


# --- tables of many kinds ---

TWO = "file{0}emotion\na.wav{0}joy\nsub/b.wav{0}anger\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "text",
    [
        *(TWO.format(mark) for mark in "\t;,|"),
        "sep=;\n" + TWO.format(";"),
        "\n" + TWO.format(",") + "\n,\n",
        'Label,"File, name",text\njoy,a.wav,"he said ""no"", twice"\nanger,sub\\b.wav,"two\nlines"\n',
        'text\tFile_Name\tCLASS\n"Hallo" sagt sie\ta\tFreude\nein " allein\tsub/b\tÄrger\n',
        'path\tlabel\ttext\na.wav\tjoy\t"Guten Tag\n  sub/b.wav\tanger\tkein" Ende\n',  # lone quotation marks
        " FILE , Emotion \n a.wav , joy \n sub/b.wav, anger ",
        ",file,emotion\n0,a.wav,joy\n1,sub/b.wav,anger\n",  # pandas's index
        "file,emotion,label\na.wav,joy,0\nsub/b.wav,anger,1\n",
        "file;emotion;valence, arousal, dominance\na.wav;joy;1\nsub/b.wav;anger;2\n",
        "file,emotion\na.wav,joy\n/old/place/sub/b.flac,anger\n",
    ],
)
def test_separators_encodings_quotes_and_usual_names(tmp_path, text, end, encoding):
    table = make(tmp_path, text.replace("\n", end), "a.wav sub/b.wav", encoding=encoding)
    corpus = read_corpus("table", table)
    assert corpus.name == "table-corpus" and corpus.emotions == ("gio", "rab")
    found = {one.path: one.emotion for one in corpus.utterances}
    assert found == {tmp_path / "a.wav": "gio", tmp_path / "sub/b.wav": "rab"}


def test_values_are_stripped_and_empty_ones_are_unknown(tmp_path):
    text = "path\temotion\tspeaker_id\traw_text\tnormalized_text\na.wav\tjoy\t   WR0\tJa.\tja\n"
    text += "b.wav\tfear\t\t\t\n"
    one, other = read_corpus("table", make(tmp_path, text, "a.wav b.wav")).utterances
    assert (one.speaker, one.sentence, one.name, one.word) == ("WR0", "ja", "a", "joy")
    assert (other.speaker, other.sentence) == ("unknown", "unknown")


def test_columns_may_be_named(tmp_path):
    text = "what,EMOTION,how,who,Label,split\na.wav,1,wütend,x,9,odd\nb.wav,2,Freude,y,9,odd\n"
    table = make(tmp_path, text, "a.wav b.wav")
    corpus = read_corpus("table", table, columns={"file": "What", "emotion": "how", "speaker": "who"})
    assert [(u.emotion, u.speaker, u.subset) for u in corpus.utterances] == [
        ("rab", "x", "odd"),
        ("gio", "y", "odd"),
    ]
    corpus = find_corpus(config(table, "data.columns={file: what, emotion: how, split: null}"))
    assert {u.subset for u in corpus.utterances} == {""} and {u.speaker for u in corpus.utterances} == {
        "unknown"
    }
    for columns, message in (
        ({"file": "whta"}, "no column is called whta; did you mean what?"),
        ({}, r"no column is known to hold files; it has 'what', 'EMOTION', .* \"data.columns={file: NAME}\""),
        ({"file": "what", "emotion": None}, "no column is known to hold emotions"),
    ):
        with pytest.raises(CorpusError, match=message):
            read_corpus("table", table, columns=columns)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("file,label,class", r'may be label or class; say "data.columns=\{emotion: label\}'),
        ("file,emotion,emotion", "may be emotion or emotion; rename one of them"),
        (
            "file,emotion,Actor ID,subject",
            r"its column of speakers may be Actor ID or subject; say .*speaker: Actor",
        ),
    ],
)
def test_columns_that_are_ambiguous_are_named(tmp_path, header, message):
    row = "a.wav" + ",x" * header.count(",")
    with pytest.raises(CorpusError, match=message):
        read_corpus("table", make(tmp_path, f"{header}\n{row}\n", "a.wav"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"file,emotion\n", "has the columns 'file', 'emotion', and no row"),
        (b"a.wav,joy\nb.wav,anger\n", "no column is known to hold files; it has 'a.wav', 'joy'"),
        (b"file,emotion\na.wav,joy,more\n", "line 2: 3 values, and the first line names 2 columns"),
        (b"file,emotion\na.wav\n", "line 2: 1 value,"),
        (b"RIFF\x00\x00WAVE\xff\xfe", "is not UTF-8 text"),
        (b"PK\x03\x04\x00\x00", "is not UTF-8 text: save the table as CSV"),
        ("file,emotion\na.wav,Ärger\n".encode("cp1252"), "is not UTF-8 text"),
        (b'file,emotion\n"a.wav,joy\n' + b"x" * 200_000, "corpus.csv, line "),
        (b"," * 1_000_000 + b"\nx\n", "corpus.csv"),
        (b"x" * 1_000_000, "corpus.csv"),
        (
            b"file,emotion\nnone.wav,joy\n,anger\nb.wav,\n",
            "names no recording that can be used. 2 files of the",
        ),
        (b"file,emotion\na.wav,joy\n./a.wav,fear\n", "several emotions in the table, left out: a.wav"),
        (b"file,emotion\n" + b"a" * 5_000 + b".wav,joy\n", "names no recording"),
    ],
)
def test_a_file_that_is_no_table_is_an_error_that_says_why(tmp_path, content, message):
    (tmp_path / "corpus.csv").write_bytes(content)
    (tmp_path / "a.wav").touch()
    with pytest.raises(CorpusError, match=message) as caught:
        read_corpus("table", tmp_path / "corpus.csv")
    assert str(tmp_path / "corpus.csv") in str(caught.value) and len(str(caught.value)) < 1_000


def test_a_folder_with_one_table_is_as_the_table(tmp_path):
    (tmp_path / "no.csv").mkdir()
    for place, message in (
        (tmp_path / "gone.csv", "is not there"),
        (tmp_path / "no.csv", "no CSV or TSV file"),
    ):
        with pytest.raises(CorpusError, match=f"{place} .*{message}"):
            read_corpus("table", place)
    table = make(tmp_path, TWO.format(","), "a.wav sub/b.wav")
    assert read_corpus("table", tmp_path) == read_corpus("table", table)
    make(tmp_path, "x", name="more.tsv")
    with pytest.raises(CorpusError, match=r"the tables corpus.csv, more.tsv: name one"):
        read_corpus("table", tmp_path)
    with pytest.raises(CorpusError, match="Name a CSV or TSV file"):
        find_corpus(DataConfig(corpus="table"))


def database(root: Path, emotions: dict[str, list[str]]) -> Path:
    """A database of audformat: speakers of three files, and a table of emotions for each split, or name."""
    audformat = pytest.importorskip("audformat")
    files = audformat.filewise_index(["a/x.wav", "a/y.wav", "b/x.wav"])
    base = audformat.Database("mini")
    base["files"] = audformat.Table(files)
    base["files"]["speaker"] = audformat.Column()
    base["files"]["speaker"].set(["a", "a", None])
    for name, words in emotions.items():
        if name in ("train", "dev", "test"):
            base.splits[name] = audformat.Split(name)
        split = name if name in base.splits else None
        base[f"emotion.{name}"] = audformat.Table(files[: len(words)], split_id=split)
        base[f"emotion.{name}"]["emotion"] = audformat.Column()
        base[f"emotion.{name}"]["emotion"].set(words)
    base["parts"] = audformat.Table(audformat.segmented_index(["a/x.wav"], [0], [1]))
    base.save(str(root), storage_format="csv")
    for file in files:
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).touch()
    return root


def test_a_database_of_audformat_is_a_table(tmp_path):
    root = database(tmp_path / "mini", {"dev": ["joy"], "gold": ["joy", "anger", "fear"]})
    corpus = read_corpus("table", root)
    assert corpus == read_corpus("table", root / "db.yaml") and corpus.name == "table-mini"
    assert [(u.name, u.emotion, u.speaker, u.subset) for u in corpus.utterances] == [
        ("a/x", "gio", "a", "dev"),
        ("a/y", "rab", "a", ""),
        ("b/x", "pau", "unknown", ""),
    ]
    assert corpus.warnings == ("1 table of segments of recordings, not used: parts",)
    assert [u.emotion for u in read_corpus("table", root / "db.emotion.gold.csv").utterances] == [
        one.emotion for one in corpus.utterances
    ]
    torn = database(tmp_path / "torn", {"one": ["joy"], "other": ["fear"]})
    with pytest.raises(CorpusError, match=r"emotions; it has .*not used: emotion: joy or fear for a/x.wav"):
        read_corpus("table", torn)
    (root / "db.files.csv").write_text("x")
    with pytest.raises(CorpusError, match=r"mini cannot be read by audformat"):
        read_corpus("table", root)
    (root / "db.files.pkl").touch()
    with pytest.raises(CorpusError, match="which may run code"):
        read_corpus("table", root)


def test_without_audformat_its_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "audformat", None)
    (tmp_path / "db.yaml").touch()
    with pytest.raises(CorpusError, match="pip install audformat"):
        read_corpus("table", tmp_path)


# --- files and rows ---


def test_files_are_found_by_their_names_where_one_alone_fits(tmp_path):
    files = "x/one/a.opus x/two/a.opus x/B.WAV y/c.wav y/c.flac z/d.wav"
    rows = "one/a.wav joy;two/a.wav fear;b joy;c.mp3 joy;c.flac fear;d.wav joy;e.wav joy"
    text = "file emotion\n" + rows.replace(";", "\n")
    corpus = read_corpus("table", make(tmp_path, text.replace(" ", ","), files))
    found = {one.name: str(one.path.relative_to(tmp_path)) for one in corpus.utterances}
    assert found == {
        **{
            "one/a": "x/one/a.opus",
            "two/a": "x/two/a.opus",
            "b": "x/B.WAV",
            "c": "y/c.flac",
            "d": "z/d.wav",
        },
    }
    assert "1 file of the table not there, left out: e.wav" in corpus.warnings
    assert warned(corpus, "several others called so").endswith(": c.mp3")
    assert "one/a.wav is x/one/a.opus" in warned(corpus, "5 files not where the table says")


@pytest.mark.parametrize("place", ["{}", "{}/wavs", "/home/bob/wavs", "C:\\Users\\bob", "\\\\host\\bob"])
def test_names_do_not_depend_on_the_place(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    place = place.format(tmp_path)
    files = "wavs/anna/1.wav wavs/bert/1.wav" if "wavs" in place else "anna/1.wav bert/1.wav"
    table = make(tmp_path, f"file,emotion\n{place}/anna/1.wav,joy\n{place}/bert/1.wav,fear\n", files)
    names = ["wavs/anna/1", "wavs/bert/1"] if place == f"{tmp_path}/wavs" else ["anna/1", "bert/1"]
    for one in (table, Path("corpus.csv")):
        assert [u.name for u in read_corpus("table", one).utterances] == names


def test_a_missing_file_is_not_taken_for_another_speakers(tmp_path):
    table = make(tmp_path, "file,emotion\nanna/1.wav,joy\nbert/2.wav,fear\n", "anna/1.wav clara/2.wav")
    corpus = read_corpus("table", table)
    assert [one.name for one in corpus.utterances] == ["anna/1"]
    assert warned(corpus, "not there, left out").endswith(": bert/2.wav")


PIECES = re.split(
    " ", "file emotion split speaker a.wav b c.wav joy anger train test dev sep=; .. ~nobody/x C:\\x"
)
PIECES += [*",;\t|\n\r\"' \0\ufeff\u2028\x1c/", "\r\n", "file,emotion,split\n", "\na.wav,joy,train\n"]


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=30).map("".join))
def test_any_text_is_a_table_or_refused_by_name(tmp_path, text):
    (tmp_path / "corpus.csv").write_bytes(text.encode(errors="surrogatepass"))
    for name in "abc":
        (tmp_path / f"{name}.wav").touch()
    try:
        utterances = read_corpus("table", tmp_path / "corpus.csv").utterances
    except CorpusError as error:
        assert str(tmp_path) in str(error)
    else:
        assert len({one.name for one in utterances}) == len({one.path for one in utterances}) > 0


def test_each_odd_row_is_named_once(tmp_path):
    rows = [
        "a.wav,joy",
        ",fear",
        "b.wav,",
        "c.wav,fear",
        "./c.wav,fear",
        "d.wav,joy",
        "d.wav,sad",
        "e.wav,nan",
    ]
    corpus = read_corpus(
        "table", make(tmp_path, "file,emotion\n" + "\n".join(rows), "a.wav b.wav c.wav d.wav e.wav f.wav")
    )
    assert [one.name for one in corpus.utterances] == ["a", "c"] and corpus.emotions == ("gio", "pau")
    assert corpus.warnings == (
        "1 row without a file, left out: line 3",
        "2 rows without an emotion, left out: b.wav, e.wav",
        "1 file with several emotions in the table, left out: d.wav",
        "1 file with several rows, of which the first counts: c.wav",
        "1 sound file beside the others without a row, left out: f.wav",
    )


def test_a_table_is_read_as_the_same_folder(tmp_path):
    table = large(tmp_path)
    corpus, folder = read_corpus("table", table), read_corpus("folder", tmp_path)
    assert corpus.emotions == folder.emotions and corpus.warnings == ()
    assert tuple(replace(one, sentence="unknown") for one in corpus.utterances) == folder.utterances
    splits = [
        draw_split(one.utterances, DataConfig(protocol=protocol, folds=4), seed=3)
        for protocol in ("holdout", "speaker_kfold")
        for one in (corpus, folder)
    ]
    assert splits[0] == splits[1] and splits[2] == splits[3]


def test_a_table_beside_another_corpus(tmp_path):
    table = large(tmp_path / "one")
    data = DataConfig(corpus=["table", "folder"], root={"table": table, "folder": tmp_path / "one"})
    corpus = find_corpus(data)
    assert corpus.name == "table-corpus+folder-one" and len(corpus.utterances) == 2 * 60
    large(tmp_path / "one", lambda speaker, take: "test" if speaker == "e" else "train")
    split = draw_split(find_corpus(data).utterances, data, 0)  # the table's own, and a holdout of the folder
    assert {name[13] for name in split.test if name.startswith("table-corpus/")} == {"e"}
    assert {
        len([n for n in names if n.startswith("folder-one/")]) for names in (split.test, split.train)
    } == {
        12,
        42,
    }
    assert split.left_out == ""
    with pytest.raises(CorpusError, match=r"data.columns is for data.corpus = table, not for folder"):
        find_corpus(DataConfig(corpus="folder", root=tmp_path, columns={"file": "x"}))


def test_nemos_own_table_is_read_as_nemo(repository):
    root = repository / "../shared/data/nEMO"
    if not root.exists():
        pytest.skip("nEMO is not on disk")
    corpus, nemo = read_corpus("table", root / "data.tsv"), read_corpus("nemo", root)
    assert len(corpus.utterances) == 4481 and len({one.speaker for one in corpus.utterances}) == 9
    known = [{(u.name, u.path, u.emotion, u.speaker) for u in one.utterances} for one in (corpus, nemo)]
    assert known[0] == known[1] and corpus.emotions == nemo.emotions


def test_votes_on_crema_d_are_the_labels_that_its_reader_calls_heard(repository, tmp_path):
    root = (repository / "../shared/data/CREMA-D").resolve()
    if not root.exists():
        pytest.skip("CREMA-D is not on disk")
    (tmp_path / "AudioWAV").symlink_to(root / "AudioWAV")
    shutil.copy(root / "processedResults/summaryTable.csv", tmp_path / "votes.csv")
    labels = "A: anger, D: disgust, F: fear, H: joy, N: neutral, S: sadness"
    settings = [
        "data.columns={emotion: VoiceVote}",
        f"data.labels={{{labels}}}",
        "data.emotions=[anger, disgust, fear, joy, neutral, sadness]",  # not the ties, such as A:D
    ]
    corpus = find_corpus(config(tmp_path / "votes.csv", *settings))
    heard = read_corpus("cremad", root, "heard")
    assert [(u.name, u.emotion) for u in corpus.utterances] == [(u.name, u.emotion) for u in heard.utterances]


# --- labels, and small classes ---


def test_own_words_are_mapped_left_out_or_kept(tmp_path):
    table = large(tmp_path)
    corpus = find_corpus(config(table, "data.labels={grantig: anger, HAPPY: null}"))
    assert corpus.emotions == ("rab",) and len(corpus.utterances) == 40
    assert corpus.warnings == ("20 of table-corpus's utterances left out by data.labels: happy (20)",)
    folder = load_config(
        "conf/config.yaml", ["data.corpus=folder", f"data.root={tmp_path}", "data.labels={angry: Rage}"]
    )
    assert find_corpus(folder.data).emotions == ("gio", "grantig", "rage")
    with pytest.raises(
        CorpusError, match=r"no recording is labelled grantg. Did you mean Grantig\? The words are"
    ):
        find_corpus(config(table, "data.labels={grantg: anger}"))
    for labels, message in (
        ("{grantig: anger, GRANTIG: joy}", "has a word twice: grantig, GRANTIG"),
        ("{grantig: null, happy: null, angry: null}", "leaves out every recording"),
    ):
        with pytest.raises(CorpusError, match=message):
            find_corpus(config(table, f"data.labels={labels}"))
    with pytest.raises(CorpusError, match="the emotions of nEMO are known"):
        (tmp_path / "WR0_anger_1.wav").touch()
        find_corpus(DataConfig(corpus="nemo", root=tmp_path, labels={"anger": "joy"}))


def test_numbers_may_be_labels(tmp_path):
    table = make(tmp_path, "file,label\na.wav,0\nb.wav,1\nc.wav,2\n", "a.wav b.wav c.wav")
    corpus = find_corpus(config(table, "data.labels={0: neutral, 1: joy, 2: own}"))
    assert [one.emotion for one in corpus.utterances] == ["neu", "gio", "own"]
    for labels in ("{0: [joy]}", "{'': joy}", "{x: ''}", "{x: 1.5}", "none"):
        with pytest.raises(ConfigError, match=r"data.labels"):
            config(table, f"data.labels={labels}")


def test_small_classes_are_left_out_by_one_key(tmp_path):
    text = "file,emotion\n" + "".join(
        f"{n}.wav,{'fear' if n < 3 else WORD}\n" for n in range(43) for WORD in ["joy" if n % 2 else "anger"]
    )
    table = make(tmp_path, text, " ".join(f"{n}.wav" for n in range(43)))
    with pytest.raises(UserError, match=r"'fear' are too few .*data.min_utterances=4"):
        draw_split(find_corpus(config(table)).utterances, config(table), 0)
    few = config(table, "data.min_utterances=4")
    corpus = find_corpus(few)
    assert corpus.emotions == ("gio", "rab")
    assert corpus.warnings == (
        "3 of table-corpus's utterances left out by data.min_utterances = 4: fear (3)",
    )
    assert len(draw_split(corpus.utterances, few, 0).test) == 8
    with pytest.raises(CorpusError, match=r"data.min_utterances = 50 leaves fewer than two .*fear 3"):
        find_corpus(config(table, "data.min_utterances=50"))


# --- the column split ---


def split_of(table: Path, *more: str):
    data = config(table, *more)
    return draw_split(find_corpus(data).utterances, data, 0, "table-corpus")


def test_a_split_column_is_the_split(tmp_path, capsys):
    table = large(tmp_path, lambda speaker, take: {"d": "Dev", "e": "EVAL"}.get(speaker, "Train"))
    split = split_of(table)
    assert (len(split.train), len(split.validation), len(split.test)) == (36, 12, 12)
    assert {name[0] for name in split.validation} == {"d"} and {name[0] for name in split.test} == {"e"}
    assert split.left_out == "speaker" and capsys.readouterr().err == ""
    folds = split_of(table, "data.protocol=speaker_kfold", "data.folds=5")
    assert folds.protocol == "speaker_kfold"
    assert "the table's column split is not used with data.protocol=speaker_kfold" in capsys.readouterr().err


def test_validation_is_drawn_from_the_training_rows_where_there_is_none(tmp_path, capsys):
    table = large(tmp_path, lambda speaker, take: "test" if speaker == "e" else "train")
    split = split_of(table)
    assert len({name[0] for name in split.validation}) == 1 and len(split.validation) == 12
    assert {name[0] for name in split.train}.isdisjoint(name[0] for name in split.validation)
    heard = split_of(table, "data.validate_on=heard")
    assert len(heard.validation) == 3 * 2 and heard.test == split.test
    assert capsys.readouterr().err == ""
    shared = split_of(large(tmp_path, lambda speaker, take: "train" if take else "test"))
    assert len(shared.validation) == 3 * 2 and shared.left_out == ""
    assert "5 of its 5 test speakers train or validate, too: a, b, c, d, e" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("train test odd", r'has odd, and train, validation .* "data.columns=\{split: null\}'),
        ("train dev", "no recording is for test; it has dev, train"),
        ("test", "no recording is for train"),
    ],
)
def test_a_split_column_that_cannot_be_used_is_an_error(tmp_path, values, message):
    words = (values.split() * 5)[:5]
    table = large(tmp_path, lambda speaker, take: words[SPEAKERS.index(speaker)])
    with pytest.raises(UserError, match=message):
        split_of(table)
    assert split_of(table, "data.columns={split: null}").partition == ""


def test_rows_without_a_split_are_left_out_and_train_eval_test_has_validation(tmp_path, capsys):
    words = dict(zip(SPEAKERS, ("train", "train", "eval", "test", ""), strict=True))
    split = split_of(large(tmp_path, lambda speaker, take: words[speaker]))
    assert {name[0] for name in split.validation} == {"c"} and {name[0] for name in split.test} == {"d"}
    assert "e" not in {name[0] for name in (*split.train, *split.test)}
    assert re.search("12 utterances have no value in the table's column split", capsys.readouterr().err)
