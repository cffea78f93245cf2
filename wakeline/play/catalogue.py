"""The fashion shop that the simulator and the demo shop page sell from; brands and products are invented."""

from dataclasses import dataclass
from functools import cache
from typing import Any

CURRENCY = "EUR"


@dataclass(frozen=True, slots=True)
class Product:
    """Something to buy; `price` is in `CURRENCY`, `url` and `image_url` are paths within the shop."""

    id: str
    name: str
    category: str
    brand: str
    price: float

    @property
    def url(self) -> str:
        return f"/shop/products/{self.id}"

    @property
    def image_url(self) -> str:
        return f"/shop/images/{self.id}.svg"

    def properties(self, shop_url: str = "") -> dict[str, Any]:
        """The properties of an event about the product; its addresses begin with `shop_url`."""
        return {**self.line(shop_url), "brand": self.brand, "currency": CURRENCY}

    def line(self, shop_url: str = "") -> dict[str, Any]:
        """The product as an order lists it; the quantity is the order's to add."""
        return {
            "product_id": self.id,
            "name": self.name,
            "category": self.category,
            "price": self.price,
            "url": shop_url + self.url,
            "image_url": shop_url + self.image_url,
        }


@cache
def products() -> tuple[Product, ...]:
    """Everything the shop sells, by category and id."""
    return tuple(
        Product(f"{category}-{number}", name, category, brand, price)
        for category, shelf in _SHELVES.items()
        for number, (name, brand, price) in enumerate(shelf, start=1)
    )


@cache
def categories() -> tuple[str, ...]:
    """The categories, in the order in which the shop shows them."""
    return tuple(_SHELVES)


@cache
def products_of(category: str) -> tuple[Product, ...]:
    """What the shop sells in a category; empty for one it does not have."""
    return tuple(product for product in products() if product.category == category)


def find_product(product_id: str) -> Product | None:
    """The product with this id, if the shop sells it."""
    return next((product for product in products() if product.id == product_id), None)


_SHELVES: dict[str, tuple[tuple[str, str, float], ...]] = {
    "sneakers": (
        ("Harbour Low White", "Norrland", 89.0),
        ("Harbour High Navy", "Norrland", 99.0),
        ("Pace Runner Coral", "Velo & Sons", 119.0),
        ("Court Classic Green", "Velo & Sons", 79.0),
        ("Cloudstep Knit Grey", "Atelier Fog", 129.0),
        ("Terrace Suede Ochre", "Atelier Fog", 109.0),
    ),
    "dresses": (
        ("Linen Wrap Dress Sage", "Maison Lune", 89.0),
        ("Poppy Midi Dress", "Maison Lune", 75.0),
        ("Silk Slip Dress Champagne", "Orla Finch", 149.0),
        ("Pleated Shirt Dress Sky", "Orla Finch", 95.0),
        ("Velvet Evening Dress Plum", "Maison Lune", 169.0),
    ),
    "jackets": (
        ("Field Jacket Olive", "Norrland", 139.0),
        ("Quilted Liner Sand", "Norrland", 99.0),
        ("Rain Shell Petrol", "Storm Eleven", 159.0),
        ("Boxy Denim Jacket", "Blue Quarter", 89.0),
        ("Wool Overshirt Charcoal", "Atelier Fog", 119.0),
    ),
    "bags": (
        ("Market Tote Natural", "Orla Finch", 45.0),
        ("Saddle Bag Cognac", "Orla Finch", 129.0),
        ("Roll-Top Backpack Slate", "Storm Eleven", 99.0),
        ("Crescent Shoulder Bag Black", "Maison Lune", 79.0),
        ("Weekender Canvas Rust", "Storm Eleven", 119.0),
    ),
    "knitwear": (
        ("Merino Crew Oatmeal", "Atelier Fog", 79.0),
        ("Cable Cardigan Forest", "Atelier Fog", 109.0),
        ("Breton Knit Stripe", "Blue Quarter", 59.0),
        ("Cashmere Roll Neck Camel", "Orla Finch", 179.0),
        ("Cropped Vest Lilac", "Maison Lune", 49.0),
    ),
    "jeans": (
        ("Straight Jeans Indigo", "Blue Quarter", 85.0),
        ("Wide Jeans Ecru", "Blue Quarter", 89.0),
        ("Slim Jeans Washed Black", "Blue Quarter", 85.0),
        ("Relaxed Jeans Light Blue", "Norrland", 79.0),
    ),
    "boots": (
        ("Chelsea Boot Chestnut", "Velo & Sons", 159.0),
        ("Lace-Up Boot Black", "Velo & Sons", 169.0),
        ("Hiking Boot Moss", "Storm Eleven", 179.0),
        ("Suede Ankle Boot Taupe", "Maison Lune", 139.0),
    ),
    "accessories": (
        ("Ribbed Beanie Mustard", "Norrland", 25.0),
        ("Wool Scarf Tartan", "Atelier Fog", 45.0),
        ("Leather Belt Tan", "Velo & Sons", 39.0),
        ("Silk Bandana Marine", "Orla Finch", 29.0),
        ("Sunglasses Tortoise", "Orla Finch", 69.0),
        ("Leather Gloves Black", "Velo & Sons", 59.0),
    ),
}
