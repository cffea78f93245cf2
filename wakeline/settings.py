"""One settings object: `wakeline.toml`, overridden by `WAKELINE_<SECTION>__<KEY>` environment variables.

Every field's description is what `docs/settings.md` shows; unknown keys are errors.
"""

import hmac
import os
import re
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from wakeline.activation.campaigns import QuietHours
from wakeline.activation.esp.settings import OUTBOX, EspSettings
from wakeline.activation.links import host_of
from wakeline.alerts.settings import AlertSettings
from wakeline.collector.webhooks.settings import WebhookSettings
from wakeline.errors import ConfigError
from wakeline.metrics.settings import MetricsSettings
from wakeline.replay.settings import ReplaySettings
from wakeline.retention.settings import RetentionSettings
from wakeline.section import Section
from wakeline.sla.settings import SlaSettings

#: The source of `collector.write_key`.
DEFAULT_SOURCE = "default"
#: The source of what mail recipients do with a mail.
MAIL_SOURCE = "email"
#: The source of `wakeline heartbeat`; the macro `is_heartbeat` knows its name too.
HEARTBEAT_SOURCE = "heartbeat"
RESERVED_SOURCES = (DEFAULT_SOURCE, MAIL_SOURCE, HEARTBEAT_SOURCE)

# What must not be repeated on a screen or in a log.
_SECRET = re.compile(r"key|password|secret|token|url$|^alerts\.channels", re.IGNORECASE)

CONFIG_VARIABLE = "WAKELINE_CONFIG"
DEFAULT_CONFIG_NAME = "wakeline.toml"


_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_WriteKey = Annotated[str, StringConstraints(pattern=r"^[^\s:]{8,128}$")]


class CollectorSettings(Section):
    """The HTTP endpoint that events are sent to."""

    host: str = Field("127.0.0.1", description="Address the collector listens on.")
    port: int = Field(8200, description="Port the collector listens on.")
    write_key: str = Field("", description="Write key of the source `default`; empty means the generated one.")
    double_opt_in: list[_Name] = Field(
        default_factory=list,
        description="Purposes of which a yes of the source `default` counts only once it is confirmed by mail, e.g."
        ' ["marketing"].',
    )
    max_event_bytes: int = Field(
        262_144,
        description="A larger event is kept in quarantine. Segment's own limit is 32 kB; large orders exceed it.",
    )
    max_batch_bytes: int = Field(512_000, description="A larger request body is answered 413 (the Segment limit).")
    max_pending_bytes: int = Field(
        67_108_864,
        description="Bytes of bodies being read and of events waiting for the stream; beyond it requests are answered"
        " 429, and one that is larger by itself 413.",
    )
    max_connections: int = Field(
        10_000,
        ge=1,
        description="Open connections, idle ones too; one more is answered 503. Must be below the system's limit of"
        " open files.",
    )
    max_unread_events: int = Field(
        5_000_000, description="Events in the stream not yet processed; beyond it requests are answered 503."
    )
    allowed_origins: list[str] = Field(
        default_factory=list,
        description="Web origins whose pages may post events, e.g. https://shop.example.com.",
    )
    trusted_proxies: list[IPvAnyNetwork] = Field(
        default_factory=list,
        description="Networks of load balancers in front of the collector, whose X-Forwarded-For is believed.",
    )
    snowplow_heartbeat_seconds: float = Field(
        10.0,
        gt=0,
        description="Engaged time that a Snowplow page ping stands for: the trackers' heartbeatDelay.",
    )


class SourceSettings(Section):
    """A source of events besides `default`, one table each: `[sources.shop]`. Its name stands in every event."""

    write_keys: list[_WriteKey] = Field(
        min_length=1, description="Write keys it may use; two while one replaces the other."
    )
    retired_write_keys: list[_WriteKey] = Field(
        default_factory=list, description="Earlier write keys, refused with a sentence that says so."
    )
    enabled: bool = Field(True, description="false refuses everything it sends.")
    trusted: bool = Field(
        False,
        description="true only for servers, whose write key stands in no page: believe it when it says that an address"
        " agrees, bounced or complained.",
    )
    double_opt_in: list[_Name] = Field(
        default_factory=list,
        description="Purposes of which its yes counts only once it is confirmed by mail; a no counts at once.",
    )
    snowplow_app_ids: list[str] = Field(
        default_factory=list,
        description="App ids of its Snowplow trackers, which have no write key; a write key as app id needs no entry.",
    )


