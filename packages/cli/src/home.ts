import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

/** Where one set of keys lies; the folder is 0700, its files 0600. */
export interface KeyPaths {
  folder: string
  /** Root private key, PKCS #8 PEM, encrypted when a passphrase was given. */
  root: string
  /** Root public key, a JWK: what hubs and clients pin. */
  rootPublic: string
  /** Trust list, a JWS by the root. */
  trust: string
  /** An issuer's private key with its `kid` and audience, JSON. */
  issuer(kid: string): string
}

/** Every path under DAMON_HOME. */
export interface Home {
  root: string
  /** Held open by the running `damon up`. */
  lock: string
  /** Process id of the last `damon up`. */
  pid: string
  keys: KeyPaths
  ca: { certificate: string; key: string; hubCertificate: string; hubKey: string }
  hubState: string
  certs: { config: string; storeKey: string; state: string }
  connection(name: string): string
  log(service: string): string
  /** Node's cache of compiled code, which halves the start of a service. */
  compiled: string
}

/** The paths of a set of keys in a folder. */
export function keyPaths(folder: string): KeyPaths {
  return {
    folder,
    root: join(folder, 'root.pem'),
    rootPublic: join(folder, 'root-public.json'),
    trust: join(folder, 'trust.jws'),
    issuer: (kid) => join(folder, `issuer-${kid}.json`),
  }
}

/** The paths under a home folder. */
export function homeAt(root: string): Home {
  return {
    root,
    lock: join(root, 'lock.db'),
    pid: join(root, 'pid'),
    keys: keyPaths(join(root, 'keys')),
    ca: {
      certificate: join(root, 'ca', 'authority.pem'),
      key: join(root, 'ca', 'authority-key.pem'),
      hubCertificate: join(root, 'ca', 'hub.pem'),
      hubKey: join(root, 'ca', 'hub-key.pem'),
    },
    hubState: join(root, 'hub'),
    certs: {
      config: join(root, 'certs', 'config.yaml'),
      storeKey: join(root, 'certs', 'store-key'),
      state: join(root, 'certs', 'state'),
    },
    connection: (name) => join(root, 'connections', `${name}.json`),
    log: (service) => join(root, 'logs', `${service}.log`),
    compiled: join(root, 'compiled'),
  }
}

/** The home that a command uses: DAMON_HOME, else `.damon` at the top of the pnpm workspace around `cwd`, else in `cwd`. */
export function findHome(env: Readonly<Record<string, string | undefined>>, cwd: string): Home {
  if (env.DAMON_HOME) return homeAt(resolve(cwd, env.DAMON_HOME))
  for (let folder = cwd; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'pnpm-workspace.yaml'))) return homeAt(join(folder, '.damon'))
    if (folder === dirname(folder)) return homeAt(join(cwd, '.damon'))
  }
}
