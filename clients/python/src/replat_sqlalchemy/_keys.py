"""Values of partition keys and their types, as PostgreSQL compares and hashes them.

A value is held in the form in which the server orders, equates and hashes it. The language-neutral rules are those
of replat itself: one and the same key goes to one and the same partition from every process and language.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
import uuid
from dataclasses import dataclass
from typing import Final

from ._errors import BadKey

_DAY: Final = 86_400_000_000
"""Microseconds in a day."""
_EPOCH_DAYS: Final = 10_957
"""Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01."""
_MOMENTS: Final = range(-211_813_488_000_000_000, 9_223_371_331_200_000_000)
"""What PostgreSQL's timestamp can hold."""
_YEARS: Final = range(-4_713, 5_874_898)
"""What PostgreSQL's date can hold, counted without a gap: year 0 is 1 BC."""

_WHOLE: Final = re.compile(r"[+-]?[0-9]+\Z")
_UUID: Final = re.compile(
    r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}\Z"
)
_DATE: Final = re.compile(r"([0-9]{4,7})-([0-9]{2})-([0-9]{2})\Z")
_CLOCK: Final = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?(?:\.([0-9]{1,6}))?\Z")
_OFFSET: Final = re.compile(r"([+-])([0-9]{2})(?::([0-9]{2}))?(?::([0-9]{2}))?\Z")


class Kind(enum.IntEnum):
    """What a value is; values of one kind compare with each other."""

    INT = 0
    TEXT = 1
    UUID = 2
    DATE = 3
    TIMESTAMP = 4


@dataclass(frozen=True, order=True, slots=True)
class KeyValue:
    """A value of one dimension, never NULL.

    ``raw`` is an ``int`` for whole numbers, for days since 2000-01-01 and for microseconds since 2000-01-01 00:00
    (UTC for ``timestamptz``), a ``str`` for text, and 16 ``bytes`` for a UUID.
    """

    kind: Kind
    raw: int | str | bytes

    def __str__(self) -> str:
        if isinstance(self.raw, bytes):
            return str(uuid.UUID(bytes=self.raw))
        if isinstance(self.raw, str):
            return self.raw
        if self.kind is Kind.DATE:
            return _date_text(self.raw)
        if self.kind is Kind.TIMESTAMP:
            return _timestamp_text(self.raw, zone=False)
        return str(self.raw)


