from __future__ import annotations

import pytest

from stepbench.report import formats


@pytest.mark.parametrize("text", ["a\n\x1b[31mred\x1b[0m\r\n", "a\tb\n\nc", "\u202eabc", "\x9b31mx", "\u2028", "שלום"])
def test_plain_text_is_one_line_without_control_characters(text: str) -> None:
    plain = formats.plain(text)
    assert plain.isprintable()
    assert "".join(plain.split()) == "".join(character for character in text if character.isprintable()).replace(
        " ", ""
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00123456, "0.00123"),
        (0.5, "0.500"),
        (1.0, "1.00"),
        (12.345, "12.3"),
        (99.96, "100"),
        (123.4, "123"),
        (1234.5, "1 234"),
        (1e6, "1 000 000"),
        (-0.5, "-0.500"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 µs"), (25e-6, "25.0 µs"), (0.48, "480 ms"), (2.31, "2.31 s"), (None, "–")]
)
def test_seconds_have_a_unit_that_fits(value: float | None, text: str) -> None:
    assert formats.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (1023, "1023 B"), (2048, "2.00 KiB"), (140_000_000, "134 MiB"), (None, "–")]
)
def test_sizes_have_a_unit_that_fits(value: float | None, text: str) -> None:
    assert formats.size(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.2, "1 step"), (1.6, "2 steps"), (1234.4, "1 234 steps")])
def test_steps_are_whole_and_at_least_one(value: float, text: str) -> None:
    assert formats.steps(value) == text


def test_a_share_is_a_percentage() -> None:
    assert (formats.share(0.123), formats.share(0.0), formats.share(None)) == ("12 %", "0 %", "–")


@pytest.mark.parametrize(
    ("value", "text"), [(2.5, "2.50 B/s"), (2.5e6, "2.50 MB/s"), (213e9, "213 GB/s"), (4.8e12, "4.80 TB/s")]
)
def test_rates_have_a_prefix_that_fits(value: float, text: str) -> None:
    assert formats.rate(value, "B") == text
