"""Counts on the real files, against pandas; skipped on machines without them."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest

from wakeline.play import online_retail, otto
from wakeline.play.source import SourceFile
from wakeline.settings import CollectorSettings

REPOSITORY = Path(__file__).parents[1]


def shared_file(name: str) -> Path:
    path = Path(os.environ.get("WAKELINE_SHARED", REPOSITORY.parent / "shared")) / "data" / name
    if not path.exists():
        pytest.skip(f"the shared data file {name} is not there; WAKELINE_SHARED names its folder")
    return path


def test_online_retail_keeps_every_line_customer_and_invoice() -> None:
    path = shared_file("online_retail.csv.gz")
    with SourceFile(path) as source:
        messages = [timed.message for timed in online_retail.read(source)]
    frame = pd.read_csv(path, dtype={"InvoiceNo": "str", "StockCode": "str"}, keep_default_na=True)
    orders = [message for message in messages if message["type"] == "track"]
    lines = [line for order in orders for line in order["properties"]["products"]]
    cancelled = [order for order in orders if order["event"] == "Order Cancelled"]

    assert len(lines) == len(frame)
    assert len(orders) == frame["InvoiceNo"].nunique()
    assert Counter(line["product_id"] for line in lines) == frame["StockCode"].value_counts().to_dict()
    assert len(messages) - len(orders) == frame["CustomerID"].nunique()
    assert {order["userId"] for order in orders if "userId" in order} == {
        str(int(customer)) for customer in frame["CustomerID"].dropna().unique()
    }
    assert sum("anonymousId" in order for order in orders) == frame["InvoiceNo"][frame["CustomerID"].isna()].nunique()
    assert sum(order["properties"]["order_id"].startswith("C") for order in cancelled) == (
        frame["InvoiceNo"][frame["InvoiceNo"].str.startswith("C")].nunique()
    )
    went_back = (frame["Quantity"] < 0) | (frame["UnitPrice"] < 0)
    assert len(cancelled) == frame["InvoiceNo"][went_back].nunique()
    assert _net_total(orders) == pytest.approx((frame["Quantity"] * frame["UnitPrice"]).sum(), abs=0.5)
    assert all(line["quantity"] > 0 and line["price"] >= 0 for line in lines)
    assert len({message["messageId"] for message in messages}) == len(messages)
    assert max(len(orjson.dumps(order)) for order in orders) < CollectorSettings().max_event_bytes


def test_otto_keeps_every_event_of_every_session() -> None:
    path = shared_file("otto_sessions.jsonl")
    with SourceFile(path) as source:
        timed = list(otto.read(source))
    frame = pd.read_json(path, lines=True).explode("events")
    kinds = frame["events"].map(lambda event: event["type"]).value_counts()
    events = Counter(each.message.get("event", "identify") for each in timed)
    order_lines = sum(len(each.message.get("properties", {}).get("products", ())) for each in timed)

    assert [each.at_ms for each in timed] == sorted(each.at_ms for each in timed)
    assert events["identify"] == frame["session"].nunique()
    assert events["Product Viewed"] == kinds["clicks"]
    assert events["Product Added"] == kinds["carts"]
    assert order_lines == kinds["orders"]
    assert len({each.message["messageId"] for each in timed}) == len(timed)


def _net_total(orders: list[dict[str, Any]]) -> float:
    signs = {"Order Completed": 1, "Order Cancelled": -1}
    return sum((signs[order["event"]] * order["properties"]["total"] for order in orders), start=0.0)
