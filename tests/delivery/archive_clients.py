"""Other projects' downloaders of Binance's archive, in an environment of their own (`make bench-others`).

`python archive_clients.py PACKAGE URL FOLDER` downloads from the exchange at URL what `test_archive_clients.py`
compares. They are as published; only the addresses that they have built in are led to the exchange.
"""

from __future__ import annotations

import datetime
import sys
import urllib.request
from pathlib import Path
from typing import Any

SYMBOL = "NEWUSDT"
_HOSTS = ("https://api.binance.com", "https://data.binance.vision")
_COUNTRY = "https://ipinfo.io/json"
"""Where binance-historical-data asks in which country it is."""


def binance_historical_data(url: str, folder: str) -> None:
    """Candles of an hour: a month, then two days of the next one."""
    from binance_historical_data import BinanceDataDumper

    plain = urllib.request.urlopen

    def led(address: str, *more: Any, **named: Any) -> Any:
        for host in _HOSTS:
            address = address.replace(host, url)
        return plain(address.replace(_COUNTRY, "data:application/json,{}"), *more, **named)

    setattr(urllib.request, "urlopen", led)  # noqa: B010 - a type checker knows another signature
    dumper = BinanceDataDumper(folder, asset_class="spot", data_type="klines", data_frequency="1h")
    dumper.dump_data(tickers=[SYMBOL], date_start=datetime.date(2024, 3, 15), date_end=datetime.date(2024, 4, 2))


def binance_bulk_downloader(url: str, folder: str) -> None:
    """The aggregated trades of all days that there are."""
    from binance_bulk_downloader.downloader import BinanceBulkDownloader

    class Downloader(BinanceBulkDownloader):  # type: ignore[misc]
        _BINANCE_DATA_S3_BUCKET_URL = f"{url}/data.binance.vision"
        _BINANCE_DATA_DOWNLOAD_BASE_URL = url

    # Its threads each make this folder where it lacks: one that comes second fails, and leaves its file out.
    (Path(folder) / "data/spot/daily/aggTrades" / SYMBOL).mkdir(parents=True)
    Downloader(
        destination_dir=folder, data_type="aggTrades", asset="spot", timeperiod_per_file="daily", symbols=SYMBOL
    ).run_download()


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
