# The fake, with port and password of Lavalink's own configuration.
set -eu
setting() { sed -n "s/^ *$1: *\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" application.yml; }
HOST=0.0.0.0 PORT=$(setting port) PASSWORD=$(setting password)
: "${PORT:?}" "${PASSWORD:?}"
export HOST PORT PASSWORD
# As Lavalink does.
echo probe >logs/probe
echo probe >plugins/probe
exec node fake-lavalink-main.ts
