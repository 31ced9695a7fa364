#!/usr/bin/env bash
# Bundles the packages that package-lock.json pins into preact.js and d3.js, with their licenses, and copies
# axe-core for the tests.
#
# For newer versions, change package.json, run `npm install --package-lock-only` here, then this script.
set -euo pipefail
cd "$(dirname "$0")"
npm ci --ignore-scripts --no-audit --no-fund --silent
bundle() {
  node_modules/.bin/esbuild "$1.entry.js" --bundle --minify --format=esm --target=es2022 --charset=utf8 \
    --legal-comments=none --banner:js="// Bundled by refresh.sh from $2; see LICENSES." --outfile="$1.js"
}
version() { node -p "require('./node_modules/$1/package.json').version"; }
bundle preact "preact $(version preact) and htm $(version htm)"
bundle d3 "d3-array $(version d3-array), d3-scale $(version d3-scale), d3-shape $(version d3-shape), d3-sankey \
$(version d3-sankey)"
for package in preact htm d3-array d3-color d3-format d3-interpolate d3-path d3-sankey d3-scale d3-shape d3-time \
  d3-time-format internmap; do
  printf '== %s %s\n\n' "$package" "$(version "$package")"
  cat "node_modules/$package"/LICENSE*
  printf '\n'
done > LICENSES
cp node_modules/axe-core/axe.min.js ../../tests/console/
rm -rf node_modules
