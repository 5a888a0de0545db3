"""The settings of a provider: their names, meaning, units and defaults.

Relative paths are relative to the folder of the file that holds them. What changes while running (clients, tables) is
in the database, not here (Law 11).
"""

from pathlib import Path
from typing import Literal

import msgspec


class Machines(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[machines]: the listener for client systems, always mutual TLS."""

    host: str = "127.0.0.1"
    port: int = 8443
    certificate: Path
    """PEM: our server certificate, then its intermediate authorities."""
    key: Path
    """PEM private key; readable by the owner only."""
    key_password_file: Path | None = None
    client_ca: Path
    """PEM: the authorities that may have issued a client's certificate."""
    crl: tuple[Path, ...] = ()
    """PEM or DER revocation lists of those authorities. A listed certificate is refused, also on an open connection."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of reverse proxies whose certificate header is believed."""
    proxy_header: str = "x-ssl-client-cert"
    """The header in which they send the client's certificate (URL-encoded PEM)."""
    public_url: str | None = None
    """The address that the WSDL names, for example https://smsp.example.nhs.uk; from the request's Host when unset."""
    max_body_bytes: int = 1024 * 1024
    body_timeout_s: float = 10.0
    """A request must have arrived whole within this many seconds of its first byte."""
    idle_timeout_s: float = 75.0
    backlog: int = 512


class Management(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[management]: /live, /ready and /metrics, on loopback."""

    host: str = "127.0.0.1"
    port: int = 9443


class Storage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[storage]: where the audit log and the registry are kept."""

    url: str = "sqlite:data"
    """``sqlite:DIRECTORY`` (one worker; audit.db and registry.db there) or a PostgreSQL URL without password."""
    password_file: Path | None = None
    volume: Path | None = None
    """Of PostgreSQL on this machine, a path on the disk of its data, to watch how much is free; SQLite's is known."""
    warn_free: float = 0.20
    """Below this part of the disk free, /ready warns."""
    refuse_free: float = 0.05
    """Below this part of the disk free, requests get a retryable fault, while there is room to record that."""


class DirectoryWitness(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="directory"
):
    """A directory on another disk or machine, best one that those who keep the log cannot write to by themselves."""

    name: str
    """What this witness is called in messages; letters, digits and hyphens. Another name begins another history."""
    directory: Path
    """Has to be there; each checkpoint becomes a file in it."""


class SyslogWitness(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="syslog"
):
    """A syslog server over TLS (RFC 5425), which is sent each checkpoint as one message."""

    name: str
    host: str
    port: int = 6514
    ca: Path
    """PEM: the only authorities trusted for this server."""
    certificate: Path | None = None
    """PEM: our own certificate, for a server that asks for one."""
    key: Path | None = None
    key_password_file: Path | None = None
    timeout_s: float = 10.0
    """How long each step may take: to connect, the handshake, to send."""


class HttpsWitness(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="https"
):
    """An HTTPS server that is sent each checkpoint with POST."""

    name: str
    url: str
    """The address to post to; of a witness, its submission prefix, to which "/add-checkpoint" is added."""
    protocol: Literal["tlog-witness", "post"] = "tlog-witness"
    """With `tlog-witness` the server is sent a proof, and signs (C2SP); with `post` it takes what it is sent."""
    vkey: str | None = None
    """The witness's public key, as C2SP signed-note writes one; needed with `tlog-witness`."""
    ca: Path
    """PEM: the only authorities trusted for this server."""
    certificate: Path | None = None
    """PEM: our own certificate, for a server that asks for one."""
    key: Path | None = None
    key_password_file: Path | None = None
    timeout_s: float = 10.0
    """How long each step may take: to connect, the handshake, to send, to wait for the answer."""


Witness = DirectoryWitness | SyslogWitness | HttpsWitness
"""[[audit.witnesses]]: who outside is shown every checkpoint, so that nobody can rewrite the log and not be seen."""


class Audit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[audit]: the keys of the audit log, and where its checkpoints go. `minispine audit init` makes what is needed."""

    keys: Path = Path("audit-keys")
    """The folder of the log's secret keys; keep a copy of it where the database is not."""
    origin: str | None = None
    """The name of the log in its checkpoints, without blanks and pluses; "minispine/" and `system_id` when unset."""
    keep_days: int | None = None
    """How old a payload has to be before `minispine audit archive` may move it to a file; never when unset."""
    checkpoint_interval_s: float = 60.0
    """How often a checkpoint is made while records are added; without any, each tenth time."""
    directory: Path | None = None
    """Where the log is published for others to check: its checkpoints, and the records without their payloads."""
    no_witness_reason: str | None = None
    """Why there is no witness, shown for as long as that is so; a production profile does not start without either."""
    witnesses: tuple[Witness, ...] = ()
    """Who outside is shown every checkpoint; without one, nobody can prove that the log was not rewritten."""


class SpinePds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[spine.pds]: the Personal Demographics Service over HL7v3 SOAP."""

    url: str
    """Spine's synchronous query endpoint, https."""
    to_asid: str
    """Spine's own ASID."""
    from_url: str = ""
    """What wsa:From and wsa:ReplyTo say; may be empty."""
    certificate: Path
    key: Path
    key_password_file: Path | None = None
    ca: Path
    """PEM: the only authorities trusted for this endpoint."""
    crl: tuple[Path, ...] = ()
    common_name_hosts: tuple[str, ...] = ()
    """Hosts whose certificate may name them by CN alone."""
    proxy: str | None = None
    """Proxies of the environment are ignored."""
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 8.0
    """How long nothing may come of an answer that is awaited, at its beginning and within it."""
    timeout_s: float = 10.0
    """How long one answer may take in all; less where the deadline of a request is nearer."""
    retries: int = 1
    """How often a question is asked again, with new ids, when the connection fails before an answer begins or Spine
    asks for it; of all questions only about a tenth are."""
    max_connections: int = 256
    """At most so many at once from one worker; not fewer than `exchange.max_in_flight`, so that none waits for one."""
    breaker_failures: int = 5
    """So many failures one after another open the breaker, or two with 15 seconds or more between the first and the
    last; then Spine counts as unavailable without being asked."""
    breaker_open_s: float = 5.0
    """How long it stays open before one question is let through to try; twice as long whenever that fails, up to 60."""


class Spine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[spine]: the national services."""

    pds: SpinePds


class Organisations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[organisations]: where names, addresses and telephones of GP practices come from."""

    file: Path | None = None
    """CSV with the columns ods_code, name, address_line_1 to address_line_5, postcode, telephone."""


class Clock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[clock]: where the time comes from and how far it must be right (SMSP-AUDIT-010); see docs/time.md."""

    policy: Literal["require", "observe"] = "require"
    """With `require` the provider is not ready while its clock is not known to be right; `observe` only says so."""
    source: Literal["ntp", "chrony", "timesyncd"] = "ntp"
    """Who tells the stratum: the servers below (`ntp`), or the daemon that sets this machine's clock."""
    servers: tuple[str, ...] = ()
    """Two time servers or more, better three, as HOST or HOST:PORT: the clock is measured against them."""
    max_stratum: int = 3
    """The highest stratum that a source of time may have."""
    max_offset_ms: int = 250
    """How far this machine's clock may be out."""
    interval_s: float = 64.0
    """How often each worker measures."""
    timeout_s: float = 1.0
    """How long a server or the daemon may take; a server that is silent is asked three times."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[exchange]: limits and tolerances of one request."""

    clock_skew_s: float = 300.0
    """How far a client's clock may be out (D11)."""
    require_security: bool = True
    """Whether wsse:Security with a timestamp and a user name must be there (D11)."""
    max_in_flight: int = 256
    """The most questions that one worker has with Spine at once; while Spine is slow it has fewer."""
    max_waiting: int = 256
    """Questions waiting in one worker for their turn; further ones get the busy tone. One worker has no more requests
    in hand than these two together."""
    partial_birth_dates: bool = True
    """Whether getNHSNumber takes YYYY and YYYYMM (D1). Over HL7v3 only full dates can be asked, else SMSP-0001."""
    not_verified_falls_back_to_search: bool = False
    """D23: leave off, so that a failed number is never followed by a search."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of minispine.toml."""

    system_id: str
    """The identifier of this installation in every audit record (SMSP-AUDIT-009)."""
    profile: Literal["production", "demonstration"] = "production"
    """With `demonstration` the audit log needs no witness; for trials, with nobody's real data."""
    machines: Machines
    management: Management = Management()
    storage: Storage = Storage()
    audit: Audit = Audit()
    spine: Spine
    organisations: Organisations = Organisations()
    clock: Clock = Clock()
    exchange: Exchange = Exchange()
    workers: int = 1
    drain_s: float = 20.0
    """How long SIGTERM waits for requests being served."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
