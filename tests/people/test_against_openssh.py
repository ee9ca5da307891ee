"""Both ways with the real OpenSSH: what we sign it verifies, what it signs we verify."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from backout.adapters.people import sshsig
from backout.adapters.people.keys import allowed_signers_line, make_key, read_private_key
from backout.adapters.people.public_keys import PublicKey, parse_line
from backout.adapters.people.ssh_keys import SshPeople, ssh_keygen_line
from backout.errors import Refused
from backout.model.people import Role
from tests.people.signing_keys import (
    KINDS,
    MESSAGE,
    needs_openssh,
    private_key,
    public_line,
    tokens,
    write_private,
)

pytestmark = needs_openssh

KEYGEN_KINDS = {
    "ed25519": ["-t", "ed25519"],
    "nistp256": ["-t", "ecdsa", "-b", "256"],
    "nistp384": ["-t", "ecdsa", "-b", "384"],
    "nistp521": ["-t", "ecdsa", "-b", "521"],
    "rsa": ["-t", "rsa", "-b", "2048"],
}


def keygen(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *arguments], input=stdin, capture_output=True, timeout=20)


def accepted_by_openssh(folder: Path, key: PublicKey, text: str, namespace: str = "backout") -> bool:
    signers, signature = folder / "signers", folder / "signature"
    signers.write_text(allowed_signers_line("jonas", key.line) + "\n")
    signature.write_text(text)
    arguments = ["-Y", "verify", "-f", str(signers), "-I", "jonas", "-n", namespace, "-s", str(signature)]
    return keygen(*arguments, stdin=MESSAGE).returncode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_openssh_accepts_what_we_sign(kind: str, tmp_path: Path) -> None:
    key = private_key(kind)
    public = sshsig.public_key_of(key)
    assert accepted_by_openssh(tmp_path, public, sshsig.sign(key, MESSAGE, "backout"))
    assert not accepted_by_openssh(tmp_path, public, sshsig.sign(key, MESSAGE + b".", "backout"))
    assert not accepted_by_openssh(tmp_path, public, sshsig.sign(key, MESSAGE, "git"), "git")


@pytest.mark.parametrize("kind", KINDS)
def test_we_accept_what_openssh_signs(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert keygen("-q", *KEYGEN_KINDS[kind], "-N", "", "-C", "jonas", "-f", str(file)).returncode == 0
    signed = keygen("-Y", "sign", "-n", "backout", "-f", str(file), stdin=MESSAGE)
    key = sshsig.verify(signed.stdout.decode(), MESSAGE, "backout")
    listed = keygen("-l", "-f", f"{file}.pub").stdout.decode()
    assert key.fingerprint in listed
    assert sshsig.public_key_of(read_private_key(file)) == key
    with pytest.raises(Refused):
        sshsig.verify(signed.stdout.decode(), MESSAGE + b".", "backout")


def test_we_accept_the_other_hash_that_openssh_can_be_told_to_use(tmp_path: Path) -> None:
    file = write_private(private_key("rsa"), tmp_path / "key")
    arguments = ["-Y", "sign", "-O", "hashalg=sha256", "-n", "backout", "-f", str(file)]
    signed = keygen(*arguments, stdin=MESSAGE)
    assert sshsig.verify(signed.stdout.decode(), MESSAGE, "backout").kind == "ssh-rsa"


@pytest.mark.parametrize("which", [0, 1], ids=["sk-ed25519", "sk-ecdsa"])
def test_both_accept_the_same_hardware_signature(which: int, tmp_path: Path) -> None:
    token = tokens()[which]
    text = token.sign(MESSAGE)
    assert accepted_by_openssh(tmp_path, token.public, text)
    assert sshsig.verify(text, MESSAGE, "backout") == token.public


def test_the_printed_line_signs_for_somebody_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "a folder; with $(signs)"
    folder.mkdir()
    message = folder / "-to approve.txt"
    message.write_bytes(MESSAGE)
    public = make_key(folder / "key 1", "priya")
    line = ssh_keygen_line(message, str(folder / "key 1"))
    subprocess.run(line, shell=True, check=True, capture_output=True, timeout=20)
    text = message.with_name(message.name + ".sig").read_text()
    signers = tmp_path / "signers"
    signers.write_text(allowed_signers_line("priya", public) + "\n")
    people = SshPeople(signers, {"priya": (Role.OWNER,)})
    assert people.verify("priya", MESSAGE, text) in keygen("-lf", str(folder / "key 1")).stdout.decode()


def test_the_printed_line_leaves_the_home_directory_to_the_shell() -> None:
    assert ssh_keygen_line(Path("m.txt")) == "ssh-keygen -Y sign -n backout -f ~/.ssh/id_ed25519 m.txt"
    assert shlex.split(ssh_keygen_line(Path("-O x"), "~/my key"))[-2:] == ["~/my key", "./-O x"]


@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
def test_key_files_in_every_form_that_openssh_writes_can_be_read(form: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert keygen("-q", *KEYGEN_KINDS["rsa"], "-m", form, "-N", "", "-f", str(file)).returncode == 0
    public = Path(f"{file}.pub").read_text().split()
    assert sshsig.public_key_of(read_private_key(file)) == parse_line(public[0], public[1])


def test_an_encrypted_pem_key_opens_with_its_passphrase(tmp_path: Path) -> None:
    file = tmp_path / "key"
    made = keygen("-q", *KEYGEN_KINDS["nistp256"], "-m", "PKCS8", "-N", "correct horse", "-f", str(file))
    assert made.returncode == 0
    assert sshsig.public_key_of(read_private_key(file, lambda _path: "correct horse"))
    with pytest.raises(Refused, match="does not open"):
        read_private_key(file, lambda _path: "battery staple")


def test_an_encrypted_openssh_key_opens_with_its_passphrase(tmp_path: Path) -> None:
    pytest.importorskip("bcrypt", reason="THE PACKAGE bcrypt IS NOT INSTALLED: encrypted keys not tested")
    file = tmp_path / "key"
    assert keygen("-q", *KEYGEN_KINDS["ed25519"], "-N", "correct horse", "-f", str(file)).returncode == 0
    asked: list[Path] = []

    def ask(path: Path) -> str:
        asked.append(path)
        return "correct horse"

    public = Path(f"{file}.pub").read_text()
    assert public.startswith(public_line(read_private_key(file, ask)))
    assert asked == [file]
    with pytest.raises(Refused, match="does not open"):
        read_private_key(file, lambda _path: "battery staple")


def test_an_encrypted_key_that_cannot_be_opened_is_refused_with_the_way_through_the_agent(
    tmp_path: Path,
) -> None:
    file = tmp_path / "key"
    assert keygen("-q", *KEYGEN_KINDS["ed25519"], "-N", "correct horse", "-f", str(file)).returncode == 0
    for ask in (None, lambda _path: None, lambda _path: "", lambda _path: "battery staple"):
        with pytest.raises(Refused) as caught:
            read_private_key(file, ask)
        assert caught.value.next == f"ssh-add {file}"
        assert "battery" not in caught.value.what


def test_an_old_dsa_key_is_refused_without_a_warning_on_the_screen(tmp_path: Path) -> None:
    file = tmp_path / "key"
    if keygen("-q", "-t", "dsa", "-N", "", "-f", str(file)).returncode != 0:
        pytest.skip("this OpenSSH makes no DSA keys any more")
    with pytest.raises(Refused, match="keys of its kind cannot approve"):
        read_private_key(file)


def test_openssh_reads_our_file_of_enrolled_people(tmp_path: Path) -> None:
    signers = tmp_path / "signers"
    public = make_key(tmp_path / "key", "jonas@laptop")
    signers.write_text(allowed_signers_line("jonas", public) + "\n")
    text = sshsig.sign(read_private_key(tmp_path / "key"), MESSAGE, "backout")
    (tmp_path / "sig").write_text(text)
    found = keygen("-Y", "find-principals", "-f", str(signers), "-s", str(tmp_path / "sig"))
    assert found.stdout == b"jonas\n"


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ('namespaces="git,backout"', True),
        ('namespaces="git"', False),
        ('namespaces="back*"', True),
        ('namespaces="*,!backout"', False),
        ('valid-after="20200101Z"', True),
        ('valid-before="20200101Z"', False),
        ('valid-after="20200101",valid-before="202106010930"', False),
        ('NameSpaces="backout",valid-after="20200101093000Z"', True),
    ],
)
def test_options_mean_to_us_what_they_mean_to_openssh(options: str, counts: bool, tmp_path: Path) -> None:
    key = private_key("ed25519")
    signers, signature = tmp_path / "signers", tmp_path / "signature"
    signers.write_text(f"jonas {options} {public_line(key)}\n")
    signature.write_text(text := sshsig.sign(key, MESSAGE, "backout"))
    arguments = ["-Y", "verify", "-f", str(signers), "-I", "jonas", "-n", "backout", "-s", str(signature)]
    assert (keygen(*arguments, stdin=MESSAGE).returncode == 0) is counts
    people = SshPeople(signers, {})
    if counts:
        people.verify("jonas", MESSAGE, text)
    else:
        with pytest.raises(Refused):
            people.verify("jonas", MESSAGE, text)
