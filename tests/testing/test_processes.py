"""A Recognizer in other processes and threads, copied and pickled, answers as in the one that made it."""

import copy
import multiprocessing
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from models.ckconv import CKConv
from testing import predict
from testing.predict import Recognizer
from utils.errors import UserError
from utils.runs import SHIPPED_RUN

RATE = 22_050
SOUNDS = [np.random.default_rng(seed).uniform(-0.1, 0.1, 20_000 + 9_000 * seed) for seed in range(4)]
SECONDS = 120  # after which a process is taken to hang
RUN = SHIPPED_RUN.with_name("CkTIM_TAB1_for_recognition")  # it has kernels to be kept
FORKS = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")


class Sounds(Dataset):
    """A data set that recognises: items are probabilities, (emotions,)."""

    def __init__(self, recognizer):
        self.recognizer = recognizer

    def __len__(self):
        return len(SOUNDS)

    def __getitem__(self, index):
        return torch.tensor(list(self.recognizer(SOUNDS[index], RATE).values()))


def first_kernel(recognizer) -> CKConv:
    return next(module for module in recognizer.run.model.modules() if isinstance(module, CKConv))


def probabilities(recognizer, sound):
    return list(recognizer(sound, RATE).values())


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(RUN, ["train.device=cpu"])


@pytest.fixture(scope="module")
def expected(recognizer):
    return [probabilities(recognizer, sound) for sound in SOUNDS]


@pytest.fixture
def two_threads(recognizer):
    """As on most machines: a forked child has none but the first."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    probabilities(recognizer, SOUNDS[0])  # starts them
    yield
    torch.set_num_threads(before)


def by_pool(recognizer, method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.starmap_async(probabilities, [(recognizer, sound) for sound in SOUNDS]).get(SECONDS)


def by_executor(recognizer, method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, context) as pool:
        return list(pool.map(probabilities, [recognizer] * len(SOUNDS), SOUNDS, timeout=SECONDS))


def by_loader(recognizer, method):
    options = {"num_workers": 2, "multiprocessing_context": method, "timeout": SECONDS}
    return torch.cat(list(DataLoader(Sounds(recognizer), **options))).tolist()


def by_joblib(recognizer, backend):
    with joblib.parallel_config(backend=backend):
        calls = [joblib.delayed(probabilities)(recognizer, sound) for sound in SOUNDS]
        return joblib.Parallel(2, timeout=SECONDS)(calls)


WAYS = [(by_pool, "fork"), (by_executor, "fork"), (by_loader, "fork"), (by_joblib, "multiprocessing")]
WAYS += [(by_loader, "spawn"), (by_joblib, "loky"), (by_joblib, "threading")]
WAYS += [
    pytest.param(*way, marks=pytest.mark.slow) for way in ((by_pool, "spawn"), (by_executor, "forkserver"))
]


@FORKS
@pytest.mark.parametrize(("way", "method"), WAYS, ids=lambda value: getattr(value, "__name__", value))
def test_workers_answer_as_the_process_that_made_it(recognizer, expected, two_threads, way, method):
    np.testing.assert_allclose(way(recognizer, method), expected, atol=1e-5)


@FORKS
def test_a_forked_process_inherits_it(recognizer, expected, two_threads):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=lambda: answers.put(probabilities(recognizer, SOUNDS[0])), daemon=True)
    child.start()
    np.testing.assert_allclose(answers.get(timeout=SECONDS), expected[0], atol=1e-5)
    child.join(SECONDS)


def test_a_forked_process_cannot_use_the_graphics_card(recognizer, monkeypatch):
    monkeypatch.setattr(predict, "PROCESSES", {0})  # the process before
    twin = copy.deepcopy(recognizer)
    twin.run.model.fusion.to("meta")
    with pytest.raises(UserError, match=r"forked.*train\.device=cpu"):
        twin(SOUNDS[0], RATE)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_answers_alike_and_keeps_kernels(recognizer, expected, duplicate):
    twin = duplicate(recognizer)
    np.testing.assert_allclose([probabilities(twin, sound) for sound in SOUNDS], expected, atol=1e-5)
    assert first_kernel(twin)._frozen.count


def test_a_pickle_holds_the_weights_and_not_the_place_where_they_were(tmp_path, recognizer, expected):
    (tmp_path / "recognizer.pickle").write_bytes(pickle.dumps(recognizer))
    program = "import pickle, sys; from pathlib import Path; import numpy as np\n"
    program += "recognizer = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
    program += "sound = np.random.default_rng(0).uniform(-0.1, 0.1, 20_000)\n"
    program += "print(max(recognizer(sound, 22_050).values()))"
    command = [sys.executable, "-c", program, str(tmp_path / "recognizer.pickle")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert float(done.stdout) == pytest.approx(max(expected[0]), abs=1e-5)


def test_changed_weights_are_those_that_answer(recognizer):
    twin = copy.deepcopy(recognizer)
    before = probabilities(twin, SOUNDS[0])
    with torch.no_grad():
        first_kernel(twin).generator.layers[1].bias.add_(0.5)
    changed = probabilities(twin, SOUNDS[0])
    assert changed != before and changed == pytest.approx(probabilities(copy.deepcopy(twin), SOUNDS[0]))


def test_threads_get_right_answers_at_any_switch_interval(recognizer, expected):
    interval, barrier = sys.getswitchinterval(), threading.Barrier(8)

    def work(first):
        barrier.wait()
        for index in range(first, first + 25):
            found = probabilities(recognizer, SOUNDS[index % len(SOUNDS)])
            np.testing.assert_allclose(found, expected[index % len(SOUNDS)], atol=1e-5)

    try:
        sys.setswitchinterval(1e-6)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
    finally:
        sys.setswitchinterval(interval)
