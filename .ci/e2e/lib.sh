# Shared by the end-to-end scripts: sourced, not run.
# Each check says what it proves, shows the output of what failed, and ends the script.

checks=0

say() { printf '%s\n' "$*"; }

fail() {
  say "FAIL: $1" >&2
  [ -n "${2:-}" ] && printf '%s\n' "$2" | sed 's/^/    /' >&2
  exit 1
}

passed() { checks=$((checks + 1)); say "ok: $1"; }

# works WHAT COMMAND…: the command succeeds.
works() {
  local what=$1 out; shift
  out=$("$@" 2>&1) || fail "$what: '$*' failed" "$out"
  passed "$what"
}

# shows WHAT PATTERN COMMAND…: it succeeds and prints a line that matches the extended pattern.
shows() {
  local what=$1 pattern=$2 out; shift 2
  out=$("$@" 2>&1) || fail "$what: '$*' failed" "$out"
  grep -Eq -- "$pattern" <<<"$out" || fail "$what: '$*' printed nothing like '$pattern'" "$out"
  passed "$what"
}

# refuses WHAT PATTERN COMMAND…: it fails and prints a line that matches.
refuses() {
  local what=$1 pattern=$2 out; shift 2
  if out=$("$@" 2>&1); then fail "$what: '$*' was accepted" "$out"; fi
  grep -Eq -- "$pattern" <<<"$out" || fail "$what: '$*' failed, but not like '$pattern'" "$out"
  passed "$what"
}

# becomes SECONDS WHAT PATTERN COMMAND…: within so many seconds it prints a line that matches.
becomes() {
  local limit=$1 what=$2 pattern=$3 out='' end; shift 3
  end=$((SECONDS + limit))
  while [ $SECONDS -lt $end ]; do
    out=$("$@" 2>&1) && grep -Eq -- "$pattern" <<<"$out" && { passed "$what"; return; }
    sleep 0.2
  done
  fail "$what: '$*' printed nothing like '$pattern' within $limit s" "$out"
}
