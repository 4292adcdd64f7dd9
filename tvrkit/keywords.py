"""Key words of a caption: its nouns, adjectives and verbs that are no stop words (arXiv 2309.11082)."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from tvrkit.manifest import Span

_RULES = 1  # raise it when a change below tags any caption differently


def _tagger_name() -> str:
    try:
        return f"textblob {version('textblob')}, rules {_RULES}"
    except PackageNotFoundError:
        return f"textblob, rules {_RULES}"


TAGGER = _tagger_name()
"""Name and version of what tags: key words cached under another name are to be tagged anew."""

_CONTRACTION = re.compile(r"(?<=\w)['’](?:s|m|d|t|re|ve|ll)\b", re.IGNORECASE)
_NEGATED = frozenset(
    "ain aren can couldn didn doesn don hadn hasn haven isn mightn mustn needn oughtn shan shouldn wasn weren won"
    " wouldn".split()
)
_CONTENT_TAGS = ("NN", "JJ", "VB")

# Function words that a tagger calls a noun, an adjective or a verb, or may when it errs.
_STOP_WORDS = frozenset(
    """
    a an the this that these those each every either neither some any no none all both few several many much more
    most least less other others another such same own enough certain various
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers
    herself it its itself they them their theirs themselves one ones oneself who whom whose which what whoever
    whatever whichever someone somebody something anyone anybody anything everyone everybody everything nobody
    nothing there here
    am is are was were be been being have has had having do does did doing done will would shall should can could
    may might must ought need dare cannot let lets
    about above across after against along amid among around as at before behind below beneath beside besides
    between beyond by despite down during except for from in inside into like near of off on onto opposite out
    outside over past per since than through throughout till to toward towards under underneath until unto up upon
    via while with within without
    and or but nor so yet if because although though unless whether when where why how whenever wherever however
    not never also too very just only even again ever then once else etc
    s t re ve ll m d
    """.split()
)


def tag_key_words(captions: Sequence[str]) -> list[tuple[Span, ...]]:
    """Tag captions, each for itself.

    Args:
        captions: any texts; letter case does not matter, an empty one has no key words.

    Returns:
        One tuple a caption: the character spans [start, end) of its key words, in reading order, not overlapping.
        The possessive or contracted part of a word (dog's, they're) lies outside its span.
    """
    return [_tag(caption) for caption in captions]


@lru_cache(maxsize=100_000)
def _tag(caption: str) -> tuple[Span, ...]:
    # Blanking contractions keeps every offset, and leaves the tagger whole words only.
    text = _CONTRACTION.sub(lambda match: " " * len(match.group()), caption)
    pieces = [match.span() for match in _pieces().finditer(text)]
    # The tagger knows "man" better than "MAN"; an upper-case caption means the same.
    words = [text[start:end].lower() for start, end in pieces]
    tags = _part_of_speech(words)
    return tuple(
        span
        for span, word, tag in zip(pieces, words, tags, strict=True)
        if tag.startswith(_CONTENT_TAGS) and _may_be_key(word) and not _negated(caption, span, word)
    )


@lru_cache(maxsize=1)
def _pieces() -> re.Pattern[str]:
    """Matches a word (letters with their marks, digits; hyphens join, apostrophes do not) or one other character."""
    # \w leaves out combining marks, on which decomposed accents and the vowels of Indic scripts rest.
    marks = "".join(c for c in map(chr, range(0x10000)) if unicodedata.category(c).startswith("M"))
    word = rf"[\w{re.escape(marks)}]+"
    return re.compile(rf"{word}(?:-{word})*|[^\w\s]")


def _may_be_key(word: str) -> bool:
    if word in _STOP_WORDS or (len(word) == 1 and word.isascii()):
        return False
    return any(character.isalpha() for character in word)


def _negated(caption: str, span: Span, word: str) -> bool:
    # "don't" leaves "don", which alone would pass for a noun.
    return word in _NEGATED and caption[span[1] : span[1] + 2].lower() in ("'t", "’t")


def _part_of_speech(words: list[str]) -> list[str]:
    """Penn Treebank tags, one a word."""
    if not words:
        return []
    tag = _load_tagger()
    # The tagger's own format escapes or splits at these; a stand-in of the same class keeps words and tags in step.
    plain = ["," if word in ("/", "|", "&", "<", ">", "#") else word for word in words]
    tagged = tag(" ".join(plain), tokenize=False)
    if len(tagged) != len(words):
        tagged = [tag(word, tokenize=False)[0] for word in plain]
    return [str(part) for _, part in tagged]


@lru_cache(maxsize=1)
def _load_tagger() -> Callable[..., list[tuple[str, str]]]:
    # Takes .4 s, so only where a caption is tagged. The lexicon is in the package: nothing is downloaded.
    with warnings.catch_warnings():
        # It reads its word lists on the first call, and leaves the files to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        from textblob.en import tag

        tag("a cat sat in Paris", tokenize=False)
    found: Callable[..., list[tuple[str, str]]] = tag
    return found
