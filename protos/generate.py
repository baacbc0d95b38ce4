# ruff: noqa: INP001 - a script next to its sources, not a package
"""Generate the protobuf code of every `.proto` under this folder into the package.

`protos/sidecar/store/wire/record.proto` becomes `sidecar/store/wire/record_pb2.py` and `record_pb2.pyi`.
With `--check` nothing is written: exit 1 and the names of the files that are not what they would be.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import grpc_tools  # type: ignore[import-untyped]  # no type information published
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
ROOT = PROTOS.parent
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"
"""google/protobuf/*.proto, as the compiler ships them."""
GENERATED = ("*_pb2.py", "*_pb2.pyi")


class GenerationError(Exception):
    """protoc refused a file; it has said why on stderr."""


def render(directory: Path) -> dict[Path, bytes]:
    """What every generated file should hold, by its path below the repository's root.

    Args:
        directory: An empty directory for protoc to write into.
    """
    sources = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    includes = [f"-I{PROTOS}", f"-I{WELL_KNOWN}"]
    outputs = [f"--python_out={directory}", f"--pyi_out={directory}"]
    if protoc.main(["protoc", *includes, *outputs, *sources]) != 0:
        raise GenerationError("protoc failed; see its message above")
    return {path.relative_to(directory): path.read_bytes() for path in files_in(directory)}


def files_in(directory: Path) -> list[Path]:
    """The generated files below `directory`, sorted."""
    return sorted(path for pattern in GENERATED for path in directory.rglob(pattern))


def drift(root: Path, wanted: dict[Path, bytes]) -> list[str]:
    """What differs between the files in the package below `root` and those `wanted`, one line each."""
    present = {path.relative_to(root) for path in files_in(root / "sidecar")}
    lines = [f"{path}: has no .proto any more" for path in present - wanted.keys()]
    for path, content in wanted.items():
        if path not in present:
            lines.append(f"{path}: is missing")
        elif (root / path).read_bytes() != content:
            lines.append(f"{path}: is out of date")
    return sorted(lines)


def write(root: Path, wanted: dict[Path, bytes]) -> None:
    """Make the generated files below `root` those `wanted`, removing the ones that lost their source."""
    for path in files_in(root / "sidecar"):
        if path.relative_to(root) not in wanted:
            path.unlink()
    for relative, content in wanted.items():
        target = root / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def main(arguments: Sequence[str] | None = None) -> int:
    """Generate, or check; 0 where all is well, 1 otherwise."""
    parser = argparse.ArgumentParser(description="Generate the protobuf code from protos/.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on any difference")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as directory:
            wanted = render(Path(directory))
    except GenerationError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not options.check:
        write(ROOT, wanted)
        return 0
    differences = drift(ROOT, wanted)
    for line in differences:
        sys.stderr.write(f"{line}; run `make protos`\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
