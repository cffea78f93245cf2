"""Pictures of the demo shop's products: drawn from category and name, so that no image files are needed."""

from functools import cache
from zlib import crc32

from wakeline.pages.shapes import DEFAULT_SHAPE, SHAPES
from wakeline.play.catalogue import Product

_PAPER = (247, 244, 238)
_NIGHT = (24, 22, 20)
_WHITE = (255, 255, 255)
#: Behind what is nearly white itself.
_MIST = (200, 211, 214)

#: The colour words of product names.
_COLOURS = {
    "black": "#34322f",
    "blue": "#8fb0cf",
    "camel": "#c19a6b",
    "champagne": "#dcc7a1",
    "charcoal": "#4c4d50",
    "chestnut": "#7a4630",
    "cognac": "#a85f32",
    "coral": "#ef7d66",
    "denim": "#5c7fa6",
    "ecru": "#d9cdb4",
    "forest": "#2f5b45",
    "green": "#4d8b67",
    "grey": "#9a9ea3",
    "indigo": "#35467a",
    "lilac": "#b8a2d0",
    "marine": "#2c4f7c",
    "moss": "#6d7346",
    "mustard": "#d3a02f",
    "natural": "#d3bf98",
    "navy": "#2c3a5a",
    "oatmeal": "#d5c6ab",
    "ochre": "#c98a2d",
    "olive": "#727343",
    "petrol": "#1f6270",
    "plum": "#70395f",
    "poppy": "#d9503f",
    "rust": "#b25b36",
    "sage": "#93a98a",
    "sand": "#d2b78c",
    "sky": "#86b4d6",
    "slate": "#667382",
    "stripe": "#3b527c",
    "tan": "#b9824f",
    "tartan": "#a63c3a",
    "taupe": "#9b8a79",
    "tortoise": "#8a5a2b",
    "white": "#f1eee8",
}
_SPARE_COLOURS = ("#c9796b", "#7d9b84", "#7f93b2", "#c0a062", "#94799e")


@cache
def product_image(product: Product) -> str:
    """An SVG document, 400 by 400 units, that is always the same for the same product."""
    colour = _rgb(_colour(product))
    shape = next((SHAPES[word] for word in _words(product) if word in SHAPES), DEFAULT_SHAPE)
    drawing = shape.format(
        main=_hex(colour),
        dark=_hex(_blend(colour, _NIGHT, 0.28)),
        deep=_hex(_blend(colour, _NIGHT, 0.52)),
        light=_hex(_blend(colour, _WHITE, 0.42)),
        pale=_hex(_blend(colour, _PAPER, 0.82)),
    )
    light = min(colour) > 220
    ground = _MIST if light else _blend(colour, _PAPER, 0.8)
    shadow = _blend(_MIST, _NIGHT, 0.15) if light else _blend(colour, _PAPER, 0.58)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400" width="400" height="400">'
        f'<rect width="400" height="400" fill="{_hex(ground)}"/>'
        f'<ellipse cx="200" cy="346" rx="128" ry="11" fill="{_hex(shadow)}"/>'
        f'<g stroke-linecap="round" stroke-linejoin="round">{drawing}</g></svg>'
    )


def _words(product: Product) -> list[str]:
    """What may name a shape: the words of the name, such as `backpack`, before the category."""
    return [*product.name.lower().replace("-", " ").split(), product.category]


def _colour(product: Product) -> str:
    named = [_COLOURS[word] for word in _words(product) if word in _COLOURS]
    return named[-1] if named else _SPARE_COLOURS[crc32(product.id.encode()) % len(_SPARE_COLOURS)]


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _blend(colour: tuple[int, int, int], other: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    """The colour with that share of the other one in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue
