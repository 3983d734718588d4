"""exchangeInfo, in the form that Binance has had since 2025."""

from __future__ import annotations

from collections.abc import Iterable

from streamforge.exchange.config import WEIGHT_LIMIT, SymbolSpec
from streamforge.exchange.params import InfoQuery

_PERMISSIONS = ("SPOT", "MARGIN")

Json = dict[str, object]


def exchange_info(
    symbols: Iterable[SymbolSpec], query: InfoQuery, now_ms: int, time: int, weight_limit: int | None
) -> Json:
    """The body of exchangeInfo. time: `serverTime` in the unit that was asked for."""
    return {
        "timezone": "UTC",
        "serverTime": time,
        "rateLimits": [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_LIMIT if weight_limit is None else weight_limit),
            _limit("ORDERS", "SECOND", 10, 100),
            _limit("ORDERS", "DAY", 1, 200_000),
            _limit("RAW_REQUESTS", "MINUTE", 5, 61_000),
        ],
        "exchangeFilters": [],
        "symbols": [_symbol(spec, now_ms, query) for spec in symbols if _asked(spec, now_ms, query)],
    }


def status(spec: SymbolSpec, now_ms: int) -> str:
    """The symbol's status at `now_ms`: a delisted one trades until its end."""
    return "TRADING" if spec.delisted_ms is not None and now_ms < spec.delisted_ms else spec.status


def _asked(spec: SymbolSpec, now_ms: int, query: InfoQuery) -> bool:
    if query.symbols is not None:
        return spec.symbol in query.symbols
    if query.status is not None and status(spec, now_ms) != query.status:
        return False
    return query.permissions is None or bool(set(query.permissions) & set(_PERMISSIONS))


def _limit(kind: str, interval: str, count: int, limit: int) -> Json:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def _symbol(spec: SymbolSpec, now_ms: int, query: InfoQuery) -> Json:
    tick, step = (f"{10.0**-n:.8f}" for n in (spec.price_decimals, spec.quantity_decimals))
    return {
        "symbol": spec.symbol,
        "status": status(spec, now_ms),
        "baseAsset": spec.base,
        "baseAssetPrecision": 8,
        "quoteAsset": spec.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": [
            "LIMIT",
            "LIMIT_MAKER",
            "MARKET",
            "STOP_LOSS",
            "STOP_LOSS_LIMIT",
            "TAKE_PROFIT",
            "TAKE_PROFIT_LIMIT",
        ],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": "0.00000000",
                "maxQty": "100000.00000000",
                "stepSize": "0.00000000",
            },
            {
                "filterType": "TRAILING_DELTA",
                "minTrailingAboveDelta": 10,
                "maxTrailingAboveDelta": 2000,
                "minTrailingBelowDelta": 10,
                "maxTrailingBelowDelta": 2000,
            },
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": "5",
                "bidMultiplierDown": "0.2",
                "askMultiplierUp": "5",
                "askMultiplierDown": "0.2",
                "avgPriceMins": 5,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": "5.00000000",
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        ],
        "permissions": [],
        **({"permissionSets": [list(_PERMISSIONS)]} if query.permission_sets else {}),
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    }
