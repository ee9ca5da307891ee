"""Who may sign what: enrolled keys, other people's keys, and a file that changes in an incident."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from backout.adapters.people import sshsig
from backout.adapters.people.keys import allowed_signers_line, make_key, read_private_key
from backout.adapters.people.ssh_keys import SshPeople
from backout.errors import ConfigurationError, Refused
from backout.model.people import Person, Role
from backout.ports.people import People
from tests.people.signing_keys import MESSAGE, private_key, public_line, write_private, write_signers

ROLES = {"jonas": (Role.SRE,), "priya": (Role.OWNER,)}
JONAS, PRIYA = private_key("ed25519", "jonas"), private_key("nistp256", "priya")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_signers(tmp_path / "people", jonas=JONAS, priya=PRIYA)


@pytest.fixture
def people(file: Path) -> People:
    return SshPeople(file, ROLES)


def test_each_person_signs_with_their_own_key_file(people: People, tmp_path: Path) -> None:
    for name, key in (("jonas", JONAS), ("priya", PRIYA)):
        text = people.sign_with_key(name, MESSAGE, write_private(key, tmp_path / name))
        assert people.verify(name, MESSAGE, text) == sshsig.public_key_of(key).fingerprint


def test_everybody_is_listed_with_roles_and_keys(file: Path) -> None:
    with file.open("a") as more:
        more.write(f"ana {public_line(private_key('rsa'))}\n")
        more.write(f"jonas {public_line(private_key('nistp384'))}\n")
        more.write(f'jonas valid-before="20200101Z" {public_line(private_key("nistp521"))}\n')
    people = SshPeople(file, {**ROLES, "leo": (Role.SRE, Role.OWNER)})

    def prints(*keys: str) -> tuple[str, ...]:
        return tuple(sshsig.public_key_of(private_key(key)).fingerprint for key in keys)

    assert people.enrolled() == (
        Person("ana", (), prints("rsa")),
        Person("jonas", (Role.SRE,), (sshsig.public_key_of(JONAS).fingerprint, *prints("nistp384"))),
        Person("leo", (Role.SRE, Role.OWNER), ()),
        Person("priya", (Role.OWNER,), (sshsig.public_key_of(PRIYA).fingerprint,)),
    )


def test_one_person_cannot_approve_as_the_other(people: People, tmp_path: Path) -> None:
    """Whoever holds the machine and one key still does not hold the second key."""
    text = sshsig.sign(JONAS, MESSAGE, "backout")
    with pytest.raises(Refused, match="is the key of jonas, not of priya"):
        people.verify("priya", MESSAGE, text)
    with pytest.raises(Refused, match="is the key of jonas, not of priya"):
        people.sign_with_key("priya", MESSAGE, write_private(JONAS, tmp_path / "key"))


def test_a_key_that_nobody_enrolled_approves_nothing(people: People, tmp_path: Path) -> None:
    stranger = ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(Refused, match="is not enrolled"):
        people.verify("jonas", MESSAGE, sshsig.sign(stranger, MESSAGE, "backout"))
    with pytest.raises(Refused, match="is not enrolled"):
        people.sign_with_key("jonas", MESSAGE, write_private(stranger, tmp_path / "key"))


def test_an_unknown_name_is_refused_with_the_names_that_are_known(people: People, tmp_path: Path) -> None:
    for ask in (
        lambda: people.verify("jonás\x1b", MESSAGE, "anything"),
        lambda: people.sign_with_agent("jonás\x1b", MESSAGE),
        lambda: people.sign_with_key("jonás\x1b", MESSAGE, tmp_path / "none"),
    ):
        with pytest.raises(Refused) as caught:
            ask()
        assert caught.value.what == r"nobody is enrolled as 'jon\xe1s\x1b'; enrolled: jonas, priya"


def test_who_is_taken_out_of_the_file_cannot_approve_from_then_on(file: Path, people: People) -> None:
    text = sshsig.sign(PRIYA, MESSAGE, "backout")
    people.verify("priya", MESSAGE, text)
    before = people.digest()
    write_signers(file, jonas=JONAS)
    with pytest.raises(Refused, match="nobody is enrolled as 'priya'"):
        people.verify("priya", MESSAGE, text)
    assert people.digest() != before


def test_the_digest_follows_every_byte_of_the_file_and_every_role(file: Path) -> None:
    digest = SshPeople(file, ROLES).digest()
    assert len(digest) == 64
    assert SshPeople(file, dict(reversed(ROLES.items()))).digest() == digest
    others = [
        SshPeople(file, {**ROLES, "leo": (Role.SRE,)}).digest(),
        SshPeople(file, {**ROLES, "leo": ()}).digest(),
        SshPeople(file, {"jonas": (Role.OWNER,), "priya": (Role.SRE,)}).digest(),
        SshPeople(file, {"jonas": (Role.SRE, Role.OWNER), "priya": (Role.OWNER,)}).digest(),
    ]
    file.write_bytes(file.read_bytes() + b"\n")
    assert len({digest, *others, SshPeople(file, ROLES).digest()}) == 6


def test_two_roles_of_one_person_have_one_order_in_the_digest(file: Path) -> None:
    both = SshPeople(file, {"jonas": (Role.SRE, Role.OWNER)}).digest()
    assert SshPeople(file, {"jonas": (Role.OWNER, Role.SRE)}).digest() == both


def test_an_expired_key_says_so(file: Path) -> None:
    file.write_text(f'jonas valid-before="20240601Z" {public_line(JONAS)}\n')
    text = sshsig.sign(JONAS, MESSAGE, "backout")
    early = SshPeople(file, ROLES, clock=lambda: datetime(2024, 5, 1, tzinfo=UTC))
    late = SshPeople(file, ROLES, clock=lambda: datetime(2024, 7, 1, tzinfo=UTC))
    assert early.verify("jonas", MESSAGE, text)
    with pytest.raises(Refused, match=r"line 1 allowed its key until 2024-06-01 00:00 UTC"):
        late.verify("jonas", MESSAGE, text)


def test_a_renewed_key_counts_by_its_newer_line(file: Path) -> None:
    older, newer = 'jonas valid-before="20200101Z"', 'jonas valid-after="20200101Z"'
    file.write_text(f"{older} {public_line(JONAS)}\n{newer} {public_line(JONAS)}\n")
    assert SshPeople(file, ROLES).verify("jonas", MESSAGE, sshsig.sign(JONAS, MESSAGE, "backout"))


def test_a_key_enrolled_for_git_alone_does_not_approve(file: Path) -> None:
    file.write_text(f'jonas namespaces="git" {public_line(JONAS)}\n')
    with pytest.raises(Refused, match="line 1 allows its key for git only"):
        SshPeople(file, ROLES).verify("jonas", MESSAGE, sshsig.sign(JONAS, MESSAGE, "backout"))


def test_one_key_under_two_names_is_no_second_person(file: Path) -> None:
    text = sshsig.sign(JONAS, MESSAGE, "backout")
    for content in (
        f"jonas {public_line(JONAS)}\npriya {public_line(JONAS)}\n",
        f"jonas,priya {public_line(JONAS)}\n",
    ):
        file.write_text(content)
        people = SshPeople(file, ROLES)
        for ask in (people.enrolled, lambda p=people: p.verify("priya", MESSAGE, text)):
            with pytest.raises(ConfigurationError, match="enrolled as jonas and as priya"):
                ask()


def test_several_spellings_on_one_line_are_one_person(file: Path) -> None:
    file.write_text(f"jonas@example.org,jonas {public_line(JONAS)}\n")
    people = SshPeople(file, {"jonas": (Role.SRE,)})
    text = sshsig.sign(JONAS, MESSAGE, "backout")
    assert [person.name for person in people.enrolled()] == ["jonas"]
    assert people.verify("jonas", MESSAGE, text)
    with pytest.raises(Refused, match=r"nobody is enrolled as 'jonas@example\.org'"):
        people.verify("jonas@example.org", MESSAGE, text)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o602])
def test_a_key_file_that_others_may_touch_is_refused_with_the_command(
    mode: int, people: People, tmp_path: Path
) -> None:
    key = write_private(JONAS, tmp_path / "my key")
    key.chmod(mode)
    with pytest.raises(Refused) as caught:
        people.sign_with_key("jonas", MESSAGE, key)
    assert f"mode {mode:04o}" in caught.value.what
    assert caught.value.next == f"chmod 600 '{key}'"
    assert caught.value.intact == "nothing was signed"


def test_files_that_hold_no_usable_key_are_refused_without_a_traceback(tmp_path: Path) -> None:
    good = write_private(JONAS, tmp_path / "good").read_bytes()
    contents = {
        "empty": b"",
        "text": b"hello",
        "cut": good[: len(good) // 2],
        "bent": good.replace(b"AAAA", b"AAAB", 1),
        "short": write_private(rsa.generate_private_key(65537, 1024), tmp_path / "short").read_bytes(),
        "large": b"-----BEGIN OPENSSH PRIVATE KEY-----" * 10_000,
    }
    for name, content in contents.items():
        file = tmp_path / name
        file.write_bytes(content)
        file.chmod(0o600)
        with pytest.raises(Refused):
            sshsig.public_key_of(read_private_key(file))


@pytest.mark.parametrize(
    "key",
    [
        ed448.Ed448PrivateKey.generate(),
        dsa.generate_private_key(1024),
        ec.generate_private_key(ec.SECP256K1()),
    ],
    ids=["ed448", "dsa", "secp256k1"],
)
def test_keys_of_other_kinds_are_refused(key: PrivateKeyTypes, people: People, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)
    with pytest.raises(Refused) as caught:
        people.sign_with_key("jonas", MESSAGE, file)
    assert "this key" in caught.value.what
    assert caught.value.next.endswith("ssh-keygen -t ed25519")


def test_the_public_half_and_a_missing_file_are_named_as_what_they_are(tmp_path: Path) -> None:
    make_key(tmp_path / "key", "jonas")
    with pytest.raises(Refused) as caught:
        read_private_key(tmp_path / "key.pub")
    assert caught.value.next == "name the file without .pub"
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_private_key(path)


def test_a_made_key_is_closed_to_others_and_enrols_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "demo key"
    public = make_key(path, "jonas (demo)")
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "demo key.pub").read_text() == public + "\n"
    assert public.startswith("ssh-ed25519 ") and public.endswith(" jonas (demo)")
    signers = tmp_path / "people"
    signers.write_text(allowed_signers_line("jonas", public) + "\n")
    people = SshPeople(signers, ROLES)
    assert people.verify("jonas", MESSAGE, people.sign_with_key("jonas", MESSAGE, path))


def test_making_a_key_never_writes_over_one(tmp_path: Path) -> None:
    for there, other in (("key", "key.pub"), ("key.pub", "key")):
        folder = tmp_path / there
        folder.mkdir()
        (folder / there).write_text("mine")
        with pytest.raises(ConfigurationError, match="file exists"):
            make_key(folder / "key", "x")
        assert (folder / there).read_text() == "mine"
        assert not (folder / other).exists()


def test_nothing_that_is_raised_or_shown_carries_the_private_key(people: People, tmp_path: Path) -> None:
    key = write_private(PRIYA, tmp_path / "key")
    secret = key.read_text().splitlines()[3]
    with pytest.raises(Refused) as caught:
        people.sign_with_key("jonas", MESSAGE, key)
    error = caught.value
    assert secret not in " ".join((repr(people), repr(error), error.what, error.where, error.next))
