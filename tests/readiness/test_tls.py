"""How the server is reached is said plainly: TLS or not, verified or not, wrong password."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from backout.model.check import CheckState
from backout.phases.readiness.decide import connection_check
from backout.phases.readiness.facts import Encryption
from backout.testing.servers import RealServer, available_majors, has_tls, start_server, stop_server
from tests.readiness.world import Place, place

HBA = "host all secured 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA) -> Iterator[RealServer]:
    able = [major for major in available_majors() if has_tls(major)]
    if not able:
        pytest.skip("no PostgreSQL with TLS on this machine: nothing was tried over TLS")
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    files = {
        "server.key": certificate.private_key_pem.bytes(),
        "server.crt": b"".join(blob.bytes() for blob in certificate.cert_chain_pems),
    }
    started = start_server(able[0], hba=HBA, settings={"ssl": "on"}, files=files)
    yield started
    stop_server(started)


@pytest.fixture
def here(
    server: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    with place(server, tmp_path, monkeypatch, capsys) as made:
        yield made


def test_a_verified_certificate_is_said(here: Place, authority: trustme.CA, tmp_path: Path):
    here.type("init")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    here.monkeypatch.setenv("DATABASE_URL", f"{here.url()}?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem")
    found = here.type("doctor", "--json").check("connection")
    assert found["detail"].startswith("TLS 1.3, certificate verified")


def test_an_unverified_one_is_said_too(here: Place):
    here.type("init")
    here.monkeypatch.setenv("DATABASE_URL", f"{here.url()}?sslmode=require")
    found = here.type("doctor", "--json").check("connection")
    assert "certificate not verified (sslmode=require)" in found["detail"]


def test_another_authority_is_a_matter_of_the_configuration(here: Place, tmp_path: Path):
    here.type("init")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    here.monkeypatch.setenv(
        "DATABASE_URL", f"{here.url()}?sslmode=verify-full&sslrootcert={tmp_path}/other.pem"
    )
    done = here.type("doctor", "--json")
    assert (done.exit_code, done.check("connection")["detail"]) == (
        2, "the server's certificate could not be verified",
    )  # fmt: skip


def test_a_wrong_password_is_one_error_without_the_password(here: Place):
    here.type("init")
    with here.admin() as session:
        session.execute("CREATE ROLE secured LOGIN PASSWORD 'right'")
    here.monkeypatch.setenv("DATABASE_URL", here.server.dsn(here.database, "secured", "wrong-one"))
    done = here.type("doctor")
    with here.admin() as session:
        session.execute("DROP ROLE secured")
    assert done.exit_code == 2
    assert done.err.startswith("error (exit 2): the server refused the password of secured")
    assert "people" in done.out
    assert "wrong-one" not in done.out + done.err


@pytest.mark.parametrize(
    ("seen", "state", "words"),
    [
        (Encryption("", "prefer", local=False), CheckState.WARN, "not encrypted"),
        (Encryption("", "disable", local=True), CheckState.PASS, "this machine"),
        (Encryption("TLSv1.3", "require", local=False), CheckState.WARN, "not verified"),
        (Encryption("TLSv1.2", "verify-ca", local=False), CheckState.PASS, "TLS 1.2, certificate verified"),
        (Encryption("GSSAPI", "prefer", local=False), CheckState.PASS, "GSSAPI"),
    ],
)
def test_far_from_here_clear_text_is_a_warning(seen: Encryption, state: CheckState, words: str):
    check = connection_check(seen, ("app",))
    assert (check.state, words in check.detail) == (state, True)
