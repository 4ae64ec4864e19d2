"""Reads written forms out in English: numbers, dates, times, money, units, abbreviations. Used by `normalise`.

num2words reads numbers; the rules here decide which kind of number it is. If English has several readings, one is
used for training texts, references and hypotheses alike:

- Four digits from 1100 to 2099 without a comma are a year (1999 → nineteen ninety nine); 1,999 is a count.
- 3/4 is a fraction, 120/80 is "over", 20-30 is "to", 555-1234 and numbers of seven digits or more are read digit by
  digit unless they end in 000. -5 after a space is "minus five".
- "St." is saint before a name and street at the end of a phrase; likewise "Dr." is doctor or drive.
"""

import itertools
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_CHARACTERS = str.maketrans(
    dict.fromkeys("’‘‛ʼʻʹʽˈ´`′＇΄ꞌ", "'")
    | dict.fromkeys("–‒‐‑﹣－", "-")
    | {"—": " - ", "―": " - ", "²": " squared ", "³": " cubed ", "№": " number ", "º": "°", "µ": "u", "μ": "u"}
    | dict.fromkeys("™®©\u00ad\u200b\u200c\u200d\u2060\ufeff", "")
)
_MONEY = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "¢": ("cent", "cents", "", ""),
}
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion"}
_UNITS = {
    "kg": "kilogram", "mg": "milligram", "ug": "microgram", "km": "kilometer", "cm": "centimeter", "mm": "millimeter",
    "ml": "milliliter", "cl": "centiliter", "khz": "kilohertz", "mhz": "megahertz", "ghz": "gigahertz", "hz": "hertz",
    "db": "decibel", "ms": "millisecond", "sec": "second", "secs": "second", "min": "minute", "mins": "minute",
    "hr": "hour", "hrs": "hour", "lb": "pound", "lbs": "pound", "oz": "ounce", "ft": "foot", "kb": "kilobyte",
    "mb": "megabyte", "gb": "gigabyte", "tb": "terabyte", "kw": "kilowatt", "mph": "mile per hour",
    "kcal": "kilocalorie",
    "km/h": "kilometer per hour", "kmh": "kilometer per hour", "kph": "kilometer per hour", "m/s": "meter per second",
    "°c": "degree celsius", "° c": "degree celsius", "°f": "degree fahrenheit", "° f": "degree fahrenheit",
    "°": "degree",
    "yrs": "year", "yr": "year",
}  # fmt: skip
_SHORT_UNITS = {
    "g": "gram", "m": "meter", "l": "liter", "h": "hour", "w": "watt", "v": "volt", "in": "inch",
}  # fmt: skip
"""Units only if directly after the number: "5 in" and "5 m" may be something else."""
_PLURALS = {"foot": "feet", "inch": "inches", "hertz": "hertz", "kilohertz": "kilohertz", "megahertz": "megahertz",
            "gigahertz": "gigahertz"}  # fmt: skip
