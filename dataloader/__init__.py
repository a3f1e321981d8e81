"""Corpora, features, splits and loaders."""

import atexit
import importlib.util
import os
import shutil
import tempfile


def _give_numba_a_folder() -> None:
    """Name a temporary folder for the code that librosa compiles with Numba, where there is no other.

    It is kept beside librosa or in the user's home; where neither can be written, librosa does not start.
    """
    librosa = importlib.util.find_spec("librosa")
    places = [os.path.expanduser("~"), *(librosa.submodule_search_locations if librosa else [])]
    if "NUMBA_CACHE_DIR" not in os.environ and not any(os.access(place, os.W_OK) for place in places):
        folder = tempfile.mkdtemp(prefix="cktim-numba-")  # its own: what lies there is run
        os.environ["NUMBA_CACHE_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


_give_numba_a_folder()
