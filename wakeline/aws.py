"""Sessions of boto3: the credentials of the environment, or of a role that they may assume."""

from functools import partial

import boto3
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import NoCredentialsError
from botocore.session import Session, get_session


def open_session(region: str, role_arn: str) -> boto3.Session:
    """A session for clients of one region, with a role's credentials if one is named; nothing is called yet.

    Without a region it is that of the environment.
    """
    session = get_session()
    if role_arn:
        provider = _RoleProvider(session, region, role_arn)
        session.register_component("credential_provider", CredentialResolver([provider]))
    return boto3.Session(botocore_session=session, region_name=region or None)


class _RoleProvider(CredentialProvider):
    """Credentials of an assumed role, renewed before they expire."""

    METHOD = "assume-role"

    def __init__(self, session: Session, region: str, role_arn: str) -> None:
        super().__init__(session)
        self._region = region
        self._role_arn = role_arn
        self._own = session.get_component("credential_provider")

    def load(self) -> DeferredRefreshableCredentials:
        """Asks nobody yet. Raises NoCredentialsError when there are none that could assume the role."""
        own = self._own.load_credentials()
        if own is None:
            raise NoCredentialsError
        fetcher = AssumeRoleCredentialFetcher(
            partial(self.session.create_client, region_name=self._region or None),
            own,
            self._role_arn,
            extra_args={"RoleSessionName": "wakeline"},
        )
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)
