"""`minispine simulate`: a Spine to run against."""

from pathlib import Path

from minispine.cli.errors import EnvironmentFailed, Mistaken


def simulate(
    *,
    certificate: Path,
    key: Path,
    client_ca: Path,
    host: str = "127.0.0.1",
    port: int = 8444,
    control_port: int = 8445,
    asid: str = "928942012545",
    sender: tuple[str, ...] = (),
    size: int = 2000,
    seed: int = 1,
    patients: tuple[Path, ...] = (),
    practices_out: Path | None = None,
) -> None:
    """Run a simulated Spine with a population of its own, until it is told to stop.

    It answers Simple Trace, Cross Check Trace and Retrieval queries over mutual TLS at /sync-service. Its control
    address, plain HTTP on this machine only, shows the calls it saw (/control/calls), people to try
    (/control/patients) and takes faults to make (/control/faults). One JSON line on standard output says that it is
    ready and at which addresses.

    Args:
        certificate: The server's certificate, PEM, with any intermediate ones.
        key: The key of that certificate, PEM.
        client_ca: The authorities whose clients may connect, PEM.
        host: The address to listen on for queries.
        port: The port for queries; 0 takes a free one.
        control_port: The port of the control address; 0 takes a free one.
        asid: The ASID of this Spine, which queries must be addressed to.
        sender: An ASID that may send queries; may be given several times. Without it any of twelve digits may.
        size: How many records the synthetic population holds.
        seed: Which population: the same seed and size make the same people.
        patients: A CSV file with the columns of the OpenTest patients, whose people are added; may be given several
            times. Rows that cannot be loaded are reported on standard error.
        practices_out: Where to write the practices of these people as CSV, the provider's organisations file.
    """
    from minispine.simulator.server import AddressTaken, SimulatorOptions, SimulatorUnusable, run

    options = SimulatorOptions(
        certificate=certificate,
        key=key,
        client_ca=client_ca,
        host=host,
        port=port,
        control_port=control_port,
        asid=asid,
        senders=frozenset(sender) or None,
        size=size,
        seed=seed,
        patients=patients,
        practices_out=practices_out,
    )
    try:
        run(options)
    except AddressTaken as problem:
        raise EnvironmentFailed(str(problem)) from None
    except SimulatorUnusable as problem:
        raise Mistaken(str(problem)) from None
