"""Settings of the Prometheus endpoints."""

from pydantic import Field

from wakeline.section import Section


class MetricsSettings(Section):
    """Where Prometheus fetches metrics: not on the collector's own address, which the internet may reach."""

    host: str = Field("127.0.0.1", description="Address that metrics are served on, by both ports.")
    port: int = Field(8202, description="Port of `wakeline metrics`: lanes, sends, the stream and the ledger.")
    collector_port: int = Field(
        8201, description="Port of the collector's own metrics, one for each collector of a machine; 0 serves none."
    )
