"""Write the files that a page shows, each block with a title, below this folder."""

# ruff: noqa: T201 - that is what it says
from __future__ import annotations

import re
import sys
from pathlib import Path

BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)

if __name__ == "__main__":
    for title, code in BLOCK.findall(Path(sys.argv[1]).read_text(encoding="utf-8")):
        Path(title).parent.mkdir(parents=True, exist_ok=True)
        Path(title).write_text(code, encoding="utf-8")
        print(title)
