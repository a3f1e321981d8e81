#!/usr/bin/env bash
# StratifiedGroupKFold gives folds of unequal size, also by class, where GroupKFold finds equal ones.
#
# Version: scikit-learn 1.9.1. The groups are dealt out in the order of the standard deviation over their class counts, the
# most uneven first; their size has no part in that. A speaker with exactly as many recordings of each emotion, as corpora of
# acted emotions have them, comes last, however large: here one with 50 recordings of each of six emotions joins a fold that
# has another speaker already, though the three others together are as many. GroupKFold, which knows no classes, deals the
# largest group first and has 50 recordings of each emotion in both folds.
#
# Output seen (recordings of each emotion in the test set of each fold):
#     StratifiedGroupKFold: [34, 34, 33, 33, 33, 33] [66, 66, 67, 67, 67, 67]
#     GroupKFold:           [50, 50, 50, 50, 50, 50] [50, 50, 50, 50, 50, 50]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

# Recordings of each of six emotions, by speaker
counts = [[50, 50, 50, 50, 50, 50], [17, 17, 17, 17, 16, 16], [16, 16, 17, 17, 17, 17], [17, 17, 16, 16, 17, 17]]
emotion = np.concatenate([np.repeat(np.arange(6), of_speaker) for of_speaker in counts])
speaker = np.repeat(np.arange(4), [sum(of_speaker) for of_speaker in counts])


def test_sets(splitter):
    folds = splitter.split(emotion, emotion, speaker)
    return [np.bincount(emotion[test], minlength=6).tolist() for _, test in folds]


stratified, by_group = test_sets(StratifiedGroupKFold(2)), test_sets(GroupKFold(2))
print("StratifiedGroupKFold:", *stratified)
print("GroupKFold:          ", *by_group)
raise SystemExit(not (max(map(max, stratified)) >= 66 and by_group == [[50] * 6] * 2))
PYTHON