_TITLES = {
    "mr": "mister", "mrs": "missus", "messrs": "messers", "prof": "professor", "jr": "junior", "sr": "senior",
    "vs": "versus", "etc": "et cetera", "ave": "avenue", "blvd": "boulevard", "mt": "mount", "approx": "approximately",
    "dept": "department", "govt": "government",
}  # fmt: skip
"""Abbreviations that are not also words, with or without a dot."""
_DOTTED = {
    "capt": "captain", "gen": "general", "sen": "senator", "gov": "governor", "rev": "reverend", "hon": "honorable",
    "lt": "lieutenant", "col": "colonel", "sgt": "sergeant", "pres": "president", "rd": "road", "tel": "telephone",
    "assoc": "associate", "asst": "assistant", "inc": "incorporated", "ltd": "limited", "co": "company",
    "fig": "figure",
    "vol": "volume", "e.g": "for example", "i.e": "that is", "a.k.a": "also known as",
}  # fmt: skip
"""Abbreviations only if a dot follows."""
_MONTHS = {
    "jan": "january", "feb": "february", "mar": "march", "apr": "april", "jun": "june", "jul": "july", "aug": "august",
    "sep": "september", "sept": "september", "oct": "october", "nov": "november", "dec": "december",
}  # fmt: skip
_HOURS = "one two three four five six seven eight nine ten eleven twelve fifteen thirty".split()
_PARTS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
_DOTTED_DAYS = re.compile(
    r"\b(?:jan|feb|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|thurs?|thu|fri)\.(?!\s*\d)", re.IGNORECASE
)
_AMBIGUOUS_WORDS = (
    re.compile(r"[Ⅰ-ↈ]"),  # Roman numerals of one sign, as in Henry Ⅷ
    re.compile(r"#(?:N/A|NAME\?|REF!|VALUE!|DIV/0!|NUM!|NULL!)|^=", re.IGNORECASE),  # what a spreadsheet shows
    _DOTTED_DAYS,
    re.compile(r"\S*://\S*|\bwww\.\S+", re.IGNORECASE),
    re.compile(r"\b(?=[IVX]{2,}\b)(?!I{4})X{0,3}(?:IX|IV|V?I{0,3})(?<=[IVX])\b"),  # Henry VIII, World War II
)
_SUSPECT = re.compile(r"[Ⅰ-ↈ#=/]|[wW]{3}\.|\b[IVX]{2,}\b")
"""Found in each text without digits in which _AMBIGUOUS_WORDS are found, but for _DOTTED_DAYS."""
_AMBIGUOUS = (
    re.compile(r"\b\d{1,4}([-/])\d{1,2}\1\d{1,4}\b(?!\1)"),  # 2024-05-21, 5/6/24
    re.compile(r"\b\d{1,2}\.\d{1,2}\.\d{4}\b"),
    re.compile(r"\b\d+:\d\d:\d\d\b"),
    re.compile(r"(?<![\d,.])\d+,\d{1,2}(?![\d,])"),  # 1,5
    re.compile(r"\d\.\d{3},\d"),  # 1.000,50
    re.compile(r"\d+ +- +\d+"),  # 5 - 3: minus or to
    re.compile(r"(?<![\w-])\d*[1-9]s\b|(?<![\w'-])\d{1,2}0s\b"),  # 5s, 30s: fives, thirties or seconds
    re.compile(r"\b(?!(?:us|ca|au|nz)[$£€¥])[a-z]{1,3}[$£€¥]\s?\d", re.IGNORECASE),  # C$5: whose dollars
    re.compile(r"\d+ ?(?:' ?\d|\")"),  # 5' 10"
    # 9/11, 12/25: a date or a fraction
    re.compile(r"(?<![\d/])(?!24/7\b)(?:\d{1,2}/(?:11|1[3-579]|2[1-9]|3[01])|(?:1[3-9]|2\d|3[01])/0?\d)(?![\d/])"),
    re.compile(r"(?<![\d.,])\d{1,3}(?:[ \xa0\u2009\u202f]000)+\b"),  # 1 000 000
    re.compile(r"\d+,\d{3}\d|\d{4,},\d{3}|(?<!\d)\d{1,2},\d\d,\d{3}"),  # 1,0000; 1,00,000
    re.compile(r"(?:\+\d{1,3}[ -]|(?<!\d))\d{3}[ ]\d{3}[ ]\d{4}(?!\d)|\+\d{1,3} \d{2,4} \d{3,4} \d{3,4}"),  # telephones
    re.compile(r"(?<![\d/])\d+-\d+/\d+|\d-[¼-¾⅐-⅞]"),  # 1-1/2: one and a half, or one to a half
    re.compile(r"\d+/\d+(?:st|nd|rd|th)s?\b"),
    re.compile(r"\d[⁰⁴-⁹]|\d\s?[a-z]{1,2}[23](?![\w])|\d\s?[㎡㎥]"),  # powers and areas
    re.compile(r"\d[eE][-+]?\d"),
    re.compile(r"\d\*+\d"),
    re.compile(r"[$£€¥]\d[\d.,]*\s?(?:k|m|bn?|thousand|million|billion)?\s?-\s?[$£€¥]?\d", re.IGNORECASE),  # $5-10
    re.compile(r"[$£€¥]\d[\d.,]*/[a-z]+|\d[\d.,]*\s?[$£€¥]/[a-z]+", re.IGNORECASE),  # $5/hr
    re.compile(r"(?<![\w\d)])-\d+(?:\s?-\s?-?)\d"),  # -5-10
    re.compile(r"(?<!\w)[-—]\s+\d|—\d"),  # - 5
    re.compile(
        r"\d ?(?:g|m|l|h|w|v|mi|yd|gal|pt|qt|tsp|tbsp|mcg|cc|kwh|mmhg|usd|eur|gbp)\b(?<!\d[gmlhwv])(?!\.?[a-z])",
        re.IGNORECASE,
    ),  # 5 m: meters or million
    re.compile(r"\d+h\d+m\b"),
    re.compile(r"\b(?:2[4-9]|[3-9]\d):[0-5]\d\b"),  # 90:00
    re.compile(r"(?<!')\b\d+(?:'|′|'')(?![\w'])"),  # 6': feet, minutes, or a closing quote
    *_AMBIGUOUS_WORDS,
)
"""Forms with several readings: the row is refused, and its author must write the words. All but the first few have a
digit."""


