# Sourced by the scripts: Chromium and its driver, for the tests that look at pages.

install_browser() {
  # The old list of packages may be good enough, and a mirror may be out of reach while the packages are cached.
  { apt-get -qq update || say 'apt-get update failed; going on with the list of packages that is there'; } >&2 &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends chromium chromium-driver >&2
}

# Installs what is missing where it may; elsewhere says how, and the tests of the playground fail with the same words.
ensure_browser() {
  command -v chromium >/dev/null && command -v chromedriver >/dev/null && return
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    timed 'Installing Chromium' install_browser && return
    [ -z "${CI:-}" ] || fail 'Chromium could not be installed with apt-get; see its message above'
  fi
  say 'Chromium is missing, so the browser tests of the playground will fail: apt-get install chromium chromium-driver'
}
