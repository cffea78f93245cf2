"""Runs a command with a broker beside it, which ends with the command: `run.py kafka wakeline demo --once`.

For `make demo STREAM=kafka` and `STREAM=kinesis`. The broker and the deployment begin empty, in `.wakeline/STREAM`.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from _pytest.outcomes import OutcomeException

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.streams import KINDS, open_broker  # noqa: E402 - the folder of the tests is not installed


def main(kind: str, *command: str) -> int:
    """The exit code of the command."""
    folder = ROOT / ".wakeline" / kind
    shutil.rmtree(folder, ignore_errors=True)
    with open_broker(kind, folder / "broker") as broker:
        environment = {**os.environ, **broker.environment, "WAKELINE_DATA_DIR": str(folder / "data")}
        process = subprocess.Popen(command, env=environment)
        # Ctrl-C reaches the command by itself; the broker must outlive it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        return process.wait()


def fail(sentence: str) -> NoReturn:
    sys.stderr.write(f"{sentence}\n")
    sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in KINDS:
        fail(f"Usage: run.py {'|'.join(KINDS)} COMMAND...")
    try:
        sys.exit(main(*sys.argv[1:]))
    except OutcomeException as missing:  # How the tests' brokers say that they are not installed.
        fail(str(missing))