def spelled_out(text: str) -> str:
    """The text with its written forms in words. Anything without a reading stays as it is."""
    text = text.translate(_CHARACTERS)
    text = re.sub(r"(?<=\d)(?=[¼-¾⅐-⅞])", " ", text)
    text = unicodedata.normalize("NFKC", text).replace("⁄", "/")
    for pattern, read in _RULES if _DIGIT.search(text) else ():
        text = pattern.sub(read, text)
    for pattern, read in _WORD_RULES:
        text = pattern.sub(read, text)
    for sign, words in _SIGNS.items():
        text = text.replace(sign, f" {words} ")
    return text


def abbreviated(text: str) -> bool:
    """Whether a text without digits and signs contains an abbreviation."""
    text = text.lower()
    words = [word.rstrip(",;:!?") for word in text.split()]
    return not _ABBREVIATIONS.isdisjoint(words) or (
        " am" in text and any(w.startswith("am") and before in _HOURS for before, w in itertools.pairwise(words))
    )


def ambiguous(text: str) -> list[str]:
    """The parts of the text that could be read in several ways, such as 5/6/24 or Henry VIII."""
    text = unicodedata.normalize("NFC", text.translate(_CHARACTERS))
    patterns: tuple[re.Pattern[str], ...] = (_DOTTED_DAYS,) if "." in text else ()
    if _DIGIT.search(text):
        patterns = _AMBIGUOUS
    elif _SUSPECT.search(text):
        patterns = _AMBIGUOUS_WORDS
    return [found[0] for pattern in patterns for found in pattern.finditer(text) if not _PHONE.fullmatch(found[0])]


@lru_cache(maxsize=65_536)
def cardinal(number: int) -> str:
    """118 → one hundred eighteen."""
    return _words(number, "cardinal")


@lru_cache(maxsize=4_096)
def ordinal(number: int) -> str:
    """21 → twenty first."""
    return _words(number, "ordinal")


@lru_cache(maxsize=4_096)
def year(number: int) -> str:
    """1905 → nineteen oh five."""
    return _words(number, "year")


def _words(number: int, kind: str) -> str:
    from num2words import num2words  # importing takes 0.5 s; texts without numbers do not need it

    said = str(num2words(number, lang="en", to=kind))
    return said.replace(" and ", " ").replace(",", "").replace("-", " ")


def _digits(text: str) -> str:
    return " ".join(cardinal(int(c)) for c in text if c.isdigit())


def _count(written: str) -> str:
    """A number as a quantity: 1,999.50 → one thousand nine hundred ninety nine point five zero."""
    whole, dot, decimals = written.replace(",", "").partition(".")
    telephone = len(whole) >= 7 and "," not in written and not whole.endswith("000")
    if len(whole) > 12 or telephone or (len(whole) > 1 and whole[0] == "0"):
        said = _digits(whole)
    else:
        said = cardinal(int(whole)) if whole else ""
    return f"{said} point {_digits(decimals)}".strip() if dot and decimals else said


