from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    ("form", "texts"),
    [
        (
            formats.number,  # Three digits.
            {
                0: "0",
                0.00123456: "0.00123",
                0.5: "0.500",
                1.0: "1.00",
                12.345: "12.3",
                99.96: "100",
                123.4: "123",
                1234.5: "1 234",
                1e6: "1 000 000",
                -0.5: "-0.500",
            },
        ),
        # A unit or prefix that fits.
        (formats.seconds, {0.0: "0 µs", 25e-6: "25.0 µs", 0.48: "480 ms", 2.31: "2.31 s", None: "–"}),
        (formats.size, {0: "0 B", 1023: "1023 B", 2048: "2.00 KiB", 140_000_000: "134 MiB", None: "–"}),
        (formats.rate, {2.5: "2.50 B/s", 2.5e6: "2.50 MB/s", 213e9: "213 GB/s", 4.8e12: "4.80 TB/s"}),
        # Whole, and at least one.
        (formats.steps, {0.2: "1 step", 1.6: "2 steps", 1234.4: "1 234 steps"}),
        (formats.share, {0.123: "12 %", 0.0: "0 %", None: "–"}),
    ],
)
def test_figures_are_shown_as_people_read_them(form: Callable[..., str], texts: dict[Any, str]) -> None:
    unit = ["B"] if form is formats.rate else []
    assert {value: form(value, *unit) for value in texts} == texts
