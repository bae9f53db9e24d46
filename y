#!/bin/sh
# One entrance for whoever has just cloned this: ./x help
#
# Works in any POSIX shell, as root and as an ordinary user, from any working directory.

set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cargo_least=1.90
postgres_least=14
yes=no

usage() {
    cat <<'TEXT'
usage: ./x COMMAND [--yes] [ARGUMENTS]

  demo [ARGUMENTS]   build replat, then move a tenant between two throwaway PostgreSQL servers, forth, back and
                     forth again, under live writes, and report what became of them; ./x demo --help
                     lists the arguments
  bench rotate [ARGUMENTS]
                     measure partition maintenance by replat beside pg_partman, on one throwaway cluster under one
                     load; installs pg_partman; --quick for a first look, --help for the arguments
  test               format, lints, documentation, all tests, and a short demo
  clean              remove what was built, and the throwaway servers' folders
  help               this page

  --yes              install what is missing without asking; so does CI=true, or not being at a terminal

Needed are Rust (cargo 1.90 or later), a C compiler (for SQLite) and the PostgreSQL server programs (14 or later;
REPLAT_PG_BIN names their directory if they are somewhere unusual); for the tests also nats-server
(REPLAT_NATS_SERVER names the program). What is missing is installed by the system's own package manager.
TEXT
}

say() { printf '%s\n' "$*" >&2; }

die() {
    say "x: $*"
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Is version $1 at least version $2? Only the first two numbers count.
at_least() {
    printf '%s %s\n' "$1" "$2" | awk '{
        split($1, have, "."); split($2, want, ".")
        exit !(have[1] + 0 > want[1] + 0 || (have[1] + 0 == want[1] + 0 && have[2] + 0 >= want[2] + 0))
    }'
}

cargo_version() { cargo --version 2>/dev/null | awk '{ print $2 }'; }

cargo_is_there() {
    found=$(cargo_version)
    [ -n "$found" ] && at_least "$found" "$cargo_least"
}

# Cargo may be where rustup puts it, and rustup may have a newer tool chain than its default one, which is not ours
# to change.
prefer_recent_cargo() {
    [ ! -d "${HOME:-/root}/.cargo/bin" ] || PATH=$PATH:${HOME:-/root}/.cargo/bin
    export PATH
    if ! cargo_is_there && has rustup && rustup toolchain list 2>/dev/null | grep -q '^stable'; then
        RUSTUP_TOOLCHAIN=stable
        export RUSTUP_TOOLCHAIN
    fi
}

# The same places in which the tests look.
postgres_directories() {
    if [ -n "${REPLAT_PG_BIN:-}" ]; then
        printf '%s\n' "$REPLAT_PG_BIN"
        return
    fi
    has pg_config && pg_config --bindir
    for directory in /usr/lib/postgresql/*/bin /usr/lib/postgresql*/bin /usr/libexec/postgresql* /usr/pgsql-*/bin \
        /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
        /home/linuxbrew/.linuxbrew/opt/postgresql*/bin; do
        [ -d "$directory" ] && printf '%s\n' "$directory"
    done
    has postgres && dirname -- "$(command -v postgres)"
    return 0
}

postgres_is_there() {
    postgres_directories | while IFS= read -r directory; do
        [ -x "$directory/initdb" ] || continue
        version=$("$directory/postgres" --version 2>/dev/null | sed 's/.*(PostgreSQL) *\([0-9]*\).*/\1/')
        if [ -n "$version" ] && at_least "$version" "$postgres_least"; then echo found; fi
    done | grep -q found
}

# The same places in which the tests look.
nats_is_there() {
    if [ -n "${REPLAT_NATS_SERVER:-}" ]; then
        [ -x "$REPLAT_NATS_SERVER" ]
        return
    fi
    has nats-server || [ -x /usr/sbin/nats-server ] || [ -x /usr/local/bin/nats-server ] ||
        [ -x /opt/homebrew/bin/nats-server ]
}

compiler_is_there() { has cc || has gcc || has clang; }

package_manager() {
    for manager in apt-get dnf yum zypper pacman apk brew; do
        if has "$manager"; then
            echo "$manager"
            return
        fi
    done
}

# The packages of $1 (postgres, compiler, nats, rustup or cargo) for manager $2; none if it has none.
packages_for() {
    case $1:$2 in
    postgres:apt-get | postgres:pacman | postgres:apk) echo postgresql ;;
    postgres:dnf | postgres:yum | postgres:zypper) echo postgresql-server ;;
    postgres:brew) echo postgresql@17 ;;
    compiler:apt-get) echo gcc libc6-dev ;;
    compiler:dnf | compiler:yum) echo gcc glibc-devel ;;
    compiler:zypper) echo gcc glibc-devel ;;
    compiler:pacman) echo gcc ;;
    compiler:apk) echo gcc musl-dev ;;
    compiler:brew) echo gcc ;;
    nats:apt-get | nats:pacman | nats:apk | nats:brew) echo nats-server ;;
    nats:*) ;;
    rustup:*) echo rustup ;;
    cargo:pacman | cargo:brew) echo rust ;;
    cargo:*) echo cargo ;;
    esac
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    elif has doas; then
        doas "$@"
    else
        die "this needs root, and there is neither sudo nor doas: $*"
    fi
}

