"""eSpeak NG as a program: lines as JSON on standard input, their sound on standard output.

demo.py runs this file as a process of its own, for only a fresh one is deterministic (eSpeak NG never resets
its noise and flutter), and its working directory must be that of the voices. Only the standard library and
the espeakng-loader wheel, which holds program and voices, are imported.

Input: a list of {"text", "voice", "rate" (words a minute, 80 to 450), "pitch" and "range" (0 to 99; 50 is the
voice's own)}. Output: for each line the number of its samples (int32), then the samples (int16, mono, at
SAMPLE_RATE), both in the machine's byte order.
"""

import ctypes
import json
import os
import struct
import sys
from ctypes import c_char_p, c_size_t, c_uint, c_void_p

SAMPLE_RATE = 22_050  # Hz; eSpeak NG's own
# from eSpeak NG's speak_lib.h
SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: samples go to the callback, in the calling thread
DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: return errors
PARAMETERS = {"rate": 1, "pitch": 3, "range": 4}  # espeak_PARAMETER
CHARACTERS, UTF8 = 1, 1  # espeak_POSITION_TYPE, espeakCHARS_UTF8

CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, c_void_p)


def main() -> None:
    """Speak the lines of standard input; exit with a message on standard error where that is not possible."""
    lines = json.load(sys.stdin)
    try:
        import espeakng_loader

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        folder, name = os.path.split(espeakng_loader.get_data_path())
    except (ImportError, OSError, RuntimeError) as error:
        sys.exit(f"the espeakng-loader wheel does not load ({error})")
    library.espeak_Synth.argtypes = (c_char_p, c_size_t, *4 * (c_uint,), *2 * (c_void_p,))
    os.chdir(folder)
    if library.espeak_Initialize(SYNCHRONOUS, 0, name.encode(), DONT_EXIT) != SAMPLE_RATE:
        sys.exit(f"eSpeak NG does not start with the voices in {folder}")
    library.espeak_ng_SetRandSeed(ctypes.c_long(0))  # it is the clock's otherwise
    spoken = bytearray()

    @CALLBACK
    def keep(samples, count, events) -> int:
        if samples and count > 0:
            spoken.extend(ctypes.string_at(samples, 2 * count))
        return 0  # go on

    library.espeak_SetSynthCallback(keep)
    for line in lines:
        spoken.clear()
        text = line["text"].encode()
        status = library.espeak_SetVoiceByName(line["voice"].encode())
        for name, parameter in PARAMETERS.items():
            status = status or library.espeak_SetParameter(parameter, line[name], 0)
        status = status or library.espeak_Synth(text, len(text) + 1, 0, CHARACTERS, 0, UTF8, None, None)
        if status or not spoken:
            sys.exit(f"eSpeak NG does not speak {line} (error {status})")
        sys.stdout.buffer.write(struct.pack("=i", len(spoken) // 2) + spoken)
    library.espeak_Terminate()


if __name__ == "__main__":
    main()
