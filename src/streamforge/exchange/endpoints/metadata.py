"""exchangeInfo, in the form that Binance has had since 2025, time and ping."""

from __future__ import annotations

import msgspec

from streamforge.exchange import params
from streamforge.exchange.config import WEIGHT_LIMIT, SymbolSpec
from streamforge.exchange.endpoint import Call, Endpoint

_PERMISSIONS = ("SPOT", "MARGIN")

_EIGHT_DIGITS = ("quotePrecision", "quoteAssetPrecision", "baseCommissionPrecision", "quoteCommissionPrecision")
_ORDERS = ("LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_ALLOWED = (
    *("icebergAllowed", "ocoAllowed", "otoAllowed", "quoteOrderQtyMarketAllowed", "allowTrailingStop"),
    *("cancelReplaceAllowed", "amendAllowed", "isSpotTradingAllowed", "isMarginTradingAllowed"),
)

Json = dict[str, object]


class Ping(Endpoint):
    """GET /api/v3/ping."""

    paths = ("ping",)

    def answer(self, call: Call) -> bytes:
        params.read(call.query, ())
        return b"{}"


class Time(Endpoint):
    """GET /api/v3/time."""

    paths = ("time",)

    def answer(self, call: Call) -> bytes:
        params.read(call.query, ())
        return msgspec.json.encode({"serverTime": call.shown_ms})


class ExchangeInfo(Endpoint):
    """GET /api/v3/exchangeInfo."""

    paths = ("exchangeInfo",)
    weight = 20

    def answer(self, call: Call) -> bytes:
        sent = params.read(call.query, ("symbol", "showPermissionSets"))
        named = "symbol" in sent
        listed = [call.symbols[params.symbol_of(sent, call.symbols)]] if named else call.symbols.values()
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
    tick, step = (f"{10.0**-n:.8f}" for n in (spec.price_decimals, spec.quantity_decimals))
    sizes = {"minQty": "0.00000000", "maxQty": "100000.00000000", "stepSize": "0.00000000"}
    least = {"minNotional": "5.00000000", "applyMinToMarket": True}
    most = {"maxNotional": "9000000.00000000", "applyMaxToMarket": False}
    bounds = {"bidMultiplierUp": "5", "bidMultiplierDown": "0.2", "askMultiplierUp": "5", "askMultiplierDown": "0.2"}
    above = {"minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000}
    below = {"minTrailingBelowDelta": 10, "maxTrailingBelowDelta": 2000}
    return {
        "symbol": spec.symbol,
        "status": _status(spec, now_ms),
        "baseAsset": spec.base,
        "baseAssetPrecision": 8,
        "quoteAsset": spec.quote,
        **dict.fromkeys(_EIGHT_DIGITS, 8),
        "orderTypes": _ORDERS,
        **dict.fromkeys(_ALLOWED, True),
        "filters": [
            _filter("PRICE_FILTER", minPrice=tick, maxPrice="1000000.00000000", tickSize=tick),
            _filter("LOT_SIZE", minQty=step, maxQty="9000000.00000000", stepSize=step),
            _filter("ICEBERG_PARTS", limit=10),
            _filter("MARKET_LOT_SIZE", **sizes),
            _filter("TRAILING_DELTA", **above, **below),
            _filter("PERCENT_PRICE_BY_SIDE", **bounds, avgPriceMins=5),
            _filter("NOTIONAL", **least, **most, avgPriceMins=5),
            _filter("MAX_NUM_ORDERS", maxNumOrders=200),
            _filter("MAX_NUM_ALGO_ORDERS", maxNumAlgoOrders=5),
        ],
        "permissions": [],
        **({"permissionSets": [list(_PERMISSIONS)]} if permission_sets else {}),
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    }


def _filter(kind: str, **members: object) -> Json:
    return {"filterType": kind, **members}
