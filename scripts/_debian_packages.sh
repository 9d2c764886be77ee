# Sourced by the scripts: what the tests use of Debian: Chromium for pages, PostgreSQL for the warehouse recipe.

install_packages() {
  # The old list of packages may be good enough, and a mirror may be out of reach while the packages are cached.
  { apt-get -qq update || say 'apt-get update failed; going on with the list of packages that is there'; } >&2 &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@" >&2
}

# Installs what is missing where it may; elsewhere says how, and the tests that need it fail with the same words.
ensure_packages() {
  local missing=()
  command -v chromium >/dev/null && command -v chromedriver >/dev/null || missing+=(chromium chromium-driver)
  command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
  [ "${#missing[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    timed "Installing ${missing[*]}" install_packages "${missing[@]}" && return
    [ -z "${CI:-}" ] || fail "${missing[*]} could not be installed with apt-get; see its message above"
  fi
  say "Missing, so the tests that need them will fail: apt-get install ${missing[*]}"
}
