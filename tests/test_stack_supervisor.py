from pathlib import Path

import pytest
from support.ports import free_ports

from wakeline.settings import Settings
from wakeline.stack.supervisor import stream_fault


def test_a_stream_that_can_be_read_has_no_fault(tmp_path: Path) -> None:
    assert stream_fault(Settings(data_dir=tmp_path)) == ""


def test_the_fault_of_a_stream_is_the_sentence_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("WAKELINE_STREAM__KIND", "kafka")
    monkeypatch.setenv("WAKELINE_STREAM__KAFKA__BROKERS", brokers)
    monkeypatch.setenv("WAKELINE_STREAM__KAFKA__APPEND_SECONDS", "1")
    fault = stream_fault(Settings(data_dir=tmp_path))
    assert fault.startswith(f"Kafka at {brokers} cannot be reached; start it, or correct stream.kafka.brokers")
