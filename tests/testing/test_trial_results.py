"""Tables and sentences from a trial's file of results, made by hand here."""

import json

import numpy as np
import pytest

from testing.collect import rows_of
from testing.trial_results import (
    comparisons,
    load_results,
    rows_of_trials,
    settings_of,
    show_results,
    together,
    trial_in_words,
    trial_tables,
    trial_values,
)
from utils.errors import UserError

CK1 = {"model.ck": True, "model.n_temporal_aware_block": 1}
TIM1 = {"model.ck": False, "model.n_temporal_aware_block": 1}
TIM3 = {"model.ck": False, "model.n_temporal_aware_block": 3}


def row(settings: dict, seed: int, accuracy: float, **values) -> dict:
    name = "CkTIM" if settings.get("model.ck", True) else "TIM"
    scores = {"accuracy": accuracy, "uar": accuracy - 0.01}
    common = {"corpus": "EMOVO", "protocol": "holdout", "fold": None, "folds": None}
    row = {"run": f"{name}_{seed}", "model": name, **common, "seed": seed, "settings": settings}
    return row | {"validation": scores, "test": scores, "trainable_parameters": 1234} | values


@pytest.fixture
def collected() -> dict:
    """CkTIM with 1 TAB 1 to 6 points ahead of TIM with 3; TIM with 1 has five runs, level with it."""
    rows = [row(CK1, seed, 0.7 + 0.01 * (seed + 1)) for seed in range(6)]
    rows += [row(TIM3, seed, 0.7) for seed in range(6)]
    rows += [row(TIM1, seed, 0.7 + 0.01 * (seed + 1)) for seed in range(5)]
    about = {"name": "tabs", "title": "TABs", "planned": 18, "failed": {"TIM_5": "loss"}}
    compare = {"fewer": [[CK1, TIM3]], "equal": [[CK1, TIM1], [{"model.omega_0": 3}, TIM1]]}
    return {"trial": {**about, "compare": compare}, "settings": {"model.omega_0": 25.0}, "runs": rows}


def test_settings_are_brought_together_and_named(collected):
    assert [(one.label, len(one.rows)) for one in settings_of(collected)] == [
        ("CkTIM with 1 TAB", 6),
        ("TIM with 3 TABs", 6),
        ("TIM with 1 TAB", 5),
    ]
    assert trial_values(collected)["TIM with 3 TABs"].tolist() == [0.7] * 6


def test_the_tables_hold_means_intervals_and_comparisons(collected):
    scores, fewer, equal = trial_tables(collected)
    first, second, _ = scores.rows
    assert scores.caption == "TABs (EMOVO corpus, holdout)"
    # mean 73.5, std 1.8708, t(0.975, 5) = 2.5706: ± 1.9633
    assert (first["accuracy"], first["accuracy: 95 % interval"]) == ("73.5 ± 1.9", "71.5 – 75.5")
    assert (second["accuracy"], second["UAR"], second["runs"]) == ("70.0 ± 0.0", "69.0 ± 0.0", "6")
    assert "1 of the 18 planned runs are missing, 1 of them failed." in scores.notes
    assert [fewer.rows[0][key] for key in ("first", "second", "pairs", "difference", "p", "effect")] == [
        "CkTIM with 1 TAB",
        "TIM with 3 TABs",
        "6",
        "+3.5",
        "0.031",
        "+1.00",
    ]
    assert fewer.caption == "fewer (EMOVO corpus, holdout)"
    assert len(equal.rows) == 1  # of the other pair there is no run


def test_pairs_are_of_the_same_seed_whatever_the_order(collected):
    expected = comparisons(collected)["fewer"]
    collected["runs"] = [collected["runs"][index] for index in np.random.default_rng(0).permutation(17)]
    assert comparisons(collected)["fewer"] == expected
    collected["runs"] = [row(CK1, seed, 0.9) for seed in (0, 1, 2)]
    collected["runs"] += [row(TIM3, seed, 0.8) for seed in (2, 3)]
    ((*_, comparison),) = comparisons(collected)["fewer"]
    assert comparison.n == 1 and comparison.difference == pytest.approx(0.1)


def test_folds_are_pairs_too(collected):
    where = {"protocol": "kfold", "folds": 6}
    collected["runs"] = [row(CK1, 0, 0.71 + 0.01 * fold, fold=fold, **where) for fold in range(6)]
    collected["runs"] += [row(TIM3, 0, 0.7, fold=fold, **where) for fold in range(6)]
    ((*_, comparison),) = comparisons(collected)["fewer"]
    assert comparison.n == 6 and comparison.p == pytest.approx(2 / 64)


def test_what_varies_besides_is_named(collected):
    omega = {"model.omega_0": 24.0}, {"model.omega_0": 25.0}
    shared = {"model.ck": True, "model.n_temporal_aware_block": 6}
    collected |= {"settings": shared, "runs": [row(one, seed, 0.8) for one in omega for seed in range(3)]}
    collected["trial"]["compare"] = {"omega": [list(omega)]}
    ((sentence,),) = trial_in_words(collected).values()
    assert sentence.startswith("CkTIM with 6 TABs, ω₀ = 24 and CkTIM with 6 TABs, ω₀ = 25 are level (")
    assert "too few pairs" in sentence


