"""What people said and which addresses cannot be mailed, in DynamoDB.

The latest word wins and the earliest suppression stays, so that any order, and doing it again, gives the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from wakeline.activation.consent import Consent, RecordAddress, Suppression
from wakeline.activation.ledger.dynamodb_items import (
    address_key,
    of_id,
    owner_key,
    owner_of,
    said_key,
    send_key,
    suppression_key,
    version_key,
)
from wakeline.dynamodb import MOST_ACTIONS, Action, ChangedError, Key, Table, put, update
from wakeline.errors import LedgerError
from wakeline.events import address_subject
from wakeline.pipeline.lanes import Lease, lease_lost
from wakeline.pipeline.lanes_dynamodb import fence

_CHUNK = 50
_ATTEMPTS = 50
#: Of one subject, with its version and the lane's token.
_MOST_WRITES = MOST_ACTIONS - 2
_COLUMNS = ("subject", "purpose", "granted", "occurred_at_ms", "message_id")

Items = dict[Key, dict[str, Any]]


class Said:
    """Consents, suppressions and addresses of records."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def record(
        self,
        lease: Lease,
        consents: Sequence[Consent],
        suppressions: Sequence[Suppression],
        addresses: Sequence[RecordAddress],
    ) -> None:
        """Keep all of it, or raise; what was kept until then may be said again."""
        for chunk in _chunks(addresses):
            self._keep(lease, [one.subject for one in chunk], partial(self._tied, chunk))
        for chunk in _chunks(consents):
            self._keep(lease, [one.subject for one in chunk], partial(self._heard, chunk))
        for chunk in _chunks(suppressions):
            self._keep(lease, [], partial(_suppressing, chunk))

    def _keep(self, lease: Lease, subjects: Sequence[str], find: Callable[[], Items]) -> None:
        """Write what is found and stronger than what is there; found again when a subject has changed since."""
        for failures in range(_ATTEMPTS):
            versions = self._table.get(map(version_key, subjects))
            wanted = find()
            missing = {pk for pk, _ in wanted} - set(map(of_id, subjects))
            versions |= self._table.get((pk, "version") for pk in missing)
            known = self._table.get(wanted)
            new = {key: item for key, item in wanted.items() if key not in known or _is_stronger(item, known[key])}
            try:
                for transaction in _transactions(new, versions):
                    self._table.write([fence(lease), *transaction])
                return
            except ChangedError as changed:
                if 0 in changed.failed:
                    raise lease_lost(lease) from changed
            self._table.pause(failures)
        raise LedgerError("What people said was overtaken by others again and again.")

    def _tied(self, records: Sequence[RecordAddress]) -> Items:
        """From now on the record's no is the address's; the one it has said already is so at once."""
        wanted: Items = {}
        for record in records:
            wanted[address_key(record.subject, record.address)] = asdict(record)
            for stamp, kind in ((False, "consent#"), (True, "stamp#")):
                for item in self._table.query(of_id(record.subject), kind):
                    if not item["granted"]:
                        said = Consent(**{name: item[name] for name in _COLUMNS}, stamp=stamp)
                        _want(wanted, said, address_subject(record.address))
        return wanted

    def _heard(self, consents: Sequence[Consent]) -> Items:
        """Whoever said it on a mail, said it for the address the mail went to, whoever else uses that.

        A record's no is one of its addresses as well; what it agrees to, nobody has said on the address.
        """
        of_mail, of_record = self._mailed(consents), self._recorded(consents)
        wanted: Items = {}
        for one in consents:
            addresses = [of_mail.get(one.key, ""), *(() if one.granted else of_record[one.subject])]
            for subject in [one.subject, *(address_subject(address) for address in addresses if address)]:
                _want(wanted, one, subject)
        return wanted

    def _mailed(self, consents: Sequence[Consent]) -> dict[str, str]:
        """Key of a mail -> the address it went to."""
        owners = self._table.get(owner_key(one.key) for one in consents if one.key)
        keys = {
            send_key(owner, one.key): one.key for one in consents if one.key and (owner := owner_of(owners, one.key))
        }
        return {keys[key]: item["address"] for key, item in self._table.get(keys).items()}

    def _recorded(self, consents: Sequence[Consent]) -> dict[str, list[str]]:
        """Subject of a no -> the addresses of its record."""
        subjects = sorted({one.subject for one in consents if not one.granted})
        found = self._table.each(lambda subject: self._table.query(of_id(subject), "address#"), subjects)
        return {subject: [item["address"] for item in items] for subject, items in zip(subjects, found, strict=True)}


def _want(wanted: Items, said: Consent, subject: str) -> None:
    key = said_key(subject, said.purpose, said.stamp)
    item = {name: getattr(said, name) for name in _COLUMNS} | {"subject": subject}
    if key not in wanted or _is_stronger(item, wanted[key]):
        wanted[key] = item


def _suppressing(suppressions: Sequence[Suppression]) -> Items:
    wanted: Items = {}
    for one in suppressions:
        key, item = suppression_key(one.address), asdict(one)
        if key not in wanted or _is_stronger(item, wanted[key]):
            wanted[key] = item
    return wanted


def _is_stronger(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    if "granted" in new:  # Where two events say the same at the same time, the record is that of the larger message id.
        return bool(_strength(new) > _strength(old))
    if "reason" in new:
        return bool(_age(new) < _age(old))
    return False  # An address of a record is there or not.


def _strength(said: Mapping[str, Any]) -> tuple[int, bool, str]:
    return said["occurred_at_ms"], not said["granted"], said["message_id"]


def _age(suppression: Mapping[str, Any]) -> tuple[int, str, str]:
    return suppression["occurred_at_ms"], suppression["message_id"], suppression["reason"]


def _transactions(new: Items, versions: Mapping[Key, Mapping[str, Any]]) -> Iterator[list[Action]]:
    """All that is new of one subject together, with the count of its version, as many subjects as have room.

    With nothing new the lease is looked at all the same.
    """
    transaction: list[Action] = []
    for pk in sorted({pk for pk, _ in new}):
        version = versions.get((pk, "version"), {}).get("version")
        writes = [put(key, item) for key, item in new.items() if key[0] == pk]
        for start in range(0, len(writes), _MOST_WRITES):
            own = [update((pk, "version"), {}, {"version": version}, {"version": 1})]
            own += writes[start : start + _MOST_WRITES]
            version = (version or 0) + 1
            if len(transaction) + len(own) >= MOST_ACTIONS or start:
                yield transaction
                transaction = []
            transaction += own
    yield transaction


def _chunks(said: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (said[start : start + _CHUNK] for start in range(0, len(said), _CHUNK))
