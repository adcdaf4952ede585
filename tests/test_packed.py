"""Which files of an artifact lie in the destination, and what is said of one that does not."""

import hashlib
from contextlib import closing
from pathlib import Path

from compiler.packed import ArtifactForm, artifact_fault, files_of
from compiler.sbom import KINDS
from compiler.store import ArtifactRecord
from compiler.store.memory import MemoryStore
from tests.factories import graph_of, keys_of, node_of, package

FORM = ArtifactForm(documents=True)
KEYS = keys_of(graph_of({"tool": []}))[node_of("tool")]
SPEC = package("tool")


def test_a_document_that_is_missing_is_named_and_not_the_artifact(tmp_path: Path) -> None:
    names = dict(files_of(SPEC, KEYS, FORM))
    archive = next(name for name in names if ".package.tar" in name)
    document = f"{SPEC.id.fingerprint}{KINDS[0].suffix}"
    with closing(MemoryStore()) as store:
        for name, key in names.items():
            (tmp_path / name).write_text(name)
            sha256 = hashlib.sha256(name.encode()).hexdigest()
            store.put_artifact(ArtifactRecord(key=key, sha256=sha256, size=len(name)))

        def fault() -> str | None:
            return artifact_fault(SPEC, KEYS, store=store, destination=tmp_path, form=FORM)

        assert fault() is None
        (tmp_path / document).unlink()
        assert fault() == f"its document {document} is not in the destination"
        (tmp_path / archive).unlink()
        assert fault() == "not in the destination"
