#!/usr/bin/env bash
# Everything that has to hold: format, lints, docs, every test. Installs what the tests need from Debian's packages, and
# Feast's SDK, DuckDB and schemathesis from PyPI into target/tmp.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

missing=()
command -v curl >/dev/null || missing+=(curl)
command -v redis-server >/dev/null && command -v redis-cli >/dev/null || missing+=(redis-server)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  step "install ${missing[*]}"
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq "${missing[@]}"
fi

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --locked --all-targets -- -D warnings
cargo clippy --locked --no-default-features --lib --bins -- -D warnings

step "docs"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

step "tests"
cargo test --locked

if cargo deny --version >/dev/null 2>&1; then
  step "licences and sources"
  cargo deny --offline check licenses bans sources
fi
