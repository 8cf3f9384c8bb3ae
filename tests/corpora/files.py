"""Files that only have to be there: their names are read, not what they hold."""

from pathlib import Path


def touch(root: Path, *names: str) -> None:
    """Make files of one byte, and folders where a name has no ending."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_bytes(b"x")
        else:
            path.mkdir()
