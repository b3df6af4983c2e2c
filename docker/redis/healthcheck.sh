#!/bin/sh
# Healthy is: answers to the password, and has loaded its data.
REDISCLI_AUTH=$(sed -n 's/^requirepass //p' /tmp/redis.conf) exec redis-cli --raw -e ping
