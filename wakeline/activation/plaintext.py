"""The plain-text part of a mail, taken from its HTML so that the two cannot tell different things."""

# inscriptis and lxml come without types.
# mypy: disable-error-code="import-untyped"

import re
from copy import copy

from inscriptis.css_profiles import STRICT_CSS_PROFILE
from inscriptis.html_engine import Inscriptis
from inscriptis.html_properties import Display
from inscriptis.model.config import ParserConfig
from inscriptis.model.html_element import HtmlElement as TextStyle
from lxml import etree
from lxml.html import HtmlElement, document_fromstring

_LAYOUT = "layout"
_COLUMN = "column"
_HIDDEN = "hidden"
_STYLES = STRICT_CSS_PROFILE | {
    _COLUMN: TextStyle(display=Display.block, margin_before=1),
    _HIDDEN: TextStyle(display=Display.none),
}
_BLOCKS = frozenset({_LAYOUT, _COLUMN, _HIDDEN, "div", "table"})


def plain_text(html: str) -> str:
    """The text of an HTML mail made by MJML, each link followed by its address in angle brackets."""
    tree = document_fromstring(html)
    etree.strip_elements(tree, "head", with_tail=False)
    _flatten(tree)
    _drop_pictures(tree)
    _spell_out_links(tree)
    _escape_ampersands(tree)
    lines = (line.strip() for line in Inscriptis(tree, _config()).get_text().splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _config() -> ParserConfig:
    """inscriptis writes to what it hangs on the style of `body`: were that shared, threads would mix their mails."""
    return ParserConfig(css=_STYLES | {"body": copy(_STYLES["body"])})


def _flatten(tree: HtmlElement) -> None:
    """Drop what only lays out: MJML nests a dozen tables a block, and inscriptis takes its time over each."""
    for element in list(tree.iter("table", "tbody", "tr", "td", "div")):
        if _is_layout(element):
            element.tag = "div" if element.tag == "td" else _LAYOUT
        if element.tag == "div":
            _simplify(element)
    etree.strip_tags(tree, _LAYOUT, etree.Comment)


def _is_layout(element: HtmlElement) -> bool:
    """True inside a layout table as well: a parent is always seen, and renamed, before its children."""
    if element.tag in ("div", "table"):
        return bool(element.get("role") == "presentation")
    return bool(element.getparent().tag == _LAYOUT)


def _simplify(block: HtmlElement) -> None:
    style = block.attrib.pop("style", "")
    if "display:none" in style:
        block.tag = _HIDDEN
    elif "mj-column" in block.get("class", ""):
        block.tag = _COLUMN
    elif not (block.text or "").strip() and all(_is_block(child) for child in block):
        block.tag = _LAYOUT


def _is_block(element: HtmlElement) -> bool:
    return bool(element.tag in _BLOCKS and not (element.tail or "").strip())


def _drop_pictures(tree: HtmlElement) -> None:
    for decoration in tree.xpath("//*[@aria-hidden='true']"):
        decoration.drop_tree()
    for cell in tree.xpath("//td[not(preceding-sibling::*)][not(normalize-space())]"):
        cell.drop_tree()  # The picture's column would push all others to the right.


def _spell_out_links(tree: HtmlElement) -> None:
    for link in tree.iter("a"):
        if link.text_content().strip():
            link.tail = f" <{link.get('href')}>{link.tail or ''}"


def _escape_ampersands(tree: HtmlElement) -> None:
    """inscriptis unescapes what lxml already has, which would turn `&currency=` in an address into `¤cy=`."""
    for element in tree.iter():
        element.text = element.text and element.text.replace("&", "&amp;")
        element.tail = element.tail and element.tail.replace("&", "&amp;")
