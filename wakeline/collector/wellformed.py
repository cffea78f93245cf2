"""Text that can be written as UTF-8."""


def utf8(text: str) -> str:
    """The text with lone surrogates replaced, as the stream's keys and headers must be UTF-8."""
    return text.encode(errors="replace").decode()