def test_sentences_are_of_one_family_each(collected):
    (fewer,), (equal,) = trial_in_words(collected).values()
    assert "3.5 points ahead of TIM with 3 TABs" in fewer and "corrected" not in fewer
    assert "are level" in equal


def test_a_side_that_fits_several_settings_is_refused(collected):
    collected["trial"]["compare"] = {"some": [[{"model.ck": False}, CK1]]}
    with pytest.raises(UserError, match=r"fits several settings .*TIM with 3 TABs, TIM with 1 TAB"):
        comparisons(collected)


def test_a_missing_file_names_the_command_and_another_one_is_refused(tmp_path, collected):
    with pytest.raises(UserError, match=r"training\.trials conf/trials/omega_0\.yaml"):
        load_results(tmp_path / "omega_0_demo.json")
    (tmp_path / "other.json").write_text('{"runs": []}')
    with pytest.raises(UserError, match="not written by"):
        load_results(tmp_path / "other.json")
    (tmp_path / "some.json").write_text(json.dumps(collected))
    assert load_results(tmp_path / "some.json") == collected


def test_rows_of_several_trials_come_with_all_settings(tmp_path, collected):
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps(collected))
    rows = rows_of_trials([tmp_path / f"{name}.json" for name in ("one", "missing", "two")])
    assert rows == 2 * rows_of(collected)
    (tmp_path / "two.json").write_text("[]")
    with pytest.raises(UserError, match=r"two\.json"):
        rows_of_trials([tmp_path / "two.json"])


def test_a_notebook_shows_figure_tables_and_sentences_or_the_command(tmp_path, collected, monkeypatch):
    shown = []
    monkeypatch.setattr("testing.trial_results.display", lambda *things: shown.extend(things))
    (tmp_path / "tabs.json").write_text(json.dumps(collected))
    show_results(tmp_path / "tabs.json", tmp_path / "figures")
    figure, scores, fewer, equal, *words = shown
    assert figure.axes[0].get_title() == scores.caption == "TABs (EMOVO corpus, holdout)"
    assert (tmp_path / "figures/trial_tabs.png").exists()
    assert fewer.caption.startswith("fewer") and equal.caption.startswith("equal")
    assert [one.data for one in words] == [
        f"**{family}**\n\n- {sentence}" for family, (sentence,) in trial_in_words(collected).items()
    ]
    shown.clear()
    show_results(tmp_path / "omega_0.json")
    assert "python -m training.trials conf/trials/omega_0.yaml" in str(shown[0])


def test_a_trial_and_one_of_further_seeds_are_one(tmp_path, collected, monkeypatch):
    rows = [row(CK1, seed, 0.8) for seed in range(6, 12)] + [row(TIM3, seed, 0.7) for seed in range(6, 12)]
    about = {"name": "more", "title": "more seeds", "planned": 12, "failed": {}}
    about["compare"] = {"again": [[CK1, TIM3]]}
    further = {"trial": about, "settings": {"model.omega_0": 25.0}, "runs": rows}
    both = together(collected, further)
    assert [(one.label, len(one.rows)) for one in settings_of(both)] == [
        ("CkTIM with 1 TAB", 12),
        ("TIM with 3 TABs", 12),
        ("TIM with 1 TAB", 5),
    ]
    ((_, _, comparison),) = comparisons(both)["again"]
    assert comparison.n == 12
    assert comparison.difference == pytest.approx((sum(range(1, 7)) + 6 * 10) / 1200)
    assert comparison.p == pytest.approx(2 / 2**12)  # all of twelve pairs on one side

    shown = []
    monkeypatch.setattr("testing.trial_results.display", lambda *things: shown.extend(things))
    for name, content in (("tabs", collected), ("more", further)):
        show_results(tmp_path / "tabs.json", tmp_path, further=tmp_path / "more.json")
        assert f"Missing: {(tmp_path / name).as_posix()}.json" in str(shown.pop())
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    show_results(tmp_path / "tabs.json", tmp_path, further=tmp_path / "more.json")
    assert shown[1].caption == "TABs, with more seeds (EMOVO corpus, holdout)"
    assert "1 of the 30 planned runs are missing, 1 of them failed." in shown[1].notes
    assert shown[2].rows[0]["p"] == "< 0.001"
    assert "12 pairs, p < 0.001, effect" in trial_in_words(both)["again"][0]
    assert (tmp_path / "trial_tabs_more.png").exists()


def test_where_much_varies_labels_say_what_differs_from_the_first(collected):
    first = {**CK1, "train.keep": "last", "model.pooling": "mean", "model.omega_0": 1, "train.patience": 5}
    changes = ({}, {"train.keep": "best"}, {"model.omega_0": 2, "train.patience": 6}, {"model.pooling": "x"})
    rows = [row({**first, **change}, 0, 0.7) for change in changes]
    assert [one.label for one in settings_of({**collected, "settings": {}, "runs": rows})] == [
        "CkTIM with 1 TAB",
        "CkTIM with 1 TAB, train.keep = best",
        "CkTIM with 1 TAB, ω₀ = 2, train.patience = 6",
        "CkTIM with 1 TAB, model.pooling = x",
    ]