# install MANAGER PACKAGE…
install() {
    manager=$1
    shift
    case $manager in
    apt-get)
        as_root apt-get update -q >&2
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >&2
        ;;
    dnf | yum) as_root "$manager" install -y "$@" >&2 ;;
    zypper) as_root zypper --non-interactive install "$@" >&2 ;;
    pacman) as_root pacman -Sy --noconfirm --needed "$@" >&2 ;;
    apk) as_root apk add "$@" >&2 ;;
    brew) brew install "$@" >&2 ;;
    esac
}

# Asks before anything is installed, unless nobody is there to answer or the answer was given beforehand.
may_install() {
    say "x: missing: $1"
    say "x: to be installed by $2: $3"
    if [ "$yes" = yes ] || [ "${CI:-}" = true ] || [ ! -t 0 ]; then return 0; fi
    printf 'Go on? [y/N] ' >&2
    read -r answer || answer=no
    case $answer in y | Y | yes | Yes) return 0 ;; *) return 1 ;; esac
}

how_to_get_rust() {
    die "Rust is missing or older than $cargo_least, and this system's packages have none that is recent enough.
   Install it as https://rustup.rs says, which is:
       curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
   then start ./x again."
}

# Rust by a rustup that is there or can be had, else by the package manager's own cargo.
install_rust() {
    if ! has rustup; then
        install "$1" rustup || install "$1" "$(packages_for cargo "$1")" || how_to_get_rust
        hash -r
    fi
    if has rustup; then
        rustup toolchain install stable --profile default >&2 || how_to_get_rust
    elif ! cargo_is_there && has rustup-init; then
        rustup-init -y --profile default --no-modify-path >&2 || how_to_get_rust
    fi
    prefer_recent_cargo
    cargo_is_there || how_to_get_rust
}

require() {
    prefer_recent_cargo
    missing='' packages='' rust=no
    manager=$(package_manager)
    if ! postgres_is_there; then
        missing="the PostgreSQL server programs, $postgres_least or later;"
        packages=$(packages_for postgres "$manager")
    fi
    if ! compiler_is_there; then
        missing="$missing a C compiler;"
        packages="$packages $(packages_for compiler "$manager")"
    fi
    if ! cargo_is_there; then
        missing="$missing Rust, $cargo_least or later;"
        rust=yes
    fi
    [ -n "$missing" ] || return 0
    [ -n "$manager" ] || die "missing: $missing and no package manager that this script knows"
    shown=$packages
    [ $rust = no ] || shown="$shown rustup (or else cargo)"
    may_install "$missing" "$manager" "$shown" || die "nothing was installed"
    if [ -n "$packages" ]; then
        # Package names hold no spaces; the list is to be split.
        # shellcheck disable=SC2086
        install "$manager" $packages || die "$manager could not install $packages"
    fi
    [ $rust = no ] || install_rust "$manager"
    postgres_is_there || die "no PostgreSQL server programs of version $postgres_least or later, even now;
   install them, or set REPLAT_PG_BIN to the directory that holds postgres and initdb"
    compiler_is_there || die "no C compiler, even now"
}

# Of the tests alone: a few of them speak to a NATS server, and fail where there is none.
require_nats() {
    if nats_is_there; then return 0; fi
    manager=$(package_manager)
    package=$(packages_for nats "$manager")
    if [ -n "$package" ] && may_install "nats-server, for tests of messages" "$manager" "$package" &&
        install "$manager" "$package"; then
        hash -r
    fi
    nats_is_there || die "no nats-server, and tests need one: install it, from your system's packages or from
   https://github.com/nats-io/nats-server/releases, or set REPLAT_NATS_SERVER to the program"
}

target_directory() { printf '%s\n' "${CARGO_TARGET_DIR:-$root/target}"; }

# run_demo PROFILE ARGUMENT…
run_demo() {
    profile=$1
    shift
    target=$(target_directory)
    for argument in "$@"; do
        case $argument in
        --out | --out=* | --help | -h) exec "$target/$profile/replat-demo" "$@" ;;
        esac
    done
    exec "$target/$profile/replat-demo" --out "$target/demo" "$@"
}

demo() {
    require
    cargo build --manifest-path "$root/Cargo.toml" --release -p replat -p replat-testkit --bins
    run_demo release "$@"
}

# The release of the server programs that the tests take: the newest.
postgres_major() {
    postgres_directories | while IFS= read -r directory; do
        [ -x "$directory/initdb" ] || continue
        "$directory/postgres" --version 2>/dev/null | sed 's/.*(PostgreSQL) *\([0-9]*\).*/\1/'
    done | sort -n | tail -n 1
}

