#!/bin/sh
# Starts Redis with the password out of the hub's REDIS_URL. Without a good one it does not start: a Redis that takes an
# empty password is open to all.
set -eu
umask 077
password=$(sed -n 's#^redis://:\([0-9a-f]*\)@redis:6379/*$#\1#p' /run/secrets/redis-url)
if [ ${#password} -lt 64 ]; then
  echo 'redis: the secret redis-url is not redis://:PASSWORD@redis:6379 with 64 or more hexadecimal digits' >&2
  exit 78
fi
# In a file, not among the arguments, which every user of the machine can read.
{ cat /etc/redis.conf; echo "requirepass $password"; } >/tmp/redis.conf
exec redis-server /tmp/redis.conf
