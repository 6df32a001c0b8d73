# `just` lists the recipes. Those that check something call what CI calls, in `.ci`.

# Lists the recipes.
default:
    @just --list

# Builds both commands.
build:
    make build

# Checks form and lints: a few minutes, the first time.
lint:
    cargo fmt --all --check
    cargo clippy --locked --workspace --all-targets -- -D warnings
    cargo test --locked --test house --test repository

# Runs the tests, or those whose names contain a word: `just test resume`.
test *words:
    cargo test --locked {{words}}

# Writes manual pages, completions and the transcripts in `docs` anew.
update:
    AIOCP_UPDATE=1 cargo test --locked --test repository --test book

# Builds the book into target/book.
book:
    .ci/book

# Checks licences and sources of all crates.
deny:
    .ci/deny

# Prints the figures of the house.
house:
    .ci/house

# Compiles with the oldest Rust that is promised.
oldest:
    .ci/oldest

# Runs the tests of the library with musl and 32 bits, and compiles it for other machines.
targets:
    .ci/targets

# Runs the memory checkers.
soundness:
    .ci/soundness

# Builds and tries what users install.
package:
    .ci/package

# Runs everything that has to hold before a change lands: about an hour.
ci:
    .ci/run
