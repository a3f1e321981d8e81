#!/usr/bin/env bash
# torchaudio's MFCCs of an utterance in a batch (batch, time) depend on the other utterances of the batch.
#
# Version: torchaudio 2.11.0 with torch 2.11.0 (CPU). MFCC takes decibels that end 80 dB below a maximum (AmplitudeToDB with
# top_db 80). The maximum is one for each (channel, frequency, time), and the mel spectrogram of a batch (batch, time) has
# three axes, too: the batch is taken for the channels of one recording. Beside a loud neighbour a quiet utterance loses what
# lies 80 dB below the neighbour's maximum, so that a network gives the same utterance other answers in another batch, or
# alone. With an axis of channels, (batch, 1, time), each utterance has its own maximum. The documentation of AmplitudeToDB
# names the axes; that of MFCC says (…, time).
#
# Output seen (the largest difference of a coefficient from that of the quiet utterance alone; coefficients reach 379):
#     (batch, time), a loud neighbour: 130
#     (batch, 1, time), a loud neighbour: 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.11.0 torchaudio==2.11.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torchaudio.transforms import MFCC

torch.manual_seed(0)
time = torch.arange(16_000) / 16_000
quiet = 1e-3 * (torch.sin(2 * torch.pi * 220 * time) + 0.03 * torch.randn(16_000))
loud = 0.9 * torch.sin(2 * torch.pi * 440 * time)
batch = torch.stack([quiet, loud])
mfcc = MFCC(16_000, n_mfcc=13, melkwargs={"n_mels": 40})
alone = mfcc(quiet)
as_rows = (mfcc(batch)[0] - alone).abs().max().item()
as_channels = (mfcc(batch[:, None])[0, 0] - alone).abs().max().item()
print(f"coefficients reach {alone.abs().max():.0f}")
print(f"(batch, time), a loud neighbour: {as_rows:.0f}")
print(f"(batch, 1, time), a loud neighbour: {as_channels:.0f}")
raise SystemExit(not (as_rows > 50 and as_channels < 0.01))
PYTHON
