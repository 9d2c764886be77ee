"""Print, for a shell's ``eval``, the environment variables by which uv uses what pip is configured to use.

Variables of uv that are set already win.
"""

import ast
import os
import shlex
import subprocess
import sys

UV_VARIABLE = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
SECTIONS = ("global", "install", ":env:")  # the later wins, as with pip


def pip_settings() -> dict[str, str]:
    """Return pip's options by name, merged over its files and the environment."""
    pip_config = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(pip_config, check=True, capture_output=True, text=True).stdout  # noqa: S603
    by_section: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.partition(".")
        if section in by_section:
            by_section[section][option] = ast.literal_eval(value)
    return {option: value for section in SECTIONS for option, value in by_section[section].items()}


def uv_variables(settings: dict[str, str]) -> dict[str, str]:
    """Return the environment for uv that means the same as these settings of pip."""
    variables = {"UV_INDEX_STRATEGY": "unsafe-best-match"}  # pip takes the best match of all indexes
    for option, variable in UV_VARIABLE.items():
        if settings.get(option):
            separator = "," if option == "find-links" else " "
            variables[variable] = separator.join(settings[option].split())
    return variables


for name, value in uv_variables(pip_settings()).items():
    if name not in os.environ:
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