class KafkaSettings(Section):
    """Apache Kafka 3 or newer, and what speaks its protocol."""

    brokers: str = Field("127.0.0.1:9092", description="Addresses of some brokers, with commas between them.")
    topic: str = Field(
        "wakeline-events", description="Topic; made with `stream.partitions` partitions if it is missing."
    )
    replication_factor: int = Field(1, ge=1, description="Copies of a topic that is made; 3 in production.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="SASL_SSL in production; PLAINTEXT sends everything readable."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "AWS_MSK_IAM"] = Field(
        "SCRAM-SHA-512",
        description="How credentials are proven, with a SASL protocol; AWS_MSK_IAM takes those of the AWS environment.",
    )
    username: str = Field("", description="User of a SASL mechanism.")
    password: str = Field("", description="Password of the user.")
    region: str = Field("", description="AWS region of an MSK cluster, for AWS_MSK_IAM.")
    ca_file: Path | None = Field(
        None, description="Certificates that brokers are checked by; without it those of the system."
    )
    compression: Literal["none", "gzip", "lz4", "snappy", "zstd"] = Field("lz4", description="Compression of batches.")
    append_seconds: float = Field(
        10.0, gt=0, description="An append that the brokers have not confirmed for so long has failed."
    )


class KinesisSettings(Section):
    """Amazon Kinesis Data Streams. Credentials and region are those of the AWS environment, as boto3 finds them."""

    stream: str = Field(
        "wakeline-events", description="Name of the stream; made with `stream.partitions` shards if missing."
    )
    region: str = Field("", description="AWS region; empty takes that of the environment.")
    endpoint_url: str = Field("", description="Another address than AWS's own: a VPC endpoint or an emulator.")
    role_arn: str = Field("", description="IAM role to assume for the stream; empty takes the environment's identity.")
    append_seconds: float = Field(10.0, gt=0, description="An append that was throttled for so long has failed.")
    read_seconds: float = Field(
        0.25,
        ge=0.2,
        description="Pause between two reads of a shard; AWS allows five a second for all readers together.",
    )


class SpoolSettings(Section):
    """A file on the collector's disk that events wait in while Kafka or Kinesis takes none."""

    max_bytes: int = Field(
        1_073_741_824,
        ge=0,
        description="Most bytes of events that wait; beyond it requests are answered 503. 0 turns it off.",
    )


class StreamSettings(Section):
    """The event stream."""

    kind: Literal["embedded", "kafka", "kinesis"] = Field("embedded", description="Which event stream is used.")
    name: str = Field("events", description="Name of the stream; part of every offset's identity.")
    partitions: int = Field(
        4,
        ge=1,
        description="Partitions (shards) of a new stream; a device, or a person without one, always has the same.",
    )
    retention_hours: int = Field(
        72,
        ge=1,
        description="Processed events older than this leave the embedded stream; a broker has its own retention.",
    )
    kafka: KafkaSettings = KafkaSettings()
    kinesis: KinesisSettings = KinesisSettings()
    spool: SpoolSettings = SpoolSettings()


class WarehouseSettings(Section):
    """ClickHouse: the embedded server by default, any other host by configuration."""

    embedded: bool = Field(True, description="Run the embedded ClickHouse; false when `host` names a server of yours.")
    host: str = Field("127.0.0.1", description="ClickHouse host.")
    port: int = Field(8223, description="ClickHouse HTTP port.")
    native_port: int = Field(9223, description="Native protocol port of the embedded server.")
    secure: bool = Field(False, description="Use TLS towards the host.")
    user: str = Field("wakeline", description="ClickHouse user.")
    password: str = Field("", description="Password; empty means the generated one.")
    database: str = Field("wakeline", description="Database that holds all tables.")
    max_memory_bytes: int = Field(
        1_500_000_000,
        description="Memory limit of the embedded server; its resident size can peak at 1.8 times this.",
    )


