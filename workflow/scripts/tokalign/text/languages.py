"""Languages: their codes, their English names, and whether spaces separate words."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "bo": "Tibetan", "ca": "Catalan", "cs": "Czech", "da": "Danish",
    "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian",
    "fi": "Finnish", "fr": "French", "gl": "Galician", "gu": "Gujarati", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian",
    "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese",
    "ka": "Georgian", "kk": "Kazakh", "km": "Khmer", "kn": "Kannada", "ko": "Korean", "lo": "Lao", "lt": "Lithuanian",
    "lv": "Latvian", "ml": "Malayalam", "mr": "Marathi", "ms": "Malay", "my": "Burmese", "ne": "Nepali", "nl": "Dutch",
    "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "si": "Sinhala", "sk": "Slovak",
    "sl": "Slovenian", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu",
    "th": "Thai", "tl": "Tagalog", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "yo": "Yoruba",
    "yue": "Cantonese", "zh": "Chinese",
}  # fmt: skip
"""English names by ISO 639-1 code (639-3 if there is none)."""
THREE_LETTERS = {
    "ara": "ar", "arb": "ar", "ben": "bn", "bul": "bg", "cat": "ca", "ces": "cs", "cmn": "zh", "dan": "da", "deu": "de",
    "ell": "el", "eng": "en", "est": "et", "eus": "eu", "fas": "fa", "fin": "fi", "fra": "fr", "glg": "gl", "heb": "he",
    "hin": "hi", "hrv": "hr", "hun": "hu", "hye": "hy", "ind": "id", "isl": "is", "ita": "it", "jpn": "ja", "kat": "ka",
    "khm": "km", "kor": "ko", "lao": "lo", "lit": "lt", "mya": "my", "nld": "nl", "nob": "no", "pes": "fa", "pol": "pl",
    "por": "pt", "ron": "ro", "rus": "ru", "slk": "sk", "slv": "sl", "spa": "es", "srp": "sr", "swe": "sv", "swh": "sw",
    "tam": "ta", "tel": "te", "tgl": "tl", "tha": "th", "tur": "tr", "ukr": "uk", "urd": "ur", "vie": "vi", "zho": "zh",
}  # fmt: skip
"""ISO 639-3 code, as in FLORES-200 and Belebele -> two-letter code."""
WITHOUT_SPACES = frozenset({"bo", "ja", "km", "lo", "my", "th", "yue", "zh"})
"""Languages whose words are not separated by spaces; their characters are counted instead."""


def base_code(language: str) -> str:
    """Return a code without script and region, of two letters if known.

    Examples: ``pt-BR`` is pt, ``spa_Latn`` is es.
    """
    code = language.replace("_", "-").split("-")[0].lower()
    return THREE_LETTERS.get(code, code)


def english_name(language: str) -> str:
    """Return a language's English name; if it is unknown, warn and return the code."""
    name = NAMES.get(base_code(language))
    if name is None:
        log.warning("warning: no English name known for language %s: prompts say %s", language, language)
    return name or language


def has_spaces(language: str) -> bool:
    """Return whether a language separates words by spaces."""
    return base_code(language) not in WITHOUT_SPACES


def words_of(text: str, language: str) -> list[str]:
    """Split a text at whitespace, or into characters if the language has no spaces."""
    return text.split() if has_spaces(language) else [character for character in text if not character.isspace()]


def bleu_tokenizer(language: str) -> str:
    """Return sacrebleu's tokenizer for a target language; none needs extra packages or network."""
    code = base_code(language)
    return "zh" if code in ("zh", "yue") else "char" if code == "ko" or not has_spaces(language) else "13a"
