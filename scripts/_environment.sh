# Sourced by the scripts: a virtual environment for one Airflow version, made inside the checkout and used again.
# Needs python3 (3.11 or newer) and a package registry that pip can reach with the machine's own settings.

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
DEFAULT_AIRFLOW_VERSION=3.3.2
ENVIRONMENTS=${ENVIRONMENTS:-$CHECKOUT/.venv}
INSTALLER=$ENVIRONMENTS/installer

# Caches stay in the checkout too: HOME may be read-only, and nothing is left behind when the checkout is removed.
export UV_CACHE_DIR=${UV_CACHE_DIR:-$CHECKOUT/.venv/cache/uv}
export PIP_CACHE_DIR=${PIP_CACHE_DIR:-$CHECKOUT/.venv/cache/pip}
export PIP_DISABLE_PIP_VERSION_CHECK=1
export UV_NO_PROGRESS=1

say() {
  printf '==> %s\n' "$*" >&2
}

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# timed WHAT COMMAND...: says what starts, runs it, says how long it took. `set -e` does not reach into a
# function called by it, so such a function chains its commands with &&.
timed() {
  local what=$1 started=$SECONDS status=0
  shift
  say "$what"
  "$@" || status=$?
  if [ "$status" -ne 0 ]; then
    say "$what: failed with exit code $status after $((SECONDS - started)) s"
    return "$status"
  fi
  say "$what: $((SECONDS - started)) s"
}

constraints_of() {
  local file=$CHECKOUT/constraints/airflow-$1.txt
  [ -f "$file" ] || fail "no constraints for Airflow $1; there are: $(cd "$CHECKOUT/constraints" && echo airflow-*.txt)"
  printf '%s\n' "$file"
}

require_python() {
  command -v python3 >/dev/null || fail 'python3 is not on PATH; Python 3.11 or newer is needed'
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed; python3 is $(python3 -V 2>&1)"
}

# What an environment depends on; it is made anew when one of these changes.
fingerprint() {
  { cat "$@" "$CHECKOUT"/{pyproject.toml,scripts/_environment.sh}; echo "$CHECKOUT"; python3 -VV; } | cksum
}

# uv reads neither pip.conf nor PIP_*: hand it the index, certificate and links that pip would use.
use_pip_settings_for_uv() {
  eval "$("$INSTALLER/bin/python" "$CHECKOUT/scripts/_pip_settings_for_uv.py")"
}

# pip is always at hand, but slow: it brings uv, and stands in for it where uv cannot be had.
make_installer() {
  local install=("$INSTALLER/bin/python" -m pip install --quiet --only-binary :all: --constraint "$1")
  rm -rf "$INSTALLER"
  python3 -m venv "$INSTALLER" || fail 'python3 -m venv failed; on Debian it needs the package python3-venv'
  "${install[@]}" pip uv && return
  say 'uv cannot be installed here; going on with pip, which is slower'
  "${install[@]}" pip || fail 'pip could not install from the package registry; see its message above'
}

ensure_installer() {
  [ -e "$INSTALLER/complete" ] && "$INSTALLER/bin/python" -c '' 2>/dev/null && return
  timed 'Installing uv' make_installer "$1" && touch "$INSTALLER/complete"
}

# install_into VENV PIP-ARGUMENTS...
install_into() {
  local venv=$1
  shift
  if [ -x "$INSTALLER/bin/uv" ]; then
    (use_pip_settings_for_uv && "$INSTALLER/bin/uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" "$@") &&
      return
    say 'uv failed; trying the same with pip'
  fi
  "$INSTALLER/bin/python" -m pip --python "$venv/bin/python" install --quiet "$@"
}

make_airflow_environment() {
  local version=$1 venv=$2 constraints=$3
  rm -rf "$venv" && python3 -m venv --without-pip "$venv" &&
    (cd "$CHECKOUT" && install_into "$venv" --constraint "$constraints" --build-constraint "$constraints" \
      "apache-airflow==$version" --group dev --editable '.[simulator]')
}

# airflow_environment VERSION: makes $ENVIRONMENTS/airflow-VERSION when missing or outdated, and sets VENV to it.
airflow_environment() {
  local version=$1 constraints wanted
  require_python
  constraints=$(constraints_of "$version") || exit 1
  wanted=$(fingerprint "$constraints")
  VENV=$ENVIRONMENTS/airflow-$version
  [ "$wanted" = "$(cat "$VENV/fingerprint" 2>/dev/null)" ] && return
  ensure_installer "$constraints" || exit 1
  timed "Installing Airflow $version and the project into ${VENV#"$CHECKOUT/"}" \
    make_airflow_environment "$version" "$VENV" "$constraints" || exit 1
  printf '%s\n' "$wanted" >"$VENV/fingerprint"
}