class LedgerSettings(Section):
    """The database of leases, offsets, consents, suppressions and sends."""

    kind: Literal["sqlite", "postgres", "dynamodb"] = Field(
        "sqlite", description="sqlite is the file `ledger.sqlite` in `data_dir`; several machines need another."
    )
    url: str = Field(
        "",
        repr=False,
        description="Postgres: `postgresql://USER@HOST/DATABASE?sslmode=verify-full`; what it leaves out is taken from"
        " PGPASSWORD and the other variables of libpq.",
    )
    table: str = Field("wakeline-ledger", description="DynamoDB: name of the table; made if it is missing.")
    region: str = Field("", description="DynamoDB: AWS region; empty takes that of the environment.")
    endpoint_url: str = Field("", description="DynamoDB: another address than AWS's own, such as a VPC endpoint.")


class ArchiveSettings(Section):
    """Every received event as Parquet files, one for each hour, to restore the landing table from."""

    enabled: bool = Field(True, description="false writes nothing; what is there can still be restored.")
    url: str = Field(
        "",
        description="A folder, or `s3://BUCKET/PREFIX`; empty is the folder `archive` in `data_dir`, which grows for"
        " ever and is lost with that disk.",
    )
    region: str = Field("", description="AWS region of the bucket; empty takes that of the environment.")
    endpoint_url: str = Field("", description="Another address than AWS's own: other stores that speak S3.")
    hours_back: int = Field(
        72, ge=1, description="Hours looked at for rows that the archive lacks; events may come late by so much."
    )


class LaneSettings(Section):
    """The resident runs that process the stream."""

    count: int = Field(
        1,
        ge=1,
        description="Lanes that share the stream's partitions, each with a resident run of its own; at most as many"
        " as there are partitions.",
    )
    batch_rows: int = Field(5_000, ge=1, description="Most events in one micro-batch.")
    batch_seconds: float = Field(
        1.0, gt=0, description="Batches are sized to take about this long, so that no mail waits for a huge one."
    )
    batch_bytes: int = Field(16_000_000, ge=1, description="Most bytes in one micro-batch.")
    poll_seconds: float = Field(0.01, gt=0, description="Pause between looks at an empty stream.")
    wakeup_seconds: float = Field(0.25, gt=0, description="Pause between looks for due wake-ups while idle.")
    lease_seconds: float = Field(
        10.0, gt=0, description="A run that has not renewed its lease for this long is replaced."
    )
    run_minutes: float = Field(30.0, gt=0, description="A resident run hands over to a successor after this long.")
    report_seconds: float = Field(
        60.0, gt=0, description="Shortest pause between two reports of `landing` and of `sends` to Dagster."
    )
    states_report_seconds: float = Field(
        180.0,
        gt=0,
        description="The same of all other assets, which are many; keep it below the windows of their freshness.",
    )


