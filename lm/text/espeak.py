"""espeak-ng through its C interface: how words of a hundred languages are pronounced.

The library keeps its state globally, so a process has one of it; whoever uses it sets the voice
first.
"""

from __future__ import annotations

import ctypes
import functools
import threading

# Constants of speak_lib.h.
_SYNCHRONOUS, _DONT_EXIT = 2, 0x8000
_UTF8, _IPA = 1, 2


class Espeak:
    """The library, ready to speak and to pronounce."""

    def __init__(self) -> None:
        """Load it.

        Raises:
            ImportError: the package espeakng-loader is not installed.
            OSError, RuntimeError: it is, and does not work on this machine.
        """
        import espeakng_loader

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path()
        self.sample_rate = int(
            self.library.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), _DONT_EXIT)
        )
        if self.sample_rate <= 0:
            raise RuntimeError(f"espeak_Initialize gave {self.sample_rate} with data in {data}")
        self.library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self.lock = threading.Lock()  # from setting a voice to the last use of it

    def set_voice(self, name: str) -> None:
        """Choose language and speaker by espeak-ng's name, such as "en-us" or "en+mike2".

        Raises:
            ValueError: there is no such voice.
        """
        if self.library.espeak_SetVoiceByName(name.encode()):
            raise ValueError(f"espeak-ng has no voice {name!r}")

    def ipa(self, text: str, voice: str) -> list[str]:
        """The phones of a text in the International Phonetic Alphabet, clause by clause.

        Args:
            text: as it is written.
            voice: its language, by espeak-ng's name.

        Raises:
            ValueError: there is no such voice.
        """
        with self.lock:
            self.set_voice(voice)
            rest = ctypes.c_char_p(text.encode())
            clauses = []
            while rest.value:
                said = self.library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA)
                clauses.append(said.decode())
        return [clause for clause in clauses if clause.strip()]


@functools.cache
def load_espeak() -> Espeak:
    """The one of this process; errors as :class:`Espeak`."""
    return Espeak()
