# The smallest plan that was seen to fail, as requests. Written by `gauntlet`; needs bash and curl.
#
#     GATEWAY=http://127.0.0.1:4000 ADMIN_KEY="$MASTER_KEY" bash THIS_FILE
#
# GATEWAY_0, GATEWAY_1 … name replicas one by one; without them every request goes to GATEWAY.
# MODEL_0 and MODEL_1 are two models that the gateway offers. PREFIX begins every id that is made, so
# that each run has its own. Each line that is printed is one request and the status of its answer; the
# answers themselves are shown with VERBOSE=1, keys that were issued included.
set -u
PREFIX="${PREFIX:-g$(date +%s)x}"
answers="$(mktemp -d)"
trap 'rm -rf "$answers"' EXIT

say() { printf '%s\n' "$*"; }

# What this script cannot do is done by whoever runs it, who then presses Enter.
by_hand() {
  printf 'by hand: %s\n' "$*"
  if [ -t 0 ]; then read -r -p '  press Enter when it is done '; fi
}

# call NAME ADDRESS KEY METHOD PATH BODY WORDS
call() {
  local more=() status
  if [ -n "$6" ]; then more=(-H 'Content-Type: application/json' -d "$6"); fi
  status="$(curl --silent --show-error --max-time 30 -o "$answers/$1" -w '%{http_code}' -X "$4" \
    "$2$5" -H "Authorization: Bearer $3" ${more[@]+"${more[@]}"})"
  printf '%s -> %s  %s %s\n' "$1" "$status" "$4" "$7"
  if [ -n "${VERBOSE:-}" ]; then cat "$answers/$1"; printf '\n'; fi
}

# The key in the answer that was kept under this name.
issued_key() {
  grep -o '"key" *: *"[^"]*"' "$answers/$1" | head -n 1 | sed 's/.*: *"//; s/"$//'
}

