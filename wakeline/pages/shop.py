"""The demo shop: pages over the catalogue, on which wakeline.js tells the collector what happens.

The shop keeps nothing: cart, login and ids live in the browser.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.templating import Jinja2Templates

from wakeline.activation.addresses import parse_address
from wakeline.collector.service import STATIC
from wakeline.pages.images import product_image
from wakeline.play.catalogue import Product, categories, find_product, products_of
from wakeline.settings import Settings

SHOP_NAME = "Wakeline Demo Shop"
_MAX_LOGIN_BYTES = 4_096
_RELATED = 4


class Shop:
    """The storefront; `notice` is shown on each of its pages."""

    def __init__(self, settings: Settings, templates: Jinja2Templates, notice: str) -> None:
        self._templates = templates
        self._common = {
            "shop_name": SHOP_NAME,
            "categories": categories(),
            "notice": notice,
            "collector": {
                "url": settings.activation.public_url.rstrip("/"),
                "write_key": settings.collector.write_key,
                "integrity": integrity(STATIC / "wakeline.js"),
            },
        }

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/shop", self.home),
            Route("/shop/images/{name}", self.image),
            Route("/shop/products/{product_id}", self.product),
            Route("/shop/cart", self.cart),
            Route("/shop/checkout", self.checkout),
            Route("/shop/login", self.login),
            Route("/shop/login", self.log_in, methods=["POST"]),
            Route("/shop/{category}", self.category),
        ]

    def home(self, request: Request) -> Response:
        """Every category with one of its products, and something of each."""
        shelves = {category: products_of(category) for category in categories()}
        return self._page(request, "shop/home.html", {"name": SHOP_NAME}, shelves=shelves, products=_picks())

    def category(self, request: Request) -> Response:
        """Everything in a category."""
        category = request.path_params["category"]
        found = products_of(category)
        if not found:
            raise HTTPException(404)
        page = {"name": category.title(), "category": category, "list": [one.properties() for one in found]}
        return self._page(request, "shop/category.html", page, category=category, products=found)

    def product(self, request: Request) -> Response:
        """One product and more of its category."""
        product = find_product(request.path_params["product_id"])
        if product is None:
            raise HTTPException(404)
        related = [one for one in products_of(product.category) if one != product][:_RELATED]
        page = {"name": product.name, "category": product.category, "product": product.properties()}
        return self._page(request, "shop/product.html", page, product=product, products=related)

    def cart(self, request: Request) -> Response:
        """The cart, filled in by the script."""
        return self._page(request, "shop/cart.html", {"name": "Your cart"})

    def checkout(self, request: Request) -> Response:
        """The order form."""
        return self._page(request, "shop/checkout.html", {"name": "Checkout"})

    def login(self, request: Request) -> Response:
        """The login form."""
        return self._page(request, "shop/login.html", {"name": "Log in"})

    async def log_in(self, request: Request) -> Response:
        """The user id of an address: the same on every device, and telling nobody the address."""
        try:
            body = await _small_body(request)
            address = parse_address(str(orjson.loads(body)["email"])).addr_spec.lower()
        except (ValueError, KeyError, TypeError):
            return JSONResponse({"error": "Please enter a valid e-mail address."}, 422)
        return JSONResponse({"user_id": _user_id(address), "email": address})

    def image(self, request: Request) -> Response:
        """A product's picture."""
        product = find_product(request.path_params["name"].removesuffix(".svg"))
        if product is None:
            raise HTTPException(404)
        headers = {"Cache-Control": "public, max-age=3600"}
        return Response(product_image(product), media_type="image/svg+xml", headers=headers)

    def not_found(self, request: Request) -> Response:
        """What a shop says about a page it does not have."""
        return self._page(request, "shop/missing.html", {"name": "Not found"}, status=404)

    def _page(
        self, request: Request, template: str, page: dict[str, Any], status: int = 200, **values: object
    ) -> Response:
        """`page` is what the script knows of the page it runs on."""
        context = {**self._common, "page": page, **values}
        return self._templates.TemplateResponse(request, template, context, status_code=status)


async def _small_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_LOGIN_BYTES:
            raise ValueError("the body is too long")
    return body


def integrity(script: Path) -> str:
    """What a page lets its browser check a script by (https://www.w3.org/TR/sri-2/)."""
    return f"sha384-{base64.b64encode(hashlib.sha384(script.read_bytes()).digest()).decode()}"


def _user_id(address: str) -> str:
    return f"user-{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def _picks() -> list[Product]:
    """A mixed shelf for the home page: the second product of each category."""
    return [products_of(category)[1] for category in categories() if len(products_of(category)) > 1]
