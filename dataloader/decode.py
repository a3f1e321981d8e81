"""Formats of sound that can be decoded."""

SOUND_SUFFIXES = (  # lossless formats first; samples without a header (.raw, .pcm) are none of them
    *(".wav", ".wave", ".flac", ".aif", ".aiff", ".aifc", ".w64", ".rf64", ".caf", ".au", ".snd"),
    *(".sph", ".nist", ".voc", ".wv", ".tta", ".ape", ".opus", ".ogg", ".oga", ".spx", ".mp3", ".mp2"),
    *(".mpga", ".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".aac", ".webm", ".weba", ".mka"),
    *(".mkv", ".wma", ".wmv", ".asf", ".amr", ".awb", ".ac3", ".eac3", ".avi", ".mpg", ".mpeg", ".flv"),
    ".ogv",
)
