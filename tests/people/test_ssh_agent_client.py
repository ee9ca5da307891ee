"""Signing with the keys of a running ssh-agent: the real one, and ones that misbehave."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from backout.adapters.people import agent, sshsig
from backout.adapters.people.ssh_keys import SshPeople
from backout.adapters.people.wire import string
from backout.errors import NeighbourUnreachable, Refused
from tests.people.signing_keys import KINDS, MESSAGE, needs_openssh, private_key, write_private, write_signers

Answer = Callable[[bytes], bytes | None]
JONAS = sshsig.public_key_of(private_key("ed25519"))


@pytest.fixture
def running_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real ssh-agent of our own; ended by its process, when the test is over."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    try:
        deadline = time.monotonic() + 5
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield path
    finally:
        process.terminate()
        process.wait(timeout=5)


def ssh_add(*arguments: str) -> None:
    subprocess.run(["ssh-add", "-q", *arguments], check=True, capture_output=True, timeout=10)


@pytest.fixture
def played_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], None]]:
    """Starts an agent that answers each request with what a function makes of it (None: hangs up)."""
    path = tmp_path / "played"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    server = socket.socket(socket.AF_UNIX)
    server.settimeout(5)
    server.bind(str(path))
    server.listen(1)
    threads: list[threading.Thread] = []

    def serve(answer: Answer) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(ConnectionResetError):
            while head := connection.recv(4):
                raw = answer(connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
                if raw is None:
                    return
                connection.sendall(raw)

    def start(answer: Answer) -> None:
        threads.append(threading.Thread(target=serve, args=(answer,)))
        threads[-1].start()

    yield start
    server.close()
    for thread in threads:
        thread.join(timeout=5)
        assert not thread.is_alive()


def holding(*blobs: bytes) -> bytes:
    entries = b"".join(string(blob) + string(b"a comment") for blob in blobs)
    return string(bytes([12]) + len(blobs).to_bytes(4, "big") + entries)


@needs_openssh
@pytest.mark.parametrize("kind", KINDS)
def test_the_agent_signs_with_the_enrolled_key(kind: str, running_agent: Path, tmp_path: Path) -> None:
    ssh_add(str(write_private(private_key("ed25519", "somebody else"), tmp_path / "other")))
    ssh_add(str(write_private(private_key(kind), tmp_path / "key")))
    people = SshPeople(write_signers(tmp_path / "people", jonas=private_key(kind)), {})
    text = people.sign_with_agent("jonas", MESSAGE)
    assert text is not None
    assert people.verify("jonas", MESSAGE, text) == sshsig.public_key_of(private_key(kind)).fingerprint


@needs_openssh
def test_an_agent_without_the_key_of_this_person_signs_nothing(running_agent: Path, tmp_path: Path) -> None:
    people = SshPeople(
        write_signers(tmp_path / "people", jonas=private_key("ed25519"), priya=private_key("nistp256")), {}
    )
    assert people.sign_with_agent("jonas", MESSAGE) is None
    ssh_add(str(write_private(private_key("nistp256"), tmp_path / "key")))
    assert people.sign_with_agent("jonas", MESSAGE) is None
    assert people.sign_with_agent("priya", MESSAGE) is not None


@needs_openssh
def test_a_key_whose_use_nobody_confirms_is_refused(
    running_agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = str(write_private(private_key("ed25519"), tmp_path / "key"))
    ssh_add("-c", key)  # the agent has no screen to ask on, and so it declines
    people = SshPeople(write_signers(tmp_path / "people", jonas=private_key("ed25519")), {})
    with pytest.raises(Refused, match="and did not sign with it") as caught:
        people.sign_with_agent("jonas", MESSAGE)
    assert JONAS.fingerprint in caught.value.what
    assert caught.value.intact == "nothing was signed"


@pytest.mark.parametrize("place", ["", "nowhere", "x" * 300])
def test_without_an_agent_nothing_is_signed(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = SshPeople(write_signers(tmp_path / "people", jonas=private_key("ed25519")), {})
    if place:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / place))
    else:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert people.sign_with_agent("jonas", MESSAGE) is None


def test_a_socket_that_an_ended_agent_left_behind_is_no_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left"))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "left"))
    assert agent.sign([JONAS.blob], b"data") is None


def test_an_agent_that_does_not_answer_is_left_in_time(played_agent: Callable[[Answer], None]) -> None:
    played_agent(lambda _request: b"")
    began = time.monotonic()
    with pytest.raises(NeighbourUnreachable, match=r"did not answer within 0\.2 s") as caught:
        agent.sign([JONAS.blob], b"data", list_seconds=0.2)
    assert time.monotonic() - began < 1
    assert caught.value.where == os.environ["SSH_AUTH_SOCK"]


def test_an_agent_that_drips_is_left_in_time(played_agent: Callable[[Answer], None]) -> None:
    def drip(_request: bytes) -> bytes:
        time.sleep(0.15)
        return b"\0\0\1"

    played_agent(drip)
    with pytest.raises(NeighbourUnreachable, match="did not answer"):
        agent.sign([JONAS.blob], b"data", list_seconds=0.3)


@pytest.mark.parametrize(
    ("answer", "because"),
    [
        (None, "closed the connection"),
        (b"\xff\xff\xff\xff", "announced an answer of 4294967295 bytes"),
        (b"\0\0\0\0", "announced an answer of 0 bytes"),
        (string(b"\x0c\xff\xff\xff\xff"), "cannot be read"),
        (string(b"\x0c\0\0\0\1\0\0\0\x09abc"), "cannot be read"),
        (string(holding(JONAS.blob)[4:] + b"\0"), "cannot be read"),
    ],
    ids=["hangs up", "huge", "empty", "many keys", "half a key", "a tail"],
)
def test_an_agent_that_answers_nonsense_is_named(
    answer: bytes | None, because: str, played_agent: Callable[[Answer], None]
) -> None:
    played_agent(lambda _request: answer)
    with pytest.raises(NeighbourUnreachable) as caught:
        agent.sign([JONAS.blob], b"data", list_seconds=1)
    assert because in caught.value.what


@pytest.mark.parametrize(
    ("answer", "because"),
    [
        (string(b"\x0e"), "cannot be read"),
        (string(b"\x0e" + string(b"sig") + b"tail"), "cannot be read"),
        (string(b"\x06" + string(b"sig")), "answered a request to sign with message 6"),
    ],
    ids=["empty", "a tail", "another message"],
)
def test_an_agent_that_signs_nonsense_is_named(
    answer: bytes, because: str, played_agent: Callable[[Answer], None]
) -> None:
    played_agent(lambda request: holding(JONAS.blob) if request[0] == 11 else answer)
    with pytest.raises(NeighbourUnreachable) as caught:
        agent.sign([JONAS.blob], b"data", list_seconds=1, sign_seconds=1)
    assert because in caught.value.what


def test_the_next_enrolled_key_is_asked_when_the_first_declines(
    played_agent: Callable[[Answer], None],
) -> None:
    second = sshsig.public_key_of(private_key("nistp256"))

    def answer(request: bytes) -> bytes:
        if request[0] == 11:
            return holding(b"unknown kind", JONAS.blob, second.blob)
        return string(b"\x05") if JONAS.blob in request else string(b"\x0e" + string(b"signature"))

    played_agent(answer)
    assert agent.sign([JONAS.blob, second.blob], b"data") == agent.Signed(second.blob, b"signature")


def test_a_locked_agent_holds_nothing(played_agent: Callable[[Answer], None]) -> None:
    played_agent(lambda _request: string(b"\x05"))
    assert agent.sign([JONAS.blob], b"data") is None


def test_an_agent_that_knows_only_sha1_for_rsa_is_refused(
    played_agent: Callable[[Answer], None], tmp_path: Path
) -> None:
    key = private_key("rsa")
    assert isinstance(key, rsa.RSAPrivateKey)
    value = key.sign(sshsig.to_sign(MESSAGE, "backout"), padding.PKCS1v15(), hashes.SHA1())
    old = string(b"\x0e" + string(string(b"ssh-rsa") + string(value)))
    blob = sshsig.public_key_of(key).blob
    played_agent(lambda request: holding(blob) if request[0] == 11 else old)
    people = SshPeople(write_signers(tmp_path / "people", jonas=key), {})
    with pytest.raises(Refused, match="kind 'ssh-rsa'"):
        people.sign_with_agent("jonas", MESSAGE)
