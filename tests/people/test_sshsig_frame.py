"""The SSHSIG frame: what counts as a signature over the text that was shown, and what does not."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from backout.adapters.people import sshsig
from backout.adapters.people.wire import Reader, mpint, string
from backout.errors import Refused
from tests.people.signing_keys import KINDS, MESSAGE, Token, private_key, tokens

FIRST, LAST = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


def frame_of(armoured: str) -> bytes:
    return base64.b64decode("".join(armoured.splitlines()[1:-1]))


def armoured(frame: bytes) -> str:
    return f"{FIRST}\n{base64.b64encode(frame).decode()}\n{LAST}\n"


def frame(
    blob: bytes,
    signature: bytes,
    *,
    version: int = 1,
    namespace: bytes = b"backout",
    reserved: bytes = b"",
    hash_name: bytes = b"sha512",
) -> bytes:
    fields = (blob, namespace, reserved, hash_name, signature)
    return b"SSHSIG" + version.to_bytes(4, "big") + b"".join(map(string, fields))


def parts(text: str) -> tuple[bytes, bytes]:
    """Key and signature of a frame, in wire encoding."""
    reader = Reader(frame_of(text))
    reader.take(10)
    blob, _, _, _, signature = (reader.string() for _ in range(5))
    return blob, signature


def refused(text: str, because: str, message: bytes = MESSAGE) -> None:
    with pytest.raises(Refused) as caught:
        sshsig.verify(text, message, "backout")
    assert because in caught.value.what
    assert caught.value.intact == "nothing was approved"


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_is_recognised_by_the_key_that_made_it(kind: str) -> None:
    key = sshsig.verify(sshsig.sign(private_key(kind), MESSAGE, "backout"), MESSAGE, "backout")
    assert key == sshsig.public_key_of(private_key(kind))


@given(message=st.binary(max_size=300), namespace=st.text(min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_every_message_and_namespace_makes_the_round_trip(message: bytes, namespace: str) -> None:
    for kind in ("ed25519", "nistp256"):
        text = sshsig.sign(private_key(kind), message, namespace)
        assert sshsig.verify(text, message, namespace) == sshsig.public_key_of(private_key(kind))
        with pytest.raises(Refused):
            sshsig.verify(text, message + b"\n", namespace)


@pytest.mark.parametrize("kind", ["ed25519", "nistp521", "rsa"])
def test_one_changed_byte_anywhere_in_the_frame_is_refused(kind: str) -> None:
    good = frame_of(sshsig.sign(private_key(kind), MESSAGE, "backout"))
    for position in range(len(good)):
        for change in (0x01, 0x80):
            bad = bytearray(good)
            bad[position] ^= change
            refused(armoured(bytes(bad)), "signature")


@pytest.mark.parametrize("sk", [0, 1], ids=["sk-ed25519", "sk-ecdsa"])
def test_one_changed_byte_in_the_frame_of_a_hardware_key_is_refused(sk: int) -> None:
    good = frame_of(tokens()[sk].sign(MESSAGE))
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 0x02
        refused(armoured(bytes(bad)), "signature")


def test_one_changed_character_of_the_text_is_refused() -> None:
    good = sshsig.sign(private_key("ed25519"), MESSAGE, "backout").rstrip("\n")
    for position, character in enumerate(good):
        if character != "\n":
            other = "B" if character == "A" else "A"
            refused(good[:position] + other + good[position + 1 :], "signature")


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_cut_short_or_with_a_tail_is_refused(kind: str) -> None:
    good = frame_of(sshsig.sign(private_key(kind), MESSAGE, "backout"))
    for length in range(len(good)):
        refused(armoured(good[:length]), "signature")
    refused(armoured(good + b"\0"), "1 bytes follow")


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_after_the_signature_value_are_refused(kind: str) -> None:
    blob, signature = parts(sshsig.sign(private_key(kind), MESSAGE, "backout"))
    refused(armoured(frame(blob, signature + b"\0")), "follow")
    refused(armoured(frame(blob + b"\0", signature)), "follow")


def test_a_signature_made_for_git_approves_nothing() -> None:
    refused(sshsig.sign(private_key("ed25519"), MESSAGE, "git"), "namespace 'git'")


def test_a_namespace_with_control_characters_does_not_reach_the_terminal_raw() -> None:
    text = sshsig.sign(private_key("ed25519"), MESSAGE, "\x1b[2Jbackout\u202e")
    refused(text, r"'\x1b[2Jbackout\u202e'")


def test_another_text_than_the_one_shown_is_refused() -> None:
    text = sshsig.sign(private_key("ed25519"), MESSAGE, "backout")
    refused(text, "not one over this text", message=MESSAGE.replace(b"1,001", b"1,002"))


def test_another_version_a_reserved_field_and_other_hashes_are_refused() -> None:
    blob, signature = parts(sshsig.sign(private_key("ed25519"), MESSAGE, "backout"))
    refused(armoured(frame(blob, signature, version=2)), "version 1")
    refused(armoured(frame(blob, signature, reserved=b"x")), "reserved")
    for name in (b"sha1", b"md5", b"sha384", b"SHA512", b""):
        refused(armoured(frame(blob, signature, hash_name=name)), "hashes with something else")


def test_sha256_of_the_message_is_accepted() -> None:
    key = private_key("ed25519")
    assert not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    value = key.sign(sshsig.to_sign(MESSAGE, "backout", b"sha256"))
    public = sshsig.public_key_of(key)
    text = armoured(frame(public.blob, string(b"ssh-ed25519") + string(value), hash_name=b"sha256"))
    assert sshsig.verify(text, MESSAGE, "backout") == public


def rsa_signature(name: bytes, algorithm: hashes.HashAlgorithm) -> str:
    key = private_key("rsa")
    assert isinstance(key, rsa.RSAPrivateKey)
    value = key.sign(sshsig.to_sign(MESSAGE, "backout"), padding.PKCS1v15(), algorithm)
    return armoured(frame(sshsig.public_key_of(key).blob, string(name) + string(value)))


def test_rsa_signs_with_sha2_only() -> None:
    for name, algorithm in ((b"rsa-sha2-256", hashes.SHA256()), (b"rsa-sha2-512", hashes.SHA512())):
        assert sshsig.verify(rsa_signature(name, algorithm), MESSAGE, "backout").kind == "ssh-rsa"
    refused(rsa_signature(b"ssh-rsa", hashes.SHA1()), "kind 'ssh-rsa'")
    refused(rsa_signature(b"rsa-sha2-512", hashes.SHA256()), "not one over this text")


def test_an_rsa_signature_without_its_leading_zeros_is_still_one() -> None:
    key = private_key("rsa")
    for number in range(2000):
        message = b"%d" % number
        blob, signature = parts(sshsig.sign(key, message, "backout"))
        reader = Reader(signature)
        name, value = reader.string(), reader.string()
        if value[0] == 0:
            text = armoured(frame(blob, string(name) + string(value.lstrip(b"\0"))))
            assert sshsig.verify(text, message, "backout").blob == blob
            return
    pytest.fail("no signature with a leading zero in 2,000")


def test_a_short_rsa_key_neither_signs_nor_verifies() -> None:
    short = rsa.generate_private_key(65537, 1024)
    with pytest.raises(Refused, match="1024 bits"):
        sshsig.sign(short, MESSAGE, "backout")
    numbers = short.public_key().public_numbers()
    blob = string(b"ssh-rsa") + mpint(numbers.e) + mpint(numbers.n)
    value = short.sign(sshsig.to_sign(MESSAGE, "backout"), padding.PKCS1v15(), hashes.SHA512())
    refused(armoured(frame(blob, string(b"rsa-sha2-512") + string(value))), "1024 bits")


@pytest.mark.parametrize("kind", [b"ssh-dss", b"ssh-ed448", b"ssh-ed25519-cert-v01@openssh.com", b"\x1b[31m"])
def test_a_key_of_another_kind_is_refused(kind: bytes) -> None:
    refused(armoured(frame(string(kind) + string(b"x" * 32), string(kind) + string(b"y"))), "cannot approve")


def test_a_key_of_one_kind_does_not_sign_as_another() -> None:
    blob, signature = parts(sshsig.sign(private_key("nistp256"), MESSAGE, "backout"))
    renamed = string(b"ecdsa-sha2-nistp384") + signature[4 + len("ecdsa-sha2-nistp256") :]
    refused(armoured(frame(blob, renamed)), "is not accepted")


def test_a_point_off_the_curve_or_compressed_is_refused() -> None:
    key = private_key("nistp256")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    head = string(b"ecdsa-sha2-nistp256") + string(b"nistp256")
    _, signature = parts(sshsig.sign(key, MESSAGE, "backout"))
    compressed = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    refused(armoured(frame(head + string(compressed), signature)), "uncompressed")
    refused(armoured(frame(head + string(b"\x04" + b"\x01" * 64), signature)), "no valid")
    wrong_curve = string(b"ecdsa-sha2-nistp256") + string(b"nistp384")
    refused(armoured(frame(wrong_curve + string(compressed), signature)), "curve")


def test_a_hardware_key_counts_when_it_was_touched() -> None:
    for token in tokens():
        assert sshsig.verify(token.sign(MESSAGE), MESSAGE, "backout") == token.public
        assert sshsig.verify(token.sign(MESSAGE, flags=5), MESSAGE, "backout") == token.public
        refused(token.sign(MESSAGE, flags=4), "not touched")
        refused(token.sign(MESSAGE), "not one over this text", message=b"something else")


def test_a_hardware_key_of_another_application_is_another_key() -> None:
    token = tokens()[0]
    other = Token(token.key, b"ssh:other")
    assert other.public.fingerprint != token.public.fingerprint
    _, signature = parts(token.sign(MESSAGE))
    refused(armoured(frame(other.public.blob, signature)), "not one over this text")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: t.replace("\n", "\r\n"), id="as Windows saves it"),
        pytest.param(lambda t: f"\n  {t}\n\n", id="with blank lines around it"),
        pytest.param(lambda t: t.replace("\n", " \n"), id="with blanks at the ends of lines"),
    ],
)
def test_a_signature_survives_copy_and_paste(change: Callable[[str], str]) -> None:
    text = sshsig.sign(private_key("ed25519"), MESSAGE, "backout")
    assert sshsig.verify(change(text), MESSAGE, "backout").kind == "ssh-ed25519"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "hello",
        "\0",
        "\ud800",
        FIRST,
        f"{FIRST}{LAST}",
        f"{FIRST}\n{LAST}",
        f"{FIRST}\n\n{LAST}",
        f"{FIRST}\n\u00e9===\n{LAST}",
        f"{FIRST}\nU1NIU0lH\n",
        f"{FIRST}\n{'A' * 20000}\n{LAST}",
    ],
)
def test_what_is_no_signature_is_refused_without_a_traceback(text: str) -> None:
    refused(text, "signature")


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_as_a_frame_are_refused_without_a_traceback(data: bytes) -> None:
    refused(armoured(b"SSHSIG\0\0\0\1" + data), "signature")


@given(
    st.sampled_from(["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "sk-ecdsa-sha2-nistp256@openssh.com"]),
    st.lists(st.binary(max_size=70), max_size=4),
    st.lists(st.binary(max_size=70), max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_any_key_and_signature_fields_are_refused_without_a_traceback(
    kind: str, key: list[bytes], signature: list[bytes]
) -> None:
    blob = b"".join(map(string, (kind.encode(), *key)))
    refused(armoured(frame(blob, b"".join(map(string, (kind.encode(), *signature))))), "signature")