class KeyType(enum.Enum):
    """The types that a dimension can have, named as PostgreSQL names them."""

    SMALLINT = "smallint"
    INTEGER = "integer"
    BIGINT = "bigint"
    TEXT = "text"
    UUID = "uuid"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"

    @property
    def kind(self) -> Kind:
        """What its values are."""
        return _KINDS[self]

    def parse(self, text: str) -> KeyValue:
        """The value that PostgreSQL writes as ``text`` in ISO date style.

        A little wider: a UUID may lack its hyphens, a moment may have ``T`` in its middle, ``Z`` at its end or no
        time of day, and a ``timestamptz`` without an offset is in UTC.
        """
        try:
            return KeyValue(self.kind, self._parse(text))
        except _Malformed as why:
            raise BadKey(f"{text!r} is not a value of type {self.value}: {why}") from None

    def _parse(self, text: str) -> int | str | bytes:
        if self.kind is Kind.INT:
            # Python refuses to read thousands of digits, so the length is looked at first.
            if not _WHOLE.match(text) or len(text.lstrip("+-0")) > 19 or not _fits(int(text), 64):
                raise _Malformed("it is not a whole number of at most eight bytes")
            if not _fits(int(text), _BITS[self]):
                raise _Malformed("it is out of range")
            return int(text)
        if self is KeyType.TEXT:
            return _checked_text(text)
        if self is KeyType.UUID:
            if len(text) not in (32, 36) or not _UUID.match(text):
                raise _Malformed("a UUID has 32 hexadecimal digits")
            return bytes.fromhex(text.replace("-", ""))
        if self is KeyType.DATE:
            return _parse_date(text)
        return _parse_timestamp(text, zone=self is KeyType.TIMESTAMPTZ)

    def of(self, value: object) -> KeyValue:
        """The value that a Python object means in this type; text is parsed, nothing else is converted.

        Refused because they could mean two things: ``bool`` as a number, a ``datetime`` without ``tzinfo`` as a
        ``timestamptz``, one with it as a ``timestamp``, and a ``date`` as a moment.
        """
        if isinstance(value, KeyValue):
            if not self.holds(value):
                raise BadKey(f"{value} is not a value of type {self.value}")
            return value
        if isinstance(value, str):
            return self.parse(value)
        if self.kind is Kind.INT and isinstance(value, int) and not isinstance(value, bool):
            return self._whole(int(value))
        if self is KeyType.UUID and isinstance(value, uuid.UUID):
            return KeyValue(Kind.UUID, value.bytes)
        if self is KeyType.DATE and isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return KeyValue(Kind.DATE, (value - dt.date(2000, 1, 1)).days)
        if self.kind is Kind.TIMESTAMP and isinstance(value, dt.datetime):
            zoned = value.utcoffset() is not None
            if zoned != (self is KeyType.TIMESTAMPTZ):
                what = "has no time zone" if not zoned else "has a time zone"
                raise BadKey(f"{value.isoformat()} is not a value of type {self.value}: it {what}")
            epoch = dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc if zoned else None)
            gap = value - epoch
            return KeyValue(Kind.TIMESTAMP, gap.days * _DAY + gap.seconds * 1_000_000 + gap.microseconds)
        raise BadKey(f"a value of type {self.value} is not made from {type(value).__name__}")

    def _whole(self, number: int) -> KeyValue:
        if not _fits(number, _BITS[self]):
            raise BadKey(f"a number is not a value of type {self.value}: it is out of range")
        return KeyValue(Kind.INT, number)

    def holds(self, value: KeyValue) -> bool:
        """Whether ``value`` is one of this type's, its range included."""
        if value.kind is not self.kind:
            return False
        return not isinstance(value.raw, int) or self.kind is not Kind.INT or _fits(value.raw, _BITS[self])

    def text_of(self, value: KeyValue) -> str:
        """The text that PostgreSQL reads as ``value`` under any ``DateStyle`` and ``TimeZone``."""
        if self is KeyType.TIMESTAMPTZ and isinstance(value.raw, int):
            return _timestamp_text(value.raw, zone=True)
        return str(value)


_KINDS: Final = {
    KeyType.SMALLINT: Kind.INT,
    KeyType.INTEGER: Kind.INT,
    KeyType.BIGINT: Kind.INT,
    KeyType.TEXT: Kind.TEXT,
    KeyType.UUID: Kind.UUID,
    KeyType.DATE: Kind.DATE,
    KeyType.TIMESTAMP: Kind.TIMESTAMP,
    KeyType.TIMESTAMPTZ: Kind.TIMESTAMP,
}
_BITS: Final = {KeyType.SMALLINT: 16, KeyType.INTEGER: 32, KeyType.BIGINT: 64}


class _Malformed(ValueError):
    """What is wrong with a text."""


def _fits(number: int, bits: int) -> bool:
    return -(1 << (bits - 1)) <= number < 1 << (bits - 1)


