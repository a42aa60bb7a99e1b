# The configuration with the environment's figures filled in goes to /tmp, the only place that can be written.
set -eu
: "${REQUESTS_PER_SECOND:=20}" "${BURST:=40}"
export REQUESTS_PER_SECOND BURST
envsubst '$REQUESTS_PER_SECOND $BURST' < /etc/sub3/nginx.conf.template > /tmp/nginx.conf
exec nginx -c /tmp/nginx.conf -g 'daemon off;'
