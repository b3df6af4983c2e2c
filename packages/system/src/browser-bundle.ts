import { gzipSync } from 'node:zlib'
import { rolldown } from 'rolldown'

/** What a web page loads of the SDK. */
export interface BrowserBundle {
  code: string
  /** Bytes of it, compressed as web servers do. */
  gzip: number
  /** Every file and package that is in it. */
  modules: string[]
}

/** Bundles a module as a page's bundler would: for browsers, minified, nothing left outside. */
export async function bundleForBrowsers(path: string): Promise<BrowserBundle> {
  const bundle = await rolldown({
    input: path,
    platform: 'browser',
    onLog: (_, log) => {
      throw new Error(log.message)
    },
  })
  const { output } = await bundle.generate({ format: 'esm', minify: true, codeSplitting: false })
  await bundle.close()
  const [{ code, moduleIds }] = output
  return { code, gzip: gzipSync(code, { level: 9 }).length, modules: moduleIds }
}