class ActivationSettings(Section):
    """Sending."""

    esp: list[str] = Field(
        default_factory=lambda: [OUTBOX],
        min_length=1,
        description="Names of the tables `[esp.NAME]` that mails are handed to, the first first; `outbox` has no table"
        " and writes .eml files.",
    )
    sender: str = Field("Wakeline Demo Shop <shop@example.com>", description="From header of every mail.")
    public_url: str = Field(
        "http://127.0.0.1:8200",
        description="Address of the collector as mail recipients reach it (open pixel).",
    )
    link_days: float = Field(
        90.0,
        gt=0,
        description="Opens and clicks of older mails are not recorded; unsubscribing works for ever.",
    )
    confirm_days: float = Field(
        7.0,
        gt=0,
        description="The button of a mail that asks to confirm a consent works for so long.",
    )
    link_hosts: list[str] = Field(
        default_factory=list,
        description="Hosts of yours besides those of `collector.allowed_origins`, also that of your pictures: the click"
        " redirect leads to no other, and mails take addresses of no other from events.",
    )
    automated_click_seconds: float = Field(
        2.0, ge=0, description="A click sooner after its mail was made is labelled as a scanner's."
    )
    marketing_cap_sends: int = Field(3, ge=1, description="Most marketing mails to one person in the window below.")
    marketing_cap_hours: float = Field(168.0, gt=0, description="Rolling window of the marketing frequency cap.")
    quiet_hours: QuietHours | None = Field(
        None,
        description='Local hours in which nobody is sent marketing mail, e.g. `{from = "21:00", to = "08:00"}`; a'
        " campaign may have its own.",
    )
    time_zone: str = Field("UTC", description="IANA name of the time zone of people whose own is not known.")
    holdout_percent: float = Field(
        0.0, ge=0, lt=100, description="Share of the people that are sent no marketing mail at all, to compare with."
    )
    holdout_salt: str = Field(
        "wakeline", min_length=1, description="Another salt draws the people of the holdout above anew."
    )
    priority_window_hours: float = Field(
        24.0, ge=0, description="A marketing mail gives way to one of higher priority within this time; 0 for none."
    )
    stale_after_seconds: float = Field(
        60.0, gt=0, description="Marketing mail is held while events that are older than this have not been read."
    )
    deliverability_window_hours: float = Field(
        24.0, gt=0, description="Bounces and complaints are counted of a campaign's mails of this time."
    )
    max_bounce_percent: float = Field(
        2.0, gt=0, description="A campaign of whose mails a larger share bounces hard is paused."
    )
    max_complaint_percent: float = Field(
        0.1, gt=0, description="A campaign of whose mails a larger share is marked as spam is paused."
    )
    deliverability_min_sends: int = Field(
        100,
        ge=1,
        description="A campaign with fewer mails in the window is not paused: one bounce of three says little.",
    )
    send_threads: int = Field(
        4, ge=1, description="Most mails handed over at the same time, to all providers together."
    )
    breaker_failures: int = Field(
        5,
        ge=1,
        description="Mails in a row that a provider puts off or does not answer for; then it is left alone for a"
        " while, and the next of `esp` is asked.",
    )
    breaker_seconds: float = Field(
        30.0, gt=0, description="How long it is left alone; then one mail finds out whether it works again."
    )


class PageSettings(Section):
    """The local pages: outbox and demo shop."""

    host: str = Field("127.0.0.1", description="Address the pages listen on; they show personal data.")
    port: int = Field(8225, description="Port of the outbox page and the demo shop.")


class DagsterSettings(Section):
    """Dagster's own processes."""

    host: str = Field("127.0.0.1", description="Address of the Dagster web server.")
    port: int = Field(8230, description="Port of the Dagster web server.")
    code_port: int = Field(8231, description="Port of the code location server.")
    url: str = Field(
        "", description="Address of the web server as people reach it, for links; empty takes `host` and `port`."
    )
    batch_minutes: int = Field(15, ge=1, description="Batch models (recommendations) are rebuilt at most this often.")
    storage_url: str = Field(
        "",
        repr=False,
        description="Postgres for Dagster's runs, events and schedules: `postgresql://USER@HOST/DATABASE`, a database"
        " of its own; what it leaves out is taken from PGPASSWORD and the like. Empty: SQLite files in `data_dir`.",
    )


