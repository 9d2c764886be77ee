# Sourced by the scripts: what the tests use of Debian: Chromium for pages, PostgreSQL for the warehouse recipe and for
# Airflow on several machines, Redis for the latter.

install_packages() {
  # The old list of packages may be good enough, and a mirror may be out of reach while the packages are cached.
  { apt-get -qq update || say 'apt-get update failed; going on with the list of packages that is there'; } >&2 &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" >&2
}

is_installed() {
  case $1 in
  chromium) command -v chromium >/dev/null && command -v chromedriver >/dev/null ;;
  postgresql) command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ;;
  *) command -v "$1" >/dev/null ;;
  esac
}

# ensure_packages NAME...: installs what is missing where it may; elsewhere says how, and the tests that need it fail
# with the same words.
ensure_packages() {
  local name missing=()
  for name in "$@"; do
    is_installed "$name" && continue
    missing+=("$name")
    [ "$name" != chromium ] || missing+=(chromium-driver)
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    timed "Installing ${missing[*]}" install_packages "${missing[@]}" && return
    [ -z "${CI:-}" ] || fail "${missing[*]} could not be installed with apt-get; see its message above"
  fi
  say "Missing, so the tests that need them will fail: apt-get install ${missing[*]}"
}
