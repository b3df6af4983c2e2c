FROM node:24-bookworm-slim
RUN groupadd --gid 322 lavalink && useradd --system --uid 322 --gid lavalink lavalink
WORKDIR /opt/Lavalink
# All that the fake needs beside its own files.
COPY pnpm-workspace.yaml ./
RUN npm install --no-save --no-package-lock --no-update-notifier "ws@$(sed -n 's/^ *ws: *//p' pnpm-workspace.yaml)"
COPY docker/test/lavalink.sh packages/testkit/src/*.ts ./
USER lavalink
CMD ["sh", "lavalink.sh"]
