import gzip
from pathlib import Path
from typing import Any

import pytest

from wakeline.errors import WakelineError
from wakeline.play import online_retail
from wakeline.play.message import TimedMessage
from wakeline.play.source import SourceFile

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
FIRST_ORDER = (
    "536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6.0,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
    "536365,71053,WHITE METAL LANTERN,6.0,2010-12-01 08:26:00,3.39,17850.0,United Kingdom\n"
)


def play(tmp_path: Path, rows: str) -> list[TimedMessage]:
    path = tmp_path / "retail.csv"
    path.write_text(HEADER + rows, encoding="utf-8")
    with SourceFile(path) as source:
        return list(online_retail.read(source))


def orders(messages: list[TimedMessage]) -> list[dict[str, Any]]:
    return [timed.message for timed in messages if timed.message["type"] == "track"]


def test_an_invoice_is_one_order_with_all_its_lines(tmp_path: Path) -> None:
    messages = play(tmp_path, FIRST_ORDER)
    order = orders(messages)[0]
    assert messages[-1].at_ms == 1_291_191_960_000
    assert order["event"] == "Order Completed"
    assert order["userId"] == "17850"
    assert "anonymousId" not in order
    assert order["properties"] == {
        "order_id": "536365",
        "total": 35.64,
        "revenue": 35.64,
        "currency": "GBP",
        "products": [
            {"product_id": "85123A", "quantity": 6, "price": 2.55, "name": "WHITE HANGING HEART T-LIGHT HOLDER"},
            {"product_id": "71053", "quantity": 6, "price": 3.39, "name": "WHITE METAL LANTERN"},
        ],
    }


def test_a_customer_is_introduced_once_before_the_first_invoice(tmp_path: Path) -> None:
    later = "536366,22633,HAND WARMER,6.0,2010-12-01 08:28:00,1.85,17850.0,United Kingdom\n"
    messages = play(tmp_path, FIRST_ORDER + later)
    assert [timed.message["type"] for timed in messages] == ["identify", "track", "track"]
    introduction = messages[0].message
    assert introduction["traits"] == {"email": "customer-17850@example.com", "country": "United Kingdom"}
    assert introduction["context"]["consent"] == {"categoryPreferences": {"marketing": True}}


def test_a_guest_checkout_is_anonymous_and_introduces_nobody(tmp_path: Path) -> None:
    messages = play(tmp_path, "536544,21773,ROSE BOX,1.0,2010-12-01 14:32:00,2.51,,United Kingdom\n")
    assert [timed.message["type"] for timed in messages] == ["track"]
    assert messages[0].message["anonymousId"] == "guest-536544"
    assert "userId" not in messages[0].message


def test_an_invoice_with_c_is_a_cancellation_with_positive_figures(tmp_path: Path) -> None:
    messages = play(tmp_path, "C536379,D,Discount,-1.0,2010-12-01 09:41:00,27.5,14527.0,United Kingdom\n")
    cancelled = orders(messages)[0]
    assert cancelled["event"] == "Order Cancelled"
    assert cancelled["properties"]["order_id"] == "C536379"
    assert cancelled["properties"]["total"] == 27.5
    assert cancelled["properties"]["products"][0]["quantity"] == 1


@pytest.mark.parametrize(
    ("row", "event"),
    [
        ("536589,21777,,-10.0,2010-12-01 16:50:00,0.0,,United Kingdom\n", "Order Cancelled"),
        ("A563186,B,Adjust bad debt,1.0,2011-08-12 14:51:00,-11062.06,,United Kingdom\n", "Order Cancelled"),
        ("A563185,B,Adjust bad debt,1.0,2011-08-12 14:50:00,11062.06,,United Kingdom\n", "Order Completed"),
        ("536414,22139,,56.0,2010-12-01 11:52:00,0.0,,United Kingdom\n", "Order Completed"),
    ],
)
def test_adjustments_are_kept_and_what_went_back_is_no_sale(tmp_path: Path, row: str, event: str) -> None:
    order = orders(play(tmp_path, row))[0]
    product = order["properties"]["products"][0]
    assert order["event"] == event
    assert product["quantity"] > 0
    assert product["price"] >= 0
    assert product.get("name") != ""


def test_lines_of_an_invoice_come_together_over_minutes_and_other_invoices(tmp_path: Path) -> None:
    messages = play(
        tmp_path,
        "542806,48194,A,1.0,2011-02-01 11:19:00,1.0,12836.0,France\n"
        "C542805,22156,B,-1.0,2011-02-01 11:19:00,1.0,14606.0,France\n"
        "542806,22692,C,1.0,2011-02-01 11:20:00,1.0,12836.0,France\n",
    )
    found = {order["properties"]["order_id"]: order["properties"]["products"] for order in orders(messages)}
    assert [len(products) for products in found.values()] == [2, 1]
    assert [timed.at_ms for timed in messages] == sorted(timed.at_ms for timed in messages)


def test_reading_twice_and_packed_gives_the_same_messages(tmp_path: Path) -> None:
    packed = tmp_path / "retail.csv.gz"
    packed.write_bytes(gzip.compress((HEADER + FIRST_ORDER).encode()))
    with SourceFile(packed) as source:
        assert list(online_retail.read(source)) == play(tmp_path, FIRST_ORDER)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("536365,85123A,X,six,2010-12-01 08:26:00,2.55,17850.0,France\n", "line 2: could not convert"),
        ("536365,85123A,X,6.5,2010-12-01 08:26:00,2.55,17850.0,France\n", "line 2: 6.5 should be a whole number"),
        ("536365,85123A,X,6.0,2010-12-01 08:26:00,nan,17850.0,France\n", "line 2: nan is not a number"),
        ("536365,85123A,X,6.0,12/1/2010 8:26,2.55,17850.0,France\n", "line 2: time data"),
        ("536365,85123A\n", "line 2: 2 fields instead of 8"),
        (
            FIRST_ORDER + "536364,85123A,X,6.0,2010-11-30 08:26:00,2.55,17850.0,France\n",
            "line 4: earlier than the line before",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, rows: str, sentence: str) -> None:
    with pytest.raises(WakelineError, match=rf"retail\.csv, {sentence}"):
        play(tmp_path, rows)


def test_another_format_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("timestamp,visitorid,event,itemid,transactionid\n", encoding="utf-8")
    with SourceFile(path) as source, pytest.raises(WakelineError, match="first line must be 'InvoiceNo,"):
        list(online_retail.read(source))