def _checked_text(text: str) -> str:
    if "\0" in text:
        raise _Malformed("PostgreSQL's text holds no NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Malformed("it cannot be written in UTF-8") from None
    return text


def _parse_date(text: str) -> int:
    _refuse_infinity(text)
    days = _days(*_split_era(text))
    if not _fits(days, 32):
        raise _Malformed("it is out of range")
    return days


def _parse_timestamp(text: str, *, zone: bool) -> int:
    _refuse_infinity(text)
    text, before = _split_era(text)
    at = next((i for i, c in enumerate(text) if c in " T"), None)
    day, rest = (text, "00:00:00") if at is None else (text[:at], text[at + 1 :])
    cut = next((i for i, c in enumerate(rest) if c in "+-Z"), None)
    clock, offset = (rest, None) if cut is None else (rest[:cut], rest[cut:])
    if offset is not None and not zone:
        raise _Malformed("a timestamp has no offset from UTC; the type with one is timestamptz")
    east = 0 if offset is None else _parse_offset(offset)
    moment = _days(day, before) * _DAY + _parse_clock(clock) - east * 1_000_000
    if moment not in _MOMENTS:
        raise _Malformed("it is out of range")
    return moment


def _refuse_infinity(text: str) -> None:
    if text in ("infinity", "-infinity"):
        raise _Malformed("an infinite key has no place among partitions")


def _split_era(text: str) -> tuple[str, bool]:
    return (text[:-3], True) if text.endswith(" BC") else (text, False)


def _parse_offset(text: str) -> int:
    """Seconds east of UTC."""
    if text == "Z":
        return 0
    match = _OFFSET.match(text)
    if not match or int(match[2]) > 15 or int(match[3] or 0) > 59 or int(match[4] or 0) > 59:
        raise _Malformed("the offset from UTC is not like +02 or +05:30")
    seconds = int(match[2]) * 3600 + int(match[3] or 0) * 60 + int(match[4] or 0)
    return -seconds if match[1] == "-" else seconds


def _parse_clock(text: str) -> int:
    """Microseconds since midnight. ``24:00:00`` is the next midnight, as in PostgreSQL."""
    match = _CLOCK.match(text)
    if match and int(match[2]) <= 59 and int(match[3] or 0) <= 59:
        seconds = int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0)
        clock = seconds * 1_000_000 + int((match[4] or "0").ljust(6, "0"))
        if clock <= _DAY:
            return clock
    raise _Malformed("the time of day is not HH:MM:SS, or the moment is out of range")


def _days(text: str, before: bool) -> int:
    """Days since 2000-01-01 of ``YYYY-MM-DD``."""
    match = _DATE.match(text)
    if not match:
        raise _Malformed("it is not a day like 2026-01-31")
    written, month, day = int(match[1]), int(match[2]), int(match[3])
    if not (1 <= written < _YEARS.stop and 1 <= month <= 12 and 1 <= day <= 31):
        raise _Malformed("it is not a day like 2026-01-31")
    year = 1 - written if before else written
    if year not in _YEARS:
        raise _Malformed("it is out of range")
    days = _days_of_civil(year, month, day)
    if _civil_of_days(days) != (year, month, day):
        raise _Malformed("the month does not have that day")
    return days


def _days_of_civil(year: int, month: int, day: int) -> int:
    """Days since 2000-01-01. Counts years from March, so that the leap day is the last of its year."""
    if month <= 2:
        year -= 1
    era, of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = of_era * 365 + of_era // 4 - of_era // 100 + day_of_year
    return era * 146_097 + day_of_era - 719_468 - _EPOCH_DAYS


def _civil_of_days(days: int) -> tuple[int, int, int]:
    era, day_of_era = divmod(days + _EPOCH_DAYS + 719_468, 146_097)
    of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * of_era + of_era // 4 - of_era // 100)
    from_march = (5 * day_of_year + 2) // 153
    month = from_march + 3 if from_march < 10 else from_march - 9
    return era * 400 + of_era + (month <= 2), month, day_of_year - (153 * from_march + 2) // 5 + 1


def _date_text(days: int) -> str:
    year, month, day = _civil_of_days(days)
    era = "" if year > 0 else " BC"
    return f"{year if year > 0 else 1 - year:04}-{month:02}-{day:02}{era}"


def _timestamp_text(at: int, *, zone: bool) -> str:
    days, in_day = divmod(at, _DAY)
    day = _date_text(days)
    day, era = (day[:-3], " BC") if day.endswith(" BC") else (day, "")
    seconds, micros = divmod(in_day, 1_000_000)
    fraction = f".{micros:06}".rstrip("0") if micros else ""
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{day} {clock}{fraction}{'+00' if zone else ''}{era}"