class Settings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        env_prefix="WAKELINE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
        hide_input_in_errors=True,  # Stack traces must not hold keys.
    )

    project_dir: Path = Field(Path(), description="Folder that holds dbt_project/ and campaigns/.")
    data_dir: Path = Field(Path(".wakeline"), description="Folder of all state: stream, warehouse, ledger, outbox.")
    collector: CollectorSettings = CollectorSettings()
    sources: dict[_Name, SourceSettings] = Field(
        default_factory=dict, description="Sources of events besides `default`."
    )
    webhooks: dict[_Name, WebhookSettings] = Field(
        default_factory=dict, description="Webhooks of mail providers and CRMs."
    )
    esp: dict[_Name, EspSettings] = Field(default_factory=dict, description="Accounts at email service providers.")
    stream: StreamSettings = StreamSettings()
    warehouse: WarehouseSettings = WarehouseSettings()
    ledger: LedgerSettings = LedgerSettings()
    archive: ArchiveSettings = ArchiveSettings()
    lane: LaneSettings = LaneSettings()
    activation: ActivationSettings = ActivationSettings()
    sla: SlaSettings = SlaSettings()
    metrics: MetricsSettings = MetricsSettings()
    replay: ReplaySettings = ReplaySettings()
    pages: PageSettings = PageSettings()
    dagster: DagsterSettings = DagsterSettings()
    alerts: AlertSettings = AlertSettings()
    retention: RetentionSettings = RetentionSettings()
    dbt_vars: dict[str, int | float | str | bool] = Field(
        default_factory=dict, description="Values for dbt vars, e.g. thresholds of triggers."
    )

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> Self:
        """The name of a source stands in its events, and says what is believed of them."""
        for name in self.sources:
            if name in self.webhooks or name in RESERVED_SOURCES:
                raise ValueError(f"sources.{name}: the name is taken by something else; choose another")
        for name in self.webhooks:
            if name in RESERVED_SOURCES:
                raise ValueError(f"webhooks.{name}: the name is taken by something else; choose another")
        return self

    @model_validator(mode="after")
    def _esp_names_are_known(self) -> Self:
        if OUTBOX in self.esp:
            raise ValueError(f"esp.{OUTBOX}: the name is that of the outbox, which has no table; choose another")
        names = self.activation.esp
        for name in names:
            if name != OUTBOX and name not in self.esp:
                raise ValueError(f"activation.esp names '{name}'; add a table [esp.{name}] or correct the name")
            if names.count(name) > 1:
                raise ValueError(f"activation.esp names '{name}' twice; remove one")
        return self

    @model_validator(mode="after")
    def _ledger_can_forget(self) -> Self:
        if self.retention.sends_days and self.ledger.kind == "dynamodb":
            raise ValueError("retention.sends_days is for a ledger on SQLite or Postgres; on DynamoDB set it to 0")
        return self

    @property
    def trusted_sources(self) -> frozenset[str]:
        """Sources that are believed in what they say of others: webhooks, our own mails, and trusted servers."""
        return frozenset({MAIL_SOURCE, *self.webhooks, *(name for name, one in self.sources.items() if one.trusted)})

    @property
    def double_opt_in(self) -> dict[str, list[str]]:
        """Source -> purposes of which its yes counts only once it is confirmed."""
        asked = {DEFAULT_SOURCE: self.collector.double_opt_in}
        asked |= {name: source.double_opt_in for name, source in self.sources.items()}
        return {name: purposes for name, purposes in asked.items() if purposes}

    @property
    def esp_kinds(self) -> list[str]:
        """The kinds of `activation.esp`, in its order."""
        return [OUTBOX if name == OUTBOX else self.esp[name].kind for name in self.activation.esp]

    @property
    def link_hosts(self) -> frozenset[str]:
        """Hosts that are ours: the click redirect leads to no other, since any visitor's event may name an address."""
        origins = [origin for origin in self.collector.allowed_origins if "://" in origin]
        named = [f"https://{host}" for host in self.activation.link_hosts]
        return frozenset(map(host_of, [*origins, *named]))

    @property
    def ledger_path(self) -> Path:
        return self.data_dir / "ledger.sqlite"

    @property
    def stream_path(self) -> Path:
        return self.data_dir / "stream.sqlite"

    @property
    def spool_path(self) -> Path:
        return self.data_dir / f"spool-{self.collector.port}.sqlite"

    @property
    def archive_url(self) -> str:
        """Where the archive is: `s3://...`, or a folder."""
        return self.archive.url or str(self.data_dir / "archive")

    @property
    def lane_metrics_dir(self) -> Path:
        return self.data_dir / "metrics"

    @property
    def outbox_dir(self) -> Path:
        return self.data_dir / "outbox"

    @property
    def campaigns_dir(self) -> Path:
        return self.project_dir / "campaigns"

    @property
    def dbt_dir(self) -> Path:
        return self.project_dir / "dbt_project"


