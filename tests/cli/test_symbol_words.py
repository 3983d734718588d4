"""The symbols of a load of many, as they are written on the command line and in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.symbol_words import is_many, words_of


@pytest.mark.parametrize(
    ("text", "many"),
    [("BTCUSDT", False), ("-30d", False), ("BTCUSDT,ETHUSDT", True), ("*USDT", True), ("BTC?", True), ("@file", True)],
)
def test_one_symbol_is_an_ordinary_load(text: str, many: bool) -> None:
    assert is_many(text) is many


def test_names_patterns_and_files_go_together(tmp_path: Path) -> None:
    file = tmp_path / "symbols.txt"
    file.write_bytes(
        b"\xef\xbb\xbf# those of last year\r\nBTCUSDT\r\n\r\n  ETHUSDT # the second\r\n*FDUSD, SOLUSDT\r\n"
    )
    assert words_of(f"BNBUSDT,@{file}") == ["BNBUSDT", "BTCUSDT", "ETHUSDT", "*FDUSD", "SOLUSDT"]
    file.write_text("这是测试币456\n", "utf-8")
    assert words_of(f"@{file}") == ["这是测试币456"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"# nothing\n\n", "names none"),
        (b"BTC\xff", r"is not UTF-8 text \(byte 3\)"),
        (b"A\n" * (2 * 1024 * 1024 + 1), "is larger than 4 MiB"),
        (b"# mine\nBTCUSDT\n\nETH/USDT\n", r"symbols\.txt, line 4: symbol 'ETH/USDT'"),
    ],
)
def test_a_file_that_names_no_symbols_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "symbols.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageProblem, match=said):
        words_of(f"@{file}")


@pytest.mark.parametrize("text", ["BTCUSDT,", ",", "BTCUSDT,,ETHUSDT"])
def test_a_comma_too_many_is_told(text: str) -> None:
    with pytest.raises(UsageProblem, match="has a comma without a symbol"):
        words_of(text)
