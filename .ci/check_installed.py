"""Check the distribution as a user has it: run by the Python that has it, away from the checkout."""

# ruff: noqa: S101, T201 - a check that prints what it saw
from __future__ import annotations

import importlib
import importlib.metadata
import json
import pkgutil
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NoReturn

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

DISTRIBUTION = "airflow-provider-chatbase"
PACKAGE = "airflow_provider_chatbase"
ONLY_WITH = {"airflow.providers.common.ai", "pyarrow", "pytest", "zstandard"}  # which we do not install


def output_of(*command: str) -> str:
    """Run a command and return what it printed; fail with its errors when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def check_location() -> None:
    """Check that the package comes from this environment, with its version and type marker."""
    package = importlib.import_module(PACKAGE)
    folder = Path(package.__file__ or "").parent
    assert folder.is_relative_to(sys.prefix), f"{folder} is outside {sys.prefix}"
    assert (folder / "py.typed").exists(), "py.typed is not in the wheel"
    assert package.__version__ == importlib.metadata.version(DISTRIBUTION)
    links = importlib.metadata.metadata(DISTRIBUTION).get_all("Project-URL") or []
    assert any(link.startswith("Documentation, ") for link in links), "Airflow would link to its own docs"


def refuse(*_: object) -> NoReturn:
    """Stand for the network, where nobody may ask for it."""
    raise AssertionError("an import asks for the network")


def check_imports() -> None:
    """Import every module, without a network; what this Airflow calls deprecated is an error in ours."""
    socket.getaddrinfo = socket.socket.connect = refuse  # type: ignore[assignment, method-assign]
    warnings.filterwarnings("error", category=DeprecationWarning, module=PACKAGE)
    package = importlib.import_module(PACKAGE)
    names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}.")]
    for name in names:
        if name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(name)
        except (ImportError, ValueError, AirflowOptionalProviderFeatureException) as error:
            missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
            if not isinstance(missing, ModuleNotFoundError) or missing.name not in ONLY_WITH:
                raise
    print(f"{len(names)} modules import")


def listed(*command: str) -> list[dict[str, str]]:
    """Return what a command of Airflow lists; 3.0 logs to the standard output before it."""
    shown = output_of("airflow", *command, "--output", "json")
    found: list[dict[str, str]] = json.loads(shown[shown.index("[{") :])
    return found


def check_airflow_knows_the_provider() -> None:
    """Check that Airflow lists the provider and can import its hook."""
    providers = listed("providers", "list")
    [ours] = [row for row in providers if row["package_name"] == DISTRIBUTION]
    print("airflow providers list:", ours)
    hooks = listed("providers", "hooks")
    [hook] = [row for row in hooks if row["connection_type"] == "chatbase"]
    assert hook["package_name"] == DISTRIBUTION, hook
    assert "Error" not in hook["hook_name"], hook
    print("airflow providers hooks:", hook)


def check_simulator_command() -> None:
    """Start the simulator's command from the installed package."""
    usage = output_of(sys.executable, "-m", f"{PACKAGE}.simulator", "--help")
    assert "--port" in usage, usage
    print(usage.splitlines()[0])


if __name__ == "__main__":
    check_location()
    check_imports()
    check_airflow_knows_the_provider()
    check_simulator_command()
