# Everyday recipes. `npx just` lists them.

default:
    @npx just --list

# Install, compile and serve on this machine.
start *args:
    node scripts/start.mjs {{args}}

# Compile.
build:
    node scripts/build.mjs

# Format, lint and all tests; `just test core` runs only the files whose path has "core".
test *patterns:
    node scripts/test.mjs {{patterns}}

# Bring all files into the one format, and lint.
format:
    npx biome check --write .
    npx oxlint --deny-warnings

# Everything that CI runs, as CI runs it.
ci:
    bash .ci/run

# Put load on a running backbone, e.g. `just load --rate 20000 --duration 60s`.
load *args:
    npx dunlin load {{args}}

# Benchmarks, all or by name, into benchmarks/results/; `just bench --help` says more.
bench *args: build
    @node --enable-source-maps dist/benchmarks/bench.js {{args}}

# docs/benchmarks.md and reports/benchmarks.html from the results.
bench-report *args: build
    @node --enable-source-maps dist/benchmarks/bench-report.js {{args}}

# Break a real server and judge it, e.g. `just chaos run kill-loop`.
chaos *args:
    npx dunlin chaos {{args}}