def _plain(found: re.Match[str]) -> str:
    """A number with no sign of what it counts: a year, or a quantity."""
    written = found[0]
    if written.count(".") > 1:
        return f" {' point '.join(_count(part) for part in written.split('.'))} "
    if re.fullmatch(r"1[1-9]\d\d|20\d\d", written):
        return f" {year(int(written))} "
    return f" {_count(written)} "


def _money(sign: str, written: str, scale: str | None) -> str:
    one, many, cent, cents = _MONEY[sign]
    if scale:
        return f" {_count(written)} {_SCALES.get(scale.lower(), scale.lower())} {many} "
    whole, _, decimals = written.replace(",", "").partition(".")
    if len(decimals) != 2 or not cent:
        return f" {_count(written)} {one if written == '1' else many} "
    said = []
    if int(whole or 0) or not int(decimals):
        said.append(f"{cardinal(int(whole or 0))} {one if int(whole or 0) == 1 else many}")
    if int(decimals):
        said.append(f"{cardinal(int(decimals))} {cent if int(decimals) == 1 else cents}")
    return f" {' '.join(said)} "


def _time(found: re.Match[str]) -> str:
    hour, minute, half = int(found["hour"]), found["minute"] or "00", found["half"]
    said = [cardinal(hour)]
    if int(minute):
        said.append(f"oh {cardinal(int(minute))}" if minute[0] == "0" else cardinal(int(minute)))
    elif not half:
        said.append("o'clock" if 1 <= hour <= 12 else "hundred")
    return f" {' '.join(said)} {half.lower() + ' m' if half else ''} "


def _fraction(found: re.Match[str]) -> str:
    whole, above, below = found[1], int(found[2]), int(found[3])
    if not whole and (above, below) == (24, 7):
        return " twenty four seven "
    if not 0 < above < below or below < 2:
        return f" {cardinal(int(whole)) if whole else ''} {cardinal(above)} over {cardinal(below)} "
    one, many = _PARTS.get(below) or (ordinal(below), ordinal(below) + "s")
    if not whole:
        return f" {cardinal(above)} {one if above == 1 else many} "
    return f" {cardinal(int(whole))} and {'a' if above == 1 else cardinal(above)} {one if above == 1 else many} "


def _plural(found: re.Match[str]) -> str:
    """1990s → nineteen nineties, B-52s → b fifty twos."""
    said = year(int(found[1])) if len(found[1]) == 4 else _count(found[1])
    return f" {said[:-1] + 'ies' if said.endswith('y') else said + ('es' if said.endswith('x') else 's')} "


def _unit(found: re.Match[str]) -> str:
    written, unit = found[1], found[2].lower()
    one = _UNITS.get(unit) or _SHORT_UNITS[unit]
    first, _, rest = one.partition(" ")
    many = f"{_PLURALS.get(first, first + 's')} {rest}".strip()
    return f" {_count(written)} {one if written == '1' else many} "


def _street_or_saint(found: re.Match[str]) -> str:
    """Read St. and Dr., which stand before a name or at the end of a street name."""
    before, short, after = found[1], found[2].lower(), found[3]
    is_title = bool(after) and (after[0].isupper() or not before or not before[0].isupper())
    word = {"st": ("street", "saint"), "dr": ("drive", "doctor")}[short][is_title]
    return f"{before or ''}{' ' if before else ''}{word} "


