"""Keys that sign bundles (EC P-256) and the public keys that a user trusts. Nothing here prints or logs a private key."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trustbase import files
from trustbase.errors import UsageError
from trustbase.events import Emit, ignore
from trustbase.home import home, make_home

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

KEY_VARIABLE = "TRUSTBASE_SIGNING_KEY"
OWN_KEY = "signing.key"
TRUSTED = "trusted"
OWN_NAME = "own"
_LARGEST = 65_536
_SHOWN = 80  # characters of a value that is no path, in a message
_SUFFIXES = (".pub", ".pem")


@dataclass(frozen=True)
class PublicKey:
    """A public key and the name it is known by here. `fingerprint` is the SHA-256 of its PEM form, as `sha256sum key.pub` gives it."""

    name: str
    pem: bytes
    fingerprint: str
    key: EllipticCurvePublicKey = field(repr=False)


@dataclass(frozen=True)
class SigningKey:
    """A private key with its public half; its text never appears in a repr."""

    public: PublicKey
    source: str  # where it came from, for messages
    key: EllipticCurvePrivateKey = field(repr=False)


def signing_key(named: Path | None = None, *, emit: Emit = ignore) -> SigningKey:
    """The key that signs: the named file, else `TRUSTBASE_SIGNING_KEY` (a path, or PEM text), else the user's own.

    The user's own key is made at first use, readable by this user alone; its public half joins the user's trusted keys.
    Public halves of other keys are not trusted by being used: `--trust` names them, or they are put into `trusted/`.

    Raises:
        UsageError: the key cannot be read or is not an unencrypted EC P-256 private key.
    """
    if named is not None:
        return _private(_read_private(Path(named), emit), str(named))
    given = os.environ.get(KEY_VARIABLE, "").strip()
    if given.startswith("-----BEGIN"):
        return _private(given.encode("utf-8"), KEY_VARIABLE)
    if given:
        return _private(_read_private(_path_in_variable(given), emit), f"{KEY_VARIABLE}={given}")
    return _own_key(emit)


def trusted_keys(trust: Path | None = None, *, emit: Emit = ignore) -> Mapping[str, PublicKey]:
    """Fingerprint → public key of every signer that is trusted.

    Args:
        trust: a public key file or a folder of them, which then are the only ones; None for `trusted/` in the user's folder.
        emit: takes a warning for each file in `trusted/` that is no public key, and so trusts nobody.

    Raises:
        UsageError: `trust` is not there, or a file in it is no EC P-256 public key.
    """
    place = Path(trust) if trust is not None else home() / TRUSTED
    if trust is not None and not place.exists():
        raise UsageError(f"--trust {place}: there is no such file or folder", hint="name a public key (PEM), or a folder of them")
    if place.is_file():
        paths = [place]
    else:
        paths = sorted(path for path in place.glob("*") if path.suffix in _SUFFIXES) if place.is_dir() else []
        if trust is not None and not paths:
            raise UsageError(f"--trust {place}: holds no public key (*.pub or *.pem)", hint="name a public key, or a folder of them")
    keys = []
    for path in paths:
        try:
            keys.append(read_public(path))
        except UsageError as error:
            if trust is not None:
                raise
            emit("warning", text=f"a file in {TRUSTED}/ trusts nobody: {error.message}")  # and the other files still trust whom they name
    return {key.fingerprint: key for key in keys}


def read_public(path: Path) -> PublicKey:
    """Read a public key from a PEM file.

    Raises:
        UsageError: it cannot be read, or is no EC P-256 public key.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(path, "public key")
    if b"PRIVATE KEY" in data:
        raise UsageError(f"{path} is a private key; a signer is trusted by its public key", hint=f"openssl ec -in {path} -pubout")
    try:
        key = load_pem_public_key(data)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{path} is not a public key in PEM form: {error}",
            hint=f"the public half of a key: openssl ec -in KEY.pem -pubout -out {path.name}",
        ) from error
    return public_key(_p256_public(key, str(path)), path.stem)


def public_key(key: EllipticCurvePublicKey, name: str) -> PublicKey:
    """A public key with its PEM form and fingerprint."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(name, pem, files.sha256_bytes(pem), key)


def _path_in_variable(given: str) -> Path:
    """The path in the environment. What is no path may be a mangled secret, so little of it is repeated."""
    shown = given if len(given) <= _SHOWN and given.isprintable() else f"{given.split()[0][:20]}… ({len(given)} characters)"
    try:
        path = Path(given).expanduser()
        if path.exists():
            return path
        reason = "there is no such file"
    except (OSError, RuntimeError, ValueError) as error:  # a name too long for a file; a user that is not there
        reason = getattr(error, "strerror", None) or "it cannot be a path"
        raise UsageError(f"{KEY_VARIABLE}={shown}: {reason}", hint=_VARIABLE_HINT) from None  # the cause repeats the value
    raise UsageError(f"{KEY_VARIABLE}={shown}: {reason}", hint=_VARIABLE_HINT)


def _own_key(emit: Emit) -> SigningKey:
    path = make_home() / OWN_KEY
    made = not path.exists() and _make_key(path)
    signing = _private(_read_private(path, emit), str(path), OWN_NAME)
    public = home() / TRUSTED / f"{OWN_NAME}.pub"
    if not public.exists() or public.read_bytes() != signing.public.pem:
        files.write_bytes(public, signing.public.pem)
    if made:
        emit("note", text=f"made a signing key for you: {path} (public half: {public}); keep a copy of both")
    return signing


def _make_key(path: Path) -> bool:
    """Create a key file, 0600, whole or not at all; False where another process was first."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle, temporary = tempfile.mkstemp(prefix=".key.", dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(temporary, path)  # refuses to overwrite a key that came into being meanwhile
    except FileExistsError:
        return False
    finally:
        Path(temporary).unlink()
    files.sync_folder(path.parent)
    return True


def _private(pem: bytes, source: str, name: str = "") -> SigningKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise UsageError(
            f"the signing key {source} is encrypted, and nobody is here to ask for its password", hint="name an unencrypted key"
        ) from error
    except ValueError as error:
        raise UsageError(f"the signing key {source} is not a private key in PEM form", hint=_HOW) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"the signing key {source} must be an EC key on curve P-256, got {_kind(key)}", hint=_HOW)
    return SigningKey(public_key(key.public_key(), name or Path(source).stem), source, key)


_VARIABLE_HINT = "set it to the path of a private key, or to the PEM text itself, from -----BEGIN to -----END"
_HOW = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem"


def _read_private(path: Path, emit: Emit) -> bytes:
    data = _read(path, "signing key")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        emit("warning", text=f"the signing key {path} can be read by others (mode {mode:04o}); whoever reads it can sign: chmod 600 {path}")
    return data


def _read(path: Path, what: str) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for ever to be opened
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UsageError(f"the {what} {path} is not a regular file", hint="name the file that holds the key")
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"the {what} {path} cannot be read: {error.strerror}", hint="check the path and its permissions") from error
    if len(data) > _LARGEST:
        raise UsageError(f"the {what} {path} has more than {_LARGEST} bytes, which no key has", hint="is this the key?")
    return data


def _p256_public(key: object, source: str) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{source} must be an EC public key on curve P-256, got {_kind(key)}", hint="only this kind signs bundles")
    return key


def _kind(key: object) -> str:
    curve = getattr(getattr(key, "curve", None), "name", "")
    return f"{type(key).__name__} {curve}".strip()
