"""A waveform, and an augmentation that does nothing but what is asked for."""

import numpy as np
import pytest

RATE = 22_050


@pytest.fixture
def wave() -> np.ndarray:
    """A second of a gliding tone with a beginning and an end."""
    time = np.arange(RATE) / RATE
    glide = np.sin(2 * np.pi * (300 * time + 200 * time**2)) * np.sin(np.pi * time)
    return (0.3 * glide).astype(np.float32)


@pytest.fixture
def nothing() -> dict[str, float]:
    """Settings of `augment` with which nothing is varied."""
    waveforms = ("noise", "shift", "stretch", "reverse", "pitch", "reverb")
    features = ("gain", "frame_shift", "time_mask", "coefficient_mask", "mixup")
    return dict.fromkeys((*waveforms, *features), 0.0)
