"""Is this folder what a trusted signer released? Hashes first; parsers see only bytes whose digest was signed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.bundle.contents import check_contents
from trustbase.bundle.envelope import LARGEST, open_signed, sign
from trustbase.bundle.keys import PublicKey, SigningKey, signing_key, trusted_keys
from trustbase.bundle.layout import (
    ATTESTATION,
    ATTESTATIONS,
    MODEL,
    REJECTED,
    FileEntry,
    attestation_statement,
    collisions,
    model_digest,
    name_problem,
    render_manifest,
    signed_statement,
)
from trustbase.bundle.scan import Scan, hash_files, is_attestation, list_files, read_plain, shown
from trustbase.errors import Problem, UsageError, VerificationError, system_errors_told
from trustbase.events import Emit, ignore
from trustbase.gate.policy import Policy
from trustbase.leftovers import clear_abandoned, held_folder
from trustbase.places import MANIFEST, SIGNATURE
from trustbase.records import AuditReport, Verdict

_PRIVATE = "trustbase-model"  # folder of a private copy
_AGAIN = "get the bundle again from its signer; do not use this folder"


@dataclass(frozen=True)
class Attestation:
    """A person's signed statement about this bundle."""

    path: str
    signer: str  # fingerprint
    signer_name: str
    statement: Mapping[str, Any]


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle whose every byte was found to be what a trusted signer released, at the time of the check.

    Somebody who can write to the folder can change it afterwards, so nothing here reads it again on trust: `read` gives
    the bytes that were hashed (or hashes anew), and `private_model` copies the model into a folder of this user alone,
    hashing what it copies; load the model from there.
    """

    folder: Path
    signer: str  # fingerprint of the public key
    signer_name: str  # what the user calls that key
    manifest_digest: str
    entries: Mapping[str, FileEntry]
    policy: Policy
    report: AuditReport
    verdict: Verdict
    attestations: tuple[Attestation, ...] = ()
    _contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def model_digest(self) -> str:
        """Digest of the artefact in `model/`."""
        return model_digest(self.entries)

    def read(self, path: str) -> bytes:
        """The bytes of one file, as they were signed.

        Raises:
            VerificationError: the file is not in the bundle, or was changed since the check.
        """
        if path not in self.entries:
            raise VerificationError(f"{path} is not in the bundle {self.folder}")
        if path in self._contents:
            return self._contents[path]
        collected = bytearray()
        self._copy(path, collected.extend)
        return bytes(collected)

    @contextmanager
    def private_model(self) -> Iterator[Path]:
        """A copy of `model/` that only this user can change, checked while it is copied; removed at the end, or by the next call.

        Raises:
            VerificationError: a file was changed since the check.
            TrustbaseError: the copy cannot be written.
        """
        size = sum(entry.bytes for path, entry in self.entries.items() if path.startswith(f"{MODEL}/"))
        doing = f"a private copy of the model, of {size:,} bytes, in the folder for temporary files"
        with ExitStack() as stack:
            with system_errors_told(doing):
                parent = Path(tempfile.gettempdir())
                clear_abandoned(parent, (_PRIVATE,))
                place = stack.enter_context(held_folder(_PRIVATE, parent))  # 0700
                for path in self.entries:
                    if path.startswith(f"{MODEL}/"):
                        target = place / path
                        target.parent.mkdir(parents=True, exist_ok=True)
                        with target.open("wb") as stream:
                            self._copy(path, stream.write)
            yield place / MODEL

    def _copy(self, path: str, sink: Any) -> None:
        entry, _ = read_plain(self.folder, path, sink=sink)
        if entry != self.entries[path]:
            raise VerificationError(f"{path} was changed after the bundle was checked", hint=_AGAIN)


def verify(bundle: str | Path, *, trust: str | Path | None = None, emit: Emit = ignore) -> VerifiedBundle:
    """Check signature, manifest, every file, policy and gates of a bundle.

    Args:
        bundle: the bundle folder.
        trust: a public key, or a folder of them, that alone are trusted; by default the user's own trusted keys.
        emit: takes a warning for each file among the user's trusted keys that is none.

    Raises:
        VerificationError: anything altered, added, missing or linked; no signature, or one of nobody trusted; gates that
            do not hold when they are computed again.
        UsageError: `trust` names no public keys.
    """
    folder = Path(bundle)
    if not folder.is_dir():
        raise VerificationError(f"{folder} is not a bundle: there is no such folder", hint="name the bundle/ folder of a run")
    signature = _signature(folder)  # where there is none, nobody's trust matters
    trusted = trusted_keys(Path(trust) if trust is not None else None, emit=emit)
    _check_trust(folder, trust, trusted)
    statement, signer = open_signed(signature, trusted, what=SIGNATURE)
    paths, problems = list_files(folder)
    signed = _signed_files(statement)
    scan = hash_files(folder, [path for path in paths if path in signed or is_attestation(path)])
    problems += _differences(signed, paths, scan)
    if problems or scan.problems:
        raise VerificationError(f"{folder} is not what was signed", problems=[*problems, *scan.problems], hint=_AGAIN)
    entries = {path: scan.entries[path] for path in signed}
    if statement != signed_statement(entries) or scan.contents.get(MANIFEST) != render_manifest(entries):
        raise VerificationError(
            f"{folder}: {MANIFEST} and {SIGNATURE} do not agree, or are of a form that this version does not know", hint=_AGAIN
        )
    attestations = tuple(_attestation(path, scan, entries[MANIFEST].sha256, trusted) for path in scan.entries if is_attestation(path))
    contents = {path: data for path, data in scan.contents.items() if path in entries}
    artifact = read_plain(folder, f"{MODEL}/artifact.json", keep=True) if f"{MODEL}/artifact.json" in entries else (None, None)
    if artifact[0] is not None and artifact[0] != entries[artifact[0].path]:
        raise VerificationError(f"{folder} was changed while it was being checked", hint=_AGAIN)
    policy, report, verdict = check_contents(contents, artifact[1], model_digest(entries))
    digest = f"sha256:{entries[MANIFEST].sha256}"
    return VerifiedBundle(folder, signer.fingerprint, signer.name, digest, entries, policy, report, verdict, attestations, contents)


def _check_trust(folder: Path, trust: str | Path | None, trusted: Mapping[str, PublicKey]) -> None:
    if trust is not None and Path(trust).resolve().is_relative_to(folder.resolve()):
        raise VerificationError(
            "--trust names a key inside the bundle: whoever altered the bundle could have put it there",
            hint="use a key that you got another way",
        )
    if not trusted:
        raise VerificationError("no signer is trusted on this machine yet", hint="name the signer's public key with --trust")


def _signature(folder: Path) -> bytes:
    """The signature file, bounded; says which of the usual reasons holds where there is none."""
    path = folder / SIGNATURE
    if not path.is_symlink() and not path.exists():
        if (folder / REJECTED).exists():
            raise VerificationError(
                f"{folder} was rejected: a gate did not pass, so nobody signed it", hint="see verdict.json; it must not be used"
            )
        raise VerificationError(f"{folder} has no signature ({SIGNATURE})", hint="name the bundle/ folder of a released run")
    if path.lstat().st_size > LARGEST:
        raise VerificationError(f"{SIGNATURE} is larger than a signature can be", hint=_AGAIN)
    try:
        _, data = read_plain(folder, SIGNATURE, keep=True)
    except VerificationError as error:
        raise VerificationError(f"{SIGNATURE} {error.message}", hint=_AGAIN) from error
    return data or b""


def _signed_files(statement: Mapping[str, Any]) -> dict[str, str]:
    """Path → SHA-256 out of the statement; its exact form is compared as a whole later."""
    try:
        return {str(item["name"]): str(item["digest"]) for item in statement["predicate"]["resources"]}
    except (KeyError, TypeError) as error:
        raise VerificationError(
            f"{SIGNATURE} signs something else than a bundle of this form", hint="use the version that made it"
        ) from error


def _differences(signed: Mapping[str, str], paths: list[str], scan: Scan) -> list[Problem]:
    found = set(paths)
    problems = [Problem(shown(path), "is missing") for path in signed if path not in found]
    allowed = {SIGNATURE, *signed}
    problems += [
        Problem(shown(path), "was added: the signer did not list it") for path in paths if path not in allowed and not is_attestation(path)
    ]
    problems += [
        Problem(shown(path), "was altered: its content is not what was signed")
        for path, digest in signed.items()
        if path in scan.entries and scan.entries[path].sha256 != digest
    ]
    if MANIFEST not in signed:
        problems.append(Problem(MANIFEST, "is not among the signed files"))
    return problems


def _attestation(path: str, scan: Scan, manifest_sha256: str, trusted: Mapping[str, PublicKey]) -> Attestation:
    """A statement beside the manifest: signed by somebody trusted, about this manifest, in canonical form."""
    statement, signer = open_signed(scan.contents.get(path, b""), trusted, what=path)
    said = statement.get("predicate")
    if statement.get("predicateType") != ATTESTATION or not isinstance(said, dict):
        raise VerificationError(
            f"{path} is not an attestation of a form that this version knows", hint="remove it, or use the version that made it"
        )
    if statement != attestation_statement(manifest_sha256, said):
        raise VerificationError(f"{path} is a statement about another bundle", hint="remove it")
    return Attestation(path, signer.fingerprint, signer.name, said)


def attest(
    bundle: str | Path, statement: Mapping[str, Any], *, name: str, key: Path | None = None, trust: str | Path | None = None
) -> Path:
    """Add a signed statement about a bundle that was checked first; returns its file.

    Args:
        bundle: the bundle folder.
        statement: what is said: who, in which role, what was decided, until when.
        name: file name, without folder or ending.
        key: the private key that signs; by default the user's own.
        trust: as for `verify`.

    Raises:
        VerificationError: the bundle is not what was signed.
        UsageError: with this statement, name or key the bundle would not hold any more; nothing was written.
    """
    checked = verify(bundle, trust=trust)
    path = f"{ATTESTATIONS}/{name}.json"
    others = [item.path for item in checked.attestations if item.path != path]
    if "/" in name or name_problem(path) or collisions([*checked.entries, *others, path]):
        raise VerificationError(f"'{name}' cannot name an attestation", hint="use plain letters, digits and hyphens")
    signer = signing_key(key)
    if signer.public.fingerprint not in trusted_keys(Path(trust) if trust is not None else None):
        raise UsageError(
            f"the key {signer.source} is not trusted here, so its statement would make the bundle fail its check",
            hint="name a folder with both public keys with --trust, or put its public half into trusted/",
        )
    files.write_bytes(checked.folder / path, _signed_statement(checked, statement, signer))
    return checked.folder / path


def _signed_statement(checked: VerifiedBundle, statement: Mapping[str, Any], signer: SigningKey) -> bytes:
    """The bytes of an attestation, read back as they will be before anybody depends on them."""
    hint = "say it in plain text, whole numbers and short lists; put long documents elsewhere and name their digest"
    said = attestation_statement(checked.entries[MANIFEST].sha256, statement)
    try:
        data = sign(said, signer)
        if len(data) > LARGEST:
            raise ValueError(f"it has {len(data):,} bytes, more than {LARGEST:,}")
        again, _ = open_signed(data, {signer.public.fingerprint: signer.public}, what="the statement")
        if again != said:
            raise ValueError("it reads back as something else (keys must be texts, lists plain lists)")
    except (ValueError, TypeError, RecursionError, VerificationError) as error:
        raise UsageError(f"this statement cannot be an attestation: {error}", hint=hint) from error
    return data
