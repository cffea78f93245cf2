"""One visit to the simulated shop, written down as the messages that the browser SDK would send."""

import random
from dataclasses import replace
from typing import Any

from wakeline.play.catalogue import CURRENCY, Product
from wakeline.play.message import Moment, Page, TimedMessage, identify, message_id, page_view, track
from wakeline.play.shoppers import Shopper

HEARTBEAT_SECONDS = 15
HOME = Page("/shop", "Wakeline Demo Shop")
LOGIN = Page("/shop/login", "Log in")
CART = Page("/shop/cart", "Your cart")
CHECKOUT = Page("/shop/checkout", "Checkout")


class Visit:
    """Moves a person through the shop and through simulated time; `messages` are in time order.

    `run` tells this simulation from others with the same people, so that their messageIds differ; all addresses
    begin with `shop_url`.
    """

    def __init__(self, rng: random.Random, run: str, shop_url: str, shopper: Shopper, at_ms: int) -> None:
        self.rng = rng
        self.messages: list[TimedMessage] = []
        self._run = run
        self._shop_url = shop_url
        self._shopper = shopper
        self._at_ms = at_ms
        self._key = f"{shopper.anonymous_id.removeprefix('device-')}-{at_ms}"
        self._user_id = ""
        self._page = HOME
        self._cart: list[tuple[Product, int]] = []

    def open(self, page: Page, category: str = "") -> None:
        """Go to a page; looking at it takes a moment."""
        self._page = replace(page, site=self._shop_url)
        self.messages.append(page_view(self._moment(), category, self._next_id()))
        self.pass_seconds(0.5, 3)

    def log_in(self) -> None:
        """Become known: from here on every message carries the user id too."""
        self._user_id = self._shopper.user_id
        traits, marketing = self._shopper.traits(), self._shopper.habit.marketing
        self.messages.append(identify(self._moment(), traits, marketing, self._next_id()))
        self.pass_seconds(0.5, 2)

    def open_category(self, category: str) -> None:
        """Look at the list of a category."""
        self.open(Page(f"/shop/{category}", category.title()), category)
        self._track("Product List Viewed", {"category": category, "list_id": f"list-{category}"})

    def open_product(self, product: Product) -> None:
        """Look at a product's page."""
        self.open(Page(product.url, product.name), product.category)
        self._track("Product Viewed", product.properties(self._shop_url))

    def stay(self, seconds: int, category: str = "", product: Product | None = None) -> None:
        """Spend engaged seconds on the page: a heartbeat every quarter of a minute and one for the rest."""
        scrolled = self.rng.randint(10, 40)
        for start in range(0, seconds, HEARTBEAT_SECONDS):
            engaged = min(HEARTBEAT_SECONDS, seconds - start)
            self.pass_seconds(engaged, engaged + 0.5)
            scrolled = min(100, scrolled + self.rng.randint(0, 12))
            self._heartbeat(engaged, scrolled, category, product)

    def add(self, product: Product) -> None:
        """Put one or two of a product into the cart."""
        quantity = self.rng.choice((1, 1, 1, 2))
        self._cart.append((product, quantity))
        self._track("Product Added", self._cart_line(product, quantity))

    def remove(self) -> None:
        """Take what was added first out of the cart again."""
        product, quantity = self._cart.pop(0)
        self._track("Product Removed", self._cart_line(product, quantity))

    def order(self) -> None:
        """Buy what is in the cart."""
        self.open(CHECKOUT)
        self.pass_seconds(20, 60)
        total = round(sum(product.price * quantity for product, quantity in self._cart), 2)
        products = [product.line(self._shop_url) | {"quantity": quantity} for product, quantity in self._cart]
        sums = {"total": total, "revenue": total, "currency": CURRENCY}
        self._track("Order Completed", {"order_id": f"order-{self._key}", **sums, "products": products})

    def pass_seconds(self, least: float, most: float) -> None:
        """Let time go by without any engagement."""
        self._at_ms += round(self.rng.uniform(least, most) * 1000)

    def _cart_line(self, product: Product, quantity: int) -> dict[str, Any]:
        return product.properties(self._shop_url) | {"quantity": quantity, "cart_id": f"cart-{self._key}"}

    def _heartbeat(self, engaged: int, scrolled: int, category: str, product: Product | None) -> None:
        properties: dict[str, Any] = {"engaged_seconds": engaged, "scroll_depth_percent": scrolled}
        properties["path"] = self._page.path
        if category:
            properties["category"] = category
        if product:
            properties["product_id"] = product.id
        self.messages.append(track(self._moment(), "Page Engaged", properties, self._next_id()))

    def _track(self, event: str, properties: dict[str, Any]) -> None:
        self.messages.append(track(self._moment(), event, properties, self._next_id()))
        self.pass_seconds(0.5, 2)

    def _moment(self) -> Moment:
        session_id = f"session-{self._key}"
        return Moment(self._at_ms, self._shopper.anonymous_id, self._user_id, session_id, self._page)

    def _next_id(self) -> str:
        return message_id("storefront", self._run, self._key, len(self.messages))
