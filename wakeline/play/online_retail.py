"""The UCI Online Retail data set (Chen, CC BY 4.0): every order line of a British online shop in 2011.

One invoice is one `Order Completed`. Goods or money that went back are an `Order Cancelled` with positive
figures, so that completed minus cancelled totals are the sum of quantity times price over the file: invoices
that start with C, stock written off (negative quantities) and bad debt (negative prices). Every line is in
exactly one message. Postage is a line like any other, so revenue equals total. Times are taken as UTC. Only
the customers' addresses and their consent are made up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from wakeline.clock import to_epoch_ms
from wakeline.play.message import CHECKOUT, Moment, TimedMessage, identify, message_id, track
from wakeline.play.ordering import gather, in_order
from wakeline.play.source import SourceFile, csv_rows, number

COLUMNS = (
    "InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country",
)  # fmt: skip
CURRENCY = "GBP"
# Lines of one invoice are entered over up to two minutes, with other invoices in between.
_INVOICE_WINDOW_MS = 10 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Line:
    """An order line; `customer` is empty at a guest checkout."""

    line: int
    at_ms: int
    invoice: str
    product_id: str
    name: str
    quantity: int
    price: float
    customer: str
    country: str


def read(source: SourceFile) -> Iterator[TimedMessage]:
    """The file's orders in time order. Raises WakelineError naming the file and line that is wrong."""
    known: set[str] = set()
    lines = in_order(source, _rows(source))
    for invoice in gather(lines, lambda line: (line.invoice, line.customer), _INVOICE_WINDOW_MS):
        yield from _messages(invoice, known)


def _rows(source: SourceFile) -> Iterator[Line]:
    for line, fields in csv_rows(source, COLUMNS):
        try:
            yield _row(line, fields)
        except ValueError as error:
            raise source.bad_line(line, error) from error


def _row(line: int, fields: list[str]) -> Line:
    invoice, product_id, name, quantity, date, price, customer, country = fields
    return Line(
        line=line,
        at_ms=_at_ms(date),
        invoice=invoice,
        product_id=product_id,
        name=name,
        quantity=_whole(quantity),
        price=number(price),
        customer=str(_whole(customer)) if customer else "",
        country=country,
    )


def _messages(invoice: list[Line], known: set[str]) -> Iterator[TimedMessage]:
    first = invoice[0]
    moment = Moment(
        at_ms=first.at_ms,
        anonymous_id="" if first.customer else f"guest-{first.invoice}",
        user_id=first.customer,
        session_id=f"invoice-{first.invoice}",
        page=CHECKOUT,
    )
    if first.customer and first.customer not in known:
        known.add(first.customer)
        yield _introduction(moment, first)
    yield _order(moment, invoice)


def _introduction(moment: Moment, first: Line) -> TimedMessage:
    traits = {"email": f"customer-{first.customer}@example.com", "country": first.country}
    return identify(moment, traits, True, message_id("online-retail", "identify", first.customer))


def _order(moment: Moment, invoice: list[Line]) -> TimedMessage:
    first = invoice[0]
    total = round(sum(abs(line.quantity * line.price) for line in invoice), 2)
    properties = {
        "order_id": first.invoice,
        "total": total,
        "revenue": total,
        "currency": CURRENCY,
        "products": [_product(line) for line in invoice],
    }
    event = "Order Cancelled" if _went_back(invoice) else "Order Completed"
    identity = message_id("online-retail", "order", first.invoice, first.customer, first.at_ms)
    return track(moment, event, properties, identity)


def _went_back(invoice: list[Line]) -> bool:
    return invoice[0].invoice.startswith("C") or all(line.quantity < 0 or line.price < 0 for line in invoice)


def _product(line: Line) -> dict[str, Any]:
    product = {"product_id": line.product_id, "quantity": abs(line.quantity), "price": abs(line.price)}
    return product | {"name": line.name} if line.name else product


@lru_cache(maxsize=1024)
def _at_ms(date: str) -> int:
    return to_epoch_ms(datetime.strptime(date, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC))


@lru_cache(maxsize=16384)
def _whole(text: str) -> int:
    value = number(text)
    if not value.is_integer():
        raise ValueError(f"{text} should be a whole number")
    return int(value)