class Secrets(BaseModel):
    """What must be secret and the same in every process; generated once into the data folder."""

    model_config = ConfigDict(frozen=True)

    warehouse_password: str
    write_key: str
    signing_key: str

    @property
    def heartbeat_key(self) -> str:
        """The write key of `wakeline heartbeat`: of the signing key, so that data folders from before have one too."""
        return hmac.new(self.signing_key.encode(), HEARTBEAT_SOURCE.encode(), "sha256").hexdigest()


def load_settings(config_path: Path | None = None) -> Settings:
    """Read the settings file (`WAKELINE_CONFIG`, else ./wakeline.toml if there is one) and the environment.

    Relative folders are taken from the settings file's folder. Raises ConfigError naming file and key.
    """
    return with_secrets(read_settings(config_path))


def read_settings(config_path: Path | None = None) -> Settings:
    """The same without the secrets of the data folder, which is not touched: it may not be there yet."""
    path = config_path or Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG_NAME))
    if not path.exists() and (config_path or CONFIG_VARIABLE in os.environ):
        raise ConfigError(f"The settings file {path} does not exist; create it or unset {CONFIG_VARIABLE}.")
    settings = _validated(path)
    base = path.resolve().parent
    return settings.model_copy(
        update={"project_dir": base / settings.project_dir, "data_dir": base / settings.data_dir}
    )


def _validated(path: Path) -> Settings:
    class FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)

    try:
        return FileSettings()
    except ValidationError as error:
        raise ConfigError(_sentence(path, error)) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def _sentence(path: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    written = _as_written(first["loc"])
    key = ".".join(written)
    variable = f"WAKELINE_{'__'.join(written)}".upper()
    where = f"environment variable {variable}" if variable in os.environ else str(path)
    if first["type"] == "extra_forbidden":
        return f"{where}: '{key}' is not a setting; remove it or see docs/settings.md for the names."
    if not key:  # What is wrong between several settings names them itself.
        return f"{where}: {first['ctx']['error']}."
    # What a missing setting got is the whole table, with the secrets in it.
    got = "" if _SECRET.search(key) or isinstance(first["input"], dict) else f" (got {first['input']!r})"
    return f"{where}: setting '{key}' is wrong: {first['msg']}{got}."


def _as_written(location: tuple[int | str, ...]) -> list[str]:
    """The parts of a key as its user writes them: pydantic names the `kind` of a table within it."""
    parts = [str(part) for part in location]
    return [*parts[:2], *parts[3:]] if parts[:1] in (["esp"], ["webhooks"]) else parts


def with_secrets(settings: Settings) -> Settings:
    """The settings with what they leave to the generated secrets of their data folder."""
    generated = load_secrets(settings.data_dir)
    updates: dict[str, Any] = {}
    if not settings.collector.write_key:
        updates["collector"] = settings.collector.model_copy(update={"write_key": generated.write_key})
    if not settings.warehouse.password:
        updates["warehouse"] = settings.warehouse.model_copy(update={"password": generated.warehouse_password})
    return settings.model_copy(update=updates)


def load_secrets(data_dir: Path) -> Secrets:
    """The generated secrets of a data folder, made at first use, readable by their owner only."""
    path = data_dir / "secrets.json"
    if not path.exists():
        _generate_secrets(path)
    return Secrets.model_validate_json(path.read_bytes())


def _generate_secrets(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {name: secrets.token_urlsafe(24) for name in Secrets.model_fields}
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_bytes(orjson.dumps(values))
    try:
        os.link(draft, path)  # Two processes starting at once must end with the same secrets.
    except FileExistsError:
        pass
    finally:
        draft.unlink()