# Is the control file of pg_partman in the share directory of release $1?
partman_is_there() {
    postgres_directories | while IFS= read -r directory; do
        [ -x "$directory/initdb" ] || continue
        case $("$directory/postgres" --version 2>/dev/null) in *"(PostgreSQL) $1"*) ;; *) continue ;; esac
        share=$("$directory/pg_config" --sharedir 2>/dev/null || echo "/usr/share/postgresql/$1")
        if [ -r "$share/extension/pg_partman.control" ]; then echo found; fi
    done | grep -q found
}

no_partman() {
    say "x: $1
   The benchmark compares replat with pg_partman, and there is none for PostgreSQL $major: install it, on Debian
   and Ubuntu the package postgresql-$major-partman, and start ./x bench rotate again."
    exit 4
}

require_partman() {
    major=$(postgres_major)
    if partman_is_there "$major"; then return 0; fi
    manager=$(package_manager)
    case $manager in
    apt-get) package=postgresql-$major-partman ;;
    dnf | yum | zypper) package=pg_partman_$major ;;
    pacman | brew) package=pg_partman ;;
    *) no_partman "missing: pg_partman, and no package of it that this script knows" ;;
    esac
    may_install "pg_partman for PostgreSQL $major" "$manager" "$package" || no_partman "nothing was installed"
    install "$manager" "$package" || no_partman "$manager could not install $package"
    partman_is_there "$major" || no_partman "no pg_partman in the server's share directory, even now"
}

bench_rotate() {
    for argument in "$@"; do
        case $argument in --help | -h) only_help=yes ;; esac
    done
    require
    [ "${only_help:-}" = yes ] || require_partman
    cargo build --manifest-path "$root/Cargo.toml" --release -p replat -p replat-testkit --bins
    exec "$(target_directory)/release/replat-bench-rotate" "$@"
}

bench() {
    what=${1:-}
    [ $# -eq 0 ] || shift
    case $what in
    rotate) bench_rotate "$@" ;;
    *)
        usage >&2
        die "there is no benchmark \"$what\"; there is: rotate"
        ;;
    esac
}

step() {
    say ""
    say "== $*"
}

# Shows the tests as they run, and their sum; the pipe must not hide how they ended.
all_tests() {
    target=$(target_directory)
    mkdir -p "$target"
    log=$target/x-test.log
    ended=$target/x-test.status
    { cargo test --workspace --no-fail-fast 2>&1 && echo 0 >"$ended" || echo 1 >"$ended"; } | tee "$log"
    awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d passed, %d failed\n", passed, failed }' "$log"
    [ "$(cat "$ended")" -eq 0 ]
}

# Packaged tool chains come without these two.
require_lints() {
    if cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; then return 0; fi
    if has rustup && may_install "cargo fmt or cargo clippy" rustup "rustfmt clippy"; then
        rustup component add rustfmt clippy >&2 && return 0
    fi
    die "cargo fmt or cargo clippy is missing; install the packages of your system that hold rustfmt and clippy"
}

run_tests() {
    require
    require_nats
    require_lints
    cd "$root"
    step "cargo fmt --check"
    cargo fmt --all --check
    step "cargo clippy"
    cargo clippy --workspace --all-targets -- -D warnings
    step "cargo doc"
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
    step "cargo test"
    all_tests || die "tests failed"
    step "a short demo"
    cargo build -p replat -p replat-testkit --bins
    (run_demo debug --rows 40000 --seconds 6 --writers 3)
    say ""
    say "x: all is well"
}

# A server that somebody kept, or that another run uses, stays.
in_use() {
    for file in "$1"/server-*/data/postmaster.pid; do
        [ -r "$file" ] || continue
        kill -0 "$(head -n 1 "$file")" 2>/dev/null && return 0
    done
    return 1
}

clean() {
    rm -rf -- "$(target_directory)"
    for folder in "${TMPDIR:-/tmp}"/replat-testkit-* "${TMPDIR:-/tmp}"/replat-demo-*; do
        [ -d "$folder" ] || continue
        if in_use "$folder"; then
            say "x: $folder stays: a server runs in it"
        else
            rm -rf -- "$folder" 2>/dev/null || say "x: $folder stays: it belongs to somebody else"
        fi
    done
}

command=${1:-help}
[ $# -eq 0 ] || shift

# --yes is ours; everything else is the command's.
remaining=$#
while [ "$remaining" -gt 0 ]; do
    argument=$1
    shift
    remaining=$((remaining - 1))
    if [ "$argument" = --yes ]; then yes=yes; else set -- "$@" "$argument"; fi
done

case $command in
demo) demo "$@" ;;
bench) bench "$@" ;;
test) run_tests ;;
clean) clean ;;
help | -h | --help) usage ;;
*)
    usage >&2
    die "there is no command \"$command\""
    ;;
esac
