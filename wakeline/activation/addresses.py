"""Mail addresses: parsed once, so that nothing a person typed can reach a header as anything else."""

from email.errors import MessageError
from email.headerregistry import Address

#: RFC 5321, 4.5.3.1.3: a path has at most 256 octets with its angle brackets.
MAX_ADDRESS_LENGTH = 254


def parse_address(text: str) -> Address:
    """The address in `text`, which holds nothing else (`ada@example.com`); its domain comes out in ASCII.

    Raises ValueError with the reason when it is not one address, or one no provider can deliver to.
    """
    text = text.strip()
    if not text:
        raise ValueError("it is empty")
    if len(text) > MAX_ADDRESS_LENGTH:
        raise ValueError(f"it is longer than {MAX_ADDRESS_LENGTH} characters")
    address = _parsed(text)
    if address.addr_spec != text:
        raise ValueError("there is more than an address")
    return Address(username=address.username, domain=address.domain.encode("idna").decode("ascii"))


def parse_mailbox(text: str) -> Address:
    """The same for an address that may carry a name: `Wakeline Demo Shop <shop@example.com>`."""
    name, bracket, rest = text.strip().rpartition("<")
    if not bracket:
        return parse_address(text)
    if not rest.endswith(">"):
        raise ValueError("the closing > is missing")
    address = parse_address(rest[:-1])
    return Address(display_name=name.strip().strip('"'), username=address.username, domain=address.domain)


def _parsed(text: str) -> Address:
    try:
        return Address(addr_spec=text)
    except (MessageError, IndexError, AttributeError) as error:
        # The standard library's parser runs off the end of what stops too early, such as "ada@" and "ada@[".
        raise ValueError(str(error)) from error
