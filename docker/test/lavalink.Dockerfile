FROM node:24-bookworm-slim
RUN groupadd --gid 322 lavalink && useradd --system --uid 322 --gid lavalink lavalink
WORKDIR /opt/Lavalink
COPY docker/test/lavalink.sh ./
COPY packages/testkit/src/fake-lavalink.ts packages/testkit/src/fake-lavalink-main.ts ./
USER lavalink
CMD ["sh", "lavalink.sh"]
