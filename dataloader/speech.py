"""Speech or not, frame by frame, in sound that is still arriving."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soxr

from dataloader.audio import NEAR_SILENCE
from utils.errors import UserError

FRAME = 512  # samples of a frame, whose answer is one
NOISE_MEMORY = 5.0  # seconds within which speech pauses, so that the noise shows
FAINT = 0.1  # quantile of their levels that is the noise
ABOVE_NOISE = 3.0  # dB, from which a frame is speech; chosen with docs/robots.md's table, on EMOVO's m3
SILERO_RATE = 16_000  # Hz
SILERO_CONTEXT = 64  # samples before each frame
LIKELY = 0.5  # probability of speech

Detector = Callable[[np.ndarray], np.ndarray]  # the next samples (n,) → speech or not of each new frame: bool


class EnergyDetector:
    """Speech is what is louder than the noise: the fainter moments of the last seconds."""

    def __init__(self, rate: int):
        self._frames, self._last = Frames(), np.zeros(0)
        self._most = max(round(NOISE_MEMORY * rate / FRAME), 1)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        levels = 20 * np.log10(np.maximum(self._frames(samples).std(axis=1), NEAR_SILENCE))
        if not len(levels):
            return np.zeros(0, bool)
        self._last = np.concatenate([self._last, levels])[-self._most :]
        place = int(FAINT * (len(self._last) - 1))
        return levels > np.partition(self._last, place)[place] + ABOVE_NOISE  # np.quantile takes 0.3 ms


class SileroDetector:
    """Silero's network (https://github.com/snakers4/silero-vad), run without PyTorch."""

    def __init__(self, rate: int):
        found, runtime = find_spec("silero_vad"), find_spec("onnxruntime")
        if not (found and found.origin and runtime):
            raise UserError('vad = "silero" needs two packages: pip install silero-vad onnxruntime')
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        # Not through its package, whose import sets all of PyTorch to one thread.
        file = Path(found.origin).parent / "data/silero_vad.onnx"
        self._session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
        self._resampler = soxr.ResampleStream(rate, SILERO_RATE, 1, dtype="float32", quality="HQ")
        self._frames, self._state = Frames(), np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros(SILERO_CONTEXT, np.float32)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        frames = self._frames(self._resampler.resample_chunk(samples))
        return np.array([self._is_speech(frame) for frame in frames], bool)

    def _is_speech(self, frame: np.ndarray) -> bool:
        sound = np.concatenate([self._context, frame])
        inputs = {"input": sound[None], "state": self._state, "sr": np.array(SILERO_RATE)}
        probability, self._state = self._session.run(None, inputs)
        self._context = frame[-SILERO_CONTEXT:]
        return bool(probability[0, 0] > LIKELY)


class Frames:
    """Samples as they come (n,) → those frames (m, FRAME) that they complete."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // FRAME * FRAME
        self._rest = samples[whole:]
        return samples[:whole].reshape(-1, FRAME)


DETECTORS: dict[str, Callable[[int], Detector]] = {"energy": EnergyDetector, "silero": SileroDetector}