def _any(words: dict[str, str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_PHONE = re.compile(r"(?<![\w.])(?:\+?\d{1,2}[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])?\d{3}[-.]\d{4}(?![\w-]|\.\d)")
_AMOUNT = rf"({_NUMBER})(?:\s?(k|mn?|bn?|thousand|million|billion|trillion)\b)?"
_DIGIT = re.compile(r"\d")
_END = rf"[$£€¥]?\d[\d,.:]*(?:\s?[ap]\.?m\b\.?|%|st|nd|rd|th|\s?(?:{_any(_UNITS)}))?"
"""One end of a range."""
_CLOCK = r"(?P<hour>[01]?\d|2[0-3])"
_HALF = r"\s?(?P<half>[ap])\.?\s?m\b\.?"
Reading = str | Callable[[re.Match[str]], str]
_RULES: tuple[tuple[re.Pattern[str], Reading], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), read)
    for pattern, read in (
        (rf"(?<![\w.])({_any(_MONTHS)})\.?(?=\s+\d)", lambda m: _MONTHS[m[1].lower()]),
        (rf"(\d(?:st|nd|rd|th)?) ({_any(_MONTHS)})\b\.?", lambda m: f"{m[1]} {_MONTHS[m[2].lower()]}"),
        (_PHONE.pattern, lambda m: f" {_digits(m[0])} "),
        # from here on a hyphen between two numbers is a range, and one before a number is a minus
        (rf"(?<![\w-])({_END})\s?-\s?(?={_END}(?!\d*-))", r"\1 to "),
        (r"(?:(?<![\w)])-|−\s?)(?=(?:[$£€¥]\s?)?\.?\d)", " minus "),
        (rf"\b(us|ca|au|nz)?([$£€¥])\s?{_AMOUNT}", lambda m: _money(m[2], m[3], m[4])),
        (rf"([$£€¥])\s?{_AMOUNT}", lambda m: _money(m[1], m[2], m[3])),
        (rf"{_AMOUNT}\s?([$£€¥¢])", lambda m: _money(m[3], m[1], m[2])),
        (r"\b(\d{1,2})[:.]00(?=\s?o'? ?clock\b)", r"\1"),
        (rf"\b{_CLOCK}[:.](?P<minute>[0-5]\d){_HALF}", _time),
        (rf"\b{_CLOCK}(?P<minute>){_HALF}", _time),
        (rf"\b{_CLOCK}:(?P<minute>[0-5]\d)(?P<half>)(?![\d:])", _time),
        (r"\b(\d+):(\d+)\b", lambda m: f" {_count(m[1])} to {_count(m[2])} "),
        (r"(?<![\d/])(?:(\d+)\s+)?(\d{1,3})/(\d{1,3})(?![\d/])", _fraction),
        (r"\b(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)\b", lambda m: f" {ordinal(int(m[1].replace(',', '')))} "),
        (r"'?\b(\d+)'?s\b", _plural),
        (r"(?:#|(?-i:\bNos?)\.)\s?(?=\d)|\bno\.(?=\d)", " number "),
        (rf"({_NUMBER})\s?({_any(_UNITS)})(?![a-z])\.?", _unit),
        (rf"({_NUMBER})((?-i:{_any(_SHORT_UNITS)}))(?![a-z])", _unit),
        (r"(?<=[0-9]) ?[x×] ?(?=[0-9])", " times "),
        (r"\d+(?:\.\d+){2,}", _plain),
        (_NUMBER, _plain),
    )
)
"""For texts with digits, in the order in which they are applied."""
_WORD_RULES: tuple[tuple[re.Pattern[str], Reading], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), read)
    for pattern, read in (
        (r"\bp\.?m\b\.?", "p m"),
        (r"\ba\.m\b\.?", "a m"),
        (rf"\b({'|'.join(_HOURS)}) am\b", r"\1 a m"),
        (r"#(?=[a-z])", " hashtag "),
        (r"(?:\b([\w']+) )?\b(st|dr)\b(?:\.(?!\w)|(?!\.))\s*(?=(\w[\w']*)?)", _street_or_saint),
        (rf"\b({_any(_TITLES)})\b\.?", lambda m: _TITLES[m[1].lower()]),
        (rf"\b({_any(_DOTTED)})\.", lambda m: _DOTTED[m[1].lower()]),
        (r"(?<=[a-z])\.(com|org|net|edu|gov|io|uk|de|nl)\b", r" dot \1"),
    )
)
_SIGNS = {"%": "percent", "&": "and", "±": "plus or minus", "+": "plus", "=": "is", "@": "at", "×": "times",
          "÷": "divided by"}  # fmt: skip
_ABBREVIATIONS = frozenset(
    {short + dot for short in ("st", "dr", "pm", *_TITLES) for dot in ("", ".")} | {f"{short}." for short in _DOTTED}
)
