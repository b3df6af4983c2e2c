import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildPackage } from './build.ts'

// node packages/client/publish/main.ts [folder]; then `npm pack` or `npm publish` of that folder.
const folder = resolve(process.argv[2] ?? fileURLToPath(new URL('../dist', import.meta.url)))
await buildPackage(folder)
console.log(`built ${folder}`)
