#!/usr/bin/env bash
# Runs all checks: format, spelling, lints, documentation, licenses, advisories, and every test.
#
# Installs missing Debian packages with apt-get, and pinned packages from PyPI into virtual environments in
# target/tmp.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

sudo=$([ "$(id -u)" = 0 ] || echo sudo)
missing=()
command -v curl >/dev/null || missing+=(curl)
command -v redis-server >/dev/null && command -v redis-cli >/dev/null || missing+=(redis-server)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
command -v chromedriver >/dev/null || missing+=(chromium chromium-driver)
command -v systemd-analyze >/dev/null || missing+=(systemd)
if [ ${#missing[@]} -gt 0 ]; then
  step "install ${missing[*]}"
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq "${missing[@]}"
fi

# Only the binary: the package `prometheus` would start a service.
if ! command -v promtool >/dev/null; then
  tools=${CARGO_TARGET_DIR:-target}/tmp/promtool
  if [ ! -x "$tools/usr/bin/promtool" ]; then
    step "unpack promtool"
    mkdir -p "$tools"
    $sudo apt-get update -qq
    (cd "$tools" && apt-get download -qq prometheus && dpkg -x prometheus_*.deb .)
  fi
  PATH=$(realpath "$tools")/usr/bin:$PATH
fi

step "format"
cargo fmt --all --check
rustfmt --check --edition 2024 fuzz/fuzz_targets/*.rs

step "spelling"
checks=${CARGO_TARGET_DIR:-target}/tmp/checks-$(sha256sum tests/checks/requirements.txt | cut -c1-12)
if [ ! -e "$checks/ready" ]; then
  rm -rf "$checks"
  python3 -m venv "$checks"
  "$checks/bin/pip" install --quiet --disable-pip-version-check --requirement tests/checks/requirements.txt
  touch "$checks/ready"
fi
"$checks/bin/typos"

step "lints"
cargo clippy --locked --all-targets --features delta,cluster -- -D warnings
cargo clippy --locked --no-default-features --lib --bins -- -D warnings
cargo clippy --locked --lib --bins -- -D warnings

step "documentation"
# There are no examples. The option selects the features of dependencies that the first of the lints selects, so
# that none is checked again.
RUSTDOCFLAGS="-D warnings" cargo doc --locked --features delta,cluster --no-deps --document-private-items \
  --lib --examples

step "licenses, bans, sources"
"$checks/bin/cargo-deny" --locked check licenses bans sources

step "advisories"
if compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/advisory-db-*" >/dev/null; then
  "$checks/bin/cargo-deny" --offline --locked check advisories
else
  echo "NOT CHECKED: this machine has no advisory database; to download it: $checks/bin/cargo-deny fetch db"
fi

step "tests"
cargo test --locked --features delta,cluster
