import { fileURLToPath } from 'node:url'
import { defineConfig } from 'rolldown'

const { SERVICE, OUT = '/out' } = process.env
const nothing = fileURLToPath(new URL('nothing.cjs', import.meta.url))

/** One service as one bundle, and a chunk for what it loads only when it is asked to. */
export default defineConfig({
  input: `packages/${SERVICE}/src/main.ts`,
  platform: 'node',
  resolve: {
    alias: {
      // Of dockerode nothing builds images or goes over ssh: 20 MB less memory, and no native code.
      ssh2: nothing,
      protobufjs: nothing,
      '@grpc/grpc-js': nothing,
      '@grpc/proto-loader': nothing,
      // The cryptography of acme-client's earlier versions, a megabyte of JavaScript that nothing calls.
      './crypto/forge': nothing,
    },
  },
  output: { dir: OUT, format: 'esm', sourcemap: true, entryFileNames: 'main.mjs' },
})
