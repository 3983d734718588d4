"""exchangeInfo, in the form that Binance has had since 2025, time and ping."""

from __future__ import annotations

import msgspec

from streamforge.exchange.config import WEIGHT_LIMIT, SymbolSpec
from streamforge.exchange.endpoint import Call, Endpoint
from streamforge.exchange.exchange_requests import read_parameters, symbol_of

_PERMISSIONS = ("SPOT", "MARGIN")

Json = dict[str, object]


class Ping(Endpoint):
    """GET /api/v3/ping."""

    paths = ("ping",)

    def answer(self, call: Call) -> bytes:
        read_parameters(call.query, ())
        return b"{}"


class Time(Endpoint):
    """GET /api/v3/time."""

    paths = ("time",)

    def answer(self, call: Call) -> bytes:
        read_parameters(call.query, ())
        return msgspec.json.encode({"serverTime": call.shown_ms})


class ExchangeInfo(Endpoint):
    """GET /api/v3/exchangeInfo."""

    paths = ("exchangeInfo",)
    weight = 20

    def answer(self, call: Call) -> bytes:
        sent = read_parameters(call.query, ("symbol", "showPermissionSets"))
        named = "symbol" in sent
        listed = [call.symbols[symbol_of(sent, call.symbols)]] if named else call.symbols.values()
        sets = sent.get("showPermissionSets", "true").lower() != "false"
        limit = self.config.weight_limit
        return msgspec.json.encode(
            {
                "timezone": "UTC",
                "serverTime": call.shown_ms,
                "rateLimits": [
                    _limit("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_LIMIT if limit is None else limit),
                    _limit("ORDERS", "SECOND", 10, 100),
                    _limit("ORDERS", "DAY", 1, 200_000),
                    _limit("RAW_REQUESTS", "MINUTE", 5, 61_000),
                ],
                "exchangeFilters": [],
                "symbols": [_symbol(spec, call.now_ms, permission_sets=sets) for spec in listed],
            }
        )


def _status(spec: SymbolSpec, now_ms: int) -> str:
    """The symbol's status at `now_ms`: a delisted one trades until its end."""
    return "TRADING" if spec.delisted_ms is not None and now_ms < spec.delisted_ms else spec.status


def _limit(kind: str, interval: str, count: int, limit: int) -> Json:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def _symbol(spec: SymbolSpec, now_ms: int, *, permission_sets: bool) -> Json:
    """The members of a symbol that clients read; Binance names more filters and kinds of orders."""
    tick, step = (f"{10.0**-n:.8f}" for n in (spec.price_decimals, spec.quantity_decimals))
    return {
        "symbol": spec.symbol,
        "status": _status(spec, now_ms),
        "baseAsset": spec.base,
        "quoteAsset": spec.quote,
        **dict.fromkeys(("baseAssetPrecision", "quotePrecision", "quoteAssetPrecision"), 8),
        **dict.fromkeys(("isSpotTradingAllowed", "isMarginTradingAllowed"), True),
        "orderTypes": ("LIMIT", "MARKET"),
        "filters": [
            _filter("PRICE_FILTER", minPrice=tick, maxPrice="1000000.00000000", tickSize=tick),
            _filter("LOT_SIZE", minQty=step, maxQty="9000000.00000000", stepSize=step),
            _filter("NOTIONAL", minNotional="5.00000000", maxNotional="9000000.00000000"),
        ],
        "permissions": [],
        **({"permissionSets": [list(_PERMISSIONS)]} if permission_sets else {}),
    }


def _filter(kind: str, **members: object) -> Json:
    return {"filterType": kind, **members}
