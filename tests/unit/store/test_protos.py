import subprocess
import sys
from pathlib import Path

import pytest

from protos import generate

SCRIPT = Path(generate.__file__)


def test_the_generated_code_is_what_its_protos_say() -> None:
    check = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (check.returncode, check.stderr) == (0, "")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one generated file."""
    generate.write(tmp_path, {Path("sidecar/a/wire/a_pb2.py"): b"a"})
    return tmp_path


def test_a_changed_file_is_drift(root: Path) -> None:
    wanted = {Path("sidecar/a/wire/a_pb2.py"): b"b"}
    assert generate.drift(root, wanted) == ["sidecar/a/wire/a_pb2.py: is out of date"]


def test_a_missing_file_is_drift(root: Path) -> None:
    wanted = {Path("sidecar/a/wire/a_pb2.py"): b"a", Path("sidecar/b/wire/b_pb2.pyi"): b"b"}
    assert generate.drift(root, wanted) == ["sidecar/b/wire/b_pb2.pyi: is missing"]


def test_a_file_without_a_proto_is_drift(root: Path) -> None:
    assert generate.drift(root, {}) == ["sidecar/a/wire/a_pb2.py: has no .proto any more"]


def test_writing_ends_the_drift_and_leaves_other_files_alone(root: Path) -> None:
    other = root / "sidecar/a/wire/__init__.py"
    other.write_bytes(b"")
    wanted = {Path("sidecar/b/wire/b_pb2.py"): b"b"}
    generate.write(root, wanted)
    assert generate.drift(root, wanted) == []
    assert other.exists()
    assert not (root / "sidecar/a/wire/a_pb2.py").exists()


def test_checking_reports_drift_and_writes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ROOT", root)
    monkeypatch.setattr(generate, "render", lambda _: {Path("sidecar/a/wire/a_pb2.py"): b"b"})
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err == "sidecar/a/wire/a_pb2.py: is out of date; run `make protos`\n"
    assert (root / "sidecar/a/wire/a_pb2.py").read_bytes() == b"a"
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_a_proto_that_does_not_compile_is_an_error_not_a_deletion(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = root / "protos"
    broken.mkdir()
    (broken / "broken.proto").write_text("message {")
    monkeypatch.setattr(generate, "PROTOS", broken)
    monkeypatch.setattr(generate, "ROOT", root)
    assert generate.main([]) == 1
    assert (root / "sidecar/a/wire/a_pb2.py").exists()
